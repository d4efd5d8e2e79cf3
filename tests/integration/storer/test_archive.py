"""The archive: idle katas are stored in one compressed tar each, and fetched again."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
import zstandard

from cyberdojo.storer.v1 import storer_pb2
from dojo import locks
from dojo.engine.data_containers import DataContainers
from storer.archive import index
from storer.archive.location import open_archive
from storer.kata.kata import Kata
from support.services import Service, code_of, files_in_use, wait_until
from support.storer.backups import backup
from support.storer.katas_directories import ALL, GORILLA, SPIDER
from support.storer.storing import FILES, GREEN, Katas, at_once, git, refused, unpacked
from support.storer.verifying import verify

ALL_IDS = sorted(kata.id for kata in ALL)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """The directory of an archive."""
    return tmp_path / "archive"


@pytest.fixture
def storer_with_archive(
    place: Path, katas_directory: Path, start_storer: Callable[..., Service]
) -> Service:
    """A storer with an archive in a directory."""
    return start_storer(
        CYBER_DOJO_ARCHIVE=str(place), CYBER_DOJO_KATAS_DIRECTORY=str(katas_directory)
    )


@pytest.fixture
def katas(storer_with_archive: Service, client: Callable[[Service], Katas]) -> Katas:
    """The katas of that storer."""
    return client(storer_with_archive)


def archive(katas: Katas, kata_id: str) -> None:
    """Put a kata into the archive."""
    katas.stub.ArchiveKata(storer_pb2.ArchiveKataRequest(kata_id=kata_id))


def complete(katas: Katas, partial_id: str) -> list[str]:
    """Return the ids that a partial id can stand for."""
    request = storer_pb2.CompleteKataIdRequest(partial_id=partial_id)
    return list(katas.stub.CompleteKataId(request).kata_ids)


def list_katas(katas: Katas, **fields: object) -> list[storer_pb2.ListedKata]:
    """Return a page of katas."""
    request = storer_pb2.ListKatasRequest(**fields)  # type: ignore[arg-type]
    return list(katas.stub.ListKatas(request).katas)


def played(katas: Katas, lights: int = 3) -> str:
    """Create a kata in which the whale ran some tests; return its id."""
    kata_id = katas.started("whale", "zebra")
    for number in range(1, lights + 1):
        katas.record(kata_id, "whale", {**FILES, "hiker.c": b"int a = %d;\n" % number})
    return kata_id


def objects(place: Path, kata_id: str) -> list[Path]:
    """Return the path of a kata's tar in the archive."""
    return sorted((place / kata_id[:2].lower()).glob(f"{kata_id.lower()}.{kata_id}.*"))


def test_an_archived_kata_has_no_container_or_volume_and_is_fetched_by_the_next_call(
    katas: Katas, place: Path, data_containers: DataContainers
) -> None:
    kata_id = played(katas)
    lights = katas.lights(kata_id, "whale")
    archive(katas, kata_id)
    api = data_containers.engine.api
    name = data_containers.namespace.kata(kata_id)
    assert not api.containers(all=True, filters={"name": name})
    assert not data_containers.folder(kata_id).exists()
    assert [path.name for path in objects(place, kata_id)] == [
        f"{kata_id.lower()}.{kata_id}.tar.zst"
    ]
    assert katas.lights(kata_id, "whale") == lights
    assert api.containers(all=True, filters={"name": name})
    assert dict(katas.files(kata_id, "whale", 2).files)["hiker.c"] == b"int a = 2;\n"
    assert katas.record(kata_id, "whale", colour=GREEN).number == 4
    assert katas.start(kata_id, "zebra", "snake") == "snake"


@pytest.mark.parametrize("kata_id", ALL_IDS)
def test_a_fetched_kata_is_the_kata_that_was_archived(
    kata_id: str, katas: Katas, tmp_path: Path
) -> None:
    katas.import_(kata_id)
    before = unpacked(katas.tar(kata_id), tmp_path / "before", kata_id)
    archive(katas, kata_id)
    after = unpacked(katas.tar(kata_id), tmp_path / "after", kata_id)
    assert listed(before) == listed(after)
    for avatar in katas.get(kata_id).avatars:
        assert history(before / avatar) == history(after / avatar)
        assert git(before / avatar, "status", "-s") == git(after / avatar, "status", "-s")
        git(after / avatar, "fsck", "--full", "--strict")


def listed(folder: Path) -> dict[str, tuple[object, ...]]:
    """Return the owners, modes and contents in a folder, and the exact times in sandboxes."""
    found: dict[str, tuple[object, ...]] = {}
    for path in folder.rglob("*"):
        if ".git" in path.relative_to(folder).parts:
            continue
        status, name = path.lstat(), str(path.relative_to(folder))
        content = path.read_bytes() if path.is_file() else b""
        time = status.st_mtime_ns if "/sandbox/" in name and path.is_file() else 0
        found[name] = (status.st_uid, status.st_gid, status.st_mode, content, time)
    return found


def history(avatar: Path) -> bytes:
    """Return what git has of an avatar: every reference, and the objects that they lead to."""
    return git(avatar, "for-each-ref") + git(avatar, "rev-list", "--all", "--objects")


def test_many_lights_are_archived_as_one_pack(
    katas: Katas, data_containers: DataContainers
) -> None:
    kata_id = played(katas, 12)
    before = history(data_containers.folder(kata_id) / "whale")
    archive(katas, kata_id)
    katas.import_(kata_id)
    repository = data_containers.folder(kata_id) / "whale" / ".git"
    assert not [path for path in (repository / "objects").iterdir() if len(path.name) == 2]
    assert history(repository.parent) == before
    git(repository.parent, "fsck", "--full", "--strict")
    katas.record(kata_id, "whale")
    archive(katas, kata_id)
    assert [light.number for light in katas.lights(kata_id, "whale")] == list(range(14))


def test_a_few_new_lights_are_archived_unpacked_and_many_repack_everything(
    katas: Katas, data_containers: DataContainers
) -> None:
    kata_id = played(katas, 20)
    whale = data_containers.folder(kata_id) / "whale"
    loose = []
    for number in range(20, 44, 2):
        archive(katas, kata_id)
        katas.import_(kata_id)
        assert len(list((whale / ".git/objects/pack").glob("*.pack"))) == 1
        loose.append(len(list((whale / ".git/objects").glob("[0-9a-f][0-9a-f]/*"))))
        assert (whale / ".git/refs/tags" / str(number)).exists()
        assert [light.number for light in katas.lights(kata_id, "whale")] == list(range(number + 1))
        git(whale, "fsck", "--full", "--strict")
        for more in (1, 2):
            katas.record(kata_id, "whale", {**FILES, "a.c": b"int a = %d;\n" % (number + more)})
    assert loose[0] == 0
    assert loose[1] > 0
    assert 0 in loose[2:]


def test_a_fetched_kata_reuses_a_volume_that_has_no_container(
    katas: Katas, data_containers: DataContainers
) -> None:
    kata_id = played(katas)
    archive(katas, kata_id)
    data_containers.ensure_volume(kata_id)  # as if a storer was killed after it
    assert not data_containers.has_handle(kata_id)
    assert len(katas.lights(kata_id, "whale")) == 4
    assert data_containers.has_handle(kata_id)


def test_what_runs_left_in_a_sandbox_is_archived_unless_it_is_dropped(
    katas: Katas,
    place: Path,
    data_containers: DataContainers,
    start_storer: Callable[..., Service],
    client: Callable[[Service], Katas],
) -> None:
    dropping = client(
        start_storer(CYBER_DOJO_ARCHIVE=str(place), CYBER_DOJO_ARCHIVE_BUILD_PRODUCTS="drop")
    )
    kata_id = katas.started("whale", files={**FILES, "lib/deep/a.c": b"a\n"})
    sandbox = data_containers.folder(kata_id) / "whale" / "sandbox"

    def build() -> None:
        (sandbox / "lib" / "deep" / "a.o").write_bytes(b"\x7fELF")
        (sandbox / "obj").mkdir()
        (sandbox / "obj" / "hiker.o").symlink_to("../lib/deep/a.o")

    def names() -> set[str]:
        return {str(path.relative_to(sandbox)) for path in sandbox.rglob("*")}

    build()
    everything = names()
    archive(katas, kata_id)
    katas.import_(kata_id)
    assert names() == everything
    (sandbox / "new").touch()  # else the archive is up to date
    archive(dropping, kata_id)
    katas.import_(kata_id)
    assert names() == {*FILES, "lib", "lib/deep", "lib/deep/a.c"}


def test_a_kata_that_did_not_change_is_not_written_again(
    katas: Katas, place: Path, data_containers: DataContainers
) -> None:
    kata_id = played(katas)
    archive(katas, kata_id)
    (first,) = objects(place, kata_id)

    def version() -> tuple[int, int]:  # the time alone can be equal within a tick of the clock
        status = first.stat()
        return status.st_ino, status.st_mtime_ns

    written = version()
    katas.import_(kata_id)
    katas.lights(kata_id, "whale")
    archive(katas, kata_id)
    assert version() == written
    katas.import_(kata_id)
    (data_containers.folder(kata_id) / "whale" / "sandbox" / "a.out").write_bytes(b"new")
    archive(katas, kata_id)
    assert version() != written
    katas.import_(kata_id)
    katas.record(kata_id, "zebra")
    archive(katas, kata_id)
    assert len(katas.lights(kata_id, "zebra")) == 2


def test_an_archived_kata_is_completed_and_listed(katas: Katas) -> None:
    kata_id = played(katas)
    archive(katas, kata_id)
    assert complete(katas, kata_id[:6]) == [kata_id]
    assert complete(katas, kata_id[:7].lower()) == [kata_id]
    (listed_,) = list_katas(katas, prefix=kata_id)
    assert (listed_.source, listed_.in_archive) == (storer_pb2.KATA_SOURCE_ARCHIVE, True)
    katas.import_(kata_id)
    (listed_,) = list_katas(katas, prefix=kata_id)
    assert (listed_.source, listed_.in_archive) == (storer_pb2.KATA_SOURCE_DATA_CONTAINER, True)
    assert complete(katas, kata_id[:6]) == [kata_id]


def test_katas_are_listed_in_pages_wherever_they_are(katas: Katas) -> None:
    made = [katas.create() for _ in range(6)]
    for kata_id in [*made[:3], SPIDER.id, GORILLA.id]:
        katas.import_(kata_id)
        archive(katas, kata_id)
    katas.import_(made[0])
    found, token = [], ""
    while True:
        page = katas.stub.ListKatas(storer_pb2.ListKatasRequest(page_size=4, page_token=token))
        found += [each.kata_id for each in page.katas]
        token = page.next_page_token
        if not token:
            break
    assert found == sorted([*made, *ALL_IDS])


def test_ids_that_differ_in_case_alone_are_two_katas_in_the_archive(
    katas: Katas, tmp_path: Path
) -> None:
    upper = GORILLA.id.upper()
    folder = unpacked(katas.tar(GORILLA.id), tmp_path / "one", GORILLA.id)
    renamed = tmp_path / "two" / upper[:2] / upper[2:]
    renamed.parent.mkdir(parents=True)
    shutil.copytree(folder, renamed)
    manifest = json.loads((renamed / "manifest.json").read_bytes())
    (renamed / "manifest.json").write_text(json.dumps({**manifest, "id": upper}))
    tar = subprocess.run(
        ["tar", "-c", "-C", tmp_path / "two", f"{upper[:2]}/{upper[2:]}"],
        check=True,
        capture_output=True,
    )
    katas.restore(tar.stdout)
    for kata_id in (upper, GORILLA.id):
        archive(katas, kata_id)
    assert complete(katas, upper[:6].lower()) == [upper, GORILLA.id]
    assert complete(katas, GORILLA.id[:3] + GORILLA.id[3:6].swapcase()) == [upper, GORILLA.id]
    assert complete(katas, GORILLA.id[:6]) == [GORILLA.id, upper]
    assert list(katas.get(upper).avatars) == ["gorilla"]


def test_a_deleted_kata_is_gone_from_the_archive_too(katas: Katas, place: Path) -> None:
    archived, back = played(katas), played(katas)
    for kata_id in (archived, back):
        archive(katas, kata_id)
    katas.import_(back)
    for kata_id in (archived, back):
        katas.delete(kata_id)
        assert objects(place, kata_id) == []
        with refused(grpc.StatusCode.NOT_FOUND):
            katas.get(kata_id)
        with refused(grpc.StatusCode.NOT_FOUND):
            katas.delete(kata_id)


def test_an_archived_kata_is_overwritten_only_on_request(katas: Katas) -> None:
    kata_id = played(katas)
    tar = katas.tar(kata_id)
    archive(katas, kata_id)
    with refused(grpc.StatusCode.ALREADY_EXISTS):
        katas.restore(tar)
    katas.restore(tar, overwrite=True)
    assert len(katas.lights(kata_id, "whale")) == 4


def test_the_archive_comes_before_the_katas_directory(katas: Katas) -> None:
    katas.record(SPIDER.id, "spider")
    newest = len(katas.lights(SPIDER.id, "spider"))
    archive(katas, SPIDER.id)
    assert len(katas.lights(SPIDER.id, "spider")) == newest


def test_a_kata_in_use_is_not_archived(
    katas: Katas, data_containers: DataContainers, place: Path
) -> None:
    kata_id = played(katas)
    api = data_containers.engine.api
    run = api.create_container(
        "cyberdojofoundation/gcc_assert",
        ["sleep", "60"],
        labels=data_containers.namespace.labels("run"),
        host_config=api.create_host_config(
            volumes_from=[data_containers.namespace.kata(kata_id)], network_mode="none"
        ),
    )
    with refused(grpc.StatusCode.FAILED_PRECONDITION, says="holds its volume"):
        archive(katas, kata_id)
    api.remove_container(run, force=True)
    with katas.watching(kata_id) as lights:
        next(lights)
        with refused(grpc.StatusCode.FAILED_PRECONDITION):
            archive(katas, kata_id)
    assert objects(place, kata_id) == []
    assert len(katas.lights(kata_id, "whale")) == 4


def test_an_archived_kata_stays_in_the_archive_and_an_unknown_one_is_refused(
    katas: Katas, place: Path
) -> None:
    kata_id = played(katas)
    archive(katas, kata_id)
    before = objects(place, kata_id)
    archive(katas, kata_id)
    assert objects(place, kata_id) == before
    with refused(grpc.StatusCode.NOT_FOUND):
        archive(katas, "0123456789")


def test_calls_during_archiving_are_served(katas: Katas) -> None:
    kata_id = played(katas, 1)
    for _ in range(6):
        calls: list[Callable[[], object]] = [
            lambda: archive(katas, kata_id),
            lambda: katas.get(kata_id),
            lambda: katas.record(kata_id, "whale"),
        ] * 3
        codes = at_once(code_of, calls)
        assert {codes[at] for at in range(9) if at % 3} == {grpc.StatusCode.OK}
    assert [light.number for light in katas.lights(kata_id, "whale")] == list(range(20))


def test_without_an_archive_nothing_is_archived(
    start_storer: Callable[..., Service], client: Callable[[Service], Katas]
) -> None:
    katas = client(start_storer())
    kata_id = katas.create()
    with refused(grpc.StatusCode.FAILED_PRECONDITION, says="CYBER_DOJO_ARCHIVE"):
        archive(katas, kata_id)
    assert katas.get(kata_id).kata_id == kata_id


def test_a_damaged_archived_kata_is_refused_by_name_and_leaves_nothing(
    katas: Katas, place: Path, data_containers: DataContainers
) -> None:
    kata_id = played(katas)
    archive(katas, kata_id)
    (path,) = objects(place, kata_id)
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    for damaged in (bytes(flipped), whole[:-1], whole[: len(whole) // 3], b""):
        path.write_bytes(damaged)
        with refused(grpc.StatusCode.DATA_LOSS, says=path.name):
            katas.get(kata_id)
        assert not data_containers.folder(kata_id).exists()
        assert complete(katas, kata_id[:6]) == [kata_id]
    path.write_bytes(whole)
    assert len(katas.lights(kata_id, "whale")) == 4


def test_plain_tools_read_an_archived_kata(katas: Katas, place: Path, tmp_path: Path) -> None:
    kata_id = played(katas)
    archive(katas, kata_id)
    (path,) = objects(place, kata_id)
    folder = unpacked(path.read_bytes(), tmp_path / "by-hand", kata_id)
    assert git(folder / "whale", "show", "3:sandbox/hiker.c") == b"int a = 3;\n"
    unsealed = zstandard.ZstdDecompressor().stream_reader(path.read_bytes()).read()
    assert unsealed.endswith(bytes(1024))


def test_an_archive_that_is_full_loses_nothing(
    katas: Katas, place: Path, data_containers: DataContainers
) -> None:
    archived, kata_id = played(katas), played(katas)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "none", place], check=True)
    try:
        (place / ".incoming").mkdir()
        archive(katas, archived)
        product = data_containers.folder(kata_id) / "whale" / "sandbox" / "core"
        product.write_bytes(os.urandom(256 * 1024))
        with refused(grpc.StatusCode.RESOURCE_EXHAUSTED, says=str(place)):
            archive(katas, kata_id)
        assert objects(place, kata_id) == []
        assert list((place / ".incoming").iterdir()) == []
        assert len(katas.lights(kata_id, "whale")) == 4
        product.unlink()
        archive(katas, kata_id)
        assert len(katas.lights(kata_id, "whale")) == len(katas.lights(archived, "whale")) == 4
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


def test_an_archive_that_is_missing_loses_nothing(
    katas: Katas, place: Path, data_containers: DataContainers
) -> None:
    kata_id, archived = played(katas), played(katas)
    archive(katas, archived)
    place.rename(place.with_name("away"))
    with refused(grpc.StatusCode.UNAVAILABLE, says=str(place)):
        archive(katas, kata_id)
    with refused(grpc.StatusCode.UNAVAILABLE, says=str(place)):
        katas.get(archived)
    with refused(grpc.StatusCode.UNAVAILABLE):
        katas.delete(archived)
    assert len(katas.lights(kata_id, "whale")) == 4
    assert complete(katas, kata_id[:6]) == [kata_id]
    place.with_name("away").rename(place)
    assert len(katas.lights(archived, "whale")) == 4
    archive(katas, kata_id)
    assert not data_containers.folder(kata_id).exists()


# Calls that read the history of a kata.
READING: dict[str, Callable[[Katas, str], object]] = {
    "lights": lambda katas, kata_id: katas.lights(kata_id, "whale"),
    "files": lambda katas, kata_id: katas.files(kata_id, "whale", 2),
    "diff": lambda katas, kata_id: katas.diff(kata_id, "whale", 1, 2),
    "patch": lambda katas, kata_id: katas.patch(kata_id, "whale", 1, 2),
    "tar": lambda katas, kata_id: katas.tar(kata_id),
    "record": lambda katas, kata_id: katas.record(kata_id, "whale"),
    "backup": lambda katas, _: backup(katas),
    "archive": archive,
    "verify": verify,
    "restore": lambda katas, kata_id: katas.restore(katas.tar(kata_id), overwrite=True),
    "fork": lambda katas, kata_id: katas.stub.ForkKata(
        storer_pb2.ForkKataRequest(kata_id=kata_id, avatar="whale", light_number=0)
    ),
}


def test_no_pack_of_a_deleted_kata_stays_open(storer_with_archive: Service, katas: Katas) -> None:
    played_ids = [played(katas, lights=12) for _ in READING]
    for kata_id in played_ids:
        archive(katas, kata_id)
        katas.get(kata_id)
    for kata_id, call in zip(played_ids, READING.values(), strict=True):
        call(katas, kata_id)
    for kata_id in played_ids:
        katas.delete(kata_id)
    left = re.compile("|".join(played_ids))
    wait_until(lambda: not list(filter(left.search, files_in_use(storer_with_archive.pid))))


def test_an_archive_of_another_namespace_is_refused(
    katas: Katas, place: Path, elsewhere: DataContainers
) -> None:
    kata_id = played(katas)
    archive(katas, kata_id)
    environ = {
        **os.environ,
        "CYBER_DOJO_NAMESPACE": elsewhere.namespace.name,
        "CYBER_DOJO_STORER_LISTEN": "127.0.0.1:0",
        "CYBER_DOJO_ARCHIVE": str(place),
    }
    done = subprocess.run(
        [sys.executable, "-m", "storer", "serve"],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert "the archive is of the namespace " in done.stderr
    assert "CYBER_DOJO_ARCHIVE_DIRECTORY" in done.stderr
    assert objects(place, kata_id)


def test_an_entry_of_the_index_that_is_being_written_is_no_finding(
    start_storer: Callable[..., Service],
    client: Callable[[Service], Katas],
    data_containers: DataContainers,
    tmp_path: Path,
) -> None:
    service = start_storer(CYBER_DOJO_ARCHIVE=str(tmp_path / "archive"))
    katas = client(service)
    kata_id = played(katas)
    katas.stub.ArchiveKata(storer_pb2.ArchiveKataRequest(kata_id=kata_id))
    katas.import_(kata_id)
    (entry,) = (tmp_path / "archive" / ".index").rglob("*.json")
    content = entry.read_bytes()
    lock = data_containers.folder(kata_id) / ".copying"
    lock.touch()
    with ThreadPoolExecutor(1) as threads:
        with locks.locked(lock):  # as who copies the kata does: the tar, and then its entry
            entry.unlink()
            verifying = threads.submit(verify, katas, kata_id)
            wait_until(lambda: str(lock) in files_in_use(service.pid))
            entry.write_bytes(content)
        assert verifying.result().findings == []
    entry.unlink()
    assert [each.mended for each in verify(katas, kata_id, mend=True).findings] == [True]
    assert entry.read_bytes() == content
    # While the kata is in use, its entry can tell of a light that its next copy brings.
    before = katas.tar(kata_id)
    katas.record(kata_id, "whale")
    archive_of = open_archive(str(tmp_path / "archive"), data_containers.namespace.name)
    index.write(archive_of, Kata.detached(data_containers.folder(kata_id), kata_id))
    assert entry.read_bytes() != content
    assert verify(katas, kata_id).findings == []
    katas.record(kata_id, "whale")  # and of fewer than there are by now
    assert verify(katas, kata_id).findings == []
    katas.restore(before, overwrite=True)  # and of more than are left
    assert verify(katas, kata_id).findings == []
    katas.stub.ArchiveKata(storer_pb2.ArchiveKataRequest(kata_id=kata_id))
    assert verify(katas, kata_id).findings == []
