"""Katas that come in: what is accepted can be read, and nothing in them expands without a bound."""

import hashlib
import json
import resource
import shutil
import struct
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dojo import visible_files
from dojo.errors import KataDamaged
from storer.git import object_writer
from storer.git.object_writer import FILE, FOLDER, NewObjects
from storer.kata import diff
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
        if not (self.whale / "increments.json").exists():
            self.write()
        normalize.normalize(self.folder, ID)
        return Kata.detached(self.folder, ID)

    def refused(self, says: str) -> None:
        """Check that the kata is refused, with these words."""
        with pytest.raises(KataDamaged, match=says):
            self.normalize()


@pytest.fixture
def incoming(tmp_path: Path) -> Incoming:
    """A kata without lights."""
    return Incoming(tmp_path)


def read_all(kata: Kata) -> None:
    """Use every light in every way in which a kata can be read."""
    for avatar in kata.avatars():
        lights = avatar.lights()
        for light in lights:
            assert not avatar.submission(light.number)[1].files.keys() & {"../x"}
            list(diff.diff(diff.read(avatar, 0, light.number)))
            list(diff.patch(diff.read(avatar, 0, light.number)))
        checked = AvatarCheck(avatar.folder, ID).check(mend=False)
        assert not [each for each, _ in checked.findings if each.kind.value not in HARMLESS]
        avatar.write_derived_files()


HARMLESS = {"dangling", "lights"}


def test_a_whole_kata_can_be_read(incoming: Incoming) -> None:
    incoming.light()
    incoming.light({**FILES, "new": b""})
    kata = incoming.normalize()
    read_all(kata)
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
    read_all(incoming.normalize())
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
    read_all(incoming.normalize())


@pytest.mark.parametrize(
    "content",
    [b"\xff\xfe\0junk", b"# pack-refs with: peeled\njunk\n", b"0" * 40 + b" refs/tags/../x\n"],
)
def test_junk_in_packed_refs_is_not_taken(incoming: Incoming, content: bytes) -> None:
    incoming.light()
    incoming.write()
    (incoming.git / "packed-refs").write_bytes(content)
    read_all(incoming.normalize())


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
    read_all(incoming.normalize())
    assert not path.exists()


# --- What expands


def bomb(new: NewObjects, levels: int, leaf: str, mode: str = FILE) -> str:
    """Return a tree with ten files in ten folders in ten folders…"""
    at = new.tree({b"f%d" % n: (mode, leaf) for n in range(10)})
    for _ in range(levels - 1):
        at = new.tree({b"d%d" % n: (FOLDER, at) for n in range(10)})
    return at


@pytest.mark.parametrize("levels", [4, 6, 30])
def test_trees_that_hold_each_other_are_refused(incoming: Incoming, levels: int) -> None:
    incoming.light(sandbox=bomb(incoming.new, levels, incoming.new.blob(b"x")))
    incoming.light()
    incoming.refused("files")


def test_many_empty_folders_are_refused(incoming: Incoming) -> None:
    empty = incoming.new.tree({})
    incoming.light(sandbox=bomb(incoming.new, 6, empty, FOLDER))
    incoming.refused("empty folder")


@pytest.mark.parametrize("levels", [131, 1200])
def test_trees_that_are_too_deep_are_refused(incoming: Incoming, levels: int) -> None:
    at = incoming.new.tree({b"f": (FILE, incoming.new.blob(b"x"))})
    for _ in range(levels):
        at = incoming.new.tree({b"d": (FOLDER, at)})
    incoming.light(sandbox=at)
    incoming.refused("levels deep")


def test_the_deepest_name_is_accepted(incoming: Incoming) -> None:
    incoming.light({"/".join(["a"] * 128): b""})
    read_all(incoming.normalize())


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
def test_an_object_that_expands_is_refused_before_it_does(
    incoming: Incoming, kind: str, mib: int
) -> None:
    before = peak_mib()
    zeros = write_zeros(incoming.git, kind, mib)
    incoming.light(sandbox=incoming.new.tree({b"zeros": (FILE, zeros)}))
    incoming.refused(f"a {kind} has {mib * 1024**2} bytes, more than")
    assert peak_mib() - before < 60


def test_a_file_that_is_larger_than_a_visible_file_is_refused_in_any_light(
    incoming: Incoming,
) -> None:
    incoming.light({"a": bytes(visible_files.MAX_FILE_BYTES + 1)})
    incoming.light()
    incoming.refused("bytes in one file")


def test_files_that_are_too_large_together_are_refused(incoming: Incoming) -> None:
    blob = incoming.new.blob(bytes(visible_files.MAX_FILE_BYTES))
    incoming.light(sandbox=incoming.new.tree({b"f%d" % n: (FILE, blob) for n in range(4)}))
    incoming.light()
    incoming.refused("bytes in all files")


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
def test_a_pack_that_expands_or_is_damaged_is_refused(incoming: Incoming, what: str) -> None:
    entries, says = PACKS[what]
    incoming.light()
    incoming.write()
    pack = incoming.git / f"objects/pack/pack-{'a' * 40}.pack"
    pack.write_bytes(pack_of(entries))
    before = peak_mib()
    incoming.refused(says)
    assert peak_mib() - before < 60


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
    read_all(incoming.normalize())
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
def test_a_name_that_no_visible_file_can_have_is_refused_in_an_older_light(
    incoming: Incoming, what: str
) -> None:
    blob = incoming.new.blob(b"x")
    name = BAD_NAMES[what].encode("utf-8", "surrogateescape")
    incoming.light(sandbox=incoming.new.tree({name: (FILE, blob)}))
    incoming.light()
    incoming.refused("name")


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
    for read in (lambda: avatar.submission(0), lambda: list(diff.patch(diff.read(avatar, 0, 1)))):
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
def test_a_light_that_could_not_be_read_is_refused(
    incoming: Incoming, fields: dict[str, Any], *, listed: bool
) -> None:
    incoming.light()
    incoming.light(listed=listed, **fields)
    incoming.light(listed=listed)
    incoming.refused("whale/")


def test_a_light_behind_a_gap_is_refused(incoming: Incoming) -> None:
    incoming.light()
    incoming.light(listed=False)
    incoming.light(listed=False)
    incoming.write()
    (incoming.git / "refs/tags/1").unlink()
    incoming.refused("light 1 is missing")


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


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("whale/1/manifest.json", TOO_LARGE),
        ("whale/1/manifest.json", {"../x": ""}),
        ("manifest.json", {"id": ID, "created": TIME, "visible_files": TOO_LARGE}),
    ],
)
def test_files_that_no_light_may_have_are_refused_where_each_light_is_a_folder(
    incoming: Incoming, path: str, content: object
) -> None:
    incoming.light()
    incoming.light()
    incoming.write()
    shutil.rmtree(incoming.git)
    (incoming.whale / "1").mkdir()
    (incoming.whale / "1" / "manifest.json").write_text('{"a": "b"}')
    (incoming.folder / path).write_text(json.dumps(content))
    incoming.refused(f"{path}: ")


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


def test_lights_that_only_a_lost_list_described_are_refused(incoming: Incoming) -> None:
    shutil.rmtree(incoming.git)
    (incoming.whale / "1").mkdir()
    with pytest.raises(KataDamaged, match=r"whale/increments\.json"):
        normalize.normalize(incoming.folder, ID)


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
    try:
        kata = incoming.normalize()
    except KataDamaged:
        return
    read_all(kata)
