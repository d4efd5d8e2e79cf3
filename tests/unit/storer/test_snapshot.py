"""A kata becomes a tar while runs change its sandboxes; holes in files stay holes."""

import io
import json
import os
import subprocess
import tarfile
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from dojo import limits
from storer.archive import store_kata
from storer.archive.location import open_archive
from storer.fs import tree
from storer.kata import avatar
from storer.kata.kata import Kata
from storer.tar import snapshot
from storer.tar.snapshot import Snapshot
from support.storer.kata_tars import tar_of, unpack_as_restored
from support.storer.storing import STARTED

ID = "0123456789"
MIB = 1024**2


@pytest.fixture
def kata(tmp_path: Path) -> Kata:
    """A kata with an avatar."""
    folder = tmp_path / "kata"
    (folder / "whale").mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps({"id": ID}))
    avatar.start(folder / "whale", ID, "whale", {"a.txt": b"a"}, STARTED)
    return Kata.detached(folder, ID)


def test_a_copy_without_sandbox_does_not_look_into_the_sandbox(kata: Kata) -> None:
    build = kata.folder / "whale/sandbox/build"
    build.mkdir()
    is_stopped = threading.Event()

    def compile_all() -> None:
        number = 0
        while not is_stopped.is_set():
            path = build / f"cc{number}.s"
            path.touch()
            path.unlink()
            number += 1

    compiler = threading.Thread(target=compile_all)
    compiler.start()
    try:
        with ExitStack() as opened:
            taken = Snapshot(kata, opened)
            copies = [b"".join(snapshot.members_without_sandbox(taken, "whale")) for _ in range(30)]
    finally:
        is_stopped.set()
        compiler.join()
    assert len(set(copies)) == 1
    with tarfile.open(fileobj=io.BytesIO(copies[0] + snapshot.END)) as tar:
        names = tar.getnames()
    assert f"{ID[:2]}/{ID[2:]}/whale/manifest.json" in names
    assert not any("sandbox" in name for name in names)


# Pieces of data in files with holes: each a place and a content.
HOLES: dict[str, tuple[int, list[tuple[int, bytes]]]] = {
    "nothing but a hole": (128 * MIB, []),
    "a hole at the start": (MIB + 5, [(MIB, b"after")]),
    "a hole at the end": (MIB + 5, [(0, b"before")]),
    "a hole in the middle": (2 * MIB, [(0, b"before"), (2 * MIB - 5, b"after")]),
    "many holes": (64 * MIB, [(at, b"%d" % at) for at in range(0, 64 * MIB, 64 * 1024)]),
    "\udcffodd \n" + "long " * 40: (MIB, []),
}


def fill(sandbox: Path) -> None:
    for number, (name, (size, pieces)) in enumerate(HOLES.items()):
        with (sandbox / name).open("wb") as file:
            for at, content in pieces:
                file.seek(at)
                file.write(content)
            file.truncate(size)
        os.utime(sandbox / name, ns=(10**9 * number, 10**9 * number + 500_000_000))
    os.utime(sandbox / "a.txt", ns=(-1_500_000_000, -1_500_000_000))


def check(sandbox: Path, original: Path) -> None:
    for name in [*HOLES, "a.txt"]:
        found, expected = sandbox / name, original / name
        assert found.read_bytes() == expected.read_bytes()
        assert found.stat().st_mtime_ns == expected.stat().st_mtime_ns
        assert found.stat().st_mode == expected.stat().st_mode
        assert found.stat().st_blocks <= expected.stat().st_blocks


def by_gnu_tar(tar: bytes, folder: Path) -> None:
    subprocess.run(["tar", "-x", "-C", str(folder)], input=tar, check=True)


def by_tarfile(tar: bytes, folder: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(tar)) as opened:
        opened.extractall(folder, filter="tar")


def by_restoring(tar: bytes, folder: Path) -> None:
    kata = folder / ID[:2] / ID[2:]
    kata.mkdir(parents=True, exist_ok=True)
    unpack_as_restored(tar, kata)


@pytest.mark.parametrize("unpack", [by_gnu_tar, by_tarfile, by_restoring])
def test_holes_stay_holes(
    kata: Kata, tmp_path: Path, unpack: Callable[[bytes, Path], None]
) -> None:
    original = kata.folder / "whale/sandbox"
    fill(original)
    tar = tar_of(kata)
    assert len(tar) < 5 * MIB
    there = tmp_path / "there"
    there.mkdir()
    unpack(tar, there)
    check(there / ID[:2] / ID[2:] / "whale/sandbox", original)


def test_holes_stay_holes_in_the_archive_and_when_a_kata_is_copied(
    kata: Kata, tmp_path: Path
) -> None:
    original = kata.folder / "whale/sandbox"
    fill(original)
    archive = open_archive(str(tmp_path / "archive"), "test")
    store_kata.put(archive, kata, with_products=True)
    there, copied = tmp_path / "there", tmp_path / "copied"
    there.mkdir()
    store_kata.get(archive, ID, there)
    check(there / "whale/sandbox", original)
    copied.mkdir()
    tree.copy(there, copied)
    check(copied / "whale/sandbox", original)
    assert tar_of(Kata.detached(copied, ID))


def test_a_file_with_more_holes_than_are_allowed_is_archived_all_the_same(
    kata: Kata, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_EXTENTS", 10)
    original = kata.folder / "whale/sandbox"
    fill(original)
    by_restoring(tar_of(kata), tmp_path)
    found = tmp_path / ID[:2] / ID[2:] / "whale/sandbox/many holes"
    assert found.read_bytes() == (original / "many holes").read_bytes()


def test_a_file_without_holes_is_as_plain_tar_has_it(kata: Kata) -> None:
    (kata.folder / "whale/sandbox/zeros").write_bytes(bytes(MIB))
    tar = tar_of(kata)
    assert b"GNU.sparse" not in tar
    with tarfile.open(fileobj=io.BytesIO(tar)) as opened:
        assert opened.getmember(f"{ID[:2]}/{ID[2:]}/whale/sandbox/zeros").size == MIB
