"""Git objects of copies go into packs: each is there, and what is damaged stays a file."""

import shutil
import subprocess
import zlib
from pathlib import Path

import pygit2
import pytest

from storer.archive import object_packs
from storer.archive.object_packs import ObjectPacks
from storer.kata.kata import Kata
from storer.tar.packing import pack_objects
from support.storer.damages import ID, SOUND, write_kata

AVATAR = "whale"


@pytest.fixture
def loose(tmp_path: Path) -> dict[str, bytes]:
    """The files of objects of every kind, by their paths in a kata; the last one is a commit's."""
    made = pygit2.init_repository(tmp_path / "made" / AVATAR, bare=False)
    large = b"".join(b"%d\n" % each for each in range(20_000))
    signature = pygit2.Signature("whale", "whale@dojo", 1, 0)
    parents: list[pygit2.Oid] = []
    for number in range(3):
        builder = made.TreeBuilder()
        for name, content in (("empty", b""), ("large", large), ("x", b"%d" % number)):
            builder.insert(name, made.create_blob(content), pygit2.enums.FileMode.BLOB)
        tree = builder.write()
        parents = [made.create_commit(None, signature, signature, "m", tree, parents)]
    tag = made.create_tag("t", parents[0], pygit2.enums.ObjectType.COMMIT, signature, "m")
    found = {
        str(path.relative_to(tmp_path / "made")): path.read_bytes()
        for path in (tmp_path / "made" / AVATAR / ".git/objects").glob("??/*")
    }
    assert any(str(tag) in path.replace("/", "") for path in found)
    return found


@pytest.fixture
def kata(tmp_path: Path) -> Path:
    """A kata with an avatar whose repository is empty."""
    pygit2.init_repository(tmp_path / "kata" / AVATAR, bare=False)
    return tmp_path / "kata"


def index_by_git(pack: Path, folder: Path) -> bytes:
    """Return the index that git makes of a pack, which it checks."""
    made = folder / "index.idx"
    command = ["git", "index-pack", "-o", str(made), str(pack)]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=60)
    return made.read_bytes()


def names(kata: Path) -> set[str]:
    return {str(each) for each in pygit2.Repository(kata / AVATAR).odb}


def packs(kata: Path) -> list[Path]:
    return sorted((kata / AVATAR / ".git/objects/pack").glob("*.pack"))


def name_of(path: str) -> str:
    return "".join(Path(path).parts[-2:])


def test_all_objects_are_in_one_pack(kata: Path, loose: dict[str, bytes], tmp_path: Path) -> None:
    made = ObjectPacks(kata)
    for path, content in [*loose.items(), *loose.items()]:
        assert made.wants(path, len(content))
        assert made.take(path, content)
    assert packs(kata) == []
    made.write()
    assert len(packs(kata)) == 1
    assert names(kata) == set(map(name_of, loose))
    (pack,) = packs(kata)
    assert pack.with_suffix(".idx").read_bytes() == index_by_git(pack, tmp_path)
    repository = pygit2.Repository(kata / AVATAR)
    for path, content in loose.items():
        kind, packed = repository.odb.read(name_of(path))[:2]
        whole = zlib.decompress(content)
        assert whole.endswith(b"\0" + packed), kind
    made.write()  # there is nothing new
    assert len(packs(kata)) == 1


def test_the_same_objects_in_the_same_order_are_the_same_pack(
    kata: Path, loose: dict[str, bytes]
) -> None:
    for _ in range(2):
        made = ObjectPacks(kata)
        for path, content in loose.items():
            made.take(path, content)
        made.write()
    assert len(packs(kata)) == 1


def test_a_pack_is_written_when_much_is_held(
    kata: Path, loose: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_packs, "_MAX_HELD_BYTES", 300)
    made = ObjectPacks(kata)
    for path, content in loose.items():
        made.take(path, content)
    assert len(packs(kata)) > 1
    made.write()
    assert names(kata) == set(map(name_of, loose))


@pytest.mark.parametrize(
    "damaged",
    [b"", b"junk", zlib.compress(b"blob 5\0other"), zlib.compress(b"blob 1\0" + bytes(2 * 2**20))],
)
def test_a_damaged_or_large_object_stays_a_file(
    kata: Path, loose: dict[str, bytes], damaged: bytes
) -> None:
    made = ObjectPacks(kata)
    assert not made.take(next(iter(loose)), damaged)
    made.write()
    assert packs(kata) == []


@pytest.mark.parametrize(
    ("path", "size"),
    [
        (f"{AVATAR}/.git/objects/ab/{'c' * 38}", object_packs.MAX_COMPRESSED_BYTES + 1),
        (f"{AVATAR}/.git/objects/ab/{'c' * 37}", 1),
        (f"{AVATAR}/.git/objects/pack/{'c' * 38}", 1),
        (f"{AVATAR}/.git/refs/tags/1", 1),
        (f"{AVATAR}/sandbox/.git/objects/ab/{'c' * 38}", 1),
        (f"../{AVATAR}/.git/objects/ab/{'c' * 38}", 1),
        ("manifest.json", 1),
    ],
)
def test_nothing_else_is_wanted(kata: Path, path: str, size: int) -> None:
    assert not ObjectPacks(kata).wants(path, size)


@pytest.mark.parametrize(("count", "is_packed"), [(7, False), (8, True)])
def test_many_packs_become_one_in_the_next_tar(
    tmp_path: Path, count: int, *, is_packed: bool
) -> None:
    kata = Kata.detached(write_kata(tmp_path), ID)
    name = SOUND[-1]  # it has a repository
    command = ["git", "-c", "safe.directory=*", "repack", "-a", "-d", "-k", "--quiet"]
    subprocess.run(command, cwd=kata.folder / name, check=True, timeout=60)
    repository = pygit2.Repository(kata.folder / name)
    before = {str(each) for each in repository.odb}
    added = set()
    for number in range(count):
        content = b"%d" % number
        blob = str(pygit2.hash(content))
        path = f"{name}/.git/objects/{blob[:2]}/{blob[2:]}"
        packs_of_one = ObjectPacks(kata.folder)
        assert packs_of_one.take(path, zlib.compress(b"blob %d\0" % len(content) + content))
        packs_of_one.write()
        added.add(blob)
    with pack_objects(kata, {}) as packed:
        assert (name in packed.avatars) is is_packed
        assert not packed.damaged
        files = [each for each in packed.files.values() if isinstance(each, Path)]
        made = [each for each in files if each.suffix == ".pack"]
        assert len(made) == is_packed
        if is_packed:
            repository = pygit2.init_repository(tmp_path / "again")
            for each in made:
                for file in (each, each.with_suffix(".idx")):
                    shutil.copy(file, tmp_path / "again/.git/objects/pack")
            assert {str(each) for each in repository.odb} == before | added
