"""ImportKata, and the import that every other RPC does when needed."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.json_format import MessageToDict

from cyberdojo.colour.v1 import colour_pb2
from cyberdojo.storer.v1 import storer_pb2
from dojo.engine.data_containers import DataContainers
from support.services import Service, code_of
from support.storer.calls import OF_A_KATA
from support.storer.katas_directories import (
    ALL,
    BUFFALO,
    BUILT,
    DOLPHIN,
    GORILLA,
    HUMMINGBIRD,
    REAL,
    SNAKE,
    SPIDER,
    TURTLE,
    WOLF,
    LegacyKata,
    each_legacy_kata,
    files,
    increments,
    manifest,
    params,
)
from support.storer.storing import GREEN, Katas, Stub, a_test, at_once, git, refused, timestamp


@pytest.mark.real_katas
@pytest.mark.skipif(
    not REAL, reason="CYBER_DOJO_SHARED names no folder with real katas: none of them was tried"
)
def test_real_and_built_katas_share_no_id() -> None:
    assert not {kata.id for kata in REAL} & {kata.id for kata in BUILT}


def listing(top: Path) -> dict[str, tuple[object, ...]]:
    """Return everything about the files in a folder except their access times."""
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted([top, *top.rglob("*")]):
        status = path.lstat()
        content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        found[str(path)] = (
            *(status.st_mode, status.st_uid, status.st_gid, status.st_nlink),
            *(status.st_size, status.st_mtime_ns, status.st_ctime_ns, content),
        )
    return found


def time_of(parts: list[int]) -> datetime:
    year, month, day, hour, minute, second = parts
    return datetime(year, month, day, hour, minute, second, tzinfo=UTC)


@each_legacy_kata
def test_a_legacy_kata_keeps_every_light_and_every_file(
    katas: Katas, katas_directory: Path, kata: LegacyKata
) -> None:
    imported = katas.import_(kata.id)
    assert not imported.already_imported
    assert list(imported.avatars) == ([kata.avatar] if kata.avatar else [])
    if not kata.avatar:
        return
    recorded = increments(kata, katas_directory)
    start, *lights = katas.lights(kata.id, kata.avatar)
    assert start.number == 0
    assert start.colour == colour_pb2.COLOUR_UNSPECIFIED
    assert [light.number for light in lights] == list(range(1, kata.newest + 1))
    for light, source in zip(lights, recorded, strict=True):
        assert light.number == source["number"]
        colour = source["colour"] if "colour" in source else source["outcome"]
        assert light.colour == colour_pb2.Colour.Value(f"COLOUR_{colour.upper()}")
        assert light.time == timestamp(time_of(source["time"]))
    for number in range(kata.newest + 1):
        expected = files(kata, katas_directory, number)
        output = expected.pop("output", b"")
        found = katas.files(kata.id, kata.avatar, number)
        assert dict(found.files) == expected, number
        assert found.stdout.content == output, number
        assert found.stderr.content == b""


@each_legacy_kata
def test_plain_git_reads_the_repository_of_a_legacy_kata(
    katas: Katas, folder: Callable[[str], Path], kata: LegacyKata
) -> None:
    katas.import_(kata.id)
    if not kata.avatar:
        return
    avatar = folder(kata.id) / kata.avatar
    assert sorted(int(tag) for tag in git(avatar, "tag").split()) == list(range(kata.newest + 1))
    assert len(git(avatar, "rev-list", str(kata.newest)).split()) == kata.newest + 1
    git(avatar, "fsck")


@pytest.mark.parametrize("kata", params(lambda kata: not kata.in_git and kata.newest))
def test_a_folder_per_light_becomes_commits_with_the_recorded_times(
    katas: Katas, katas_directory: Path, folder: Callable[[str], Path], kata: LegacyKata
) -> None:
    katas.import_(kata.id)
    avatar = folder(kata.id) / kata.avatar
    for each in increments(kata, katas_directory):
        committed = int(git(avatar, "log", "-1", "--format=%ct", str(each["number"])))
        assert committed == time_of(each["time"]).timestamp()
    assert not (avatar / "1").exists()


@each_legacy_kata
def test_the_manifest_of_a_legacy_kata_is_read_and_unknown_keys_are_kept(
    katas: Katas, katas_directory: Path, folder: Callable[[str], Path], kata: LegacyKata
) -> None:
    katas.import_(kata.id)
    source = manifest(kata, katas_directory)
    found = katas.get(kata.id)
    assert found.created == timestamp(time_of(source["created"]))
    expected = dict(source["visible_files"])
    expected.pop("output", None)
    assert {name: text.decode() for name, text in found.manifest.files.items()} == expected
    assert found.manifest.exercise == (source.get("exercise") or "")
    assert found.manifest.tab_size == source.get("tab_size", 4)
    known = {
        *("id", "created", "visible_files", "exercise", "tab_size", "display_name"),
        *("image_name", "filename_extension", "max_seconds", "highlight_filenames"),
        *("progress_regexs", "hidden_filenames", "colour_rule", "red_amber_green"),
    }
    other = MessageToDict(found.manifest.other)
    assert other == {key: value for key, value in source.items() if key not in known}
    # The file on disk is unchanged.
    assert json.loads((folder(kata.id) / "manifest.json").read_bytes()) == source


@pytest.mark.parametrize(
    ("kata", "display_name", "image_name"),
    [
        (BUFFALO, "C (gcc), assert", "cyberdojofoundation/gcc_assert"),
        (HUMMINGBIRD, "Python, pytest", "cyberdojofoundation/python_pytest"),
        (WOLF, "Ruby, RSpec", "cyberdojofoundation/ruby_rspec"),
    ],
)
def test_a_legacy_language_gets_its_present_image(
    katas: Katas, kata: LegacyKata, display_name: str, image_name: str
) -> None:
    found = katas.get(kata.id).manifest
    assert (found.display_name, found.image_name) == (display_name, image_name)


def test_a_custom_display_name_and_a_given_image_are_kept(
    katas: Katas, katas_directory: Path
) -> None:
    source = manifest(TURTLE, katas_directory)
    found = katas.get(TURTLE.id).manifest
    assert found.display_name == source["display_name"]
    assert found.image_name == source["image_name"]


def test_stray_files_are_left_out(
    katas: Katas, katas_directory: Path, folder: Callable[[str], Path]
) -> None:
    strays = {path.name for path in katas_directory.rglob("*") if is_stray(path)}
    assert strays == {"._manifest.json", "._increments.json", "f.lock"}  # the source has strays
    for kata in (SNAKE, BUFFALO):
        katas.import_(kata.id)
        assert not [path for path in folder(kata.id).rglob("*") if is_stray(path)]


def is_stray(path: Path) -> bool:
    return path.name.startswith("._") or path.name == "f.lock"


def test_importing_leaves_the_source_untouched(katas: Katas, katas_directory: Path) -> None:
    before = listing(katas_directory)
    for kata in ALL:
        katas.import_(kata.id)
        if kata.avatar:
            katas.record(kata.id, kata.avatar)
        katas.delete(kata.id)
    assert listing(katas_directory) == before


def test_an_imported_avatar_has_a_sandbox_of_its_own(
    katas: Katas, folder: Callable[[str], Path]
) -> None:
    for kata in (SPIDER, DOLPHIN):
        katas.import_(kata.id)
        sandbox = folder(kata.id) / kata.avatar / "sandbox"
        owners = {path.stat().st_uid for path in (sandbox, *sandbox.rglob("*"))}
        assert len(owners) == 1
        assert owners.pop() >= 40000
        newest = katas.files(kata.id, kata.avatar).files
        for name, content in newest.items():
            assert (sandbox / name).read_bytes() == content


def test_the_second_import_changes_nothing_and_says_so(
    katas: Katas, folder: Callable[[str], Path]
) -> None:
    first = katas.import_(SPIDER.id)
    katas.record(SPIDER.id, "spider")
    before = listing_without_journal(folder(SPIDER.id))
    second = katas.import_(SPIDER.id)
    assert (first.already_imported, second.already_imported) == (False, True)
    assert second.avatars == first.avatars
    assert listing_without_journal(folder(SPIDER.id)) == before


def listing_without_journal(kata: Path) -> dict[str, tuple[object, ...]]:
    """Return the same without the spider's log, which a checkpoint empties at any moment."""
    found = listing(kata)
    del found[str(kata / "spider" / ".journal")]
    return found


def test_importing_an_unknown_kata_is_not_found(
    katas: Katas, data_containers: DataContainers
) -> None:
    with refused(grpc.StatusCode.NOT_FOUND, says="0000000000"):
        katas.import_("0000000000")
    assert not data_containers.folder("0000000000").exists()


def first_watched(katas: Katas) -> storer_pb2.WatchKataResponse:
    watching = katas.stub.WatchKata(storer_pb2.WatchKataRequest(kata_id=SPIDER.id))
    first: storer_pb2.WatchKataResponse = next(iter(watching))
    watching.cancel()
    return first


def first_watched_of_katas(katas: Katas) -> storer_pb2.WatchKatasResponse:
    request = storer_pb2.WatchKatasRequest(katas=[storer_pb2.WatchKataRequest(kata_id=SPIDER.id)])
    watching = katas.stub.WatchKatas(request)
    first: storer_pb2.WatchKatasResponse = next(iter(watching))
    watching.cancel()
    assert first.happened.avatar == "spider"
    return first


TOUCHES: dict[str, Callable[[Katas], object]] = {
    "GetKata": lambda katas: katas.get(SPIDER.id),
    "ForkKata": lambda katas: katas.stub.ForkKata(
        storer_pb2.ForkKataRequest(kata_id=SPIDER.id, avatar="spider", light_number=0)
    ),
    "StartAvatar": lambda katas: katas.start(SPIDER.id, "whale"),
    "ListAvatars": lambda katas: katas.stub.ListAvatars(
        storer_pb2.ListAvatarsRequest(kata_id=SPIDER.id)
    ),
    "ListLights": lambda katas: katas.lights(SPIDER.id, "spider"),
    "WatchKata": first_watched,
    "RecordTest": lambda katas: katas.stub.RecordTest(a_test(SPIDER.id, "spider")),
    "GetFiles": lambda katas: katas.files(SPIDER.id, "spider"),
    "GetOutputs": lambda katas: katas.stub.GetOutputs(OF_A_KATA["GetOutputs"](SPIDER.id)),
    "WatchKatas": first_watched_of_katas,
    "DiffLights": lambda katas: katas.diff(SPIDER.id, "spider", 0, 8),
    "DownloadPatch": lambda katas: katas.patch(SPIDER.id, "spider", 0, 8),
    "DownloadKata": lambda katas: katas.tar(SPIDER.id),
}


@pytest.mark.parametrize("rpc", TOUCHES)
def test_any_call_that_names_a_kata_imports_it(
    katas: Katas, data_containers: DataContainers, rpc: str
) -> None:
    assert not data_containers.exists(SPIDER.id)
    TOUCHES[rpc](katas)
    assert data_containers.exists(SPIDER.id)
    assert katas.import_(SPIDER.id).already_imported


def test_16_simultaneous_calls_import_once(katas: Katas, storer_service: Service) -> None:
    before = imports(storer_service, katas)
    answers = at_once(lambda _: katas.lights(GORILLA.id, GORILLA.avatar), range(16))
    assert all(answer == answers[0] for answer in answers)
    assert len(answers[0]) == GORILLA.newest + 1
    assert imports(storer_service, katas) == before + 1


def imports(service: Service, katas: Katas) -> int:
    """Return how often a kata was imported so far."""
    # The log is read in the background: once this event is there, all earlier ones are.
    newest = {"event": "kata created", "kata": katas.create()}
    service.wait_for_event(lambda event: newest.items() <= event.items())
    return sum(event["event"] == "kata imported" for event in service.events())


# --- Damaged katas


def truncate(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def set_in_manifest(path: Path, key: str, value: object) -> None:
    found = json.loads(path.read_bytes())
    found[key] = value
    path.write_text(json.dumps(found))


DAMAGES: dict[str, tuple[LegacyKata, Callable[[Path], object], str]] = {
    "the kata's manifest is truncated": (
        SPIDER,
        lambda kata: truncate(kata / "manifest.json"),
        "manifest.json",
    ),
    "the kata's manifest is a list": (
        SPIDER,
        lambda kata: (kata / "manifest.json").write_text("[]"),
        "manifest.json",
    ),
    "the kata's manifest is of another kata": (
        SPIDER,
        lambda kata: set_in_manifest(kata / "manifest.json", "id", TURTLE.id),
        "manifest.json",
    ),
    "the kata was created at no time": (
        SPIDER,
        lambda kata: set_in_manifest(kata / "manifest.json", "created", [2018, 13, 1, 0, 0, 0]),
        "manifest.json",
    ),
    "max_seconds is beyond all numbers": (
        SPIDER,
        lambda kata: set_in_manifest(kata / "manifest.json", "max_seconds", 10**12),
        "manifest.json",
    ),
}


@pytest.fixture(scope="module")
def damaged_katas(
    tmp_path_factory: pytest.TempPathFactory,
    start_service: Callable[..., Service],
    connect: Callable[[str], grpc.Channel],
) -> Iterator[tuple[Katas, Path]]:
    """A storer with a katas directory for the tests to damage."""
    directory = tmp_path_factory.mktemp("damaged")
    service = start_service("storer", CYBER_DOJO_KATAS_DIRECTORY=str(directory))
    yield Katas(Stub(connect(service.address))), directory
    service.stop()
    assert not "\n".join(service.troubles())


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_kata_is_refused_by_file_and_leaves_nothing(
    damaged_katas: tuple[Katas, Path],
    katas_directory: Path,
    data_containers: DataContainers,
    damage: str,
) -> None:
    katas, directory = damaged_katas
    kata, inflict, named = DAMAGES[damage]
    for each in (SPIDER, DOLPHIN):
        shutil.rmtree(each.folder(directory), ignore_errors=True)
        shutil.copytree(each.folder(katas_directory), each.folder(directory), symlinks=True)
    inflict(kata.folder(directory))

    with refused(grpc.StatusCode.DATA_LOSS, says=f"kata {kata.id} is damaged: {named}"):
        katas.import_(kata.id)
    codes = at_once(lambda _: code_of(lambda: katas.get(kata.id)), range(8))
    assert codes == [grpc.StatusCode.DATA_LOSS] * 8

    assert not data_containers.folder(kata.id).exists()
    name = data_containers.namespace.kata(kata.id)
    assert not data_containers.engine.api.containers(all=True, filters={"name": name})
    sound = SPIDER if kata is DOLPHIN else DOLPHIN
    assert list(katas.import_(sound.id).avatars) == [sound.avatar]
    listed = katas.stub.ListKatas(storer_pb2.ListKatasRequest()).katas
    assert {each.kata_id for each in listed} == {SPIDER.id, DOLPHIN.id}


def test_a_kata_that_was_repaired_can_be_imported(
    damaged_katas: tuple[Katas, Path], katas_directory: Path
) -> None:
    katas, directory = damaged_katas
    shutil.rmtree(SPIDER.folder(directory), ignore_errors=True)
    shutil.copytree(SPIDER.folder(katas_directory), SPIDER.folder(directory))
    os.truncate(SPIDER.folder(directory) / "manifest.json", 10)
    with refused(grpc.StatusCode.DATA_LOSS):
        katas.get(SPIDER.id)
    shutil.copy(SPIDER.folder(katas_directory) / "manifest.json", SPIDER.folder(directory))
    assert list(katas.get(SPIDER.id).avatars) == ["spider"]
    assert katas.record(SPIDER.id, "spider", colour=GREEN).number == 9


def test_a_legacy_language_without_an_image_keeps_its_name(
    damaged_katas: tuple[Katas, Path], katas_directory: Path
) -> None:
    katas, directory = damaged_katas
    shutil.rmtree(DOLPHIN.folder(directory), ignore_errors=True)
    shutil.copytree(DOLPHIN.folder(katas_directory), DOLPHIN.folder(directory))
    old = {**manifest(DOLPHIN, directory), "language": "Fortran-FUnit"}
    del old["display_name"], old["image_name"]
    (DOLPHIN.folder(directory) / "manifest.json").write_text(json.dumps(old))
    found = katas.get(DOLPHIN.id).manifest
    assert (found.display_name, found.image_name) == ("Fortran-FUnit", "")


@pytest.fixture
def own_directory(katas_directory: Path, tmp_path: Path) -> Path:
    """A copy of the katas directory that a test may change."""
    copied = tmp_path / "katas"
    shutil.copytree(katas_directory, copied, symlinks=True)
    return copied


@pytest.fixture
def start_on_own_directory(
    start_storer: Callable[..., Service],
    client: Callable[[Service], Katas],
    elsewhere: DataContainers,
    own_directory: Path,
) -> Callable[..., tuple[Service, Katas]]:
    """Starts a storer with that katas directory, in another namespace."""

    def start(**environ: str) -> tuple[Service, Katas]:
        service = start_storer(
            CYBER_DOJO_NAMESPACE=elsewhere.namespace.name,
            CYBER_DOJO_KATAS_DIRECTORY=str(own_directory),
            **environ,
        )
        return service, client(service)

    return start


def wait_for_log(service: Service, event: str, kata: LegacyKata) -> dict[str, Any]:
    return service.wait_for_event(
        lambda found: found["event"] == event and found["kata"] == kata.id
    )


def source_of(directory: Path, kata: LegacyKata) -> Path:
    return directory / kata.id[:2] / kata.id[2:]


@pytest.mark.parametrize("is_imported", [True, False])
def test_a_deleted_kata_stays_away_though_the_katas_directory_has_it(
    start_on_own_directory: Callable[..., tuple[Service, Katas]],
    own_directory: Path,
    *,
    is_imported: bool,
) -> None:
    before = listing(own_directory)
    service, katas = start_on_own_directory()
    if is_imported:
        katas.import_(SPIDER.id)
    request = storer_pb2.DeleteKataRequest(kata_id=SPIDER.id)
    assert katas.stub.DeleteKata(request).stays_in_katas_directory
    service.stop()
    _, katas = start_on_own_directory()
    page = katas.stub.ListKatas(storer_pb2.ListKatasRequest(prefix=SPIDER.id))
    assert not page.katas
    partial = storer_pb2.CompleteKataIdRequest(partial_id=SPIDER.id[:6])
    assert not katas.stub.CompleteKataId(partial).kata_ids
    for call in (katas.get, katas.import_, katas.delete):
        with refused(grpc.StatusCode.NOT_FOUND):
            call(SPIDER.id)
    assert listing(own_directory) == before
    again = katas.stub.ImportKata(storer_pb2.ImportKataRequest(kata_id=SPIDER.id, undelete=True))
    assert list(again.avatars) == [SPIDER.avatar]
    assert len(katas.lights(SPIDER.id, SPIDER.avatar)) == SPIDER.newest + 1


def test_katas_of_a_writable_katas_directory_are_removed_there_once_they_are_imported(
    start_on_own_directory: Callable[..., tuple[Service, Katas]], own_directory: Path
) -> None:
    service, katas = start_on_own_directory()
    imported = (SPIDER, WOLF)
    for kata in imported:
        katas.import_(kata.id)
    katas.record(SPIDER.id, SPIDER.avatar)
    service.stop()
    service, katas = start_on_own_directory(CYBER_DOJO_KATAS_DIRECTORY_MODE="rw")
    for kata in imported:
        wait_for_log(service, "kata removed from the katas directory", kata)
        assert not source_of(own_directory, kata).exists()
    assert source_of(own_directory, DOLPHIN).exists()
    assert not list(own_directory.glob("*/.*"))
    assert len(katas.lights(SPIDER.id, SPIDER.avatar)) == SPIDER.newest + 2
    katas.delete(SPIDER.id)
    deleted = storer_pb2.DeleteKataRequest(kata_id=DOLPHIN.id)
    assert not katas.stub.DeleteKata(deleted).stays_in_katas_directory
    assert not source_of(own_directory, DOLPHIN).exists()
    with refused(grpc.StatusCode.NOT_FOUND):
        katas.get(DOLPHIN.id)


def test_a_kata_that_is_damaged_or_lacks_lights_is_not_removed_from_the_katas_directory(
    start_on_own_directory: Callable[..., tuple[Service, Katas]],
    own_directory: Path,
    elsewhere: DataContainers,
) -> None:
    service, katas = start_on_own_directory()
    katas.import_(SPIDER.id)
    katas.import_(WOLF.id)
    service.stop()
    (elsewhere.folder(SPIDER.id) / SPIDER.avatar / "increments.json").write_bytes(b"[")
    shutil.rmtree(elsewhere.folder(WOLF.id) / WOLF.avatar)
    service, _ = start_on_own_directory(CYBER_DOJO_KATAS_DIRECTORY_MODE="rw")
    for kata in (SPIDER, WOLF):
        told = wait_for_log(service, "kata stays in the katas directory", kata)
        assert kata.avatar in told["reason"]
        assert source_of(own_directory, kata).exists()
