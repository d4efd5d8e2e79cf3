"""Large katas, and many watchers of one: perhaps slower, but correct."""

import asyncio
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from cyberdojo.storer.v1 import storer_pb2
from dojo import avatars, kata_ids
from storer.fs import json_files
from storer.kata import light
from storer.kata.light import Light, Submission
from storer.kata.recorder import Recorder
from support.large_file import write_zeros
from support.services import Service
from support.storer.storing import (
    CREATED,
    FILES,
    RED,
    STARTED,
    Katas,
    Stub,
    at_once,
    content_of,
    kibibytes,
    refused,
)
from support.storer.verifying import verify

MIB = 1024 * 1024
KIBIBYTES_OF_A_MIB = 1024

MANY_LIGHTS = 5000
MANY_WATCHERS = 2000
MANY_DOWNLOADS = 64

Folder = Callable[[str], Path]


def add_lights(whale: Path, kata_id: str, count: int) -> None:
    """Add lights to an avatar that has none, as recording one by one would."""
    recorder = Recorder(whale, kata_id, "whale")
    tip = None
    lights = []
    for number in range(1, count + 1):
        lights.append(Light(number, "red", STARTED + timedelta(seconds=number)))
        files = {**FILES, "hiker.c": b"int a = %d;\n" % number}
        tip = recorder.record(lights[-1], Submission(files), tip)
    whale.joinpath("increments.json").write_bytes(
        json_files.dumps([light.to_json(each) for each in lights])
    )
    whale.joinpath("manifest.json").write_bytes(json_files.dumps(json_files.files_json(files)))
    whale.joinpath("sandbox/hiker.c").write_bytes(files["hiker.c"])


@pytest.mark.timeout(600)
def test_a_kata_with_five_thousand_lights_works_as_any_other(
    start_storer: Callable[..., Service],
    client: Callable[[Service], Katas],
    folder: Folder,
    tmp_path: Path,
) -> None:
    katas = client(start_storer(CYBER_DOJO_ARCHIVE=str(tmp_path / "archive")))
    kata_id = katas.started("whale")
    add_lights(folder(kata_id) / "whale", kata_id, MANY_LIGHTS)
    assert katas.record(kata_id, "whale").number == MANY_LIGHTS + 1
    numbers = [*range(MANY_LIGHTS + 2)]
    request = storer_pb2.ListLightsRequest(kata_id=kata_id, page_size=10_000)
    (found,) = katas.stub.ListLights(request).avatars
    assert [each.number for each in found.lights] == numbers
    with katas.watching(kata_id) as watched:
        assert [next(watched).light.number for _ in numbers] == numbers
    assert dict(katas.files(kata_id, "whale", 2500).files)["hiker.c"] == b"int a = 2500;\n"
    assert b"+int a = 4999;" in katas.patch(kata_id, "whale", 1, 4999)
    assert verify(katas, kata_id).kinds() == []
    katas.stub.ArchiveKata(storer_pb2.ArchiveKataRequest(kata_id=kata_id))
    assert katas.record(kata_id, "whale").number == MANY_LIGHTS + 2
    assert dict(katas.files(kata_id, "whale", 2500).files)["hiker.c"] == b"int a = 2500;\n"


def test_sixty_four_avatars_play_at_once(katas: Katas, kata_id: str) -> None:
    names = at_once(lambda _: katas.start(kata_id), range(len(avatars.NAMES)))
    assert sorted(names) == sorted(avatars.NAMES)
    with refused(grpc.StatusCode.RESOURCE_EXHAUSTED):
        katas.start(kata_id)
    recorded = at_once(lambda name: katas.record(kata_id, name).number, [*names, *names])
    assert sorted(recorded) == [1] * 64 + [2] * 64
    found = katas.stub.ListLights(storer_pb2.ListLightsRequest(kata_id=kata_id)).avatars
    assert [[light.number for light in each.lights] for each in found] == [[0, 1, 2]] * 64
    assert verify(katas, kata_id).kinds() == []


def test_a_kata_with_33_megabytes_is_created_started_and_recorded(katas: Katas) -> None:
    files = {**FILES, **{f"words.{number}": os.urandom(11 * MIB) for number in range(3)}}
    kata_id = katas.started("whale", files=files)
    assert dict(katas.get(kata_id).manifest.files) == files
    changed = {**files, "hiker.c": b"int a = 42;\n"}
    assert katas.record(kata_id, "whale", changed).number == 1
    assert dict(katas.files(kata_id, "whale").files) == changed
    assert len(content_of(katas.download(kata_id))) > 3 * 33 * MIB
    assert verify(katas, kata_id).kinds() == []


def test_a_legacy_kata_with_a_manifest_of_33_megabytes_is_imported(
    start_storer: Callable[..., Service], client: Callable[[Service], Katas], tmp_path: Path
) -> None:
    kata_id = kata_ids.new()
    folder = tmp_path / kata_id[:2] / kata_id[2:]
    whale = folder / "whale"
    (whale / "1").mkdir(parents=True)
    files = {name: content.decode() for name, content in FILES.items()}
    large = {**files, "output": "x" * 33 * MIB}
    created = [*CREATED.timetuple()[:6]]
    told = {"id": kata_id, "created": created, "visible_files": files, "language": "C-assert"}
    (folder / "manifest.json").write_text(json.dumps(told))
    (whale / "1/manifest.json").write_text(json.dumps(large))
    (whale / "manifest.json").write_text(json.dumps(large))
    listed = [{"colour": "red", "time": created, "number": 1}]
    (whale / "increments.json").write_text(json.dumps(listed))
    katas = client(start_storer(CYBER_DOJO_KATAS_DIRECTORY=str(tmp_path)))
    assert list(katas.import_(kata_id).avatars) == ["whale"]
    assert len(katas.files(kata_id, "whale", 1).stdout.content) == 33 * MIB
    assert katas.record(kata_id, "whale").number == 2


@contextmanager
def memory_within(service: Service, mib: int) -> Iterator[None]:
    """Assert that a service's memory never grows by more than that in the block."""
    Path(f"/proc/{service.pid}/clear_refs").write_text("5")  # reset the peak (VmHWM)
    before = kibibytes(service.pid, "VmRSS")
    yield
    grown = (kibibytes(service.pid, "VmHWM") - before) // KIBIBYTES_OF_A_MIB
    assert grown < mib, f"{grown} MiB more"


def test_downloading_a_sandbox_of_a_gigabyte_takes_no_more_memory(
    katas: Katas, storer_service: Service, folder: Folder
) -> None:
    kata_id = katas.started("whale")
    katas.tar(kata_id)
    core = folder(kata_id) / "whale/sandbox/core"
    write_zeros(core, 1024 * MIB)
    request = storer_pb2.DownloadKataRequest(kata_id=kata_id)
    size, end = 0, None
    with memory_within(storer_service, 48):
        for part in katas.stub.DownloadKata(request):
            size += len(part.data)
            end = part.end if part.HasField("end") else end
    assert end is not None
    assert end.size_bytes == size > 1024 * MIB


@dataclass
class Crowd:
    """Watchers of a kata, each of which counts the lights that it got."""

    seen: list[int] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def watch(self, stub: Any, kata_id: str) -> None:
        number = len(self.seen)
        self.seen.append(-1)
        async for each in stub.WatchKata(storer_pb2.WatchKataRequest(kata_id=kata_id)):
            if each.caught_up:
                continue
            assert each.light.number == self.seen[number] + 1
            self.seen[number] = each.light.number
            self.changed.set()

    async def all_have_seen(self, number: int) -> None:
        while min(self.seen) < number:
            self.changed.clear()
            await asyncio.wait_for(self.changed.wait(), 60)


async def look_on(address: str, kata_id: str, large_id: str, light_count: int) -> list[float]:
    """Watch, download and record, all at once; return how long each record took."""
    # Each client has a connection of its own.
    options = [("grpc.use_local_subchannel_pool", 1)]
    # The generated types of stubs are those of blocking clients.
    channels: list[Any] = [grpc.aio.insecure_channel(address, options=options) for _ in range(8)]
    stubs: list[Any] = [Stub(channel) for channel in channels]
    crowd = Crowd()
    took = []
    watching = [
        asyncio.create_task(crowd.watch(stubs[number % 4], kata_id))
        for number in range(MANY_WATCHERS)
    ]
    downloads = [
        stubs[5 + number % 3].DownloadKata(storer_pb2.DownloadKataRequest(kata_id=large_id))
        for number in range(MANY_DOWNLOADS)
    ]
    try:
        for each in downloads:  # none of them reads on
            assert (await each.read()).HasField("header")
        await crowd.all_have_seen(0)
        for number in range(1, light_count + 1):
            begun = time.monotonic()
            request = storer_pb2.RecordTestRequest(
                kata_id=kata_id, avatar="whale", files=FILES, colour=RED
            )
            answer = await stubs[4].RecordTest(request, timeout=60)
            took.append(time.monotonic() - begun)
            assert answer.light.number == number
            await crowd.all_have_seen(number)
        for task in watching:
            assert not task.done()
    finally:
        for call in [*watching, *downloads]:
            call.cancel()
        await asyncio.gather(*watching, return_exceptions=True)
        for channel in channels:
            await channel.close()
    return took


@pytest.mark.timeout(600)
def test_tests_are_recorded_while_thousands_watch_and_dozens_download_slowly(
    start_storer: Callable[..., Service], client: Callable[[Service], Katas], folder: Folder
) -> None:
    service = start_storer()
    katas = client(service)
    kata_id, large_id = katas.started("whale"), katas.started("whale")
    (folder(large_id) / "whale/sandbox/core").write_bytes(os.urandom(64 * MIB))
    katas.tar(large_id)
    with memory_within(service, MANY_DOWNLOADS * 12):
        took = asyncio.run(look_on(service.address, kata_id, large_id, 5))
    assert len(took) == 5
    assert katas.record(kata_id, "whale").number == 6
