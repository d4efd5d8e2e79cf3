"""Disks of a test's own, and a storer on an engine that keeps everything on one."""

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

# What a disk writes whole or not at all. ext4 can't be mounted when its superblock, of twice 512
# bytes, was cut in two.
SECTOR_BYTES = {"ext4": 4096, "xfs": 512}


@dataclass(frozen=True)
class Disk:
    """A file system that is mounted in a folder."""

    folder: Path

    @property
    def _filler(self) -> Path:
        return self.folder / "filler"

    def fill(self, leaving: int = 0) -> None:
        """Leave that many bytes free, and no more."""
        # What was deleted is free then, and what was written has its place. No other disk is
        # waited for.
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
        """Have room again."""
        self._filler.unlink(missing_ok=True)
        self._sync()

    def _sync(self) -> None:
        with contextlib.closing(durable.FileSystem(self.folder)) as file_system:
            file_system.sync()

    def remount(self, option: str) -> None:
        """Make it `ro`, or `rw` again."""
        subprocess.run(["mount", "-o", f"remount,{option}", self.folder], check=True)


@contextmanager
def mounted(image: Path, folder: Path, kind: str) -> Iterator[Disk]:
    """Mount the file system that is in a file."""
    folder.mkdir(parents=True, exist_ok=True)
    # The one that it is a copy of may be mounted still.
    options = {"ext4": "loop", "xfs": "loop,nouuid"}
    subprocess.run(["mount", "-o", options[kind], image, folder], check=True)
    try:
        yield Disk(folder)
    finally:
        # Not lazily where that can be: what is mounted still may be written still.
        busy = subprocess.run(["umount", folder], capture_output=True, check=False).returncode
        if busy:
            subprocess.run(["umount", "--lazy", folder], check=False)


def make_file_system(image: Path, kind: str) -> None:
    """Make an empty file system in a file that has its size."""
    options = {"ext4": ["-q", "-F", "-m", "0", "-b", str(BLOCK)], "xfs": ["-q", "-f"]}
    subprocess.run([f"mkfs.{kind}", *options[kind], image], check=True)


@contextmanager
def a_disk(folder: Path, size_bytes: int, kind: str = "ext4") -> Iterator[Disk]:
    """Give an empty disk, mounted in `folder`."""
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
    """A disk that loses what was not flushed when its power goes, which it can any number of times.

    It can break, too.
    """

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def cut(self, seed: int, image: Path) -> None:
        """Have `image` be the disk as if the power went at this moment."""
        self._ask(f"cut {seed} {image}\n")

    def break_(self, unwritable: bytes) -> None:
        """Have these bytes be written once more, and then no more."""
        self._ask(f"break {unwritable.hex()}\n")

    def mend(self) -> None:
        """Have all be writable again."""
        self._ask("mend\n")

    def _ask(self, order: str) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(order)
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "done\n"


@contextmanager
def a_losing_disk(folder: Path, size_bytes: int, kind: str) -> Iterator[LosingDisk]:
    """Give an empty disk that loses what was not flushed, mounted in `folder`."""
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
    """Give a storer on an engine that keeps everything in `folder`/data.

    All of it goes but for what is in that, and the storer may have come upon no defect.
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
    told = "\n".join(event["exception"] for event in defects)
    assert not told, told


@contextmanager
def engine_of(own: OwnEngine) -> Iterator[Engine]:
    """Give a connection to an engine of a test's own."""
    with contextlib.closing(Engine(own.url)) as engine:
        yield engine
