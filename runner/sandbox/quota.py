"""The disk space that a sandbox takes: its limits, and how to get below them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from runner.sandbox import safe_fs
from runner.sandbox.file_versions import FileVersion, version
from runner.sandbox.safe_fs import Entry
from runner.sandbox.sandbox import Sandbox

# Shrinking leaves a quarter of the limit free. Otherwise the first file of the next run would
# exceed the limit again.
_FREE_PART = 4
_BLOCK_BYTES = 512  # the unit of st_blocks, whatever the size of the file system's own blocks


@dataclass(frozen=True)
class DiskLimits:
    """What a sandbox may take, and how much of its disk has to stay free."""

    size_bytes: int
    files: int
    min_free_bytes: int


def excess(sandbox: Sandbox, limits: DiskLimits) -> str | None:
    """Say, for people, which limit the sandbox exceeds; None if it exceeds none.

    Stops counting at a limit. May miss what changes at the same time.
    """
    if sandbox.free_bytes() < limits.min_free_bytes:
        return "the disk is nearly full"
    return _sandbox_excess(sandbox, limits)


def _sandbox_excess(sandbox: Sandbox, limits: DiskLimits) -> str | None:
    size_bytes = 0
    for files, entry in enumerate(sandbox.walk(), start=1):
        size_bytes += _disk_bytes(entry)
        if files > limits.files:
            return f"more than {limits.files} files and folders in the sandbox"
        if size_bytes > limits.size_bytes:
            return f"more than {limits.size_bytes} bytes on disk in the sandbox"
        if entry.is_folder and safe_fs.is_too_deep(entry.path):
            return f"folders in the sandbox more than {safe_fs.MAX_DEPTH} deep"
    return None


def shrink(sandbox: Sandbox, before: Mapping[str, FileVersion], limits: DiskLimits) -> None:
    """Remove files until the sandbox is below its limits, after a run that exceeded one.

    `before` has the versions from before that run. Removes the largest files that the run wrote
    first. If that is not enough, removes everything that the run made, and at last everything:
    the next submission writes the visible files again.
    """
    if excess(sandbox, limits) is None:
        return
    _remove_largest(sandbox, before, limits)
    if excess(sandbox, limits) is not None:
        for path in list(_made(sandbox, before)):
            sandbox.remove(path)
    while _sandbox_excess(sandbox, limits) is not None:
        for entry in list(sandbox.walk(limits.files)):
            if "/" not in entry.path:
                sandbox.remove(entry.path)


def _remove_largest(
    sandbox: Sandbox, before: Mapping[str, FileVersion], limits: DiskLimits
) -> None:
    """If the size is above its limit, remove the largest written files until there is room."""
    allowed_bytes = limits.size_bytes
    while True:
        entries = list(sandbox.walk(limits.files))
        size_bytes = sum(map(_disk_bytes, entries))
        if size_bytes <= allowed_bytes:
            return
        allowed_bytes = limits.size_bytes - limits.size_bytes // _FREE_PART
        written = [
            entry
            for entry in entries
            if not entry.is_folder and before.get(entry.path) != version(entry)
        ]
        for entry in sorted(written, key=_disk_bytes, reverse=True):
            if size_bytes <= allowed_bytes:
                break
            sandbox.remove(entry.path)
            size_bytes -= _disk_bytes(entry)
        # The walk stops at a limit, so there may be more files than it found.
        if not written or len(entries) < limits.files:
            return


def _made(sandbox: Sandbox, before: Mapping[str, FileVersion]) -> Iterator[str]:
    """Yield the paths that the run made or changed. A new folder stands for its content."""
    new_folders: set[str] = set()
    for entry in sandbox.walk():
        folder = entry.path.rpartition("/")[0]
        if folder in new_folders:
            if entry.is_folder:
                new_folders.add(entry.path)
        elif entry.path not in before:
            if entry.is_folder:
                new_folders.add(entry.path)
            yield entry.path
        elif not entry.is_folder and before[entry.path] != version(entry):
            yield entry.path


def _disk_bytes(entry: Entry) -> int:
    return entry.stat.st_blocks * _BLOCK_BYTES
