"""The disk that a sandbox takes: counted, and brought below its limits."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from runner.sandbox import safe_fs
from runner.sandbox.safe_fs import Entry
from runner.sandbox.sandbox import Sandbox

# What shrinking leaves free, as a part of the limit: filled to the brim, the next run would be
# above the limit with its first file.
_ROOM_PART = 4
_BLOCK_BYTES = 512  # what st_blocks counts, whatever the file system's own blocks are

Identity = tuple[int, int, int, int]
"""When a file was written and changed (nanoseconds), its size in bytes, and its inode.

No program of an avatar can set the second, so that equal ones mean equal contents.
"""


@dataclass(frozen=True)
class DiskLimits:
    """What a sandbox may take, and what its disk has to have free besides."""

    size_bytes: int
    files: int
    min_free_bytes: int


def snapshot(sandbox: Sandbox, limits: DiskLimits) -> dict[str, Identity]:
    """Return every path in the sandbox, up to the limit, with what tells whether it changed."""
    return {entry.path: identity(entry) for entry in _bounded(sandbox, limits)}


def identity(entry: Entry) -> Identity:
    """Return what tells whether the file changed."""
    found = entry.stat
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino


def excess(sandbox: Sandbox, limits: DiskLimits) -> str | None:
    """Say, for people, which limit the sandbox is above; None if it is above none.

    Stops counting where a limit is reached. What changes meanwhile may be missed.
    """
    if sandbox.free_bytes() < limits.min_free_bytes:
        return "the disk is nearly full"
    return _own_excess(sandbox, limits)


def _own_excess(sandbox: Sandbox, limits: DiskLimits) -> str | None:
    size_bytes = 0
    for files, entry in enumerate(safe_fs.walk(sandbox.descriptor), start=1):
        size_bytes += _disk_bytes(entry)
        if files > limits.files:
            return f"more than {limits.files} files and folders in the sandbox"
        if size_bytes > limits.size_bytes:
            return f"more than {limits.size_bytes} bytes on disk in the sandbox"
        if entry.is_folder and safe_fs.is_too_deep(entry.path):
            return f"folders in the sandbox more than {safe_fs.MAX_DEPTH} deep"
    return None


def shrink(sandbox: Sandbox, before: Mapping[str, Identity], limits: DiskLimits) -> None:
    """Remove files, after a run that exceeded a limit, until the sandbox is below it.

    `before` is the snapshot from before that run. First go the largest files that the run
    wrote, then everything that it made; and if that is not enough, everything: the visible
    files come back with the next submission.
    """
    if excess(sandbox, limits) is None:
        return
    _remove_largest(sandbox, before, limits)
    if excess(sandbox, limits) is not None:
        for path in list(_made(sandbox, before)):
            _remove(sandbox, path)
    while _own_excess(sandbox, limits) is not None:
        for entry in list(_bounded(sandbox, limits)):
            if "/" not in entry.path:
                _remove(sandbox, entry.path)


def _remove_largest(sandbox: Sandbox, before: Mapping[str, Identity], limits: DiskLimits) -> None:
    """Remove the largest written files until there is room again, if the size is the excess."""
    allowed_bytes = limits.size_bytes
    while True:
        entries = list(_bounded(sandbox, limits))
        size_bytes = sum(map(_disk_bytes, entries))
        if size_bytes <= allowed_bytes:
            return
        allowed_bytes = limits.size_bytes - limits.size_bytes // _ROOM_PART
        written = [
            entry
            for entry in entries
            if not entry.is_folder and before.get(entry.path) != identity(entry)
        ]
        for entry in sorted(written, key=_disk_bytes, reverse=True):
            if size_bytes <= allowed_bytes:
                break
            _remove(sandbox, entry.path)
            size_bytes -= _disk_bytes(entry)
        # There may be more than were seen.
        if not written or len(entries) < limits.files:
            return


def _made(sandbox: Sandbox, before: Mapping[str, Identity]) -> Iterator[str]:
    """Yield what was not there before, without what is inside of something that was not."""
    new_folders: set[str] = set()
    for entry in safe_fs.walk(sandbox.descriptor):
        folder = entry.path.rpartition("/")[0]
        if folder in new_folders:
            if entry.is_folder:
                new_folders.add(entry.path)
        elif entry.path not in before:
            if entry.is_folder:
                new_folders.add(entry.path)
            yield entry.path
        elif not entry.is_folder and before[entry.path] != identity(entry):
            yield entry.path


def _bounded(sandbox: Sandbox, limits: DiskLimits) -> Iterator[Entry]:
    for place, entry in enumerate(safe_fs.walk(sandbox.descriptor)):
        if place >= limits.files:
            return
        yield entry


def _remove(sandbox: Sandbox, path: str) -> None:
    with safe_fs.opened_parent(path, sandbox.descriptor) as place:
        if place is not None:
            parent, name = place
            sandbox.removal.remove(name, parent)


def _disk_bytes(entry: Entry) -> int:
    return entry.stat.st_blocks * _BLOCK_BYTES
