"""A disk that loses unflushed writes: a file that this process serves by FUSE.

`python losing_disk.py FILE SIZE_BYTES SECTOR_BYTES FOLDER` mounts itself on FILE, to be the file of
a loop device, and keeps its content in FOLDER. The disk has a cache: reads return what was written,
and writes are durable only after the kernel asked for a flush.

Each line on standard input is a command, which is answered with the line `done`:

- `cut SEED PATH`: cut the power. PATH gets the disk's content after that: all flushed writes and,
  of the later ones, sectors that the seed selects. The disk itself goes on unchanged, so that the
  power can be cut again.
- `break TIMES HEX`: let these bytes be written so many times; after that, writes of them are I/O
  errors.
- `mend`: let all writes succeed again.

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

# The opcodes of requests.
_FORGET, _GETATTR, _OPEN, _READ, _WRITE = 2, 3, 14, 15, 16
_RELEASE, _FSYNC, _FLUSH, _INIT, _DESTROY, _BATCH_FORGET = 18, 20, 25, 26, 38, 42
_NO_SUCH_CALL = 38  # ENOSYS: the kernel stops asking for this

_REQUEST = struct.Struct("<IIQQIIIHH")  # bytes, opcode, request id, node, uid, gid, pid, -, -
_ANSWER = struct.Struct("<IiQ")  # bytes, errno, request id
_OFFSET = struct.Struct("<QQI")  # handle, offset, bytes
_BIG_WRITES, _MAX_PAGES, _ASYNC_READ = 1 << 5, 1 << 22, 1 << 0

_libc = ctypes.CDLL(None, use_errno=True)


class LosingDisk:
    """A disk's content and cache, and the FUSE device through which the kernel uses the disk."""

    def __init__(self, path: Path, size_bytes: int, sector_bytes: int, folder: Path) -> None:
        self._size = size_bytes
        self._sector = sector_bytes
        self._durable = folder / "durable"
        self._cached = os.open(folder / "cached", os.O_RDWR | os.O_CREAT, 0o600)
        self._flushed = os.open(self._durable, os.O_RDWR | os.O_CREAT, 0o600)
        for descriptor in (self._cached, self._flushed):
            os.truncate(descriptor, size_bytes)
        self._unflushed: list[tuple[int, bytes]] = []
        self._unwritable: bytes | None = None
        self._writes_left = 0
        self.device = os.open("/dev/fuse", os.O_RDWR)
        options = f"fd={self.device},rootmode=100600,user_id=0,group_id=0".encode()
        if _libc.mount(b"losing", os.fsencode(path), b"fuse", 0, options) != 0:
            raise OSError(ctypes.get_errno(), "can't be mounted", str(path))

    def cut(self, seed: int, path: Path) -> None:
        """Write to a new file the disk's content after a power cut now."""
        chance = random.Random(seed)  # noqa: S311 - has to be the same each time
        _copy(self._durable, path)
        surviving_share = chance.random()
        descriptor = os.open(path, os.O_WRONLY)
        for offset, content in self._unflushed:
            for at in range(0, len(content), self._sector):
                if chance.random() < surviving_share:
                    os.pwrite(descriptor, content[at : at + self._sector], offset + at)
        os.close(descriptor)

    def break_(self, unwritable: bytes, writes_left: int) -> None:
        """Let these bytes be written so many times; fail later writes of them."""
        self._unwritable, self._writes_left = unwritable, writes_left

    def mend(self) -> None:
        """Let all writes succeed again."""
        self._unwritable = None

    def execute(self, command: str) -> None:
        """Execute a command from standard input."""
        name, *arguments = command.split(" ", 2)
        if name == "cut":
            self.cut(int(arguments[0]), Path(arguments[1]))
        elif name == "break":
            self.break_(bytes.fromhex(arguments[1]), int(arguments[0]))
        else:
            self.mend()

    def serve(self) -> bool:
        """Answer one request of the kernel; return whether more can come."""
        try:
            message = memoryview(os.read(self.device, _MAX_WRITE + 64 * 1024))
        except OSError:  # the disk was unmounted
            return False
        _, opcode, request_id, *_ = _REQUEST.unpack_from(message)
        if opcode in {_FORGET, _BATCH_FORGET}:
            return True
        if opcode == _DESTROY:
            return False
        answer = self._answer(opcode, message[_REQUEST.size :])
        error, content = (answer, b"") if isinstance(answer, int) else (0, answer)
        header = _ANSWER.pack(_ANSWER.size + len(content), -error, request_id)
        os.write(self.device, header + content)
        return True

    def _answer(self, opcode: int, body: memoryview) -> bytes | int:
        """Return the content of an answer, or an errno."""
        if opcode == _INIT:
            flags = _ASYNC_READ | _BIG_WRITES | _MAX_PAGES
            pages = _MAX_WRITE // 4096
            return struct.pack("<IIIIHHIIHH28x", 7, 31, 0, flags, 16, 12, _MAX_WRITE, 1, pages, 0)
        if opcode == _GETATTR:
            times = struct.pack("<QQQIII", 0, 0, 0, 0, 0, 0)
            attributes = struct.pack("<QQQ", 1, self._size, self._size // 512) + times
            rest = struct.pack("<IIIIIII", 0o100600, 1, 0, 0, 0, 4096, 0)
            return struct.pack("<QII", 3600, 0, 0) + attributes + rest
        if opcode == _OPEN:
            return struct.pack("<QII", 1, 1, 0)  # FOPEN_DIRECT_IO: no cache but the one here
        if opcode == _READ:
            _, offset, size = _OFFSET.unpack_from(body)
            return os.pread(self._cached, size, offset)
        if opcode == _WRITE:
            _, offset, size = _OFFSET.unpack_from(body)
            content = bytes(body[40 : 40 + size])
            if self._unwritable is not None and self._unwritable in content:
                if not self._writes_left:
                    return errno.EIO
                self._writes_left -= 1
            os.pwrite(self._cached, content, offset)
            self._unflushed.append((offset, content))
            return struct.pack("<II", size, 0)
        if opcode == _FSYNC:
            for offset, content in self._unflushed:
                os.pwrite(self._flushed, content, offset)
            self._unflushed.clear()
            return b""
        return b"" if opcode in {_RELEASE, _FLUSH} else _NO_SUCH_CALL


def _copy(source: Path, destination: Path) -> None:
    """Copy a sparse file with its holes."""
    with source.open("rb") as old, destination.open("wb") as new:
        size = os.fstat(old.fileno()).st_size
        os.truncate(new.fileno(), size)
        at = 0
        while True:
            try:
                at = os.lseek(old.fileno(), at, os.SEEK_DATA)
            except OSError:  # no data behind this offset
                return
            end = os.lseek(old.fileno(), at, os.SEEK_HOLE)
            while at < end:
                at += os.copy_file_range(old.fileno(), new.fileno(), end - at, at, at)


def main(path: str, size_bytes: str, sector_bytes: str, folder: str) -> None:
    disk = LosingDisk(Path(path), int(size_bytes), int(sector_bytes), Path(folder))
    sys.stdout.write("mounted\n")
    sys.stdout.flush()
    commands = sys.stdin.fileno()
    unfinished = b""
    while True:
        ready, _, _ = select.select([disk.device, commands], [], [])
        if disk.device in ready and not disk.serve():
            return
        if commands in ready:
            piece = os.read(commands, 4096)
            if not piece:
                return
            unfinished += piece
            while b"\n" in unfinished:
                line, _, unfinished = unfinished.partition(b"\n")
                disk.execute(line.decode())
                sys.stdout.write("done\n")
                sys.stdout.flush()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    main(*sys.argv[1:])
