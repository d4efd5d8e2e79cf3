"""How soon a light is on 60 dashboards after it was recorded, against a WatchKata of the storer."""

import asyncio
import time
from collections.abc import Iterator

from benchmarks.figures import Figure, percentile, table
from benchmarks.places import Place, Service, Storer, storer
from cyber_dojo_client import AsyncClient
from cyberdojo.colour.v1 import colour_pb2
from cyberdojo.storer.v1 import storer_pb2
from dojo import avatars

DASHBOARDS = 60
LIGHTS = 300
LIGHTS_PER_SECOND = 4
"""What 64 participants press together, each every 16 seconds."""

Times = dict[tuple[str, int], float]
"""avatar, number of the light -> when."""


class Heard:
    """What one listener has heard of so many lights."""

    def __init__(self, lights: int) -> None:
        self.times: Times = {}
        self.is_ready = asyncio.Event()
        self.has_all = asyncio.Event()
        self._lights = lights

    def note(self, avatar: str, number: int, now: float) -> None:
        """Note when a light came; those from before it was ready do not count."""
        if self.is_ready.is_set():
            self.times[avatar, number] = now
            if len(self.times) == self._lights:
                self.has_all.set()


def measure(place: Place, scale: float) -> Iterator[Figure]:
    """Print a table; yield the figures."""
    with storer(place) as serving:
        web = Service(
            "web",
            place,
            None,
            CYBER_DOJO_STORER=serving.address,
            CYBER_DOJO_RUNNER="127.0.0.1:1",
        )
        try:
            before = web.processor_seconds
            dashboards, watch = asyncio.run(
                _measured(serving, web.address, max(20, round(LIGHTS * scale)))
            )
            used, resident = web.processor_seconds - before, web.resident_bytes
        finally:
            web.stop()
    place.clear()
    rows = [
        (name, percentile(each, 50), percentile(each, 99), max(each))
        for name, each in ((f"{DASHBOARDS} dashboards", dashboards), ("WatchKata", watch))
    ]
    print(
        table(
            f"Lights on {DASHBOARDS} dashboards, {LIGHTS_PER_SECOND} a second: ms after they were "
            "recorded",
            ("", "p50", "p99", "most"),
            rows,
        ),
        flush=True,
    )
    yield Figure("web light on 60 dashboards p50", rows[0][1], "ms")
    yield Figure("web light on 60 dashboards p99", rows[0][2], "ms", "<=", 200)
    yield Figure("web light on 60 dashboards beyond WatchKata, p50", rows[0][1] - rows[1][1], "ms")
    yield Figure("web processor time of a light on 60 dashboards", 1000 * used / len(watch), "ms")
    yield Figure("web memory with 60 dashboards", resident / 2**20, "MiB")


async def _measured(serving: Storer, web: str, lights: int) -> tuple[list[float], list[float]]:
    """Return how many ms after its record each light was on each dashboard, and at a watch."""
    async with AsyncClient(serving.address) as client:
        kata_id = await _kata(client)
        dashboards = [Heard(lights) for _ in range(DASHBOARDS)]
        watched = Heard(lights)
        everybody = [*dashboards, watched]
        listening = [asyncio.create_task(_listen(web, kata_id, each)) for each in dashboards]
        listening.append(asyncio.create_task(_watch(client, kata_id, watched)))
        async with asyncio.timeout(60):
            await asyncio.gather(*(each.is_ready.wait() for each in everybody))
        recorded = await _record(client, kata_id, lights)
        async with asyncio.timeout(60):
            await asyncio.gather(*(each.has_all.wait() for each in everybody))
        for task in listening:
            task.cancel()
        await asyncio.gather(*listening, return_exceptions=True)
    late = [
        1000 * (each.times[light] - at) for each in dashboards for light, at in recorded.items()
    ]
    return late, [1000 * (watched.times[light] - at) for light, at in recorded.items()]


async def _kata(client: AsyncClient) -> str:
    """Make a kata in which all 64 avatars have started; return its id."""
    manifest = storer_pb2.Manifest(
        display_name="C (gcc), assert",
        image_name="cyberdojofoundation/gcc_assert",
        files={"cyber-dojo.sh": b"make\n"},
    )
    asked = storer_pb2.CreateKataRequest(manifest=manifest)
    kata_id: str = (await client.call(client.storer.CreateKata, asked)).kata_id
    for _ in avatars.NAMES:
        start = storer_pb2.StartAvatarRequest(kata_id=kata_id)
        await client.call(client.storer.StartAvatar, start)
    return kata_id


async def _record(client: AsyncClient, kata_id: str, lights: int) -> Times:
    """Record lights, at their pace; return when each was answered."""
    recorded: Times = {}
    begin = time.perf_counter()
    for place in range(lights):
        await asyncio.sleep(max(begin + place / LIGHTS_PER_SECOND - time.perf_counter(), 0))
        avatar = avatars.NAMES[place % len(avatars.NAMES)]
        asked = storer_pb2.RecordTestRequest(
            kata_id=kata_id,
            avatar=avatar,
            files={"hiker.c": b"%d" % place},
            colour=colour_pb2.COLOUR_RED,
        )
        light = (await client.call(client.storer.RecordTest, asked)).light
        recorded[avatar, light.number] = time.perf_counter()
    return recorded


async def _listen(web: str, kata_id: str, heard: Heard) -> None:
    """Listen as a dashboard does, without a browser's work: note when each light comes."""
    host, _, port = web.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=2**24)
    try:
        path = f"/kata/{kata_id}/dashboard/events"
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {web}\r\n\r\n".encode())
        event = b""
        while line := await reader.readline():
            now = time.perf_counter()
            if line.startswith(b"event: "):
                event = line.split()[1]
                if event == b"caught_up":
                    heard.is_ready.set()
            elif line.startswith(b"data: ") and event == b"lights":
                # Without the time that reading its JSON takes.
                avatar = line.partition(b'"avatar":"')[2].partition(b'"')[0].decode()
                number = int(line.partition(b'"number":')[2].partition(b",")[0])
                heard.note(avatar, number, now)
    finally:
        writer.close()


async def _watch(client: AsyncClient, kata_id: str, heard: Heard) -> None:
    async for happened in client.watch(kata_id):
        if happened.caught_up:
            heard.is_ready.set()
        else:
            heard.note(happened.avatar, happened.light.number, time.perf_counter())
