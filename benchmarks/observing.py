"""What it costs calls that an operator sees them: services with all of that on, beside others."""

import contextlib
import os
import random
import socket
import statistics
import threading
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import TypeVar

import grpc

from benchmarks.figures import Figure, percentile, table
from benchmarks.places import TRUE, Place, Runner, Storer, request, runner, storer
from benchmarks.storer_calls import TURN, ms, new_kata, press
from cyberdojo.runner.v1 import runner_pb2
from cyberdojo.storer.v1 import storer_pb2
from dojo import avatars
from dojo.background_task import background_task

S = TypeVar("S")

TURNS = 60
KATAS = 6
_SCRAPE_SECONDS = 1.0
_EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"

OFF, SEEN, TRACED = "off", "metrics and access lines", "these and traces"


def measure(place: Place, scale: float) -> Iterator[Figure]:
    """Print tables; yield the figures."""
    turns = max(KATAS, round(TURNS * scale))
    for call, seen, limit_ms in (
        ("Run, warm", _runs(place, turns), 0.5),
        ("RecordTest", _records(place, turns), 0.3),
    ):
        rows = [
            (
                name,
                *(percentile(chain(*each.calls), percent) for percent in (25, 50, 75)),
                each.processor_ms / (turns * TURN),
            )
            for name, each in seen.items()
        ]
        columns = ("ms", "25 %", "50 %", "75 %", "of a processor")
        print(table(f"{call}, {turns * TURN} calls each", columns, rows))
        for name in (SEEN, TRACED):
            yield Figure(
                f"what {name} add to {call}", seen[name].above(seen[OFF]), "ms", "<=", limit_ms
            )


@dataclass(frozen=True)
class _Service:
    """What one of the compared services does: a call in a turn, given the turn and its number."""

    call: Callable[[int, int], float]
    serving: Storer | Runner


@dataclass
class _Seen:
    """The milliseconds of a service's calls, in lists for each turn; and of processors, in all."""

    calls: list[list[float]] = field(default_factory=list)
    processor_ms: float = 0.0

    def above(self, other: "_Seen") -> float:
        """Return how much longer calls took than the other's in the same turn, as a median.

        What is done in a turn differs from what is done in another, by more than what is looked
        for: in which files, and in which part of the disk they are.
        """
        pairs = zip(self.calls, other.calls, strict=True)
        return statistics.median(
            statistics.median(own) - statistics.median(others) for own, others in pairs
        )


def _runs(place: Place, turns: int) -> dict[str, _Seen]:
    """Return what was seen of warm runs, by what is on."""
    kata_id = place.new_kata(len(_settings("")))
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(_receiver())
        runners: dict[str, _Service] = {}
        for (name, environ), avatar in zip(_settings(url).items(), avatars.NAMES, strict=False):
            TRUE.write(place.sandbox(kata_id, avatar), avatar)
            serving = stack.enter_context(_scraped(runner, place, environ))
            runners[name] = _Service(partial(_run, serving, kata_id, avatar), serving)
        return _in_turns(runners, turns)


def _run(serving: Runner, kata_id: str, avatar: str, _: int, __: int) -> float:
    key = {"kata_id": kata_id, "avatar": avatar, "image_name": TRUE.image_name}
    if not serving.stub.Prepare(runner_pb2.PrepareRequest(**key)).waiting:
        raise RuntimeError("the runner has no warm container for the next run")
    return ms(partial(serving.stub.Run, request(kata_id, avatar, TRUE)))


def _records(place: Place, turns: int) -> dict[str, _Seen]:
    """Return what was seen of recorded tests, by what is on.

    All storers record in the same katas, each for an avatar of its own: how long the disk takes
    depends on where a kata is on it.
    """
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(_receiver())
        storers: dict[str, Storer] = {
            name: stack.enter_context(_scraped(storer, place, environ))
            for name, environ in _settings(url).items()
        }
        katas = [new_kata(storers[OFF], 0) for _ in range(KATAS)]
        places = {name: place for place, name in enumerate(storers)}

        def record(name: str, turn: int, number: int) -> float:
            kata_id = katas[turn % KATAS]
            return ms(partial(press, storers[name], kata_id, places[name], turn * TURN + number))

        for turn, kata_id in enumerate(katas):
            for name in random.sample(list(storers), len(storers)):
                start = storer_pb2.StartAvatarRequest(
                    kata_id=kata_id, avatars=[avatars.NAMES[places[name]]]
                )
                storers[name].stub.StartAvatar(start)
                record(name, turn, 0)  # the first of an avatar takes longer
        services = {
            name: _Service(partial(record, name), serving) for name, serving in storers.items()
        }
        return _in_turns(services, turns, before_each=os.sync)


def _settings(traces: str) -> dict[str, dict[str, str]]:
    """Return the settings of each service that is compared."""
    seen = {"CYBER_DOJO_LOG_LEVEL": "access"}
    return {OFF: {}, SEEN: seen, TRACED: {**seen, "CYBER_DOJO_TRACES": traces}}


def _in_turns(
    services: Mapping[str, _Service], turns: int, before_each: Callable[[], object] = lambda: None
) -> dict[str, _Seen]:
    """Make calls of each service, ten in a turn and in random order; return what was seen.

    `before_each` is called before each ten: so that no storer writes what another left in the page
    cache.
    """
    found = {name: _Seen() for name in services}
    for turn in range(turns):
        for name in random.sample(list(services), len(services)):
            before_each()
            service, seen = services[name], found[name]
            used_before = service.serving.processor_seconds
            seen.calls.append([service.call(turn, number) for number in range(1, TURN + 1)])
            seen.processor_ms += (service.serving.processor_seconds - used_before) * 1000
    return found


@contextlib.contextmanager
def _scraped(
    start: Callable[..., contextlib.AbstractContextManager[S]],
    place: Place,
    environ: Mapping[str, str],
) -> Iterator[S]:
    """Yield a service with these settings; if it has any, its metrics are read every second."""
    if not environ:
        with start(place) as serving:
            yield serving
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        listen = f"127.0.0.1:{free.getsockname()[1]}"
    stopped = threading.Event()

    def scrape() -> None:
        while not stopped.wait(_SCRAPE_SECONDS):
            with urllib.request.urlopen(f"http://{listen}/metrics") as answer:
                answer.read()

    with (
        start(place, CYBER_DOJO_METRICS_LISTEN=listen, **environ) as serving,
        background_task(scrape),
    ):
        try:
            yield serving
        finally:
            stopped.set()


@contextlib.contextmanager
def _receiver() -> Iterator[str]:
    """Yield the URL of a receiver of traces that keeps none."""
    accept = grpc.unary_unary_rpc_method_handler(lambda _, __: b"")
    service, _, name = _EXPORT[1:].partition("/")
    with ThreadPoolExecutor(2) as threads:
        server = grpc.server(threads)
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(service, {name: accept}),)
        )
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        yield f"http://127.0.0.1:{port}"
        server.stop(None).wait()
