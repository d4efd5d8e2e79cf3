"""Versions of files, which show whether a file changed, without reading it."""

from runner.sandbox.safe_fs import Entry
from runner.sandbox.sandbox import Sandbox

FileVersion = tuple[int, int, int, int]
"""A file's modification and change times (nanoseconds), its size in bytes, and its inode.

No program of an avatar can set the change time, so equal versions mean equal contents.
"""


def version(entry: Entry) -> FileVersion:
    """Return the version of what a walk found."""
    found = entry.stat
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino


def versions(sandbox: Sandbox, max_entries: int) -> dict[str, FileVersion]:
    """Return the version of each path in the sandbox, of `max_entries` at most."""
    return {entry.path: version(entry) for entry in sandbox.walk(max_entries)}
