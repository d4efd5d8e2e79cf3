"""A disk that loses what was not flushed: a file behind which this process stands, by FUSE.

`python losing_disk.py FILE SIZE_BYTES SECTOR_BYTES FOLDER` mounts itself on FILE, to be the file
of a loop device, and keeps in FOLDER what it holds. It is a disk with a cache: what was written
is read again, and is on the disk for good only when the kernel, having written it, asked for a
flush.

Each line that it reads is an order, which it answers with a line when it is done:

- `cut SEED PATH`: the power goes. PATH gets the disk as it is then: all that was flushed and, of
  what was written since, whichever sectors the seed says. The disk goes on as if nothing had been,
  for the power to go once more.
- `break HEX`: from now on these bytes can be written once; after that it is an I/O error.
- `mend`: all can be written again.

The messages are those of linux/fuse.h, version 7.31; a mount whose root is a file needs few.
"""

import ctypes
import errno
import os
import random
import select
import signal
import struct
import sys
from pathlib import Path

_MAX_WRITE = 1024 * 1024

# What the kernel asks for.
_FORGET, _GETATTR, _OPEN, _READ, _WRITE = 2, 3, 14, 15, 16
_RELEASE, _FSYNC, _FLUSH, _INIT, _DESTROY, _BATCH_FORGET = 18, 20, 25, 26, 38, 42
_NO_SUCH_CALL = 38  # ENOSYS: the kernel does without

_REQUEST = struct.Struct("<IIQQIIIHH")  # bytes, what, which, node, uid, gid, pid, -, -
_ANSWER = struct.Struct("<IiQ")  # bytes, errno, which
_OFFSET = struct.Struct("<QQI")  # handle, offset, bytes
_BIG_WRITES, _MAX_PAGES, _ASYNC_READ = 1 << 5, 1 << 22, 1 << 0

_libc = ctypes.CDLL(None, use_errno=True)


class LosingDisk:
    """A disk's content, its cache, and the file in which the kernel finds it."""

    def __init__(self, path: Path, size_bytes: int, sector_bytes: int, folder: Path) -> None:
        self._size = size_bytes
        self._sector = sector_bytes
        self._kept = folder / "kept"
        self._now = os.open(folder / "now", os.O_RDWR | os.O_CREAT, 0o600)
        self._flushed = os.open(self._kept, os.O_RDWR | os.O_CREAT, 0o600)
        for descriptor in (self._now, self._flushed):
            os.truncate(descriptor, size_bytes)
        self._written: list[tuple[int, bytes]] = []
        self._unwritable: bytes | None = None
        self._is_broken = False
        self.device = os.open("/dev/fuse", os.O_RDWR)
        options = f"fd={self.device},rootmode=100600,user_id=0,group_id=0".encode()
        if _libc.mount(b"losing", os.fsencode(path), b"fuse", 0, options) != 0:
            raise OSError(ctypes.get_errno(), "can't be mounted", str(path))

    def cut(self, seed: int, path: Path) -> None:
        """Put into a new file what is on the disk if the power goes now."""
        chance = random.Random(seed)  # noqa: S311 - it has to be the same each time
        _copy(self._kept, path)
        kept = chance.random()
        descriptor = os.open(path, os.O_WRONLY)
        for offset, content in self._written:
            for at in range(0, len(content), self._sector):
                if chance.random() < kept:
                    os.pwrite(descriptor, content[at : at + self._sector], offset + at)
        os.close(descriptor)

    def break_(self, unwritable: bytes) -> None:
        """Let these bytes be written once, and no more."""
        self._unwritable, self._is_broken = unwritable, False

    def mend(self) -> None:
        """Let all be written again."""
        self._unwritable = None

    def obey(self, order: str) -> None:
        """Do what somebody wants done."""
        what, *given = order.split(" ", 2)
        if what == "cut":
            self.cut(int(given[0]), Path(given[1]))
        elif what == "break":
            self.break_(bytes.fromhex(given[0]))
        else:
            self.mend()

    def serve(self) -> bool:
        """Answer one request; say whether more will come."""
        try:
            message = memoryview(os.read(self.device, _MAX_WRITE + 64 * 1024))
        except OSError:  # it was unmounted
            return False
        _, what, which, *_ = _REQUEST.unpack_from(message)
        if what in {_FORGET, _BATCH_FORGET}:
            return True
        if what == _DESTROY:
            return False
        answer = self._answer(what, message[_REQUEST.size :])
        error, content = (answer, b"") if isinstance(answer, int) else (0, answer)
        os.write(self.device, _ANSWER.pack(_ANSWER.size + len(content), -error, which) + content)
        return True

    def _answer(self, what: int, body: memoryview) -> bytes | int:
        if what == _INIT:
            flags = _ASYNC_READ | _BIG_WRITES | _MAX_PAGES
            pages = _MAX_WRITE // 4096
            return struct.pack("<IIIIHHIIHH28x", 7, 31, 0, flags, 16, 12, _MAX_WRITE, 1, pages, 0)
        if what == _GETATTR:
            times = struct.pack("<QQQIII", 0, 0, 0, 0, 0, 0)
            attributes = struct.pack("<QQQ", 1, self._size, self._size // 512) + times
            rest = struct.pack("<IIIIIII", 0o100600, 1, 0, 0, 0, 4096, 0)
            return struct.pack("<QII", 3600, 0, 0) + attributes + rest
        if what == _OPEN:
            return struct.pack("<QII", 1, 1, 0)  # FOPEN_DIRECT_IO: no cache but the one here
        if what == _READ:
            _, offset, size = _OFFSET.unpack_from(body)
            return os.pread(self._now, size, offset)
        if what == _WRITE:
            _, offset, size = _OFFSET.unpack_from(body)
            content = bytes(body[40 : 40 + size])
            if self._unwritable is not None and self._unwritable in content:
                if self._is_broken:
                    return errno.EIO
                self._is_broken = True
            os.pwrite(self._now, content, offset)
            self._written.append((offset, content))
            return struct.pack("<II", size, 0)
        if what == _FSYNC:
            for offset, content in self._written:
                os.pwrite(self._flushed, content, offset)
            self._written.clear()
            return b""
        return b"" if what in {_RELEASE, _FLUSH} else _NO_SUCH_CALL


def _copy(source: Path, destination: Path) -> None:
    """Copy a file that has holes, and leave them."""
    with source.open("rb") as given, destination.open("wb") as taken:
        size = os.fstat(given.fileno()).st_size
        os.truncate(taken.fileno(), size)
        at = 0
        while True:
            try:
                at = os.lseek(given.fileno(), at, os.SEEK_DATA)
            except OSError:  # no data behind this
                return
            end = os.lseek(given.fileno(), at, os.SEEK_HOLE)
            while at < end:
                at += os.copy_file_range(given.fileno(), taken.fileno(), end - at, at, at)


def main(path: str, size_bytes: str, sector_bytes: str, folder: str) -> None:
    disk = LosingDisk(Path(path), int(size_bytes), int(sector_bytes), Path(folder))
    sys.stdout.write("mounted\n")
    sys.stdout.flush()
    orders = sys.stdin.fileno()
    waiting = b""
    while True:
        ready, _, _ = select.select([disk.device, orders], [], [])
        if disk.device in ready and not disk.serve():
            return
        if orders in ready:
            came = os.read(orders, 4096)
            if not came:
                return
            waiting += came
            while b"\n" in waiting:
                line, _, waiting = waiting.partition(b"\n")
                disk.obey(line.decode())
                sys.stdout.write("done\n")
                sys.stdout.flush()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    main(*sys.argv[1:])
