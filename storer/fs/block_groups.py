"""ext4: the files of each kata in a block group of their own.

ext4 puts a folder's files into the folder's own group, and all of docker's volumes come to be in a
few. For each file that it makes there, it looks first through those that were removed from the
group in the last minutes: docker's own and those of other katas. With hundreds of them a file
takes 0.1 to 0.8 ms instead of 0.015, and a light makes six. Folders in one that has the flag T
("top of directory hierarchies", chattr(1)) are spread over all groups, and so are their files.
"""

import array
import fcntl
import os
from pathlib import Path

import structlog

# linux/fs.h
_GET_FLAGS = 0x80086601
_SET_FLAGS = 0x40086602
_TOP = 0x00020000

_log = structlog.get_logger()


def spread(folder: Path) -> None:
    """Have the folders that are made in `folder` from now on be in groups of their own.

    On a file system that knows of no such thing, or where this process may not, nothing changes
    but the speed.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            flags = array.array("i", [0])
            fcntl.ioctl(descriptor, _GET_FLAGS, flags, True)  # noqa: FBT003 - its own form
            if not flags[0] & _TOP:
                flags[0] |= _TOP
                fcntl.ioctl(descriptor, _SET_FLAGS, flags)
        finally:
            os.close(descriptor)
    except OSError as error:
        _log.debug("katas not spread over the disk", reason=str(error))
