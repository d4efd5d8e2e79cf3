"""The time of the storer's calls, against git's command line and the engine's API."""

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import docker

from benchmarks.figures import Figure, percentile, table
from benchmarks.places import Place, Storer, storer
from cyberdojo.colour.v1 import colour_pb2
from cyberdojo.output.v1 import output_pb2
from cyberdojo.storer.v1 import storer_pb2
from dojo import avatars, kata_ids

ROUNDS = 200
TURN = 10  # calls of one kind before it is the turn of the other
EARLY, LATE = 10, 1000
LISTED = 500
CLASS_LIGHTS = 20
CLIENTS, SECONDS = 64, 10.0

FILES = {
    "cyber-dojo.sh": b"python3 -m pytest *test*.py\n",
    **{f"file{number}.py": b"answer = 42\n" * 50 for number in range(9)},
}
OUTPUT = b"F.....\n" * 70


def changed(number: int) -> dict[str, bytes]:
    """Return ten files, one of which differs for each number."""
    return {**FILES, "file1.py": f"answer = {number}\n".encode() * 50}


def measure(place: Place, scale: float) -> Iterator[Figure]:
    """Print tables; yield the figures."""
    rounds = max(20, round(ROUNDS * scale))
    with storer(place) as serving:
        yield from _record(place, serving, rounds)
        yield from _late(serving, rounds)
        yield from _read(serving, rounds)
        yield from _read_class(serving, rounds)
        yield from _together(serving, SECONDS * max(scale, 0.2))
        yield from _create(place, serving, rounds)


def _record(place: Place, serving: Storer, rounds: int) -> Iterator[Figure]:
    """Measure RecordTest, and the same by git's command line, in turns of ten, on the same disk."""
    kata_id = new_kata(serving, 1)
    parent = place.data_containers.folder(kata_id).parent.parent
    with tempfile.TemporaryDirectory(dir=parent, prefix="bench-git-") as folder:
        git = _Git(Path(folder))
        ours: list[float] = []
        theirs: list[float] = []
        for first in range(1, rounds + 1, TURN):
            for times, record in (
                (theirs, git.record),
                (ours, partial(press, serving, kata_id, 0)),
            ):
                os.sync()  # so that neither writes what the other left in the page cache
                times += [ms(partial(record, number)) for number in range(first, first + TURN)]
    print(_table("RecordTest, 10 files", {"RecordTest": ours, "git add, commit, tag": theirs}))
    for percent in (50, 99):
        yield Figure(f"storer RecordTest p{percent}", percentile(ours, percent), "ms")
    yield Figure(
        "storer RecordTest, against git's command line, p50",
        percentile(ours, 50) / percentile(theirs, 50),
        "",
        "<=",
        1 / 8,
    )
    yield Figure(
        "storer RecordTest, against git's command line, p99",
        percentile(ours, 99) / percentile(theirs, 99),
        "",
    )


class _Git:
    """A repository to which git's command line adds lights, with everything synced."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        quiet = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}
        self._environ = {**os.environ, **quiet}
        self._run("init", "--quiet", ".")
        for key, value in {
            "user.name": "whale",
            "user.email": "whale@cyber-dojo.org",
            "core.fsync": "all",
            "gc.auto": "0",
        }.items():
            self._run("config", key, value)
        (folder / "sandbox").mkdir()
        for name, content in FILES.items():
            (folder / "sandbox" / name).write_bytes(content)

    def record(self, number: int) -> None:
        for name, content in changed(number).items():
            path = self._folder / "sandbox" / name
            if path.read_bytes() != content:
                path.write_bytes(content)
        (self._folder / "light.json").write_bytes(b'{"number":%d}' % number + OUTPUT)
        self._run("add", "--all", ".")
        self._run("commit", "--quiet", "--message", f"{number} red")
        self._run("tag", str(number))

    def _run(self, *arguments: str) -> None:
        subprocess.run(["git", *arguments], cwd=self._folder, env=self._environ, check=True)


def _late(serving: Storer, rounds: int) -> Iterator[Figure]:
    """Measure RecordTest of early lights and of lights after the thousandth, in turn."""
    old = new_kata(serving, 1)
    for number in range(1, LATE):
        press(serving, old, 0, number)
    times: dict[int, list[float]] = {EARLY: [], LATE: []}
    for turn in range(min(rounds, 100)):
        if turn % EARLY == 0:
            new = new_kata(serving, 1)
            for number in range(1, EARLY):
                press(serving, new, 0, number)
        times[EARLY].append(ms(partial(press, serving, new, 0, EARLY + turn % EARLY)))
        times[LATE].append(ms(partial(press, serving, old, 0, LATE + turn)))
    print(_table("RecordTest", {f"from light {number}": each for number, each in times.items()}))
    for percent in (50, 99):
        yield Figure(
            f"storer RecordTest at light {LATE}, against light {EARLY}, p{percent}",
            percentile(times[LATE], percent) / percentile(times[EARLY], percent),
            "",
            *(("<=", 1.5) if percent == 50 else ()),
        )


def _read(serving: Storer, rounds: int) -> Iterator[Figure]:
    kata_id = new_kata(serving, 1)
    avatar = avatars.NAMES[0]
    for number in range(1, LISTED + 1):
        press(serving, kata_id, 0, number)
    calls: dict[str, Callable[[int], object]] = {
        "GetFiles": lambda number: serving.stub.GetFiles(
            storer_pb2.GetFilesRequest(kata_id=kata_id, avatar=avatar, light_number=number)
        ),
        f"ListLights of {LISTED}": lambda _: serving.stub.ListLights(
            storer_pb2.ListLightsRequest(kata_id=kata_id, avatar=avatar)
        ),
        "DiffLights of 10 files": lambda number: serving.stub.DiffLights(
            storer_pb2.DiffLightsRequest(
                kata_id=kata_id, avatar=avatar, was_number=number - 1, now_number=number
            )
        ),
    }
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(rounds):
        for name, call in calls.items():
            times[name].append(ms(partial(call, turn % LISTED + 1)))
    print(_table("Reading", times))
    for name, each in times.items():
        yield Figure(f"storer {name} p50", percentile(each, 50), "ms", "<=", 2)
        yield Figure(f"storer {name} p99", percentile(each, 99), "ms")


def _read_class(serving: Storer, rounds: int) -> Iterator[Figure]:
    """Measure what everybody in a full kata looks at."""
    names = avatars.NAMES
    kata_id = new_kata(serving, len(names))
    for number in range(1, CLASS_LIGHTS + 1):
        for place in range(len(names)):
            press(serving, kata_id, place, number)
    newest = [storer_pb2.WhichLight(avatar=name, light_number=-1) for name in names]
    calls: dict[str, Callable[[], object]] = {
        "ListAvatars": lambda: serving.stub.ListAvatars(
            storer_pb2.ListAvatarsRequest(kata_id=kata_id)
        ),
        f"ListLights of {CLASS_LIGHTS} each": lambda: serving.stub.ListLights(
            storer_pb2.ListLightsRequest(kata_id=kata_id)
        ),
        "GetOutputs": lambda: serving.stub.GetOutputs(
            storer_pb2.GetOutputsRequest(kata_id=kata_id, lights=newest)
        ),
    }
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            times[name].append(ms(call))
    print(_table(f"Reading, {len(names)} avatars", times))
    for name, each in times.items():
        target = () if name == "GetOutputs" else ("<=", 5)
        yield Figure(
            f"storer {name}, {len(names)} avatars, p50", percentile(each, 50), "ms", *target
        )
        yield Figure(f"storer {name}, {len(names)} avatars, p99", percentile(each, 99), "ms")


def _create(place: Place, serving: Storer, rounds: int) -> Iterator[Figure]:
    """Measure CreateKata and StartAvatar, and the engine's part: a container and a volume."""
    ours, bare = [], []
    new_kata(serving, 0)  # makes the empty image, which is not to be measured
    api = docker.APIClient(base_url=place.engine.url, version="auto")
    for _ in range(rounds):
        ours.append(ms(partial(new_kata, serving, 1)))
        kata_id = kata_ids.new()
        config, name = (
            place.data_containers.container_config(kata_id),
            place.namespace.kata(kata_id),
        )
        bare.append(ms(partial(api.create_container_from_config, config, name)))
    api.close()
    place.clear()
    rows = {"CreateKata + StartAvatar": ours, "container and volume by the API": bare}
    print(_table("A new kata", rows))
    for percent in (50, 99):
        yield Figure(
            f"storer CreateKata + StartAvatar, against the API alone, p{percent}",
            percentile(ours, percent) / percentile(bare, percent),
            "",
            *(("<=", 1.5) if percent == 50 else ()),
        )


def _together(serving: Storer, seconds: float) -> Iterator[Figure]:
    """Measure RecordTest by 64 clients at once, each with an avatar of its own."""
    kata_id = new_kata(serving, CLIENTS)
    times: list[float] = []
    ends = time.monotonic() + seconds

    def press_for_a_while(place: int) -> None:
        number = 1
        while time.monotonic() < ends:
            times.append(ms(partial(press, serving, kata_id, place, number)))
            number += 1

    begun = time.monotonic()
    with ThreadPoolExecutor(CLIENTS) as threads:
        list(threads.map(press_for_a_while, range(CLIENTS)))
    rate = len(times) / (time.monotonic() - begun)
    print(_table(f"RecordTest, {CLIENTS} clients, {rate:.0f}/s", {"RecordTest": times}))
    yield Figure(f"storer RecordTest per second, {CLIENTS} clients", rate, "/s", ">=", 300)


def new_kata(serving: Storer, started: int) -> str:
    """Make a kata in which that many avatars have started; return its id."""
    manifest = storer_pb2.Manifest(
        display_name="Python, pytest",
        image_name="cyberdojofoundation/python_pytest",
        files=FILES,
    )
    made = serving.stub.CreateKata(storer_pb2.CreateKataRequest(manifest=manifest))
    for avatar in avatars.NAMES[:started]:
        serving.stub.StartAvatar(
            storer_pb2.StartAvatarRequest(kata_id=made.kata_id, avatars=[avatar])
        )
    return made.kata_id


def press(serving: Storer, kata_id: str, place: int, number: int) -> None:
    """Record light `number` of the avatar at index `place` of avatars.NAMES."""
    serving.stub.RecordTest(
        storer_pb2.RecordTestRequest(
            kata_id=kata_id,
            avatar=avatars.NAMES[place],
            files=changed(number),
            stdout=output_pb2.Output(content=OUTPUT),
            status=1,
            colour=colour_pb2.COLOUR_RED,
            request_id=str(number),
        )
    )


def ms(call: Callable[[], object]) -> float:
    """Return how many milliseconds a call takes."""
    begun = time.perf_counter()
    call()
    return (time.perf_counter() - begun) * 1000


def _table(title: str, times: dict[str, list[float]]) -> str:
    rows = [
        (name, *(percentile(each, percent) for percent in (50, 90, 99)), len(each))
        for name, each in times.items()
    ]
    return table(title, ("ms", "p50", "p90", "p99", "calls"), rows)
