"""The changes of a run: text files that it created or changed, and visible files that it deleted.

No submission undoes a change unseen: what is not told with its content is named. The submitted
files with these changes are never more than an avatar may have.

They are collected when all processes of the run have ended, so nothing changes any more.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

from dojo import visible_files
from runner.sandbox.file_versions import FileVersion, version
from runner.sandbox.sandbox import Sandbox

MAX_FILES = 64
MAX_FILE_BYTES = 100 * 1024
MAX_TOTAL_BYTES = 1024 * 1024

# How many files are read at most, to find those that are text.
_MAX_READ_FILES = 512
# How many odd names are told at most.
_MAX_ODD_NAMES = 64
# The beginning of a file shows in most cases whether it is binary.
_SAMPLE_BYTES = 4096


class Why(Enum):
    """Why a change is named, and its content is not told."""

    NOT_TEXT = auto()
    TOO_LARGE = auto()
    TOO_MANY = auto()
    ODD_NAME = auto()


@dataclass(frozen=True)
class NamedChange:
    """A change whose content is not told. An odd name is escaped, for people."""

    filename: str
    why: Why


@dataclass(frozen=True)
class Changes:
    """The changes of a run to its sandbox."""

    files: dict[str, bytes]
    is_truncated: bool
    deleted_filenames: list[str]
    named: list[NamedChange] = field(default_factory=list)


def since(
    before: Mapping[str, FileVersion],
    submitted: Mapping[str, bytes],
    sandbox: Sandbox,
    max_entries: int,
    left_out: Sequence[str] = (),
) -> Changes:
    """Return the changes since `before`, the versions of files after `submitted` was written.

    Looks at `max_entries` files and folders at most. Of the files that were not submitted, leaves
    out hidden ones, those that are not text, and the files and folders `left_out`. Names each
    submitted file that changed and whose content is not told, and some files with names that no
    visible file can have.
    """
    candidates: list[str] = []
    odd: list[NamedChange] = []
    present: set[str] = set()
    is_truncated = False
    for place, entry in enumerate(sandbox.walk()):
        if place >= max_entries:
            is_truncated = True
            break
        if not entry.is_file:
            continue
        if entry.path in submitted:
            present.add(entry.path)
        if before.get(entry.path) == version(entry):
            continue
        if entry.path in submitted or (
            _can_be_shown(entry.path) and not any(_is_in(entry.path, each) for each in left_out)
        ):
            candidates.append(entry.path)
        elif len(odd) < _MAX_ODD_NAMES and not (
            _is_hidden(entry.path) or visible_files.is_text(entry.path)
        ):
            odd.append(NamedChange(visible_files.shown(entry.path), Why.ODD_NAME))
    # If there are too many, visible files come first, and then those nearest to the top.
    candidates.sort(key=lambda path: (path not in submitted, path.count("/"), path))
    told = _Told(sandbox, submitted)
    for path in candidates:
        if not told.add(path):
            break
    deleted = [
        name
        for name in sorted(submitted)
        if name not in present and not (is_truncated and _is_there(sandbox, name))
    ]
    named = [*told.named, *sorted(odd, key=lambda change: change.filename)]
    return Changes(told.files, is_truncated or told.has_more, deleted, named)


class _Told:
    """What is told of the files that changed: the contents of some, and the names of others."""

    def __init__(self, sandbox: Sandbox, submitted: Mapping[str, bytes]) -> None:
        self.files: dict[str, bytes] = {}
        self.named: list[NamedChange] = []
        self.has_more = False
        self._sandbox = sandbox
        self._submitted = submitted
        self._read_files = 0
        self._total_bytes = 0
        # What can still be added to the submitted files.
        self._free_files = visible_files.MAX_FILES - len(submitted)
        self._free_bytes = visible_files.MAX_TOTAL_BYTES - sum(map(len, submitted.values()))

    def add(self, path: str) -> bool:
        """Add a file that changed; return False if there is room for no other.

        Submitted files come first. Each of those is told or named.
        """
        submitted = self._submitted.get(path)
        is_full = self._read_files >= _MAX_READ_FILES or len(self.files) >= MAX_FILES
        if submitted is None and (is_full or self._free_files <= 0):
            self.has_more = True
            return False
        if submitted is not None and self._sandbox.read(path, len(submitted) + 1) == submitted:
            return True
        self._read_files += 1
        content = _text(self._sandbox, path)
        more_bytes = 0 if content is None else len(content) - len(submitted or b"")
        is_full = is_full or more_bytes > self._free_bytes
        why = self._reason_to_leave_out(content, is_full=is_full)
        if why is None and content is not None:
            self.files[path] = content
            self._total_bytes += len(content)
            self._free_files -= submitted is None
            self._free_bytes -= more_bytes
            return True
        self.has_more = self.has_more or why is not Why.NOT_TEXT
        if submitted is not None and why is not None:
            self.named.append(NamedChange(path, why))
        return True

    def _reason_to_leave_out(self, content: bytes | None, *, is_full: bool) -> Why | None:
        if content is None:
            return Why.NOT_TEXT
        if len(content) > MAX_FILE_BYTES:
            return Why.TOO_LARGE
        if is_full or self._total_bytes + len(content) > MAX_TOTAL_BYTES:
            return Why.TOO_MANY
        return None


def _text(sandbox: Sandbox, path: str) -> bytes | None:
    """Return a text file, cut off if it is too large; None if the path is something else."""
    for limit_bytes in (_SAMPLE_BYTES, MAX_FILE_BYTES):
        content = sandbox.read(path, limit_bytes + 1)
        if content is None or not _is_text(content, is_whole=len(content) <= limit_bytes):
            return None
        if len(content) <= limit_bytes:
            break
    return content


def _is_hidden(path: str) -> bool:
    return path.startswith(".") or "/." in path


def _can_be_shown(path: str) -> bool:
    return not _is_hidden(path) and visible_files.name_fault(path) is None


def _is_in(path: str, place: str) -> bool:
    """Say whether a path is that of a file or folder, or inside of it."""
    return f"{path}/".startswith(f"{place}/")


def _is_there(sandbox: Sandbox, path: str) -> bool:
    return sandbox.read(path, 0) is not None


def _is_text(content: bytes, *, is_whole: bool) -> bool:
    """Say whether the content is UTF-8 without NUL. May end inside a character unless whole."""
    if b"\0" in content:
        return False
    try:
        content.decode()
    except UnicodeDecodeError as error:
        return not is_whole and error.end == len(content) and len(content) - error.start < 4
    return True
