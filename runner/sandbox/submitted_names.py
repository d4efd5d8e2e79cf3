"""Which filenames the sandbox holds by submission: what tells a deleted file from a product.

Kept beside the sandbox, out of the reach of runs. It may name a file that is not there, and
never forgets one that is: before a submission is written it gets the old names and the new
ones, and after that the new ones alone. A process that is killed between the two leaves the
union, which the next submission reads.
"""

import contextlib
import json
import os
from collections.abc import Iterable

from dojo import visible_files
from dojo.engine.data_containers import MANIFEST
from runner.sandbox import safe_fs

FILE = "submission.json"
_PART = ".submission.json"

# All visible files of an avatar, with each byte of them escaped.
_MAX_JSON_BYTES = 8 * visible_files.MAX_TOTAL_BYTES


class Submission:
    """The filenames of the newest submission to the sandbox in the folder `avatar_folder`."""

    def __init__(self, avatar_folder: int) -> None:
        """`avatar_folder` is its descriptor."""
        self._folder = avatar_folder
        self._written: frozenset[str] | None = None

    def filenames(self) -> frozenset[str]:
        """Return the names, every one of which could be a visible file's.

        Before the first submission these are the visible files that the avatar started with.
        """
        found = self._read(FILE)
        names = found.get("filenames") if isinstance(found, dict) else None
        if isinstance(names, list):
            self._written = _usable(names)
            return self._written
        started_with = self._read(MANIFEST)
        return _usable(started_with) if isinstance(started_with, dict) else frozenset()

    def remember(self, names: frozenset[str]) -> None:
        """Replace the names, durably, unless they are the same."""
        if names == self._written:
            return
        with contextlib.suppress(FileNotFoundError):
            os.unlink(_PART, dir_fd=self._folder)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(_PART, flags, 0o600, dir_fd=self._folder)
        with open(descriptor, "w", encoding="utf-8") as file:
            json.dump({"filenames": sorted(names)}, file)
            file.flush()
            os.fsync(descriptor)
        os.rename(_PART, FILE, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        self._written = names

    def _read(self, name: str) -> object:
        content = safe_fs.read(name, self._folder, _MAX_JSON_BYTES)
        try:
            return json.loads(content) if content is not None else None
        except ValueError:  # a restored backup may hold anything
            return None


def _usable(names: Iterable[object]) -> frozenset[str]:
    return frozenset(
        name for name in names if isinstance(name, str) and visible_files.name_fault(name) is None
    )
