"""The archiver archives the right katas, and a kill at any moment loses none."""

import itertools
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import grpc
import pytest

from cyberdojo.storer.v1 import storer_pb2
from dojo.engine.data_containers import DataContainers
from support.paths import TESTS, TOP
from support.prometheus import scraped, value
from support.services import Service, wait_until
from support.storer.killed_archivers import katas_of
from support.storer.storing import FILES, Katas, git, refused

KILLS = 60
LIGHTS = 4


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """The directory of an archive."""
    return tmp_path / "archive"


@pytest.fixture
def start_archiver(
    start_storer: Callable[..., Service], client: Callable[[Service], Katas], place: Path
) -> Callable[..., Katas]:
    """Starts a storer that archives; gives its katas."""
    return lambda **environ: client(start_storer(CYBER_DOJO_ARCHIVE=str(place), **environ))


def played(katas: Katas) -> str:
    """Create a kata in which the whale ran some tests; return its id."""
    kata_id = katas.started("whale")
    for number in range(LIGHTS):
        katas.record(kata_id, "whale", {**FILES, "hiker.c": b"int a = %d;\n" % number})
    return kata_id


def idle(data_containers: DataContainers, kata_id: str, seconds: float) -> None:
    """Set the time of a kata's last use to so many seconds ago."""
    then = time.time() - seconds
    os.utime(data_containers.folder(kata_id).parent, (then, then))


def listed(katas: Katas) -> dict[str, "storer_pb2.KataSource.ValueType"]:
    """Return the place of each kata."""
    found = katas.stub.ListKatas(storer_pb2.ListKatasRequest())
    return {each.kata_id: each.source for each in found.katas}


def test_an_idle_kata_is_archived_and_one_in_use_stays(
    start_archiver: Callable[..., Katas], data_containers: DataContainers
) -> None:
    katas = start_archiver()
    old, new = played(katas), played(katas)
    idle(data_containers, old, 2000)
    start_archiver(CYBER_DOJO_ARCHIVE_AFTER_SECONDS="1000")
    wait_until(lambda: not data_containers.folder(old).exists())
    assert listed(katas) == {
        old: storer_pb2.KATA_SOURCE_ARCHIVE,
        new: storer_pb2.KATA_SOURCE_DATA_CONTAINER,
    }
    assert len(katas.lights(old, "whale")) == LIGHTS + 1


def test_the_idlest_of_too_many_katas_are_archived(
    start_archiver: Callable[..., Katas], data_containers: DataContainers
) -> None:
    katas = start_archiver()
    made = [played(katas) for _ in range(5)]
    for kata_id, seconds in zip(made, (10, 3000, 1000, 2000, 20), strict=True):
        idle(data_containers, kata_id, seconds)
    start_archiver(CYBER_DOJO_MAX_DATA_CONTAINERS="3")
    idlest = {made[1], made[3]}
    wait_until(lambda: not any(map(data_containers.exists, idlest)))
    wait_until(lambda: set(data_containers.kata_ids()) == set(made) - idlest)


def test_the_time_of_use_survives_a_restart_and_is_written_once_a_minute(
    start_archiver: Callable[..., Katas], data_containers: DataContainers
) -> None:
    katas = start_archiver()
    kata_id = played(katas)
    idle(data_containers, kata_id, 5)
    before = data_containers.touched(kata_id)
    katas.get(kata_id)
    assert data_containers.touched(kata_id) == before
    idle(data_containers, kata_id, 70)
    asked = time.time()
    katas.get(kata_id)
    # The kernel's clock for file times has ticks of some milliseconds.
    assert data_containers.touched(kata_id) > asked - 1


def test_an_archive_that_does_not_answer_is_tried_again(
    start_storer: Callable[..., Service],
    client: Callable[[Service], Katas],
    place: Path,
    data_containers: DataContainers,
) -> None:
    service = start_storer(
        CYBER_DOJO_ARCHIVE=str(place),
        CYBER_DOJO_ARCHIVE_AFTER_SECONDS="2",
        CYBER_DOJO_METRICS_LISTEN="127.0.0.1:0",
    )
    away = place.with_name("away")
    katas = client(start_storer())
    place.rename(away)
    kata_id = played(katas)
    idle(data_containers, kata_id, 100)
    service.wait_for_event(lambda event: event["event"] == "nothing archived")
    assert data_containers.exists(kata_id)
    wait_until(lambda: value(scraped(service), "cyber_dojo_archive_overdue_seconds") >= 98)
    assert value(scraped(service), "cyber_dojo_archive_failures_total", work="archive") >= 1
    away.rename(place)
    wait_until(lambda: not data_containers.folder(kata_id).exists())
    wait_until(lambda: value(scraped(service), "cyber_dojo_archive_overdue_seconds") == 0)
    assert value(scraped(service), "cyber_dojo_katas_archived_total") == 1


def test_a_kata_with_a_damaged_avatar_is_archived_too(
    start_storer: Callable[..., Service],
    client: Callable[[Service], Katas],
    place: Path,
    data_containers: DataContainers,
) -> None:
    katas = client(start_storer())
    damaged, good = played(katas), played(katas)
    avatar = data_containers.folder(damaged) / "whale"
    (avatar / ".journal").unlink()  # its replay would mend the commit
    newest = git(avatar, "rev-parse", "HEAD").decode().strip()
    commit = avatar / ".git" / "objects" / newest[:2] / newest[2:]
    commit.chmod(0o600)
    commit.write_bytes(b"nonsense")
    for kata_id in (damaged, good):
        idle(data_containers, kata_id, 100)
    katas = client(
        start_storer(CYBER_DOJO_ARCHIVE=str(place), CYBER_DOJO_ARCHIVE_AFTER_SECONDS="2")
    )
    for kata_id in (damaged, good):
        wait_until(lambda: not data_containers.folder(kata_id).exists())  # noqa: B023 - at once
    assert katas.get(damaged).avatars == katas.get(good).avatars
    assert (data_containers.folder(damaged) / commit.relative_to(avatar.parent)).read_bytes() == (
        b"nonsense"
    )


@contextmanager
def archivers(
    data_containers: DataContainers, place: Path, way: str, *made: str
) -> Iterator[Callable[[], None]]:
    """Give a function that starts archiving and using katas, and kills that at a random moment."""
    script = TESTS / "support/storer/killed_archivers.py"
    command: list[str | Path] = [
        sys.executable,
        script,
        data_containers.namespace.name,
        place,
        way,
        *made,
    ]
    path = {"PYTHONPATH": f"{TOP}:{TESTS}"}
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **path},
        text=True,
    ) as process:
        told, tells = process.stdin, process.stdout
        assert told is not None
        assert tells is not None

        def begin_and_kill() -> None:
            told.write("\n")
            told.flush()
            pid = int(tells.readline())
            time.sleep(random.uniform(0, 0.25))  # noqa: S311 - the moment of the kill, any
            os.kill(pid, signal.SIGKILL)
            assert tells.readline() == "gone\n"

        yield begin_and_kill
        told.close()


@pytest.mark.timeout(1800)
def test_a_kill_at_any_moment_leaves_one_whole_kata(
    start_archiver: Callable[..., Katas], data_containers: DataContainers, place: Path
) -> None:
    service_katas = start_archiver()
    made = [played(service_katas) for _ in range(2)]
    expected = {kata_id: service_katas.lights(kata_id, "whale") for kata_id in made}
    moments: set[object] = set()
    with archivers(data_containers, place, "cycle", *made) as begin_and_kill:
        for kill in itertools.count():
            # On a slow machine most kills can hit the same step. Then go on for longer.
            if kill >= KILLS and len(moments) > 2:
                break
            assert kill < 4 * KILLS, moments  # the kills never hit different steps
            begin_and_kill()
            moments |= {state(data_containers, place, kata_id) for kata_id in made}
            katas_of(data_containers.namespace.name, str(place)).sweep()
            for kata_id in made:
                assert not (data_containers.folder(kata_id) / ".gone").exists()
                assert service_katas.lights(kata_id, "whale") == expected[kata_id]
                assert dict(service_katas.files(kata_id, "whale", 2).files)["hiker.c"] == (
                    b"int a = 1;\n"
                )
    for kata_id in made:
        git(data_containers.folder(kata_id) / "whale", "fsck", "--full", "--strict")


def state(data_containers: DataContainers, place: Path, kata_id: str) -> tuple[object, ...]:
    """Return what exists of a kata: it names the step that a kill interrupted."""
    folder = data_containers.folder(kata_id)
    left = sorted(path.name[:6] for path in folder.glob(".*")) if folder.exists() else []
    return (data_containers.exists(kata_id), *left, any((place / ".incoming").iterdir()))


@pytest.mark.timeout(1800)
def test_a_kill_while_a_kata_is_deleted_leaves_all_of_it_or_nothing(
    start_archiver: Callable[..., Katas], data_containers: DataContainers, place: Path
) -> None:
    katas = start_archiver()
    for _ in range(KILLS // 4):
        kata_id = played(katas)
        expected = katas.lights(kata_id, "whale")
        with archivers(data_containers, place, "delete", kata_id) as begin_and_kill:
            begin_and_kill()
        katas_of(data_containers.namespace.name, str(place)).sweep()
        if data_containers.exists(kata_id) or list(place.glob(f"*/{kata_id.lower()}.*")):
            assert katas.lights(kata_id, "whale") == expected
        else:
            # The engine may still be removing what the killed process told it to.
            wait_until(lambda: not data_containers.folder(kata_id).exists())  # noqa: B023 - at once
            with refused(grpc.StatusCode.NOT_FOUND):
                katas.get(kata_id)


def test_a_starting_storer_finishes_what_a_killed_one_began(
    start_archiver: Callable[..., Katas], data_containers: DataContainers
) -> None:
    katas = start_archiver()
    kata_id = played(katas)
    katas.stub.ArchiveKata(storer_pb2.ArchiveKataRequest(kata_id=kata_id))
    katas.import_(kata_id)
    folder = data_containers.folder(kata_id)
    (folder / "manifest.json").rename(folder / ".gone")  # the first step of removing it
    start_archiver()
    assert not folder.exists()
    assert len(katas.lights(kata_id, "whale")) == LIGHTS + 1


def test_two_storers_archive_and_use_the_same_katas_without_losing_any(
    start_archiver: Callable[..., Katas], data_containers: DataContainers
) -> None:
    both = [start_archiver(CYBER_DOJO_ARCHIVE_AFTER_SECONDS="1") for _ in range(2)]
    made = [played(both[0]) for _ in range(6)]
    for turn in range(8):
        for kata_id in made:
            with suppress(FileNotFoundError):  # it is archived already
                idle(data_containers, kata_id, 100)
        for kata_id in made:
            assert both[turn % 2].record(kata_id, "whale").number == LIGHTS + 1 + turn
