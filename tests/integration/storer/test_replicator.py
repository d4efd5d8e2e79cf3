"""Recorded tests are in the archive within seconds, and another machine continues from there."""

import json
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from cyberdojo.storer.v1 import storer_pb2
from dojo.engine.data_containers import DataContainers
from storer.archive.archive import Archive
from storer.archive.location import open_archive
from support.prometheus import scraped, value
from support.services import Service, code_of, wait_until
from support.storer.backups import restore_into
from support.storer.copies import wait_until_copied
from support.storer.katas_directories import SPIDER
from support.storer.storing import FILES, GREEN, Katas, git, refused

SECONDS = "1"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """The directory of an archive that outlives the machines."""
    return tmp_path / "archive"


@pytest.fixture
def machine(start_storer: Callable[..., Service], place: Path, katas_directory: Path) -> Service:
    """A storer that copies what is recorded to the archive."""
    return start_storer(
        CYBER_DOJO_ARCHIVE=str(place),
        CYBER_DOJO_ARCHIVE_COPY_SECONDS=SECONDS,
        CYBER_DOJO_KATAS_DIRECTORY=str(katas_directory),
        CYBER_DOJO_METRICS_LISTEN="127.0.0.1:0",
    )


def lag_seconds(machine: Service) -> float:
    """Return the age of the oldest change that is not copied, as Prometheus reads it."""
    return value(scraped(machine), "cyber_dojo_archive_copy_lag_seconds")


@pytest.fixture
def katas(machine: Service, client: Callable[[Service], Katas]) -> Katas:
    """The katas of that storer."""
    return client(machine)


@pytest.fixture
def another_machine(
    start_storer: Callable[..., Service],
    client: Callable[[Service], Katas],
    place: Path,
    elsewhere: DataContainers,
) -> Callable[..., Katas]:
    """Starts a storer that stands for another machine, on the same archive; gives its katas.

    It needs a namespace of its own, as both are on one engine: the archive's mark is removed.
    """

    def start(**environ: str) -> Katas:
        (place / ".namespace").unlink(missing_ok=True)
        service = start_storer(
            CYBER_DOJO_ARCHIVE=str(place),
            CYBER_DOJO_NAMESPACE=elsewhere.namespace.name,
            **environ,
        )
        return client(service)

    return start


def archive_at(place: Path) -> Archive:
    return open_archive(str(place), "")


def files(number: int) -> dict[str, bytes]:
    """Return the visible files of a light."""
    return {"cyber-dojo.sh": FILES["cyber-dojo.sh"], f"n{number}/a.c": b"int a = %d;\n" % number}


def archive(katas: Katas, kata_id: str) -> None:
    """Archive a kata, as soon as the replicator has released its lock."""

    def is_done() -> bool:
        request = storer_pb2.ArchiveKataRequest(kata_id=kata_id)
        code = code_of(lambda: katas.stub.ArchiveKata(request))
        assert code in {grpc.StatusCode.OK, grpc.StatusCode.FAILED_PRECONDITION}
        return code is grpc.StatusCode.OK

    wait_until(is_done)


def lose(machine: Service, data_containers: DataContainers) -> None:
    """Lose a machine with all its data."""
    machine.kill()
    for kata_id in list(data_containers.kata_ids()):
        data_containers.delete(kata_id)


def test_another_machine_continues_what_a_lost_one_recorded(  # noqa: PLR0917 - its fixtures
    katas: Katas,
    machine: Service,
    place: Path,
    data_containers: DataContainers,
    elsewhere: DataContainers,
    another_machine: Callable[..., Katas],
) -> None:
    kata_id = katas.started("whale")
    kata = data_containers.folder(kata_id)
    wait_until_copied(kata, whale=0)
    (kata / "whale" / "sandbox" / "a.out").write_bytes(b"built")  # build products are not copied
    zebra: dict[str, int] = {}
    for turn in range(3):
        for number in range(3 * turn + 1, 3 * turn + 4):
            katas.record(kata_id, "whale", files(number), stdout=b"%d\n" % number)
        if turn == 1:
            katas.start(kata_id, "zebra")
            zebra["zebra"] = katas.record(kata_id, "zebra", files(77), colour=GREEN).number
        wait_until_copied(kata, whale=3 * turn + 3, **zebra)
    assert len(archive_at(place).copies(kata_id)) >= 3
    expected = {name: katas.lights(kata_id, name) for name in ("whale", "zebra")}
    before = git(kata / "whale", "for-each-ref")
    lose(machine, data_containers)

    there = another_machine()
    request = storer_pb2.CompleteKataIdRequest(partial_id=kata_id[:6].lower())
    assert list(there.stub.CompleteKataId(request).kata_ids) == [kata_id]
    assert {name: there.lights(kata_id, name) for name in expected} == expected
    for number in range(1, 10):
        found = there.files(kata_id, "whale", number)
        assert dict(found.files) == files(number)
        assert found.stdout.content == b"%d\n" % number
    folder = elsewhere.folder(kata_id)
    for name, number in (("whale", 9), ("zebra", 77)):
        git(folder / name, "fsck", "--full", "--strict")
        made = {path for path in (folder / name / "sandbox").rglob("*") if path.is_file()}
        assert {
            str(path.relative_to(folder / name / "sandbox")): path.read_bytes() for path in made
        } == files(number)
    assert git(folder / "whale", "for-each-ref") == before
    assert there.record(kata_id, "whale").number == 10
    assert there.start(kata_id, "whale", "zebra", "snake") == "snake"


def test_a_lost_machine_loses_at_most_those_seconds(
    katas: Katas,
    machine: Service,
    data_containers: DataContainers,
    another_machine: Callable[..., Katas],
) -> None:
    kata_id = katas.started("whale")
    katas.record(kata_id, "whale")
    wait_until_copied(data_containers.folder(kata_id), whale=1)
    katas.record(kata_id, "whale")
    wait_until_copied(data_containers.folder(kata_id), whale=2)
    katas.record(kata_id, "whale")  # too late to be copied
    lose(machine, data_containers)
    assert len(another_machine().lights(kata_id, "whale")) in {3, 4}


def test_the_next_storer_copies_what_a_killed_one_did_not(
    katas: Katas,
    machine: Service,
    place: Path,
    start_storer: Callable[..., Service],
    folder: Callable[[str], Path],
) -> None:
    kata_id = katas.started("whale")
    wait_until_copied(folder(kata_id), whale=0)
    katas.record(kata_id, "whale")
    machine.kill()
    start_storer(CYBER_DOJO_ARCHIVE=str(place), CYBER_DOJO_ARCHIVE_COPY_SECONDS=SECONDS)
    wait_until_copied(folder(kata_id), whale=1)


def test_a_stopping_storer_copies_what_is_due(
    start_storer: Callable[..., Service], client: Callable[[Service], Katas], place: Path
) -> None:
    service = start_storer(CYBER_DOJO_ARCHIVE=str(place), CYBER_DOJO_ARCHIVE_COPY_SECONDS="3600")
    kata_id = client(service).started("whale")
    service.stop()
    assert archive_at(place).find(kata_id)


def test_a_copy_that_failed_is_tried_again(
    katas: Katas, machine: Service, folder: Callable[[str], Path]
) -> None:
    kata_id = katas.started("whale")
    wait_until_copied(folder(kata_id), whale=0)
    lock = folder(kata_id) / ".copying"
    lock.unlink()
    lock.symlink_to("nowhere/at/all")
    katas.record(kata_id, "whale")
    machine.wait_for_event(lambda event: event["event"] == "not copied")
    assert lag_seconds(machine) >= float(SECONDS) / 2
    assert value(scraped(machine), "cyber_dojo_archive_failures_total", work="copy") >= 1
    lock.unlink()
    wait_until_copied(folder(kata_id), whale=1)
    wait_until(lambda: lag_seconds(machine) == 0)


def test_archiving_replaces_all_copies_by_one_tar(
    katas: Katas,
    place: Path,
    folder: Callable[[str], Path],
    another_machine: Callable[..., Katas],
) -> None:
    kata_id = katas.started("whale")
    wait_until_copied(folder(kata_id), whale=0)
    katas.record(kata_id, "whale", files(1))
    wait_until_copied(folder(kata_id), whale=1)
    assert archive_at(place).copies(kata_id)
    katas.record(kata_id, "whale", files(2))
    archive(katas, kata_id)
    assert archive_at(place).copies(kata_id) == []
    assert dict(another_machine().files(kata_id, "whale").files) == files(2)


def test_copies_with_another_base_are_ignored(
    katas: Katas,
    place: Path,
    folder: Callable[[str], Path],
    another_machine: Callable[..., Katas],
) -> None:
    kata_id = katas.started("whale")
    wait_until_copied(folder(kata_id), whale=0)
    katas.record(kata_id, "whale", files(1))
    wait_until_copied(folder(kata_id), whale=1)
    kept = {path: path.read_bytes() for path in place.glob("*/*.copies/*")}
    assert kept
    katas.record(kata_id, "whale", files(2))
    archive(katas, kata_id)
    for path, content in kept.items():  # as if a kill had prevented their removal
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    there = another_machine()
    assert dict(there.files(kata_id, "whale").files) == files(2)
    assert len(there.lights(kata_id, "whale")) == 3


def test_a_damaged_or_missing_copy_is_refused_and_named(
    katas: Katas,
    place: Path,
    folder: Callable[[str], Path],
    another_machine: Callable[..., Katas],
) -> None:
    kata_id = katas.started("whale")
    for number in range(3):
        if number:
            katas.record(kata_id, "whale", files(number))
        wait_until_copied(folder(kata_id), whale=number)
    *_, first, second = sorted(place.glob("*/*.copies/*"))
    there = another_machine()
    kept = second.read_bytes()
    second.write_bytes(kept[:-50])
    with refused(grpc.StatusCode.DATA_LOSS, says=second.name):
        there.get(kata_id)
    second.write_bytes(kept)
    first.rename(place / "kept")
    with refused(grpc.StatusCode.DATA_LOSS):
        there.get(kata_id)
    (place / "kept").rename(first)
    assert len(there.lights(kata_id, "whale")) == 3


def test_a_kata_whose_history_was_replaced_is_copied_in_full(
    katas: Katas,
    machine: Service,
    folder: Callable[[str], Path],
    another_machine: Callable[..., Katas],
) -> None:
    kata_id = katas.started("whale")
    katas.record(kata_id, "whale", files(1))
    tar = katas.tar(kata_id)
    katas.record(kata_id, "whale", files(2))
    wait_until_copied(folder(kata_id), whale=2)
    katas.record(kata_id, "whale", files(3))
    wait_until_copied(folder(kata_id), whale=3)
    katas.restore(tar, overwrite=True)
    for number in (12, 13, 14):
        katas.record(kata_id, "whale", files(number))
    machine.stop()
    there = another_machine()
    found = [dict(there.files(kata_id, "whale", number).files) for number in (1, 2, 3, 4)]
    assert found == [files(1), files(12), files(13), files(14)]


def test_a_deleted_kata_leaves_no_copies(
    katas: Katas, place: Path, folder: Callable[[str], Path]
) -> None:
    kata_id = katas.started("whale")
    wait_until_copied(folder(kata_id), whale=0)
    katas.record(kata_id, "whale")
    wait_until_copied(folder(kata_id), whale=1)
    assert archive_at(place).copies(kata_id)
    katas.record(kata_id, "whale")
    katas.delete(kata_id)
    assert [path.name for path in place.rglob("*") if path.is_file()] == [".namespace"]


def test_a_fetched_kata_is_copied_in_full_with_its_first_light(
    katas: Katas, machine: Service, another_machine: Callable[..., Katas]
) -> None:
    kata_id = SPIDER.id
    for turn in range(2):
        katas.record(kata_id, SPIDER.avatar, files(turn))
        archive(katas, kata_id)
        katas.record(kata_id, SPIDER.avatar, files(turn + 10))
    lights = katas.lights(kata_id, SPIDER.avatar)
    machine.stop()
    assert another_machine().lights(kata_id, SPIDER.avatar) == lights


@pytest.fixture
def taken_over(
    katas: Katas, folder: Callable[[str], Path], another_machine: Callable[..., Katas]
) -> tuple[str, Katas]:
    """A kata with two lights on a machine that is not lost; another machine added a third."""
    kata_id = katas.started("whale")
    katas.record(kata_id, "whale", files(1))
    wait_until_copied(folder(kata_id), whale=1)
    there = another_machine()
    there.record(kata_id, "whale", files(2))
    archive(there, kata_id)
    return kata_id, there


def test_lights_of_another_machine_are_not_overwritten(
    katas: Katas, machine: Service, taken_over: tuple[str, Katas]
) -> None:
    kata_id, there = taken_over
    theirs = there.lights(kata_id, "whale")
    katas.record(kata_id, "whale", files(12))
    ours = katas.lights(kata_id, "whale")
    wait_until(lambda: any("not copied" in line for line in machine.troubles()))
    says = "the archive has lights or options that are not here"
    for _ in range(2):
        with refused(grpc.StatusCode.FAILED_PRECONDITION, says=says):
            katas.stub.ArchiveKata(storer_pb2.ArchiveKataRequest(kata_id=kata_id))
    archive(there, kata_id)
    assert there.lights(kata_id, "whale") == theirs
    assert katas.lights(kata_id, "whale") == ours


def test_a_machine_with_fewer_lights_does_not_overwrite_the_archive(
    katas: Katas, place: Path, taken_over: tuple[str, Katas]
) -> None:
    kata_id, there = taken_over
    before = archive_at(place).find(kata_id)
    archive(katas, kata_id)
    assert archive_at(place).find(kata_id) == before
    assert katas.lights(kata_id, "whale") == there.lights(kata_id, "whale")
    assert dict(katas.files(kata_id, "whale").files) == files(2)


def set_option(katas: Katas, kata_id: str, **options: bool) -> storer_pb2.KataOptions:
    request = storer_pb2.SetOptionsRequest(kata_id=kata_id)
    for name, is_on in options.items():
        setattr(request.options, name, is_on)
    return katas.stub.SetOptions(request).options


def test_options_that_another_machine_has_set_are_not_lost(
    katas: Katas, machine: Service, taken_over: tuple[str, Katas]
) -> None:
    kata_id, there = taken_over
    theirs = set_option(there, kata_id, predict=True)
    archive(there, kata_id)
    archive(katas, kata_id)  # which has fewer lights, and no options
    assert katas.get(kata_id).options == theirs
    # Now each sets another one.
    there.get(kata_id)
    theirs = set_option(there, kata_id, revert_green=True)
    archive(there, kata_id)
    ours = set_option(katas, kata_id, revert_red=True)
    wait_until(lambda: any("not copied" in line for line in machine.troubles()))
    with refused(grpc.StatusCode.FAILED_PRECONDITION, says="lights or options"):
        katas.stub.ArchiveKata(storer_pb2.ArchiveKataRequest(kata_id=kata_id))
    assert katas.get(kata_id).options == ours
    assert there.get(kata_id).options == theirs
    # Who has set more has the later ones.
    ours = set_option(katas, kata_id, revert_amber=True)
    archive(katas, kata_id)
    archive(there, kata_id)
    assert there.get(kata_id).options == ours


@pytest.mark.parametrize("is_backup", [False, True])
def test_overwriting_a_kata_decides_between_two_histories(
    katas: Katas, taken_over: tuple[str, Katas], *, is_backup: bool
) -> None:
    kata_id, there = taken_over
    katas.record(kata_id, "whale", files(12))
    tar = katas.tar(kata_id)
    katas.record(kata_id, "whale", files(13))
    if is_backup:
        restore_into(katas, tar, overwrite=True, discard_lights=True)
    else:
        katas.restore(tar, overwrite=True)
    archive(katas, kata_id)
    assert dict(there.files(kata_id, "whale").files) == files(12)


@pytest.mark.parametrize("leads", ["up", "to the root"])
def test_no_filename_leads_out_of_a_sandbox(
    katas: Katas,
    machine: Service,
    data_containers: DataContainers,
    another_machine: Callable[..., Katas],
    *,
    tmp_path: Path,
    leads: str,
) -> None:
    kata_id = katas.started("whale", "zebra")
    kata = data_containers.folder(kata_id)
    kept, made = tmp_path / "kept", tmp_path / "made"
    kept.mkdir()
    (kept / "file").touch()
    up = "../" * 30 if leads == "up" else ""
    crafted = {f"{up}{path}": "crafted" for path in (kept, made)}
    (kata / "whale" / "manifest.json").write_text(json.dumps(crafted))
    wait_until_copied(kata, whale=0, zebra=0)
    katas.record(kata_id, "zebra")
    wait_until_copied(kata, whale=0, zebra=1)
    lose(machine, data_containers)
    assert len(another_machine().lights(kata_id, "zebra")) == 2
    assert (kept / "file").exists()
    assert not made.exists()
