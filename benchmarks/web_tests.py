"""*test* to light through the web tier, against Run; and a class of 64 that practises at once."""

import asyncio
import json
import re
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import httpx

from benchmarks.figures import Figure, percentile, table
from benchmarks.places import Place, Service, runner, storer
from cyber_dojo_client import AsyncClient
from cyberdojo.runner.v1 import runner_pb2
from cyberdojo.startpoints.v1 import startpoints_pb2
from cyberdojo.storer.v1 import storer_pb2
from dojo import avatars

ROUNDS = 60
CLASS = len(avatars.NAMES)
PRESSES = 4
"""Of each participant."""
EVERY_SECONDS = 16.0
_LANGUAGE = Path(__file__).resolve().parent.parent / "start_points/languages/gcc_assert"
_FORM = re.compile(r'name="(form_token|once)" value="([^"]+)"')


def measure(place: Place, scale: float) -> Iterator[Figure]:
    """Print tables; yield the figures. At least 4 participants press, whatever the scale."""
    count = max(4, round(CLASS * min(1, scale)))
    with storer(place) as storing, runner(place) as running:
        web = Service(
            "web",
            place,
            None,
            CYBER_DOJO_STORER=storing.address,
            CYBER_DOJO_RUNNER=running.address,
        )
        try:
            measured = _measured(storing.address, running.address, web, count, scale)
            alone, run, client, together, used = asyncio.run(measured)
            resident = web.resident_bytes
        finally:
            web.stop()
    place.clear()
    rows = [
        (name, percentile(times, 50), percentile(times, 99), max(times))
        for name, times in (
            ("Run, nobody else", run),
            ("Run and record by the client, nobody else", client),
            ("test to light, nobody else", alone),
            (f"test to light, {count} participants", together),
        )
    ]
    title = f"Test to light through the web tier, ms; C, and each of {count} every 16 s"
    print(table(title, ("", "p50", "p99", "most"), rows), flush=True)
    yield Figure("web test to light beyond Run, p50", rows[2][1] - rows[0][1], "ms", "<=", 30)
    yield Figure("web test to light beyond the client, p50", rows[2][1] - rows[1][1], "ms")
    yield Figure(f"web test to light, {count} participants, p50", rows[3][1], "ms")
    yield Figure(f"web test to light, {count} participants, p99", rows[3][2], "ms")
    yield Figure("web processor time of a test", 1000 * used / len(together), "ms")
    yield Figure(f"web memory with {count} participants", resident / 2**20, "MiB")


async def _measured(
    storing: str, running: str, web: Service, count: int, scale: float
) -> tuple[list[float], list[float], list[float], list[float], float]:
    """Return ms of tests alone, Run, by the client, of a class; and the web tier's seconds."""
    async with AsyncClient(storing, running) as client, AsyncExitStack() as stack:
        kata_id, manifest = await _kata(client)
        people = [_Person(web.address, kata_id, manifest) for _ in range(count)]
        for person in people:
            await stack.enter_async_context(person.http)
            await person.join()
        alone, run, direct = [], [], []
        for place in range(max(10, round(ROUNDS * scale))):
            # In turn, as nobody may press without a pause. The first of each is not warm.
            person = people[place % 4]
            await _run(client, kata_id, person.avatar, manifest)
            run.append(await _run(client, kata_id, person.avatar, manifest))
            direct.append(await person.press_by(client, kata_id, manifest))
            alone.append(await person.press())
        listening = [asyncio.create_task(person.listen()) for person in people]
        before = web.processor_seconds
        presses = max(1, round(PRESSES * min(1, scale)))
        pressing = [
            person.practise(EVERY_SECONDS * place / count, presses)
            for place, person in enumerate(people)
        ]
        together = [each for times in await asyncio.gather(*pressing) for each in times]
        used = web.processor_seconds - before
        for task in listening:
            task.cancel()
        await asyncio.gather(*listening, return_exceptions=True)
    return alone, run, direct, together, used


class _Person:
    """A participant, with a browser's connections and without its work."""

    def __init__(self, web: str, kata_id: str, manifest: storer_pb2.Manifest) -> None:
        self.http = httpx.AsyncClient(base_url=f"http://{web}", trust_env=False, timeout=120)
        self.avatar = ""
        self._kata = f"/kata/{kata_id}"
        self._files = [
            {"name": name, "text": content.decode()} for name, content in manifest.files.items()
        ]
        self._number = 0
        self._token = ""

    async def join(self) -> None:
        """Join the kata, and open the editor."""
        form = dict(_FORM.findall((await self.http.get(self._kata)).text))
        self._token = form["form_token"]
        answer = await self.http.post(f"{self._kata}/join", data=form)
        self.avatar = answer.headers["location"].rpartition("/")[2].partition("?")[0]
        (await self.http.get(f"{self._kata}/as/{self.avatar}")).raise_for_status()

    async def press(self) -> float:
        """Press *test*; return how many ms it took until the light was there."""
        body = {
            "files": self._files,
            "expected_number": self._number + 1,
            "predicted": "",
            "writer": "benchmark",
        }
        begin = time.perf_counter()
        async with self.http.stream(
            "POST",
            f"{self._kata}/as/{self.avatar}/test",
            json=body,
            headers={"x-form-token": self._token, "accept": "application/json"},
        ) as answer:
            answer.raise_for_status()
            async for line in answer.aiter_lines():
                part: dict[str, Any] = json.loads(line)
                if "trouble" in part:
                    raise RuntimeError(f"a test failed: {part['trouble']}")
                if "recorded" in part:
                    self._number = part["recorded"]["light"]["number"]
                    return 1000 * (time.perf_counter() - begin)
        raise RuntimeError("a test came to no light")

    async def press_by(
        self, client: AsyncClient, kata_id: str, manifest: storer_pb2.Manifest
    ) -> float:
        """Do the same without the web tier."""
        begin = time.perf_counter()
        pressed = await client.press_test(kata_id, self.avatar, manifest, dict(manifest.files))
        self._number = pressed.light.number
        return 1000 * (time.perf_counter() - begin)

    async def practise(self, after: float, presses: int) -> list[float]:
        """Press so often, at one's own times; return how many ms each took."""
        begin = time.perf_counter() + after
        times = []
        for place in range(presses):
            at = begin + place * EVERY_SECONDS
            await asyncio.sleep(max(at - time.perf_counter(), 0))
            times.append(await self.press())
        return times

    async def listen(self) -> None:
        """Read what the editor is told, as long as it is open."""
        with suppress(httpx.ReadError):
            async with self.http.stream("GET", f"{self._kata}/as/{self.avatar}/events") as answer:
                async for _ in answer.aiter_raw():
                    pass


async def _kata(client: AsyncClient) -> tuple[str, storer_pb2.Manifest]:
    """Make a kata of a start point; return its id and its manifest."""
    files = {path.name: path.read_bytes() for path in _LANGUAGE.iterdir()}
    asked = startpoints_pb2.CheckStartPointRequest(files=files)
    manifest = (await client.start_points.CheckStartPoint(asked)).manifest
    create = storer_pb2.CreateKataRequest(manifest=manifest)
    return (await client.call(client.storer.CreateKata, create)).kata_id, manifest


async def _run(
    client: AsyncClient, kata_id: str, avatar: str, manifest: storer_pb2.Manifest
) -> float:
    """Run the tests; return how many ms it took."""
    asked = runner_pb2.RunRequest(
        kata_id=kata_id,
        avatar=avatar,
        image_name=manifest.image_name,
        files=dict(manifest.files),
        max_seconds=manifest.max_seconds,
        colour_rule=manifest.colour_rule,
    )
    begin = time.perf_counter()
    await client.runner.Run(asked)
    return 1000 * (time.perf_counter() - begin)
