"""Regular files, where somebody else may have put a pipe, a socket or a device.

To open a pipe waits for a writer, who may never come; what a device holds may have no end.
"""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

NO_FILE = {errno.EISDIR, errno.ENOTDIR, errno.ENXIO}
"""The numbers of the OSErrors for what is there, but is no regular file. A socket has ENXIO too."""


def open_to_read(path: Path, *, follows_links: bool = True) -> BinaryIO:
    """Open a regular file, to which a link may lead if `follows_links`.

    Raises OSError for anything else, at once.
    """
    opener = _open if follows_links else _open_no_link
    file = open(path, "rb", opener=opener)  # noqa: SIM115 - only this takes an opener
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.ENXIO, "is not a regular file", str(path))
    return file


def _open(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def _open_no_link(path: str, flags: int) -> int:
    return _open(path, flags | os.O_NOFOLLOW)


def status(path: str) -> tuple[int, int, int]:
    """Return what changes with a file or folder: its inode, time and size; zeros without one."""
    try:
        found = os.stat(path)  # noqa: PTH116 - faster than Path.stat
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}:
            return (0, 0, 0)
        raise
    return (found.st_ino, found.st_mtime_ns, found.st_size)
