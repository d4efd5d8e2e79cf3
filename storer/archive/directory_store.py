"""An archive in a directory, local or mounted."""

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from dojo import locks
from dojo.errors import ArchiveUnavailable, DiskFull
from storer.fs import durable

# Files are written here, so that an incomplete one is never found under its key.
_INCOMING = ".incoming"

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT}


class DirectoryStore:
    """Files under a directory, `49/name` each."""

    def __init__(self, top: Path) -> None:
        """Use this directory; create it if there is none. Raises ArchiveUnavailable."""
        self._top = top
        with self._translating_errors():
            (top / _INCOMING).mkdir(parents=True, exist_ok=True)

    def folders(self) -> list[str]:
        """Return the names of the folders, in order."""
        with self._translating_errors():
            return sorted(name for name in os.listdir(self._top) if not name.startswith("."))

    def keys(self, prefix: str) -> Iterator[str]:
        """Yield the keys that begin with `prefix`, in order."""
        folder, _, begin = prefix.rpartition("/")
        try:
            with self._translating_errors():
                names = sorted(os.listdir(self._top / folder))
        except FileNotFoundError:
            return
        yield from (f"{folder}/{name}" for name in names if name.startswith(begin))

    def status(self, key: str) -> tuple[int, str] | None:
        """Return the size in bytes and a version that each write changes; None if it is absent."""
        try:
            with self._translating_errors():
                found = (self._top / key).stat()
        except FileNotFoundError:
            return None
        return found.st_size, f"{found.st_ino}.{found.st_mtime_ns}"

    @contextmanager
    def open(self, key: str) -> Iterator[IO[bytes]]:
        """Open a file; raise FileNotFoundError if there is none."""
        with contextlib.ExitStack() as opened:
            with self._translating_errors():
                file = opened.enter_context((self._top / key).open("rb"))
            yield file

    def read_end(self, key: str, size: int) -> bytes:
        """Return the last bytes of a file; raise FileNotFoundError if there is none."""
        with self.open(key) as file, self._translating_errors():
            file.seek(max(0, os.fstat(file.fileno()).st_size - size))
            return file.read(size)

    def read_small(self, keys: Iterable[str], max_bytes: int) -> dict[str, bytes]:
        """Return the content of small files, except those that are absent or larger."""
        found = {}
        for key in keys:
            with contextlib.suppress(FileNotFoundError), self.open(key) as file:
                with self._translating_errors():
                    content = file.read(max_bytes + 1)
                if len(content) <= max_bytes:
                    found[key] = content
        return found

    def write(self, key: str, pieces: Iterator[bytes]) -> None:
        """Write a file under a temporary name, sync it to disk, and rename it."""
        path = self._top / key
        made = [folder for folder in (path.parent, path.parent.parent) if folder != self._top]
        with self._translating_errors():
            descriptor, incoming = tempfile.mkstemp(dir=self._top / _INCOMING)
        try:
            with open(descriptor, "wb") as file, locks.locked(Path(incoming)):
                for piece in pieces:  # errors from here are not the archive's
                    with self._translating_errors():
                        file.write(piece)
                with self._translating_errors():
                    file.flush()
                    os.fsync(descriptor)
                    path.parent.mkdir(parents=True, exist_ok=True)
                    Path(incoming).rename(path)
                    for folder in (path.parent, *(each.parent for each in made)):
                        durable.sync_folder(folder)
        except BaseException:
            with contextlib.suppress(OSError):
                Path(incoming).unlink()
            raise

    def delete(self, key: str) -> None:
        """Delete a file, and its folder if it was the last copy of a kata."""
        path = self._top / key
        with contextlib.suppress(FileNotFoundError), self._translating_errors():
            path.unlink()
            durable.sync_folder(path.parent)
            if path.parent.parent != self._top:
                with contextlib.suppress(OSError):  # other copies are in it
                    path.parent.rmdir()

    def sweep(self) -> None:
        """Remove incomplete files of processes that died."""
        with self._translating_errors():
            for path in (self._top / _INCOMING).iterdir():
                if not locks.is_locked(path):
                    path.unlink(missing_ok=True)

    @contextmanager
    def _translating_errors(self) -> Iterator[None]:
        """Translate the system's errors into the project's, except that a file is absent."""
        try:
            yield
        except FileNotFoundError as error:
            if not (self._top / _INCOMING).is_dir():
                reason = f"{self._top} does not exist, or is no longer an archive"
                raise ArchiveUnavailable(reason) from error
            raise
        except OSError as error:
            if error.errno in _NO_ROOM:
                raise DiskFull(f"archive {self._top}: {error.strerror}") from error
            raise ArchiveUnavailable(f"{self._top}: {error.strerror}") from error
