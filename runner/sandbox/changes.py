"""The changes of a run: text files that it created or changed, and visible files that it deleted.

They are collected when all processes of the run have ended, so nothing changes any more.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dojo import visible_files
from runner.sandbox.file_versions import FileVersion, version
from runner.sandbox.sandbox import Sandbox

MAX_FILES = 64
MAX_FILE_BYTES = 100 * 1024
MAX_TOTAL_BYTES = 1024 * 1024

# How many files are read at most, to find those that are text.
_MAX_READ_FILES = 512
# The beginning of a file shows in most cases whether it is binary.
_SAMPLE_BYTES = 4096


@dataclass(frozen=True)
class Changes:
    """The changes of a run to its sandbox."""

    files: dict[str, bytes]
    is_truncated: bool
    deleted_filenames: list[str]


def since(
    before: Mapping[str, FileVersion],
    submitted: Mapping[str, bytes],
    sandbox: Sandbox,
    max_entries: int,
) -> Changes:
    """Return the changes since `before`, the versions of files after `submitted` was written.

    Looks at `max_entries` files and folders at most. Leaves out hidden files, files whose names no
    visible file can have, and files that are not text.
    """
    candidates: list[str] = []
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
        if before.get(entry.path) != version(entry) and _can_be_shown(entry.path):
            candidates.append(entry.path)
    # If there are too many, visible files come first, and then those nearest to the top.
    candidates.sort(key=lambda path: (path not in submitted, path.count("/"), path))
    files, has_more = _texts(sandbox, candidates, submitted)
    deleted = [
        name
        for name in sorted(submitted)
        if name not in present and not (is_truncated and _is_there(sandbox, name))
    ]
    return Changes(files, is_truncated or has_more, deleted)


def _texts(
    sandbox: Sandbox, paths: Sequence[str], submitted: Mapping[str, bytes]
) -> tuple[dict[str, bytes], bool]:
    """Return the text files that differ from `submitted`, and whether there are more."""
    files: dict[str, bytes] = {}
    total_bytes = 0
    has_more = False
    for place, path in enumerate(paths):
        if place >= _MAX_READ_FILES or len(files) >= MAX_FILES:
            return files, True
        content = _text(sandbox, path)
        if content is None or content == submitted.get(path):
            continue
        if len(content) > MAX_FILE_BYTES or total_bytes + len(content) > MAX_TOTAL_BYTES:
            has_more = True
            continue
        files[path] = content
        total_bytes += len(content)
    return files, has_more


def _text(sandbox: Sandbox, path: str) -> bytes | None:
    """Return a text file, cut off if it is too large; None if the path is something else."""
    for limit_bytes in (_SAMPLE_BYTES, MAX_FILE_BYTES):
        content = sandbox.read(path, limit_bytes + 1)
        if content is None or not _is_text(content, is_whole=len(content) <= limit_bytes):
            return None
        if len(content) <= limit_bytes:
            break
    return content


def _can_be_shown(path: str) -> bool:
    is_hidden = path.startswith(".") or "/." in path
    return not is_hidden and visible_files.name_fault(path) is None


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
