"""Disks for a single test, and a storer on an engine that keeps its data on such a disk."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dojo.engine.client import Engine
from storer.fs import durable
from support.own_engine import OwnEngine
from support.services import Service

MIB = 1024 * 1024
BLOCK = 4096

# What a disk writes whole or not at all. With less, a cut can tear ext4's superblock of 1024 bytes,
# and ext4 can't be mounted then.
SECTOR_BYTES = {"ext4": 4096, "xfs": 512}


@dataclass(frozen=True)
class Disk:
    """A file system, mounted in a folder."""

    folder: Path

    @property
    def _filler(self) -> Path:
        return self.folder / "filler"

    def fill(self, leaving: int = 0) -> None:
        """Fill the disk until only `leaving` bytes are free."""
        # Without a sync, deleted files are not free yet, and written ones not allocated. The sync
        # is of this disk only, and waits for no other.
        self._sync()
        descriptor = os.open(self._filler, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            size, step = os.fstat(descriptor).st_size, 64 * MIB
            while step >= BLOCK:
                try:
                    os.posix_fallocate(descriptor, size, step)
                    size += step
                except OSError:
                    step //= 2
            os.truncate(descriptor, max(0, size - leaving))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def make_room(self) -> None:
        """Free the space that `fill` took."""
        self._filler.unlink(missing_ok=True)
        self._sync()

    def _sync(self) -> None:
        with contextlib.closing(durable.FileSystem(self.folder)) as file_system:
            file_system.sync()

    def remount(self, option: str) -> None:
        """Make the disk read-only (`ro`) or writable again (`rw`)."""
        subprocess.run(["mount", "-o", f"remount,{option}", self.folder], check=True)


@contextmanager
def mounted(image: Path, folder: Path, kind: str) -> Iterator[Disk]:
    """Mount the file system in the file `image`."""
    folder.mkdir(parents=True, exist_ok=True)
    # The image may be a copy, with the same UUID, of a file system that is mounted still.
    options = {"ext4": "loop", "xfs": "loop,nouuid"}
    subprocess.run(["mount", "-o", options[kind], image, folder], check=True)
    try:
        yield Disk(folder)
    finally:
        # Lazily only if need be: a file system that is mounted still may be written still.
        busy = subprocess.run(["umount", folder], capture_output=True, check=False).returncode
        if busy:
            subprocess.run(["umount", "--lazy", folder], check=False)


def make_file_system(image: Path, kind: str) -> None:
    """Make an empty file system in a file, of the file's size."""
    options = {"ext4": ["-q", "-F", "-m", "0", "-b", str(BLOCK)], "xfs": ["-q", "-f"]}
    subprocess.run([f"mkfs.{kind}", *options[kind], image], check=True)


@contextmanager
def a_disk(folder: Path, size_bytes: int, kind: str = "ext4") -> Iterator[Disk]:
    """Yield an empty disk, mounted in `folder`."""
    image = folder.with_suffix(".img")
    with image.open("wb") as file:
        file.truncate(size_bytes)
    make_file_system(image, kind)
    try:
        with mounted(image, folder, kind) as disk:
            yield disk
    finally:
        image.unlink()


class LosingDisk:
    """A disk that loses unflushed writes when its power is cut, any number of times.

    The disk can also fail writes.
    """

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def cut(self, seed: int, image: Path) -> None:
        """Write to `image` the disk's content after a power cut at this moment."""
        self._ask(f"cut {seed} {image}\n")

    def break_(self, unwritable: bytes, writes_left: int = 0) -> None:
        """Let these bytes be written so many times; after that, writes of them fail."""
        self._ask(f"break {writes_left} {unwritable.hex()}\n")

    def mend(self) -> None:
        """Let all writes succeed again."""
        self._ask("mend\n")

    def _ask(self, order: str) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(order)
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "done\n"


@contextmanager
def a_losing_disk(folder: Path, size_bytes: int, kind: str) -> Iterator[LosingDisk]:
    """Yield an empty disk that loses unflushed writes, mounted in `folder`."""
    image, kept = folder.with_suffix(".img"), folder.with_suffix(".kept")
    image.touch()
    kept.mkdir()
    program = Path(__file__).with_name("losing_disk.py")
    sizes = (str(size_bytes), str(SECTOR_BYTES[kind]))
    command: list[str | Path] = [sys.executable, program, image, *sizes, kept]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "mounted\n"
            make_file_system(image, kind)
            with mounted(image, folder, kind):
                yield LosingDisk(process)
        finally:
            subprocess.run(["umount", "--lazy", image], check=False)
            process.kill()


@contextmanager
def storer_on(
    folder: Path, start_service: Callable[..., Service], **environ: str
) -> Iterator[tuple[OwnEngine, Service]]:
    """Yield a storer on an engine that keeps its data in `folder`/data.

    Both are stopped in the end, and the data stays. The storer must not have logged a defect.
    """
    own = OwnEngine(folder)
    services: list[Service] = []
    try:
        own.start()
        services.append(start_service("storer", DOCKER_HOST=own.url, **environ))
        yield own, services[0]
    finally:
        for service in services:
            if service.is_running:
                service.stop()
        own.stop()
    defects = [event for event in services[0].events() if event["event"] == "defect"]
    tracebacks = "\n".join(event["exception"] for event in defects)
    assert not tracebacks, tracebacks


@contextmanager
def engine_of(own: OwnEngine) -> Iterator[Engine]:
    """Yield a client of a test's own engine."""
    with contextlib.closing(Engine(own.url)) as engine:
        yield engine
