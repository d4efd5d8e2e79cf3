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
from functools import partial
from typing import TypeVar

import grpc

from benchmarks.figures import Figure, percentile, table
from benchmarks.places import TRUE, Place, Runner, Storer, request, runner, storer
from benchmarks.storer_calls import TURN, ms, new_kata, press
from cyberdojo.runner.v1 import runner_pb2
from dojo import avatars
from dojo.background_task import background_task

S = TypeVar("S")

ROUNDS = 300
_SCRAPE_SECONDS = 1.0
_EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"

OFF, SEEN, TRACED = "off", "metrics and access lines", "these and traces"


def measure(place: Place, scale: float) -> Iterator[Figure]:
    """Print tables; yield the figures."""
    rounds = max(TURN, round(ROUNDS * scale))
    for call, seen, limit_ms in (
        ("Run, warm", _runs(place, rounds), 0.5),
        ("RecordTest", _records(place, rounds), 0.3),
    ):
        rows = [
            (name, *(percentile(each, percent) for percent in (25, 50, 75)))
            for name, each in seen.items()
        ]
        print(table(f"{call}, {rounds} calls each", ("ms", "25 %", "50 %", "75 %"), rows))
        for name in (SEEN, TRACED):
            grown = statistics.median(seen[name]) - statistics.median(seen[OFF])
            yield Figure(f"what {name} add to {call}", grown, "ms", "<=", limit_ms)


def _runs(place: Place, rounds: int) -> dict[str, list[float]]:
    """Return the milliseconds of warm runs, by what is on."""
    kata_id = place.new_kata(len(_settings("")))
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(_receiver())
        runners: dict[str, tuple[Runner, str]] = {}
        for (name, environ), avatar in zip(_settings(url).items(), avatars.NAMES, strict=False):
            TRUE.write(place.sandbox(kata_id, avatar), avatar)
            runners[name] = stack.enter_context(_scraped(runner, place, environ)), avatar
        return _in_turns(
            {
                name: partial(_run, serving, kata_id, avatar)
                for name, (serving, avatar) in runners.items()
            },
            rounds,
        )


def _run(serving: Runner, kata_id: str, avatar: str, _: int) -> float:
    key = {"kata_id": kata_id, "avatar": avatar, "image_name": TRUE.image_name}
    if not serving.stub.Prepare(runner_pb2.PrepareRequest(**key)).waiting:
        raise RuntimeError("the runner has no warm container for the next run")
    return ms(partial(serving.stub.Run, request(kata_id, avatar, TRUE)))


def _records(place: Place, rounds: int) -> dict[str, list[float]]:
    """Return the milliseconds of recorded tests, by what is on."""
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(_receiver())
        storers: dict[str, Storer] = {
            name: stack.enter_context(_scraped(storer, place, environ))
            for name, environ in _settings(url).items()
        }
        katas = {name: new_kata(serving, 1) for name, serving in storers.items()}

        def record(name: str, number: int) -> float:
            if number % TURN == 1:
                os.sync()  # so that no storer writes what another left in the page cache
            return ms(partial(press, storers[name], katas[name], 0, number))

        return _in_turns({name: partial(record, name) for name in storers}, rounds)


def _settings(traces: str) -> dict[str, dict[str, str]]:
    """Return the settings of each service that is compared."""
    seen = {"CYBER_DOJO_LOG_LEVEL": "access"}
    return {OFF: {}, SEEN: seen, TRACED: {**seen, "CYBER_DOJO_TRACES": traces}}


def _in_turns(calls: Mapping[str, Callable[[int], float]], rounds: int) -> dict[str, list[float]]:
    """Make each call `rounds` times, ten at a time and in random order; return what they return."""
    found: dict[str, list[float]] = {name: [] for name in calls}
    for first in range(1, rounds + 1, TURN):
        for name in random.sample(list(calls), len(calls)):
            found[name] += [calls[name](number) for number in range(first, first + TURN)]
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
