"""Files that are read again when they change."""

import errno
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

T = TypeVar("T")

MAX_FILE_BYTES = 1024**2

# What tells one state of a file from another: a file that is replaced has another inode.
_State = tuple[int, int, int, int]


def content_of(path: Path) -> bytes:
    """Return what a file has. Raises OSError, also if that is more than MAX_FILE_BYTES."""
    with path.open("rb") as file:
        content = file.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(path))
    return content


class WatchedFiles(Generic[T]):
    """What was read of some files. Any thread may use it: a lock guards the state."""

    def __init__(
        self, paths: Sequence[Path], read: Callable[[], T], errors: type[Exception]
    ) -> None:
        """Read the files by `read`, which raises OSError or one of `errors`.

        So does this.
        """
        self._paths = paths
        self._read = read
        self._errors = (OSError, errors)
        self._lock = threading.Lock()
        self._states = self._states_now()
        self._value = read()

    def get(self) -> T:
        """Return what the files have now; what they had if they can't be used now."""
        states = self._states_now()
        if states != self._states:
            with self._lock:
                if states != self._states:
                    self._states = states
                    self._read_again()
        return self._value

    def _read_again(self) -> None:
        import structlog  # noqa: PLC0415 - commands have watched files too, and no log

        log = structlog.get_logger()
        names = [str(path) for path in self._paths]
        try:
            self._value = self._read()
        except self._errors as error:
            log.warning("files not read again", files=names, reason=str(error))
        else:
            log.info("files read again", files=names)

    def _states_now(self) -> list[_State | None]:
        return [_state_of(path) for path in self._paths]


def _state_of(path: Path) -> _State | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - every call comes here, and Path.stat takes longer
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
