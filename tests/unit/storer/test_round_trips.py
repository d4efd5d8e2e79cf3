"""What a program leaves in its sandbox comes back as it was, by every way that a kata goes."""

import io
import os
import stat
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dojo import avatars
from storer.archive import store_kata
from storer.archive.location import open_archive
from storer.fs import tree
from storer.kata import avatar
from storer.kata.kata import Kata
from support.storer.kata_tars import tar_of, unpack_as_restored
from support.storer.storing import STARTED

ID = "0123456789"
TOP = f"{ID[:2]}/{ID[2:]}"


@dataclass(frozen=True)
class Made:
    """What a program makes: a path, and a folder, a file with holes or without, or a link."""

    parts: tuple[bytes, ...]
    mode: int
    modified_ns: int
    content: tuple[tuple[int, bytes], ...] | None = None
    target: bytes | None = None

    def make(self, sandbox: Path) -> None:
        """Make it in the sandbox, unless something is in its way."""
        path = self._path(sandbox)
        if self._is_behind_a_link(sandbox) or os.path.lexists(path):
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if self.target is not None:
                path.symlink_to(os.fsdecode(self.target))
            elif self.content is None:
                path.mkdir()
            else:
                with path.open("xb") as file:
                    for at, piece in self.content:
                        file.seek(at)
                        file.write(piece)
        except (FileExistsError, NotADirectoryError):  # a file is in the place of a folder
            return
        if self.target is None:
            path.chmod(self.mode)

    def set_time(self, sandbox: Path) -> None:
        """Set the time of what is there, when nothing more is made in it."""
        path = self._path(sandbox)
        if not self._is_behind_a_link(sandbox) and os.path.lexists(path):
            os.utime(path, ns=(self.modified_ns, self.modified_ns), follow_symlinks=False)

    def _path(self, sandbox: Path) -> Path:
        return sandbox.joinpath(*map(os.fsdecode, self.parts))

    def _is_behind_a_link(self, sandbox: Path) -> bool:
        """Return whether the path leads through a link, which could lead out of the sandbox."""
        parents = self._path(sandbox).relative_to(sandbox).parents
        return any((sandbox / parent).is_symlink() for parent in parents)


odd_names = [b"f.lock", b"._a", b".DS_Store", b".git", b"sandbox", b"\xff", b" ", b"a\nb", b"-r"]
names = st.one_of(
    st.sampled_from([b"a", b"b", b"c", *odd_names]),
    st.binary(min_size=1, max_size=255).filter(
        lambda name: not {b"/"[0], 0} & {*name} and name not in {b".", b".."}
    ),
)
targets = st.one_of(
    st.sampled_from([b"/usr/bin/python3", b"../../..", b"a", b".", b"here/..", b"/"]),
    st.binary(min_size=1, max_size=300).filter(lambda target: 0 not in target),
)
pieces = st.tuples(st.integers(0, 300_000), st.binary(max_size=50))
made = st.builds(
    Made,
    parts=st.lists(names, min_size=1, max_size=4).map(tuple),
    mode=st.integers(0, 0o7777),
    modified_ns=st.integers(-(2**31) * 10**9, 2**63 - 1),
    content=st.none() | st.lists(pieces, max_size=3).map(tuple),
    target=st.none() | st.none() | targets,
)
trees = st.lists(made, max_size=12)

VENV = [
    Made((b"venv", b"bin", b"python"), 0o777, 10**9, target=b"/usr/bin/python3"),
    Made((b"venv", b"lib64"), 0o777, 10**9, target=b"lib"),
    Made((b"venv", b"bin"), 0o2755, 1_700_000_000_123_456_789),
]


@contextmanager
def made_by(program: list[Made]) -> Iterator[tuple[Path, Kata]]:
    """A kata with what a program made in its sandbox, and a folder for what comes back.

    Both are in memory, where putting a file on disk takes no time.
    """
    with tempfile.TemporaryDirectory(dir="/dev/shm") as top:
        folder, back = Path(top, "kata"), Path(top, "back")
        back.mkdir()
        (folder / "whale").mkdir(parents=True)
        (folder / "manifest.json").write_text(f'{{"id": "{ID}"}}')
        avatar.start(folder / "whale", ID, "whale", {"a.txt": b"a"}, STARTED)
        sandbox = folder / "whale/sandbox"
        for each in program:
            each.make(sandbox)
        uid = avatars.uid("whale")
        for path in sandbox.rglob("*"):
            status = path.lstat()
            os.chown(path, uid, uid, follow_symlinks=False)
            if not stat.S_ISLNK(status.st_mode):
                path.chmod(stat.S_IMODE(status.st_mode))
        for each in sorted(program, key=lambda each: len(each.parts), reverse=True):
            each.set_time(sandbox)
        yield back, Kata.detached(folder, ID)


def listing(sandbox: Path) -> dict[str, tuple[object, ...]]:
    """Return all that a program can see of a sandbox."""
    found: dict[str, tuple[object, ...]] = {}
    for entry in tree.walk(sandbox):
        status, path = entry.status, sandbox / entry.path
        content: object = None
        if stat.S_ISLNK(status.st_mode):
            content = target_of(path)
        elif stat.S_ISREG(status.st_mode):
            content = path.read_bytes()
        owner = status.st_uid, status.st_gid
        found[str(entry.path)] = (*owner, oct(status.st_mode), status.st_mtime_ns, content)
    return found


def target_of(link: Path) -> str:
    return os.readlink(link)  # noqa: PTH115 - exactly as it is, which a Path would normalize


def by_the_archive(kata: Kata, back: Path) -> Path:
    archive = open_archive(str(back / "archive"), "test")
    store_kata.put(archive, kata, with_products=True)
    (back / "kata").mkdir()
    store_kata.get(archive, ID, back / "kata")
    return back / "kata/whale/sandbox"


def by_gnu_tar(kata: Kata, back: Path) -> Path:
    command = ["tar", "-x", "-p", "--same-owner", "-C", str(back)]
    subprocess.run(command, input=tar_of(kata), check=True)
    return back / TOP / "whale/sandbox"


@pytest.mark.parametrize("way", [by_the_archive, by_gnu_tar])
@given(program=trees)
@example(program=VENV)
def test_a_sandbox_comes_back_as_it_was(
    way: Callable[[Kata, Path], Path], program: list[Made]
) -> None:
    with made_by(program) as (back, kata):
        assert listing(way(kata, back)) == listing(kata.folder / "whale/sandbox")


@given(program=trees)
@example(program=VENV)
def test_a_restored_sandbox_is_as_it_was_but_for_what_is_told(program: list[Made]) -> None:
    with made_by(program) as (back, kata):
        original = kata.folder / "whale/sandbox"
        read = unpack_as_restored(tar_of(kata), back)
        found = listing(back / "whale/sandbox")
        expected = listing(original)
        leads_out = [
            path
            for path in expected
            if (original / path).is_symlink()
            and not tree.link_stays_inside(
                PurePosixPath("whale/sandbox", path), target_of(original / path)
            )
        ]
        assert read.left_out.count == len(leads_out)
        for path in leads_out:
            del expected[path]
        assert found.keys() == expected.keys()
        for path, (_, _, mode, *others) in expected.items():
            is_file = stat.S_ISREG(int(str(mode), 8))
            kept = int(str(mode), 8) & ~(0o7000 if is_file else 0o4000)
            assert found[path][2:] == (oct(kept), *others)


def test_what_is_left_out_is_named_but_not_without_end(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for number in range(250):
            header = tarfile.TarInfo(f"{TOP}/whale/sandbox/{number}\x1b")
            header.type, header.linkname = tarfile.SYMTYPE, "/etc/passwd"
            tar.addfile(header)
    left_out = unpack_as_restored(buffer.getvalue(), tmp_path).left_out
    assert left_out.count == 250
    assert len(left_out.names) == 100
    assert "0\\x1b" in left_out.names[0]
    assert not any(path.is_symlink() for path in tmp_path.rglob("*"))


def test_what_a_mac_puts_beside_files_is_not_restored(tmp_path: Path) -> None:
    contents = {"._hiker.c": b"\x00\x05\x16\x07\x00\x02", "._mine": b"mine", "hiker.c": b"int"}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in contents.items():
            header = tarfile.TarInfo(f"{TOP}/whale/sandbox/{name}")
            header.size = len(content)
            tar.addfile(header, io.BytesIO(content))
    unpack_as_restored(buffer.getvalue(), tmp_path)
    found = sorted(os.listdir(tmp_path / "whale/sandbox"))
    assert found == ["._mine", "hiker.c"]
