"""A damaged avatar takes no other along: the rest of its kata comes in, and can be used."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest

from cyberdojo.storer.v1 import storer_pb2
from support.services import Service
from support.storer.backups import backup, restore_into
from support.storer.calls import OF_AN_AVATAR, call
from support.storer.damages import (
    DAMAGES,
    ID,
    LIGHTS,
    SOUND,
    become_a_file,
    become_a_folder,
    in_folders,
    in_git,
    write_kata,
)
from support.storer.fixtures import defects
from support.storer.storing import FILES, GREEN, Katas, Stub, git, refused, unpacked
from support.storer.verifying import another_content, object_path, overwrite, verify

DATA_LOSS = grpc.StatusCode.DATA_LOSS


@dataclass(frozen=True)
class Served:
    """A storer's katas, its katas directory, and the directory of its archive."""

    katas: Katas
    directory: Path
    archive: Path


@pytest.fixture(scope="module")
def served(
    tmp_path_factory: pytest.TempPathFactory,
    start_service: Callable[..., Service],
    connect: Callable[[str], grpc.Channel],
) -> Iterator[Served]:
    """A storer with a katas directory and an archive."""
    directory, place = tmp_path_factory.mktemp("katas"), tmp_path_factory.mktemp("archive")
    service = start_service(
        "storer",
        CYBER_DOJO_ARCHIVE=str(place),
        CYBER_DOJO_KATAS_DIRECTORY=str(directory),
        CYBER_DOJO_ARCHIVE_BUILD_PRODUCTS="drop",
    )
    yield Served(Katas(Stub(connect(service.address))), directory, place)
    service.stop()
    assert not defects(service)


@pytest.fixture
def katas(served: Served) -> Iterator[Katas]:
    """The katas of that storer, of which there are none."""
    yield served.katas
    empty(served.directory)
    for tar in served.archive.rglob("*.tar.zst"):
        tar.unlink()


@pytest.fixture
def directory(served: Served) -> Path:
    """The katas directory of that storer."""
    return served.directory


def empty(folder: Path) -> None:
    """Remove everything in a folder."""
    for path in folder.iterdir():
        shutil.rmtree(path)


each_damage = pytest.mark.parametrize("damage", DAMAGES)


def write_damaged(directory: Path, damage: str) -> Path:
    """Write a kata whose whale is damaged; return the whale's folder, or file."""
    found = DAMAGES[damage]
    whale = found.write(write_kata(directory))
    found.inflict(whale)
    return whale


def contents(folder: Path) -> dict[str, bytes]:
    """Return the files in a folder, without what git neither names objects nor references."""
    left_out = ("hooks", "info", "logs", "config", "description", "index", "ORIG_HEAD")
    found = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
    return {
        path: content
        for path, content in found.items()
        if not any(path.startswith((f".git/{name}", f".git/objects/{name}")) for name in left_out)
    }


def damaged_of(named: object) -> list[tuple[str, str]]:
    """Return the damaged avatars that a response names, and which file of each is."""
    return [(each.avatar, each.path) for each in named.damaged]  # type: ignore[attr-defined]


def archive(katas: Katas, kata_id: str) -> None:
    """Put a kata into the archive."""
    katas.stub.ArchiveKata(storer_pb2.ArchiveKataRequest(kata_id=kata_id))


def whale_of(katas: Katas, folder: Path) -> dict[str, bytes]:
    """Return all files of the whale, as DownloadKata has them."""
    whale = unpacked(katas.tar(ID), folder, ID) / "whale"
    return {
        str(path.relative_to(whale)): path.read_bytes()
        for path in whale.rglob("*")
        if path.is_file()
    }


def check_the_others(katas: Katas, kata_id: str, sound: list[str], newest: int) -> None:
    """Use each sound avatar in every way; `newest` is the number of their newest lights.

    Each of them gets another light.
    """
    got = katas.get(kata_id)
    assert list(got.avatars) == sorted([*sound, "whale"])
    (damaged,) = got.damaged
    assert damaged.avatar == "whale"
    assert damaged.path.startswith("whale")
    assert damaged.reason
    named = list(got.damaged)

    listed = katas.stub.ListAvatars(storer_pb2.ListAvatarsRequest(kata_id=kata_id))
    assert [(each.avatar, each.newest.number) for each in listed.avatars] == [
        (name, newest) for name in sound
    ]
    assert list(listed.damaged) == named
    lights = katas.stub.ListLights(storer_pb2.ListLightsRequest(kata_id=kata_id, page_size=1))
    assert list(lights.damaged) == named
    lights = katas.stub.ListLights(storer_pb2.ListLightsRequest(kata_id=kata_id))
    assert [each.avatar for each in lights.avatars] == sound
    assert list(lights.damaged) == named
    assert list(katas.import_(kata_id).damaged) == named

    with refused(grpc.StatusCode.RESOURCE_EXHAUSTED):
        katas.start(kata_id, "whale", *sound)
    for rpc, request in OF_AN_AVATAR.items():
        with refused(DATA_LOSS, says="whale"):
            call(katas.stub, rpc, request(kata_id, "whale"))
    with refused(DATA_LOSS, says="whale"):
        katas.lights(kata_id, "whale")

    seen = dict.fromkeys(sound, newest)
    for name in sound:
        with katas.watching(kata_id, seen) as watched:
            assert katas.record(kata_id, name, FILES, colour=GREEN).number == newest + 1
            happened = next(watched)
            assert (happened.avatar, happened.light.number) == (name, newest + 1)
        seen[name] = newest + 1
        assert dict(katas.files(kata_id, name).files) == FILES
        assert katas.diff(kata_id, name, 0, -1)
        assert katas.patch(kata_id, name, newest, -1) is not None
        forking = storer_pb2.ForkKataRequest(kata_id=kata_id, avatar=name, light_number=newest)
        forked = katas.stub.ForkKata(forking).kata_id
        assert katas.get(forked).manifest.files
        assert katas.start(forked, "whale") == "whale"
        katas.delete(forked)


@each_damage
def test_the_rest_of_a_kata_with_a_damaged_avatar_comes_in_and_can_be_used(
    katas: Katas, directory: Path, tmp_path: Path, damage: str
) -> None:
    whale = write_damaged(directory, damage)
    came = {"whale": whale.read_bytes()} if whale.is_file() else contents(whale)
    imported = katas.import_(ID)
    assert list(imported.avatars) == sorted([*SOUND, "whale"])
    ((name, path),) = damaged_of(imported)
    assert name == "whale"
    assert path.startswith(f"whale/{DAMAGES[damage].named}".rstrip("/"))

    check_the_others(katas, ID, SOUND, LIGHTS)

    tar = unpacked(katas.tar(ID), tmp_path / "tar", ID)
    kept = contents(tar / "whale/damaged")
    sandbox = contents(tar / "whale/sandbox")
    assert {**kept, **{f"sandbox/{name}": sandbox[name] for name in sandbox}} == came
    verified = verify(katas, ID)
    assert [(kind, path) for kind, path, _ in verified.kinds()] == [("DAMAGED", path)]
    assert [each.avatar for each in verified.findings] == ["whale"]
    (details,) = katas.stub.ListKatas(storer_pb2.ListKatasRequest(with_details=True)).katas
    assert path in details.details.problem
    assert details.details.light_count == len(SOUND) * (LIGHTS + 1)


@each_damage
def test_a_damaged_avatar_stays_as_it_came_wherever_its_kata_goes(
    katas: Katas, directory: Path, tmp_path: Path, damage: str
) -> None:
    write_damaged(directory, damage)
    named = list(katas.import_(ID).damaged)
    came = whale_of(katas, tmp_path / "came")

    archive(katas, ID)
    assert list(katas.get(ID).damaged) == named
    assert whale_of(katas, tmp_path / "archived") == came
    katas.record(ID, "wolf")
    archive(katas, ID)
    verified = [(kind, path) for kind, path, _ in verify(katas, ID).kinds()]
    assert verified == [("DAMAGED", "whale/damaged.json")]
    assert katas.record(ID, "wolf").number == LIGHTS + 2

    made = backup(katas)
    assert made.states[ID] == "sent"
    assert backup(katas, since_token=made.token).states[ID] == "unchanged"
    assert restore_into(katas, made.tar).outcomes == {ID: "unchanged"}
    katas.record(ID, "wolf")
    newer = katas.tar(ID)

    katas.delete(ID)
    empty(directory)
    restored = restore_into(katas, made.tar)
    assert restored.outcomes == {ID: "restored"}
    assert named[0].reason in restored.reasons[ID]
    assert list(katas.get(ID).damaged) == named
    assert whale_of(katas, tmp_path / "restored") == came
    assert list(katas.restore(newer, overwrite=True).damaged) == named
    assert len(katas.lights(ID, "wolf")) == LIGHTS + 4
    assert whale_of(katas, tmp_path / "replaced") == came


def test_nothing_of_a_damaged_repository_can_run_a_program(
    katas: Katas, directory: Path, tmp_path: Path
) -> None:
    whale = write_damaged(directory, "its list is empty")
    for name in ("hooks/post-checkout", "config", "objects/info/alternates", "objects/x/run"):
        (whale / ".git" / name).parent.mkdir(exist_ok=True)
        (whale / ".git" / name).write_text(f"[core]\n\tfsmonitor = touch {tmp_path}/ran\n")
    shutil.copytree(whale / ".git", whale / "bare")
    shutil.copytree(whale / ".git", whale / "deep/er/.GIT")
    (whale / "other").mkdir()
    (whale / "other/.git").write_text("gitdir: ../.git\n")
    (whale / "link").symlink_to(tmp_path)
    katas.import_(ID)
    damaged = unpacked(katas.tar(ID), tmp_path / "tar", ID) / "whale/damaged"
    found = {str(path.relative_to(damaged)) for path in damaged.rglob("*")}
    assert {".git/HEAD", "bare/HEAD", "deep/er/.GIT/refs/tags/1"} <= found
    assert not {path for path in found if path.endswith(("config", "hooks", "info", "x", "link"))}
    assert "other/.git" not in found
    for repository in (damaged, damaged / "bare"):
        assert len(git(repository, "rev-list", "3").split()) == LIGHTS + 1


def test_a_damaged_avatar_that_was_repaired_by_hand_comes_in_again(
    katas: Katas, directory: Path, tmp_path: Path
) -> None:
    write_damaged(directory, "its list is no JSON")
    katas.import_(ID)
    kata = unpacked(katas.tar(ID), tmp_path / "tar", ID)
    whale = kata / "whale"
    for path in (whale / "damaged").iterdir():
        path.rename(whale / path.name)
    (whale / "damaged").rmdir()
    (whale / "damaged.json").unlink()
    sound = in_folders(write_kata(tmp_path / "sound"))
    shutil.copy(sound / "increments.json", whale / "increments.json")
    tar = tmp_path / "kata.tar"
    shutil.make_archive(str(tar.with_suffix("")), "tar", tmp_path / "tar", ID[:2])
    restored = katas.restore(tar.read_bytes(), overwrite=True)
    assert not restored.damaged
    assert len(katas.lights(ID, "whale")) == LIGHTS + 1


# --- What is whole is not replaced by what is damaged


@pytest.fixture(params=["in a data-container", "in the archive", "in the katas directory"])
def whole(request: pytest.FixtureRequest, katas: Katas, directory: Path) -> str:
    """A kata with a whole whale, in each place where it can be; the place."""
    in_git(write_kata(directory))
    if request.param != "in the katas directory":
        katas.import_(ID)
    if request.param == "in the archive":
        archive(katas, ID)
    return str(request.param)


@pytest.mark.usefixtures("whole")
def test_a_damaged_avatar_does_not_replace_a_whole_one(katas: Katas, tmp_path: Path) -> None:
    (tmp_path / "damaged").mkdir()
    write_damaged(tmp_path / "damaged", "an object is broken")
    shutil.make_archive(str(tmp_path / "kata"), "tar", tmp_path / "damaged", ID[:2])
    tar = (tmp_path / "kata.tar").read_bytes()
    with refused(DATA_LOSS, says="the whale that is here is whole, and stays"):
        katas.restore(tar, overwrite=True)
    assert restore_into(katas, tar, overwrite=True).outcomes == {ID: "skipped"}
    restored = restore_into(katas, tar, overwrite=True, discard_lights=True)
    assert restored.outcomes == {ID: "refused"}
    assert "the whale that is here is whole, and stays" in restored.reasons[ID]
    assert restore_into(katas, tar).outcomes == {ID: "skipped"}
    assert not katas.get(ID).damaged
    assert len(katas.lights(ID, "whale")) == LIGHTS + 1


# --- An avatar that is damaged later, on the disk


def rot(path: Path) -> None:
    """Overwrite a file with something else, as a disk can."""
    overwrite(path, lambda content: bytes(len(content)))


def become_empty(whale: Path) -> None:
    shutil.rmtree(whale)
    whale.mkdir()


def lose_list_and_start(whale: Path) -> None:
    become_a_folder(whale / "increments.json")
    object_path(whale, "0:light.json").unlink()


ROT: dict[str, Callable[[Path], object]] = {
    "all files are gone": become_empty,
    "its repository is gone": lambda whale: shutil.rmtree(whale / ".git"),
    "its objects are gone": lambda whale: shutil.rmtree(whale / ".git/objects"),
    "its references are gone": lambda whale: shutil.rmtree(whale / ".git/refs"),
    "its repository is a file": lambda whale: become_a_file(whale / ".git"),
    "its start is rotten": lambda whale: rot(object_path(whale, "0:light.json")),
    "its list is a folder, and its start is gone": lose_list_and_start,
}

OLDER_ROT: dict[str, Callable[[Path], object]] = {
    "a file of light 1 is rotten": lambda whale: rot(object_path(whale, "1:sandbox/hiker.c")),
    "a file of light 1 is another": lambda whale: overwrite(
        object_path(whale, "1:sandbox/hiker.c"), another_content
    ),
    "the tree of light 1 is gone": lambda whale: object_path(whale, "1^{tree}").unlink(),
    "its list is rotten": lambda whale: rot(whale / "increments.json"),
    "its list is gone": lambda whale: (whale / "increments.json").unlink(),
    "its manifest is rotten": lambda whale: rot(whale / "manifest.json"),
    "its manifest is gone": lambda whale: (whale / "manifest.json").unlink(),
    "HEAD is rotten": lambda whale: rot(whale / ".git/HEAD"),
}

OTHERS = ["bat", "zebra"]


def play(katas: Katas, lights: int = 2) -> str:
    """Create a kata with three avatars who ran tests; return its id."""
    kata_id = katas.started(*OTHERS, "whale")
    for number in range(1, lights + 1):
        for name in (*OTHERS, "whale"):
            katas.record(kata_id, name, {**FILES, "hiker.c": b"%d %s" % (number, name.encode())})
    return kata_id


@pytest.fixture
def restarted(
    start_storer: Callable[..., Service], client: Callable[[Service], Katas], tmp_path: Path
) -> Callable[[], Katas]:
    """Starts storers that have cached nothing, on the same katas and archive."""
    services: list[Service] = []

    def start() -> Katas:
        for each in services:
            each.stop()
        services.append(start_storer(CYBER_DOJO_ARCHIVE=str(tmp_path / "archive")))
        return client(services[-1])

    return start


@pytest.mark.parametrize("damage", ROT)
def test_an_avatar_that_is_damaged_on_the_disk_takes_no_other_along(
    restarted: Callable[[], Katas], folder: Callable[[str], Path], damage: str
) -> None:
    katas = restarted()
    kata_id = play(katas)
    katas = restarted()  # the log is empty now, so no damage is mended from it
    ROT[damage](folder(kata_id) / "whale")
    check_the_others(katas, kata_id, OTHERS, 2)
    for mend in (False, True):
        assert {each.avatar for each in verify(katas, kata_id, mend=mend).findings} == {"whale"}
    check_the_kata_moves(katas, kata_id)


@pytest.mark.parametrize("damage", OLDER_ROT)
def test_damage_that_leaves_the_newest_lights_takes_nobody_along(
    restarted: Callable[[], Katas], folder: Callable[[str], Path], damage: str
) -> None:
    katas = restarted()
    kata_id = play(katas)
    katas = restarted()
    OLDER_ROT[damage](folder(kata_id) / "whale")
    assert not katas.get(kata_id).damaged
    assert katas.record(kata_id, "whale").number == 3
    assert {each.avatar for each in verify(katas, kata_id).findings} <= {"whale"}
    for name in OTHERS:
        assert katas.record(kata_id, name).number == 3
    check_the_kata_moves(katas, kata_id)


def check_the_kata_moves(katas: Katas, kata_id: str) -> None:
    """Check that the sound avatars, with three lights, go with the kata wherever it goes."""
    everybody = sorted([*OTHERS, "whale"])
    archive(katas, kata_id)
    assert list(katas.get(kata_id).avatars) == everybody
    for name in OTHERS:
        assert katas.record(kata_id, name).number == 4
    archive(katas, kata_id)
    tar = katas.tar(kata_id)
    made = backup(katas)
    assert made.states[kata_id] == "sent"
    for restore in (lambda: restore_into(katas, made.tar), lambda: katas.restore(tar)):
        katas.delete(kata_id)
        restore()
        assert list(katas.get(kata_id).avatars) == everybody
        for name in OTHERS:
            assert len(katas.lights(kata_id, name)) == 5


def test_the_archive_keeps_a_whole_avatar_that_is_damaged_here(
    restarted: Callable[[], Katas], folder: Callable[[str], Path], tmp_path: Path
) -> None:
    katas = restarted()
    kata_id = play(katas, 12)  # more objects than are archived unpacked
    archive(katas, kata_id)
    katas.record(kata_id, "bat")
    whale = folder(kata_id) / "whale"
    pack = next((whale / ".git/objects/pack").glob("*.pack"))
    rot(pack)
    katas = restarted()
    tars = {path: path.read_bytes() for path in tmp_path.rglob("*.zst")}
    with refused(DATA_LOSS, says="whole in the archive"):
        archive(katas, kata_id)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.zst")} == tars
    assert katas.record(kata_id, "bat").number == 14
    assert [each.avatar for each in katas.get(kata_id).damaged] == ["whale"]
