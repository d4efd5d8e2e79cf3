"""The metric of damaged katas follows what becomes of them, and outlives the storer."""

import math
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from cyberdojo.storer.v1 import storer_pb2
from dojo.engine.data_containers import DataContainers
from support.prometheus import scraped, value
from support.services import Service, wait_until
from support.storer.damages import DAMAGES, ID, write_kata
from support.storer.storing import FILES, Katas, refused
from support.storer.verifying import another_content, object_path, overwrite, verify

AVATAR = "whale"
DATA_LOSS = grpc.StatusCode.DATA_LOSS


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A katas directory."""
    made = tmp_path / "katas"
    made.mkdir()
    return made


@pytest.fixture
def start(
    start_storer: Callable[..., Service], directory: Path, tmp_path: Path
) -> Callable[[], Service]:
    """Starts a storer with metrics, an archive and a katas directory."""
    return lambda: start_storer(
        CYBER_DOJO_METRICS_LISTEN="127.0.0.1:0",
        CYBER_DOJO_KATAS_DIRECTORY=str(directory),
        CYBER_DOJO_ARCHIVE=str(tmp_path / "archive"),
    )


@pytest.fixture
def service(start: Callable[[], Service], tmp_path: Path) -> Service:
    (tmp_path / "archive").mkdir()
    return start()


@pytest.fixture
def katas(service: Service, client: Callable[[Service], Katas]) -> Katas:
    """The katas behind that storer."""
    return client(service)


def wait_for(service: Service, **expected: int) -> None:
    """Wait until the storer tells of so many damaged katas of each kind."""

    def told() -> dict[str, float]:
        samples = scraped(service)
        return {kind: value(samples, "cyber_dojo_damaged_katas", damage=kind) for kind in expected}

    wait_until(lambda: told() == expected)


def break_object(data_containers: DataContainers, kata_id: str) -> tuple[Path, bytes]:
    """Damage a git object of the kata; return its file, and what was in it."""
    path = object_path(data_containers.folder(kata_id) / AVATAR, "1:light.json")
    before = path.read_bytes()
    overwrite(path, another_content)
    return path, before


def recorded(katas: Katas) -> str:
    """Make a kata with a light, which is in none of the storer's caches; return its id."""
    kata_id = katas.started(AVATAR)
    katas.record(kata_id, AVATAR, {**FILES, "hiker.c": b"int answer;\n"})
    return kata_id


def test_what_a_caller_met_counts_until_it_is_replaced_by_a_restore(
    service: Service, katas: Katas, data_containers: DataContainers
) -> None:
    kata_id = recorded(katas)
    tar = katas.tar(kata_id)
    break_object(data_containers, kata_id)
    with refused(DATA_LOSS):
        katas.files(kata_id, AVATAR, 1)
    wait_for(service, broken=1, set_aside=0)
    katas.restore(tar, overwrite=True)
    wait_for(service, broken=0)


def test_what_verifying_found_counts_after_a_restart_until_it_is_mended(
    service: Service,
    start: Callable[[], Service],
    client: Callable[[Service], Katas],
    data_containers: DataContainers,
) -> None:
    kata_id = recorded(client(service))
    broken, before = break_object(data_containers, kata_id)
    assert verify(client(service)).findings
    wait_for(service, broken=1)
    service.stop()
    again = start()
    samples = scraped(again)
    assert value(samples, "cyber_dojo_damaged_katas", damage="broken") == 1
    broken.write_bytes(before)
    assert not verify(client(again), kata_id).findings
    wait_for(again, broken=0)


def test_a_damaged_kata_that_is_deleted_does_not_count(
    service: Service, katas: Katas, data_containers: DataContainers
) -> None:
    kata_id = recorded(katas)
    (data_containers.folder(kata_id) / "manifest.json").write_bytes(b"{")
    with refused(DATA_LOSS):
        katas.get(kata_id)
    wait_for(service, broken=1)
    katas.delete(kata_id)
    wait_for(service, broken=0)


def test_a_tar_of_the_archive_that_is_damaged_counts_until_the_kata_is_deleted(
    service: Service, katas: Katas, tmp_path: Path
) -> None:
    kata_id = recorded(katas)
    katas.stub.ArchiveKata(storer_pb2.ArchiveKataRequest(kata_id=kata_id))
    (tar,) = (tmp_path / "archive").rglob("*.tar.zst")
    tar.write_bytes(tar.read_bytes()[:-100])
    with refused(DATA_LOSS):
        katas.get(kata_id)
    wait_for(service, broken=1)
    katas.delete(kata_id)
    wait_for(service, broken=0)


def test_an_avatar_that_came_in_damaged_counts_apart_and_after_a_restart(
    service: Service,
    start: Callable[[], Service],
    client: Callable[[Service], Katas],
    directory: Path,
) -> None:
    damage = DAMAGES["an object is broken"]
    damage.inflict(damage.write(write_kata(directory)))
    wait_for(service, broken=0, set_aside=0)
    client(service).import_(ID)
    wait_for(service, broken=0, set_aside=1)
    # Whoever asks for the avatar is refused, and the kata is no more damaged for it.
    with refused(DATA_LOSS):
        client(service).files(ID, AVATAR, 1)
    assert verify(client(service), ID).findings
    service.stop()
    again = start()
    first = value(scraped(again), "cyber_dojo_damaged_katas", damage="set_aside")
    assert math.isnan(first) or first == 1
    wait_for(again, broken=0, set_aside=1)
    client(again).delete(ID)
    wait_for(again, broken=0, set_aside=0)


def test_a_restore_that_is_refused_for_damage_leaves_a_sound_kata_sound(
    service: Service, katas: Katas, data_containers: DataContainers
) -> None:
    kata_id, other = recorded(katas), recorded(katas)
    path, before = break_object(data_containers, kata_id)
    tar = katas.tar(kata_id)
    path.write_bytes(before)
    assert not verify(katas, kata_id).findings  # the download had met damage
    with refused(DATA_LOSS):
        katas.restore(tar, overwrite=True)
    break_object(data_containers, other)
    assert verify(katas, other).findings  # it is checked after the first, if that is checked
    wait_for(service, broken=1, set_aside=0)
    assert katas.files(kata_id, AVATAR, 1).files
