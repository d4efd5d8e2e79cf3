"""The filenames of the newest submission: they tell a visible file from a build product.

They are kept in a file beside the sandbox, out of the reach of runs. The file may name visible
files that are gone, and never lacks one that is there. Before a submission is written, the file
gets the old and the new names; afterwards, only the new ones. If a process is killed between the
two, the next submission finds both.
"""

import json
import os
import re
from collections.abc import Iterable, Iterator

from dojo import limits, visible_files
from dojo.engine.data_containers import MANIFEST
from runner.sandbox import safe_fs

FILE = "submission.json"
_PART = ".submission.json"

_LIST = re.compile(r'\s*\{\s*"filenames"\s*:\s*\[')
_OBJECT = re.compile(r"\s*\{")
_END_OF_LIST = re.compile(r"\s*\]\s*\}\s*\Z")
_END_OF_OBJECT = re.compile(r"\s*\}\s*\Z")
_STRING = re.compile(r'\s*(?=")')
_STRINGS = json.JSONDecoder(strict=False)
_COLON, _COMMA = re.compile(r"\s*:"), re.compile(r"\s*,")


class SubmittedNames:
    """The filenames of the newest submission of one avatar."""

    def __init__(self, avatar_folder: int, remover: safe_fs.TreeRemover) -> None:
        """`avatar_folder` is the descriptor of the avatar's folder.

        `remover` removes what is in the way there: a restored backup can contain anything.
        """
        self._folder = avatar_folder
        self._remover = remover
        self._written: frozenset[str] | None = None

    def load(self) -> frozenset[str]:
        """Return the names, without those that no visible file can have.

        Before the first submission these are the visible files that the avatar started with.
        """
        content = safe_fs.read(FILE, self._folder, limits.MAX_SUBMITTED_NAMES_BYTES + 1)
        if content is not None and len(content) <= limits.MAX_SUBMITTED_NAMES_BYTES:
            try:
                self._written = _usable(_names_in_list(content.decode("latin-1")))
            except ValueError:
                pass  # it is not ours: what the avatar started with is the next best
            else:
                return self._written
        content = safe_fs.read(MANIFEST, self._folder, limits.MAX_AVATAR_MANIFEST_BYTES + 1)
        if content is None or len(content) > limits.MAX_AVATAR_MANIFEST_BYTES:
            return frozenset()
        text = content.decode("latin-1")
        del content
        try:
            return _usable(_names_in_object(text))
        except ValueError:
            return frozenset()

    def save(self, names: frozenset[str]) -> None:
        """Replace the names, durably, if they differ."""
        if names == self._written:
            return
        self._remover.remove(_PART, self._folder)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(_PART, flags, 0o600, dir_fd=self._folder)
        with open(descriptor, "w", encoding="utf-8") as file:
            json.dump({"filenames": sorted(names)}, file)
            file.flush()
            os.fsync(descriptor)
        try:
            os.rename(_PART, FILE, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        except IsADirectoryError:
            self._remover.remove(FILE, self._folder)
            os.rename(_PART, FILE, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        self._written = names


# These read JSON string by string. A parser would need twenty times the memory of what a hostile
# file has: the contents of a manifest are passed over here, and nothing is nested.


def _names_in_list(text: str) -> Iterator[str]:
    """Yield the names in `{"filenames": [...]}`; raise ValueError if `text` is something else.

    Each character of `text` stands for one byte of the file.
    """
    at = _after(_LIST, text, 0)
    while _END_OF_LIST.match(text, at) is None:
        name, at = _string(text, at)
        yield name
        at = _after_comma(text, at, _END_OF_LIST)


def _names_in_object(text: str) -> Iterator[str]:
    """Yield the names in `{name: content, ...}`; raise ValueError if `text` is something else."""
    at = _after(_OBJECT, text, 0)
    while _END_OF_OBJECT.match(text, at) is None:
        name, at = _string(text, at)
        yield name
        _, at = _STRINGS.raw_decode(text, _after(_STRING, text, _after(_COLON, text, at)))
        at = _after_comma(text, at, _END_OF_OBJECT)


def _string(text: str, at: int) -> tuple[str, int]:
    """Return the string at a place, and where it ends."""
    begin = _after(_STRING, text, at)
    _, end = _STRINGS.raw_decode(text, begin)
    return json.loads(text[begin:end].encode("latin-1"), strict=False), end


def _after(pattern: "re.Pattern[str]", text: str, at: int) -> int:
    if (found := pattern.match(text, at)) is None:
        raise ValueError(f"something else at {at}")
    return found.end()


def _after_comma(text: str, at: int, end: "re.Pattern[str]") -> int:
    return at if end.match(text, at) else _after(_COMMA, text, at)


def _usable(names: Iterable[str]) -> frozenset[str]:
    return frozenset(name for name in names if visible_files.name_fault(name) is None)
