"""Katas that come in: what is accepted can be read, and nothing in them expands without a bound."""

import contextvars
import hashlib
import json
import os
import re
import resource
import shutil
import struct
import tracemalloc
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dojo import limits, shares, visible_files, waits
from dojo.budget import NotSmall
from dojo.errors import KataDamaged, MemoryExhausted
from dojo.shares import Memory
from dojo.waits import CallEnded, CallWork
from storer.fs import json_files, tree
from storer.git import object_writer, packed_sizes
from storer.git.object_writer import FILE, FOLDER, NewObjects
from storer.git.reader import GitReader
from storer.kata import diff
from storer.kata.edit import At
from storer.kata.kata import Kata
from storer.katas import normalize
from storer.verify.avatar import AvatarCheck
from support.storer.storing import git

ID = "493A06504A"
TIME = [2020, 1, 1, 0, 0, 0]
FILES = {"hiker.c": b"int x;\n", "sub/deep.h": b"\xff\n"}
AUTHOR = "whale_493A06504A <whale@cyber-dojo.org>"

Roots = list[Callable[[NewObjects], str]]


class Incoming:
    """A kata in a folder, which is normalized, with an avatar, the whale, whose git we write."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.whale = folder / "whale"
        self.git = self.whale / ".git"
        for path in ("heads", "tags"):
            (self.git / "refs" / path).mkdir(parents=True)
        (self.git / "objects/pack").mkdir(parents=True)
        (self.git / "HEAD").write_text("ref: refs/heads/main\n")
        self.new = NewObjects()
        self.commits: list[str] = []
        manifest = {"id": ID, "created": TIME, "display_name": "C", "visible_files": {"a": "b"}}
        (folder / "manifest.json").write_text(json.dumps(manifest))
        self.listed: list[dict[str, Any]] = []

    def light(
        self,
        files: Mapping[str, bytes] = FILES,
        *,
        sandbox: str | None = None,
        listed: bool = True,
        **fields: Any,
    ) -> str:
        """Add a light; return its commit."""
        number = len(self.commits)
        colour = "red" if number else ""
        light = {"colour": colour, "time": TIME, "number": number, **fields}
        blob = self.new.blob(json.dumps(light).encode())
        tree = self.new.folder(files) if sandbox is None else sandbox
        root = self.new.tree({b"light.json": (FILE, blob), b"sandbox": (FOLDER, tree)})
        commit = self.new.commit(root, self.commits[-1:], AUTHOR, 1_577_836_800, str(number))
        self.commits.append(commit)
        if number and listed:
            self.listed.append({"colour": "red", "time": TIME, "number": number})
        return commit

    def write(self) -> None:
        """Write the repository and the list of the lights."""
        object_writer.write(self.git, self.new.files)
        for number, commit in enumerate(self.commits):
            object_writer.write_reference(self.git, f"refs/tags/{number}", commit)
        object_writer.write_reference(self.git, "refs/heads/main", self.commits[-1])
        (self.whale / "increments.json").write_text(json.dumps(self.listed))

    def normalize(self) -> Kata:
        """Write the kata if it was not written, and take it in."""
        if not any((self.whale / name).exists() for name in ("increments.json", "damaged.json")):
            self.write()
        normalize.normalize(self.folder, ID)
        return Kata.detached(self.folder, ID)

    def is_accepted(self) -> Kata:
        """Take the kata in; check that no avatar is set aside, and that all can be read."""
        kata = self.normalize()
        assert not kata.lights()[1]
        read_all(kata)
        return kata

    def is_set_aside(self, says: str) -> None:
        """Check that the whale is set aside for a reason with these words, and the bat is not.

        All that came of the whale has to be there, and has to stay when the kata comes in again.
        """
        if not (self.whale / "increments.json").exists():
            self.write()
        (self.folder / "bat").mkdir()
        before = contents(self.whale)
        kata = self.normalize()
        for _ in range(2):
            lights, (damaged,) = kata.lights()
            assert list(lights) == ["bat"]
            assert damaged.name == "whale"
            assert re.search(says, str(damaged))
            assert contents(self.whale / "damaged") == before
            assert {path.name for path in self.folder.iterdir()} == {
                "manifest.json",
                "bat",
                "whale",
            }
            read_all(kata)
            kata = self.normalize()


@pytest.fixture
def incoming(tmp_path: Path) -> Incoming:
    """A kata without lights."""
    return Incoming(tmp_path)


def contents(folder: Path) -> dict[str, bytes]:
    """Return the files in a folder, of its repository objects and references alone."""
    found = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
    kept = re.compile(r"(?!\.git/)|\.git/(HEAD|packed-refs|refs/|objects/([0-9a-f]{2}|pack)/)")
    return {path: content for path, content in found.items() if kept.match(path)}


def read_all(kata: Kata) -> None:
    """Use every light in every way in which a kata can be read."""
    lights_of, damaged = kata.lights()
    for each in damaged:
        folder = kata.folder / each.name
        assert {path.name for path in folder.iterdir()} <= {"damaged", "damaged.json", "sandbox"}
        checked = AvatarCheck(folder, ID).check(mend=False)
        assert [found.kind.value for found, _ in checked.findings] == ["damaged"]
    for avatar in map(kata.avatar, lights_of):
        lights = avatar.lights()
        for light in lights:
            assert not avatar.submission(light.number)[1].files.keys() & {"../x"}
            list(diff.diff(diff.read(avatar, At(0), At(light.number))))
            list(diff.patch(diff.read(avatar, At(0), At(light.number))))
        checked = AvatarCheck(avatar.folder, ID).check(mend=False)
        assert not [each for each, _ in checked.findings if each.kind.value not in HARMLESS]
        avatar.write_derived_files()


HARMLESS = {"dangling", "lights"}


def test_a_check_counts_the_objects_of_an_avatar(incoming: Incoming) -> None:
    incoming.light()
    incoming.normalize()
    checked = AvatarCheck(incoming.whale, ID).check(mend=False)
    objects = [path for path in (incoming.git / "objects").rglob("*") if path.is_file()]
    assert checked.object_count == len(objects) > 3


def test_a_whole_kata_can_be_read(incoming: Incoming) -> None:
    incoming.light()
    incoming.light({**FILES, "new": b""})
    incoming.is_accepted()
    assert git(incoming.whale, "status", "--porcelain", "-uno", "--", ".git").strip() == b""
    git(incoming.whale, "fsck", "--strict")


# --- Only objects and references are taken


JUNK = ["index", "logs/HEAD", "hooks/pre-commit", "config", "objects/info/alternates", "shallow"]


@pytest.mark.parametrize("path", JUNK)
def test_what_is_neither_object_nor_reference_is_not_taken(incoming: Incoming, path: str) -> None:
    incoming.light()
    incoming.write()
    (incoming.git / path).parent.mkdir(exist_ok=True, parents=True)
    (incoming.git / path).write_bytes(b"junk\0\xff")
    incoming.is_accepted()
    assert not (incoming.git / path).exists() or b"junk" not in (incoming.git / path).read_bytes()


def test_a_junk_index_in_a_kata_that_is_there_is_made_anew(incoming: Incoming) -> None:
    incoming.light()
    kata = incoming.normalize()
    incoming.whale.joinpath("light.json").unlink(missing_ok=True)
    (incoming.git / "index").write_bytes(b"junk")
    kata.avatar("whale").write_derived_files()
    assert (incoming.git / "index").read_bytes() != b"junk"


def test_a_config_that_includes_other_files_is_not_read(incoming: Incoming, tmp_path: Path) -> None:
    incoming.light()
    incoming.write()
    (incoming.git / "config").write_text(f"[include]\n\tpath = {tmp_path}/manifest.json\n")
    incoming.is_accepted()


@pytest.mark.parametrize(
    "content",
    [b"\xff\xfe\0junk", b"# pack-refs with: peeled\njunk\n", b"0" * 40 + b" refs/tags/../x\n"],
)
def test_junk_in_packed_refs_is_not_taken(incoming: Incoming, content: bytes) -> None:
    incoming.light()
    incoming.write()
    (incoming.git / "packed-refs").write_bytes(content)
    incoming.is_accepted()


@pytest.mark.parametrize(
    "name", ["tags/2/3", "tags/01", "tags/" + "9" * 100, "heads/main.lock", "notes/x", "tags/ü"]
)
def test_references_that_would_be_in_the_way_are_not_taken(incoming: Incoming, name: str) -> None:
    incoming.light()
    commit = incoming.light()
    incoming.write()
    path = incoming.git / "refs" / name
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(f"{commit}\n")
    incoming.is_accepted()
    assert not path.exists()


# --- What expands


@pytest.mark.parametrize("path", ["objects/pack/{}", "objects/ab/{}", "refs/{}", "refs/heads/-{}"])
def test_too_many_files_that_are_not_taken_are_set_aside(
    incoming: Incoming, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    incoming.light()
    incoming.write()
    for number in range(100):
        junk = incoming.git / path.format(number)
        junk.parent.mkdir(exist_ok=True)
        junk.write_bytes(b"")
    monkeypatch.setattr(normalize, "GIT_OBJECTS", 90)
    incoming.is_set_aside("more than 90 entries")


def bomb(new: NewObjects, levels: int, leaf: str, mode: str = FILE) -> str:
    """Return a tree with ten files in ten folders in ten folders…"""
    at = new.tree({b"f%d" % n: (mode, leaf) for n in range(10)})
    for _ in range(levels - 1):
        at = new.tree({b"d%d" % n: (FOLDER, at) for n in range(10)})
    return at


@pytest.mark.parametrize("levels", [4, 6, 30])
def test_trees_that_hold_each_other_are_set_aside(incoming: Incoming, levels: int) -> None:
    incoming.light(sandbox=bomb(incoming.new, levels, incoming.new.blob(b"x")))
    incoming.light()
    incoming.is_set_aside("files")


def test_a_light_without_files_is_accepted(incoming: Incoming) -> None:
    incoming.light()
    incoming.light(sandbox=incoming.new.tree({}))
    incoming.light()
    incoming.is_accepted()


def test_many_empty_folders_are_set_aside(incoming: Incoming) -> None:
    empty = incoming.new.tree({})
    incoming.light(sandbox=bomb(incoming.new, 6, empty, FOLDER))
    incoming.is_set_aside("empty folder")


@pytest.mark.parametrize("levels", [131, 1200])
def test_trees_that_are_too_deep_are_set_aside(incoming: Incoming, levels: int) -> None:
    at = incoming.new.tree({b"f": (FILE, incoming.new.blob(b"x"))})
    for _ in range(levels):
        at = incoming.new.tree({b"d": (FOLDER, at)})
    incoming.light(sandbox=at)
    incoming.is_set_aside("levels deep")


def test_the_deepest_name_is_accepted(incoming: Incoming) -> None:
    incoming.light({"/".join(["a"] * 128): b""})
    incoming.is_accepted()


def peak_mib() -> float:
    """Return the largest memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def write_zeros(git_folder: Path, kind: str, mib: int) -> str:
    """Write a loose object of zeros without holding it; return its name."""
    compressor, digest = zlib.compressobj(9), hashlib.sha1(usedforsecurity=False)
    pieces = []
    for piece in (b"%s %d\0" % (kind.encode(), mib * 1024**2), *[bytes(1024**2)] * mib):
        digest.update(piece)
        pieces.append(compressor.compress(piece))
    name = digest.hexdigest()
    path = git_folder / "objects" / name[:2] / name[2:]
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"".join(pieces) + compressor.flush())
    return name


@pytest.mark.parametrize(("kind", "mib"), [("blob", 450), ("tree", 100), ("commit", 100)])
def test_an_object_that_expands_is_set_aside_before_it_does(
    incoming: Incoming, kind: str, mib: int
) -> None:
    before = peak_mib()
    zeros = write_zeros(incoming.git, kind, mib)
    incoming.light(sandbox=incoming.new.tree({b"zeros": (FILE, zeros)}))
    incoming.is_set_aside(f"a {kind} has {mib * 1024**2} bytes, more than")
    assert peak_mib() - before < 60


def test_a_file_that_is_larger_than_a_visible_file_is_set_aside_in_any_light(
    incoming: Incoming,
) -> None:
    incoming.light({"a": bytes(visible_files.MAX_FILE_BYTES + 1)})
    incoming.light()
    incoming.is_set_aside("bytes in one file")


def test_files_that_are_too_large_together_are_set_aside(incoming: Incoming) -> None:
    blob = incoming.new.blob(bytes(visible_files.MAX_FILE_BYTES))
    incoming.light(sandbox=incoming.new.tree({b"f%d" % n: (FILE, blob) for n in range(4)}))
    incoming.light()
    incoming.is_set_aside("bytes in all files")


def pack_of(entries: list[bytes]) -> bytes:
    """Return a pack with these entries."""
    content = b"PACK" + struct.pack(">II", 2, len(entries)) + b"".join(entries)
    return content + hashlib.sha1(content, usedforsecurity=False).digest()


def entry(kind: int, content: bytes, base: bytes = b"", size: int | None = None) -> bytes:
    """Return an entry of a pack."""
    left = len(content) if size is None else size
    header, byte = bytearray(), kind << 4 | left & 15
    left >>= 4
    while left:
        header.append(byte | 0x80)
        byte, left = left & 0x7F, left >> 7
    header.append(byte)
    return bytes(header) + base + zlib.compress(content)


def varint(number: int) -> bytes:
    """Return a number as deltas have it."""
    made = bytearray()
    while number > 127:
        made.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(made) + bytes([number])


ZEROS = bytes(0xFFFF)
COPY = b"\xb0\xff\xff"  # 65,535 bytes from the beginning
BASE_NAME = hashlib.sha1(b"blob %d\0" % len(ZEROS) + ZEROS, usedforsecurity=False).digest()


def delta_of(copies: int, size: int | None = None) -> bytes:
    """Return a delta that copies 65,535 zeros this many times."""
    makes = copies * len(ZEROS) if size is None else size
    return varint(len(ZEROS)) + varint(makes) + COPY * copies


PACKS = {
    "a delta that makes 200 MB": (
        [entry(3, ZEROS), entry(7, delta_of(3200), BASE_NAME)],
        "a blob has 209712000 bytes, more than",
    ),
    "a delta that makes more than it says": (
        [entry(3, ZEROS), entry(7, delta_of(100, 5), BASE_NAME)],
        "a delta has a command that can't be followed",
    ),
    "a delta of itself": ([entry(7, delta_of(1), b"x" * 20)], "a delta has no base"),
    "an object that is larger than it says": ([entry(3, ZEROS, size=7)], "larger than its header"),
    "an object that is smaller than it says": ([entry(3, b"x", size=7)], "smaller than its header"),
    "an object of 200 MB": ([entry(3, b"x", size=2 * 10**8)], "a blob has 200000000 bytes"),
    "an unknown kind": ([entry(5, b"x")], "kind 5"),
    "an object that is cut off": ([entry(3, ZEROS)[:30]], "can't be|cut off"),
}


@pytest.mark.parametrize("what", PACKS)
def test_a_pack_that_expands_or_is_damaged_is_set_aside(incoming: Incoming, what: str) -> None:
    entries, says = PACKS[what]
    incoming.light()
    incoming.write()
    pack = incoming.git / f"objects/pack/pack-{'a' * 40}.pack"
    pack.write_bytes(pack_of(entries))
    before = peak_mib()
    incoming.is_set_aside(says)
    assert peak_mib() - before < 60


@pytest.mark.parametrize("is_delta", [False, True])
def test_a_packed_object_that_expands_in_a_kata_that_is_there_is_told_as_damage(
    incoming: Incoming, *, is_delta: bool
) -> None:
    name, zeros = zeros_in_pack(3200)
    incoming.light()
    incoming.light(sandbox=incoming.new.tree({b"zeros": (FILE, name)}))
    incoming.write()
    delta = [entry(3, ZEROS), entry(7, delta_of(3200), BASE_NAME)]
    write_pack(incoming.git, delta if is_delta else [zeros])
    whale = Kata.detached(incoming.folder, ID).avatar("whale")
    before = peak_mib()
    with pytest.raises(KataDamaged, match=f"{name}: a blob has .* bytes, more than"):
        whale.submission(1)
    found = [each.what for each, _ in AvatarCheck(incoming.whale, ID).check(mend=False).findings]
    assert any("more than" in each for each in found)
    with pytest.raises(KataDamaged, match="more than"):
        whale.open_history().open_whole_repository()
    assert peak_mib() - before < 60
    assert whale.submission(0)[1].files == FILES


def test_a_packed_object_that_expands_is_told_as_damage_after_a_call_ended_in_between(
    incoming: Incoming,
) -> None:
    name, zeros = zeros_in_pack(3200)
    write_pack(incoming.git, [zeros])
    reader = GitReader(incoming.git)

    def read_for_nobody() -> None:
        call = CallWork(lambda: True)
        waits.work_for(call)
        call.end()
        reader.read(name)

    with pytest.raises(CallEnded):
        contextvars.copy_context().run(read_for_nobody)
    with pytest.raises(ValueError, match=f"{name}: a blob has .* bytes, more than"):
        reader.read(name)


def test_deltas_that_need_too_much_together_are_told_as_damage(
    incoming: Incoming, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed_sizes, "GIT_CHAIN_BYTES", 3 * len(ZEROS))
    incoming.light()
    incoming.write()
    name, _ = zeros_in_pack(3)
    write_pack(incoming.git, [entry(3, ZEROS), entry(7, delta_of(3), BASE_NAME)])
    assert list(packed_sizes.too_large(incoming.git)) == [name]


def test_a_pack_is_looked_through_with_the_memory_of_all_calls(incoming: Incoming) -> None:
    incoming.light()
    incoming.write()
    write_pack(incoming.git, [entry(3, b"%d" % number) for number in range(20)])
    memory = Memory(40 * limits.HELD_ENTRY_BYTES)  # a quarter of it is for calls

    def look_through_with_little_memory() -> None:
        shares.use(memory)
        packed_sizes.too_large(incoming.git)

    with pytest.raises(MemoryExhausted):
        contextvars.copy_context().run(look_through_with_little_memory)
    memory.calls.take(10 * limits.HELD_ENTRY_BYTES)  # all of it came back
    assert packed_sizes.too_large(incoming.git) == {}


@pytest.mark.parametrize("size", [0, 7, 500, 1040])
def test_an_index_that_is_cut_off_is_left_to_who_reads_the_pack(
    incoming: Incoming, size: int
) -> None:
    incoming.light()
    incoming.write()
    write_pack(incoming.git, [entry(3, b"a")])
    (index,) = (incoming.git / "objects/pack").glob("*.idx")
    content = index.read_bytes()[:size]
    index.unlink()
    index.write_bytes(content)
    assert packed_sizes.too_large(incoming.git) == {}


def zeros_in_pack(copies: int) -> tuple[str, bytes]:
    """Return the name of a blob of so many ZEROS, and its entry in a pack, without holding it."""
    size = copies * len(ZEROS)
    digest = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    compressor = zlib.compressobj(9)
    pieces = []
    for _ in range(copies):
        digest.update(ZEROS)
        pieces.append(compressor.compress(ZEROS))
    head = entry(3, b"", size=size).removesuffix(zlib.compress(b""))
    return digest.hexdigest(), head + b"".join(pieces) + compressor.flush()


def write_pack(git_folder: Path, entries: list[bytes]) -> None:
    """Write a pack and its index, as git does, whatever the objects expand to."""
    pack = pack_of(entries)
    path = git_folder / f"objects/pack/pack-{pack[-20:].hex()}.pack"
    path.write_bytes(pack)
    git(git_folder, "index-pack", str(path))


def test_what_deltas_hold_comes_from_the_memory_of_all_calls(incoming: Incoming) -> None:
    incoming.light()
    incoming.write()
    base = bytes(12 * 1024**2)
    name = hashlib.sha1(b"blob %d\0" % len(base) + base, usedforsecurity=False).digest()
    deltas = [entry(7, varint(len(base)) + varint(1) + bytes([1, byte]), name) for byte in b"ab"]
    pack = incoming.git / f"objects/pack/pack-{'a' * 40}.pack"
    pack.write_bytes(pack_of([entry(3, base), *deltas]))
    memory = Memory(64 * 1024**2)  # a quarter of it is for calls

    def normalize_with_little_left() -> None:
        shares.use(memory)
        with memory.calls.taken(6 * 1024**2):
            normalize.normalize(incoming.folder, ID)

    with pytest.raises(MemoryExhausted):
        contextvars.copy_context().run(normalize_with_little_left)
    memory.calls.take(16 * 1024**2)  # all of it came back


def test_a_pack_of_plain_git_can_be_read_whatever_its_index_says(incoming: Incoming) -> None:
    for number in range(40):
        text = b"".join(b"line %d\n" % (line * line) for line in range(500 + number))
        incoming.light({**FILES, "growing": text})
    incoming.write()
    git(incoming.whale, "-c", "pack.depth=50", "repack", "-adfq")
    git(incoming.whale, "pack-refs", "--all")
    (index,) = (incoming.git / "objects/pack").glob("*.idx")
    whole = index.read_bytes()
    index.chmod(0o600)
    index.write_bytes(b"junk")
    incoming.is_accepted()
    assert index.read_bytes() == whole
    git(incoming.whale, "fsck", "--full", "--strict")


# --- Names, in every light


BAD_NAMES = {
    "leads out": "../x",
    "dot": ".",
    "long": "n" * 256,
    "absolute": "/abs",
    "not UTF-8": "\udcff",
    "git": ".git",
    "control": "a\nb",
}


@pytest.mark.parametrize("what", BAD_NAMES)
def test_a_name_that_no_visible_file_can_have_is_set_aside_in_an_older_light(
    incoming: Incoming, what: str
) -> None:
    blob = incoming.new.blob(b"x")
    name = BAD_NAMES[what].encode("utf-8", "surrogateescape")
    incoming.light(sandbox=incoming.new.tree({name: (FILE, blob)}))
    incoming.light()
    incoming.is_set_aside("name")


@pytest.mark.parametrize("what", BAD_NAMES)
def test_a_bad_name_in_a_kata_that_is_there_is_told_as_damage(
    incoming: Incoming, what: str
) -> None:
    blob = incoming.new.blob(b"x")
    name = BAD_NAMES[what].encode("utf-8", "surrogateescape")
    incoming.light(sandbox=incoming.new.tree({name: (FILE, blob)}))
    incoming.light()
    incoming.write()
    avatar = Kata.detached(incoming.folder, ID).avatar("whale")
    for read in (
        lambda: avatar.submission(0),
        lambda: list(diff.patch(diff.read(avatar, At(0), At(1)))),
    ):
        with pytest.raises(KataDamaged, match="name"):
            read()


def test_trees_that_hold_each_other_in_a_kata_that_is_there_are_told_as_damage(
    incoming: Incoming,
) -> None:
    incoming.light(sandbox=bomb(incoming.new, 9, incoming.new.blob(b"x")))
    incoming.write()
    with pytest.raises(KataDamaged, match="files"):
        Kata.detached(incoming.folder, ID).avatar("whale").submission(0)


# --- The list of lights, and what git has


def test_a_light_that_only_git_has_is_read(incoming: Incoming) -> None:
    incoming.light()
    incoming.light(listed=False)
    kata = incoming.normalize()
    read_all(kata)
    assert [light.number for light in kata.avatar("whale").lights()] == [0, 1]


@pytest.mark.parametrize(
    "fields",
    [
        {"number": True},
        {"number": "1"},
        {"number": 2},
        {"time": None},
        {"time": [2020, 13, 1, 0, 0, 0]},
        {"colour": "purple"},
        {"colour": []},
    ],
)
@pytest.mark.parametrize("listed", [True, False])
def test_a_light_that_could_not_be_read_is_set_aside(
    incoming: Incoming, fields: dict[str, Any], *, listed: bool
) -> None:
    incoming.light()
    incoming.light(listed=listed, **fields)
    incoming.light(listed=listed)
    incoming.is_set_aside("whale/")


def test_a_light_behind_a_gap_is_set_aside(incoming: Incoming) -> None:
    incoming.light()
    incoming.light(listed=False)
    incoming.light(listed=False)
    incoming.write()
    (incoming.git / "refs/tags/1").unlink()
    incoming.is_set_aside("light 1 is missing")


# --- What legacy katas lack


@pytest.mark.parametrize("inside", [[], ["sandbox"], ["sandbox", "manifest.json"]])
def test_an_avatar_without_lights_started_and_never_tested(
    incoming: Incoming, inside: list[str]
) -> None:
    incoming.light()
    incoming.write()
    bat = incoming.folder / "bat"
    bat.mkdir()
    for name in inside:
        if name == "sandbox":
            (bat / name).mkdir()
        else:
            (bat / name).write_text('{"a": "b"}')
    kata = incoming.normalize()
    read_all(kata)
    assert kata.avatar_names() == ["bat", "whale"]
    ((start, submission),) = [kata.avatar("bat").submission(-1)]
    assert (start.number, submission.files) == (0, {"a": b"b"})


TOO_LARGE = {"a": "x" * (visible_files.MAX_FILE_BYTES + 1)}


@pytest.mark.parametrize("content", [TOO_LARGE, {"../x": ""}])
def test_an_avatar_with_files_that_no_light_may_have_is_set_aside_where_each_light_is_a_folder(
    incoming: Incoming, content: object
) -> None:
    incoming.light()
    incoming.light()
    incoming.write()
    shutil.rmtree(incoming.git)
    (incoming.whale / "1").mkdir()
    (incoming.whale / "1" / "manifest.json").write_text(json.dumps(content))
    incoming.is_set_aside("whale/1/manifest.json: ")


def test_a_kata_with_another_id_is_refused_with_a_part_of_it(incoming: Incoming) -> None:
    incoming.light()
    manifest = json.loads((incoming.folder / "manifest.json").read_text())
    (incoming.folder / "manifest.json").write_text(json.dumps({**manifest, "id": "4" * 100_000}))
    with pytest.raises(KataDamaged, match="its id is '444") as raised:
        incoming.normalize()
    assert len(str(raised.value)) < 200


def test_a_kata_with_files_that_no_light_may_have_is_refused(incoming: Incoming) -> None:
    incoming.light()
    incoming.write()
    manifest = {"id": ID, "created": TIME, "visible_files": TOO_LARGE}
    (incoming.folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(KataDamaged, match="bytes are more than"):
        incoming.normalize()


def test_a_lost_list_of_lights_is_made_from_git(incoming: Incoming) -> None:
    incoming.light()
    incoming.light()
    incoming.write()
    (incoming.whale / "increments.json").unlink()
    normalize.normalize(incoming.folder, ID)
    kata = Kata.detached(incoming.folder, ID)
    read_all(kata)
    assert [light.number for light in kata.avatar("whale").lights()] == [0, 1]


def test_a_legacy_light_without_a_time_gets_that_of_the_light_before(incoming: Incoming) -> None:
    shutil.rmtree(incoming.git)
    times = [[2020, 1, 1, 0, 0, 5], None, [2020, 1, 1, 0, 0, 9]]
    listed = []
    for number, time in enumerate(times, 1):
        (incoming.whale / str(number)).mkdir()
        (incoming.whale / str(number) / "manifest.json").write_text('{"a": "b", "output": ""}')
        listed.append({"colour": "red", "time": time, "number": number})
    (incoming.whale / "increments.json").write_text(json.dumps(listed))
    kata = incoming.normalize()
    read_all(kata)
    assert [light.time.second for light in kata.avatar("whale").lights()] == [0, 5, 5, 9]


def test_lights_that_only_a_lost_list_described_are_set_aside(incoming: Incoming) -> None:
    shutil.rmtree(incoming.git)
    (incoming.whale / "1").mkdir()
    (incoming.whale / "increments.json").unlink(missing_ok=True)
    normalize.normalize(incoming.folder, ID)
    kata = Kata.detached(incoming.folder, ID)
    read_all(kata)
    assert [each.path for each in kata.lights()[1]] == ["whale/increments.json"]
    assert (incoming.whale / "damaged/1").is_dir()


# --- Damaged avatars


def test_a_history_that_expands_leaves_the_budget_to_the_others(
    incoming: Incoming, monkeypatch: pytest.MonkeyPatch
) -> None:
    incoming.light()
    for name in ("ant", "zebra"):
        incoming.light({"large": bytes(3000)})
        incoming.write()
        shutil.copytree(incoming.whale, incoming.folder / name)
    shutil.move(incoming.folder / "ant", incoming.folder / "bat")
    incoming.light({"zeros": bytes(100_000)})
    incoming.write()
    shutil.move(incoming.whale, incoming.folder / "bee")
    shutil.copytree(incoming.folder / "zebra", incoming.whale)
    monkeypatch.setattr(normalize, "GIT_BYTES", 50_000)
    normalize.normalize(incoming.folder, ID)
    lights, damaged = Kata.detached(incoming.folder, ID).lights()
    assert list(lights) == ["bat", "whale", "zebra"]
    assert [(each.name, each.path) for each in damaged] == [("bee", "bee/.git")]


def test_too_much_work_for_damaged_histories_refuses_the_kata(
    incoming: Incoming, monkeypatch: pytest.MonkeyPatch
) -> None:
    incoming.light({"large": bytes(3000)})
    incoming.write()
    (incoming.whale / "increments.json").write_text("[")
    for name in ("bat", "bee"):
        shutil.copytree(incoming.whale, incoming.folder / name)
    monkeypatch.setattr(normalize, "GIT_BYTES", 8000)
    with pytest.raises(KataDamaged, match="its damaged histories have more than 8000 bytes"):
        normalize.normalize(incoming.folder, ID)


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{}", b'{"path": 1, "reason": "", "sha256": ""}', b" " * 70_000, b"\xff"],
)
def test_a_strangers_damaged_json_is_set_aside_with_the_rest(
    incoming: Incoming, content: bytes
) -> None:
    incoming.light()
    incoming.write()
    (incoming.whale / "damaged").mkdir()
    (incoming.whale / "damaged/x").write_bytes(b"x")
    (incoming.whale / "damaged.json").write_bytes(content)
    normalize.normalize(incoming.folder, ID)
    (damaged,) = Kata.detached(incoming.folder, ID).lights()[1]
    assert damaged.path == "whale/damaged.json"
    assert (incoming.whale / "damaged/damaged/x").read_bytes() == b"x"
    assert (incoming.whale / "damaged/damaged.json").read_bytes() == content
    assert (incoming.whale / "damaged/increments.json").exists()


def test_sound_files_beside_a_damaged_json_are_set_aside_with_it(incoming: Incoming) -> None:
    incoming.light()
    incoming.write()
    (incoming.whale / "damaged").mkdir()
    said = {"path": "x", "reason": "y", "sha256": "z"}
    (incoming.whale / "damaged.json").write_text(json.dumps(said))
    normalize.normalize(incoming.folder, ID)
    (damaged,) = Kata.detached(incoming.folder, ID).lights()[1]
    assert damaged.path == "whale/damaged.json"
    assert (incoming.whale / "damaged/increments.json").exists()


def test_verifying_finds_that_what_came_is_another(incoming: Incoming) -> None:
    incoming.light()
    incoming.write()
    (incoming.whale / "increments.json").write_text("[")
    normalize.normalize(incoming.folder, ID)
    (incoming.whale / "damaged/increments.json").write_text("]")
    findings = AvatarCheck(incoming.whale, ID).check(mend=True).findings
    assert [(each.path, mended) for each, mended in findings] == [
        ("increments.json", False),
        ("damaged", False),
    ]


def test_what_no_tar_of_a_kata_can_have_is_not_kept(incoming: Incoming) -> None:
    incoming.light()
    incoming.write()
    (incoming.whale / "increments.json").write_text("[")
    (incoming.whale / "link").symlink_to("/etc/passwd")
    os.mkfifo(incoming.whale / "pipe")
    (incoming.whale / os.fsdecode(b"not-utf-8-\xff")).write_bytes(b"")
    deep = incoming.whale.joinpath(*["d"] * 158)
    deep.mkdir(parents=True)
    (deep / "file").write_bytes(b"")
    normalize.normalize(incoming.folder, ID)
    kept = list((incoming.whale / "damaged").rglob("*"))
    assert {path.name for path in kept} >= {"increments.json", "objects", "d"}
    assert not {path.name for path in kept} & {"link", "pipe", "file"}
    assert all(json_files.is_text(path.name) for path in kept)
    members = list(tree.members(incoming.folder))
    assert {str(each.path) for each in members} >= {
        str(path.relative_to(incoming.folder)) for path in kept
    }


# --- Whatever is accepted can be read


json_values: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | st.integers(-2, 3) | st.text(max_size=3) | st.just([])
)
odd = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(
        ("number", "colour", "time", "status", "duration", "reason", "stdout"), json_values
    ),
)
names = st.sampled_from(["a", "b/c", "b", "../x", ".git", "n" * 255, "n" * 256, "ü", "a\t"])
lights = st.lists(
    st.tuples(odd, odd, st.dictionaries(names, st.binary(max_size=5), max_size=3), st.booleans()),
    min_size=1,
    max_size=3,
)


@given(lights)
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_whatever_is_accepted_can_be_read(
    tmp_path_factory: pytest.TempPathFactory, lights: list[tuple[Any, Any, Any, bool]]
) -> None:
    incoming = Incoming(tmp_path_factory.mktemp("kata"))
    for fields, in_list, files, listed in lights:
        mapped = {name: text for name, text in files.items() if f"{name}/c" not in files}
        incoming.light(mapped, listed=listed, **fields)
        if listed and incoming.listed:
            incoming.listed[-1].update(in_list)
    read_all(incoming.normalize())


# --- Calls that end


def test_nothing_more_is_checked_for_a_call_that_has_ended(incoming: Incoming) -> None:
    incoming.light()
    incoming.write()

    def normalize_for_nobody() -> None:
        call = CallWork(lambda: True)
        call.end()
        waits.work_for(call)
        normalize.normalize(incoming.folder, ID)

    with pytest.raises(CallEnded):
        contextvars.copy_context().run(normalize_for_nobody)


# --- What a reader wants no more of than a share


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", ["files", "legacy"])
def test_a_light_that_is_too_large_for_its_reader_is_not_expanded(
    incoming: Incoming, kind: str, *, packed: bool
) -> None:
    content = b"x" * visible_files.MAX_FILE_BYTES
    if kind == "files":
        incoming.light({"a": content})
        incoming.light({"b": content[1:]})
    else:
        legacy = incoming.new.blob(json.dumps({"a": content.decode()}).encode())
        root = incoming.new.tree({b"manifest.json": (FILE, legacy)})
        for number in range(2):
            commit = incoming.new.commit(root, incoming.commits[-1:], AUTHOR, 0, str(number))
            incoming.commits.append(commit)
        incoming.listed.append({"colour": "red", "time": TIME, "number": 1})
    kata = incoming.normalize()
    if packed:
        git(incoming.whale, "repack", "-adfq")
    tracemalloc.start()
    try:
        with pytest.raises(NotSmall):
            diff.read(kata.avatar("whale"), At(0), At(1), limits.SMALL_COMPARED_BYTES)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 2 * limits.SMALL_COMPARED_BYTES
