"""The filenames of the newest submission: they tell a visible file from a build product.

They are kept in a file beside the sandbox, out of the reach of runs. The file may name visible
files that are gone, and never lacks one that is there. Before a submission is written, the file
gets the old and the new names; afterwards, only the new ones. If a process is killed between the
two, the next submission finds both.
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


class SubmittedNames:
    """The filenames of the newest submission of one avatar."""

    def __init__(self, avatar_folder: int) -> None:
        """`avatar_folder` is the descriptor of the avatar's folder."""
        self._folder = avatar_folder
        self._written: frozenset[str] | None = None

    def load(self) -> frozenset[str]:
        """Return the names, without those that no visible file can have.

        Before the first submission these are the visible files that the avatar started with.
        """
        found = self._read(FILE)
        names = found.get("filenames") if isinstance(found, dict) else None
        if isinstance(names, list):
            self._written = _usable(names)
            return self._written
        started_with = self._read(MANIFEST)
        return _usable(started_with) if isinstance(started_with, dict) else frozenset()

    def save(self, names: frozenset[str]) -> None:
        """Replace the names, durably, if they differ."""
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
        except ValueError:  # a restored backup can contain anything
            return None


def _usable(names: Iterable[object]) -> frozenset[str]:
    return frozenset(
        name for name in names if isinstance(name, str) and visible_files.name_fault(name) is None
    )
