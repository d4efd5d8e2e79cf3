"""WatchKata, and a kata of WatchKatas: a stream of lights as they are recorded."""

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from cyberdojo.storer.v1 import storer_pb2, storer_pb2_grpc
from dojo import limits
from dojo.engine.data_containers import DataContainers
from dojo.service.interceptor import StatusInterceptor
from dojo.service.receiving import Receiving
from storer.app import Storer, build
from storer.settings import StorerSettings
from support.services import Service, code_of, wait_until
from support.storer.katas_directories import DOLPHIN, SPIDER, LegacyKata
from support.storer.storing import GREEN, Katas, Stub, at_once, refused

Watcher = Iterator[storer_pb2.WatchKataResponse]


@pytest.fixture(autouse=True, params=["WatchKata", "WatchKatas"])
def within(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Watch katas by one of the RPCs; return what stands before the fields of a kata."""
    if request.param == "WatchKata":
        return ""
    monkeypatch.setattr(Katas, "watching", Katas.watching_beside)
    return "katas[0]."


# This many lights with such reasons exceed what gRPC buffers for a client that does not read.
LONG_REASON = "x" * 1000
MANY = 150


def take(watcher: Watcher, count: int) -> list[tuple[str, int]]:
    """Wait for the next lights; return each as avatar and number."""
    return [(each.avatar, each.light.number) for each in islice(watcher, count)]


def numbers_of(avatar: str, taken: list[tuple[str, int]]) -> list[int]:
    return [number for name, number in taken if name == avatar]


def record_many(katas: Katas, kata_id: str, avatar: str) -> None:
    for _ in range(MANY):
        katas.record(kata_id, avatar, reason=LONG_REASON)


@dataclass(frozen=True)
class Inside:
    """A storer in the test's own process, whose state can be inspected."""

    storer: Storer
    loop: asyncio.AbstractEventLoop
    katas: Katas

    def traces(self) -> tuple[int, int]:
        """Return how many katas are watched, and how many tasks serve a call or a watch."""
        coroutines: list[Any] = [task.get_coro() for task in asyncio.all_tasks(self.loop)]
        tasks = [each.__qualname__ for each in coroutines]
        # The server's own tasks, which wait for calls.
        busy = [name for name in tasks if not name.startswith(("AioServer._", "inside."))]
        return len(self.storer.watches._feeds), len(busy)


@pytest.fixture
def inside(
    data_containers: DataContainers, connect: Callable[[str], grpc.Channel]
) -> Iterator[Inside]:
    started: Future[tuple[Storer, asyncio.AbstractEventLoop, asyncio.Event, int]] = Future()

    async def serve() -> None:
        server = grpc.aio.server(interceptors=[StatusInterceptor(Receiving(limits.MEMORY_BYTES))])
        storer = build(StorerSettings(), data_containers)
        storer_pb2_grpc.add_StorerServiceServicer_to_server(storer.servicer, server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        stopping = asyncio.Event()
        started.set_result((storer, asyncio.get_running_loop(), stopping, port))
        await stopping.wait()
        await server.stop(5)

    thread = threading.Thread(target=lambda: asyncio.run(serve()), name="storer inside")
    thread.start()
    storer, loop, stopping, port = started.result(60)
    yield Inside(storer, loop, Katas(Stub(connect(f"127.0.0.1:{port}"))))
    loop.call_soon_threadsafe(stopping.set)
    thread.join()


def test_a_watcher_gets_the_lights_of_all_avatars_from_the_start(katas: Katas) -> None:
    kata_id = katas.started("whale", "bat")
    katas.record(kata_id, "whale", colour=GREEN, status=0)
    with katas.watching(kata_id) as watcher:
        assert sorted(take(watcher, 3)) == [("bat", 0), ("whale", 0), ("whale", 1)]
        light = katas.record(kata_id, "bat", colour=GREEN, status=0)
        (got,) = islice(watcher, 1)
        assert (got.avatar, got.light) == ("bat", light)


def test_a_watcher_is_told_once_when_it_has_caught_up(katas: Katas) -> None:
    kata_id = katas.started("whale")
    katas.record(kata_id, "whale")
    seen: dict[str, int]
    for seen in ({}, {"whale": 1}):
        newest = katas.lights(kata_id, "whale")[-1].number
        request = storer_pb2.WatchKataRequest(kata_id=kata_id, seen=seen)
        watch: Any = katas.stub.WatchKata(request, timeout=60)
        for number in range(seen.get("whale", -1) + 1, newest + 1):
            happened = next(watch)
            assert (happened.light.number, happened.caught_up) == (number, False)
        assert next(watch) == storer_pb2.WatchKataResponse(caught_up=True)
        for _ in range(2):
            light = katas.record(kata_id, "whale")
            assert next(watch) == storer_pb2.WatchKataResponse(avatar="whale", light=light)
        watch.cancel()


def test_a_started_avatar_is_sent_as_light_0(katas: Katas, kata_id: str) -> None:
    with katas.watching(kata_id) as watcher:
        katas.start(kata_id, "whale")
        assert take(watcher, 1) == [("whale", 0)]
        katas.start(kata_id, "bat")
        assert take(watcher, 1) == [("bat", 0)]


@pytest.mark.parametrize(
    ("seen", "unseen"),
    [
        ({"whale": 1}, [("bat", 0), ("whale", 2)]),
        ({"whale": 0, "bat": 0}, [("whale", 1), ("whale", 2)]),
        ({"whale": 2}, [("bat", 0)]),
        ({"whale": 1, "bat": 0, "zebra": 7}, [("whale", 2)]),
        ({"whale": 3, "bat": 0}, [("whale", 0), ("whale", 1), ("whale", 2)]),
    ],
)
def test_seen_lights_are_not_sent_again(
    katas: Katas, seen: Mapping[str, int], unseen: list[tuple[str, int]]
) -> None:
    kata_id = katas.started("whale", "bat")
    for _ in range(2):
        katas.record(kata_id, "whale")
    with katas.watching(kata_id, seen) as watcher:
        assert sorted(take(watcher, len(unseen))) == unseen
        katas.record(kata_id, "bat")
        assert take(watcher, 1) == [("bat", 1)]


def test_lights_are_sent_in_order_without_gaps_while_8_writers_record(katas: Katas) -> None:
    names = ("bat", "fox", "owl", "whale")
    kata_id = katas.started(*names)
    lights = [(name, number) for name in names for number in range(21)]
    with ExitStack() as stack:
        watchers = [stack.enter_context(katas.watching(kata_id)) for _ in range(3)]

        def write(writer: int) -> None:
            for _ in range(10):
                katas.record(kata_id, names[writer % len(names)])

        at_once(write, range(8))
        for watcher in watchers:
            taken = take(watcher, len(lights))
            assert sorted(taken) == lights
            for name in names:
                assert numbers_of(name, taken) == list(range(21))


def test_a_watcher_that_reconnects_misses_nothing_and_gets_nothing_twice(
    katas: Katas,
) -> None:
    kata_id = katas.started("whale", "bat")
    seen: dict[str, int] = {}
    taken: list[tuple[str, int]] = []

    def write(name: str) -> None:
        for _ in range(10):
            katas.record(kata_id, name)

    writers = [threading.Thread(target=write, args=(name,)) for name in ("whale", "bat")]
    for each in writers:
        each.start()
    while len(taken) < 22:
        with katas.watching(kata_id, seen) as watcher:
            taken += take(watcher, 2)
            seen.update(taken)
    for each in writers:
        each.join()
    for name in ("whale", "bat"):
        assert numbers_of(name, taken) == list(range(11))


def test_a_watcher_that_does_not_read_delays_nobody_and_gets_all_of_it_later(
    katas: Katas,
) -> None:
    kata_id = katas.started("whale")
    with katas.watching(kata_id) as slow, katas.watching(kata_id) as quick:
        record_many(katas, kata_id, "whale")
        everything = [("whale", number) for number in range(MANY + 1)]
        assert take(quick, MANY + 1) == everything
        assert take(slow, MANY + 1) == everything


def test_200_watchers_of_one_kata_all_get_each_light(katas: Katas) -> None:
    kata_id = katas.started("whale")
    with ExitStack() as stack:
        watchers = [stack.enter_context(katas.watching(kata_id)) for _ in range(200)]
        for number in range(3):
            for watcher in watchers:
                assert take(watcher, 1) == [("whale", number)]
            katas.record(kata_id, "whale")


def test_a_watcher_that_disconnects_leaves_nothing(inside: Inside) -> None:
    katas = inside.katas
    kata_id = katas.started("whale")
    record_many(katas, kata_id, "whale")
    with ExitStack() as stack:
        for _ in range(10):
            reading = stack.enter_context(katas.watching(kata_id, {"whale": MANY - 1}))
            assert take(reading, 1) == [("whale", MANY)]
            slow = stack.enter_context(katas.watching(kata_id))
            assert take(slow, 1) == [("whale", 0)]
        assert inside.traces() >= (1, 20)
    wait_until(lambda: inside.traces() == (0, 0))


def test_lights_that_another_storer_recorded_are_sent_too(
    katas: Katas, start_storer: Callable[..., Service], client: Callable[[Service], Katas]
) -> None:
    other = client(start_storer())
    kata_id = katas.started("whale")
    with katas.watching(kata_id) as watcher:
        assert take(watcher, 1) == [("whale", 0)]
        other.record(kata_id, "whale")
        assert take(watcher, 1) == [("whale", 1)]
        other.start(kata_id, "bat")
        assert take(watcher, 1) == [("bat", 0)]
        other.delete(kata_id)
        with refused(grpc.StatusCode.NOT_FOUND):
            next(watcher)


def test_a_watch_ends_when_its_kata_is_deleted(katas: Katas) -> None:
    kata_id = katas.started("whale")
    with katas.watching(kata_id) as watcher, katas.watching(kata_id) as other:
        assert take(watcher, 1) == take(other, 1) == [("whale", 0)]
        katas.delete(kata_id)
        for each in (watcher, other):
            with refused(grpc.StatusCode.NOT_FOUND, says=kata_id):
                next(each)


def test_an_unknown_kata_cannot_be_watched(katas: Katas) -> None:
    with katas.watching("0000000000") as watcher, refused(grpc.StatusCode.NOT_FOUND):
        next(watcher)


@pytest.mark.parametrize("kata", [SPIDER, DOLPHIN], ids=lambda kata: kata.id)
def test_watching_a_legacy_kata_imports_it(katas: Katas, kata: LegacyKata) -> None:
    with katas.watching(kata.id, {kata.avatar: kata.newest - 1}) as watcher:
        assert take(watcher, 1) == [(kata.avatar, kata.newest)]
        katas.record(kata.id, kata.avatar)
        assert take(watcher, 1) == [(kata.avatar, kata.newest + 1)]


def test_a_watcher_does_not_import_a_deleted_legacy_kata_again(
    katas: Katas, data_containers: DataContainers
) -> None:
    with katas.watching(SPIDER.id) as watcher:
        take(watcher, 1)
        katas.delete(SPIDER.id)
        with refused(grpc.StatusCode.NOT_FOUND):
            for _ in watcher:
                pass
    assert not data_containers.folder(SPIDER.id).exists()


def test_a_watch_continues_when_another_storer_archives_the_kata(
    start_storer: Callable[..., Service],
    client: Callable[[Service], Katas],
    tmp_path: Path,
) -> None:
    shared = {"CYBER_DOJO_ARCHIVE": str(tmp_path / "archive")}
    watched, other = client(start_storer(**shared)), client(start_storer(**shared))
    kata_id = watched.started("whale")
    with watched.watching(kata_id) as watcher:
        assert take(watcher, 1) == [("whale", 0)]
        for number in (1, 2):
            request = storer_pb2.ArchiveKataRequest(kata_id=kata_id)
            archive = partial(other.stub.ArchiveKata, request)
            # The kata is in use while the other storer polls it.
            wait_until(lambda: code_of(archive) is grpc.StatusCode.OK)  # noqa: B023 - called now
            other.record(kata_id, "whale")
            assert take(watcher, 1) == [("whale", number)]
        other.delete(kata_id)
        with refused(grpc.StatusCode.NOT_FOUND):
            next(watcher)


def test_a_watcher_of_a_restored_kata_gets_another_history_from_its_start(
    katas: Katas,
) -> None:
    kata_id = katas.started("whale", "bat", "fox")
    katas.record(kata_id, "whale", reason="first")
    tar = katas.tar(kata_id)
    for name in ("whale", "whale", "bat"):
        katas.record(kata_id, name)
    with katas.watching(kata_id) as watcher:
        assert len(take(watcher, 7)) == 7
        katas.restore(tar, overwrite=True)
        taken = take(watcher, 3)
        assert numbers_of("whale", taken) == [0, 1]
        assert numbers_of("bat", taken) == [0]
        katas.record(kata_id, "fox")
        assert take(watcher, 1) == [("fox", 1)]


def test_a_watch_lasts_until_its_deadline_if_nothing_happens(katas: Katas) -> None:
    kata_id = katas.started("whale")
    came: list[tuple[str, int]] = []
    for seconds in (1.5, 6, 24):
        with (
            katas.watching(kata_id, seconds=seconds) as watcher,
            refused(grpc.StatusCode.DEADLINE_EXCEEDED),
        ):
            came = take(watcher, 1)
            next(watcher)
        if came:  # else the deadline was too soon for this machine
            break
    assert came == [("whale", 0)]
    assert code_of(lambda: katas.get(kata_id)) is grpc.StatusCode.OK


def test_a_storer_that_stops_ends_its_watches_at_once(
    start_storer: Callable[..., Service], client: Callable[[Service], Katas]
) -> None:
    service = start_storer()
    katas = client(service)
    kata_id = katas.started("whale")
    with katas.watching(kata_id) as watcher:
        assert take(watcher, 1) == [("whale", 0)]
        service.stop()
        with refused(grpc.StatusCode.UNAVAILABLE, says="stopping"):
            next(watcher)


@pytest.mark.parametrize(
    ("seen", "field"),
    [
        ({"unicorn": 1}, "seen['unicorn']"),
        ({"": 1}, "seen['']"),
        ({"../whale": 1}, "seen['../whale']"),
        ({"whale": -1}, "seen['whale']"),
        ({"whale": 10**9}, "seen['whale']"),
    ],
)
def test_impossible_seen_numbers_are_refused(
    katas: Katas, kata_id: str, seen: Mapping[str, int], field: str, within: str
) -> None:
    with (
        katas.watching(kata_id, seen) as watcher,
        refused(grpc.StatusCode.INVALID_ARGUMENT, field=within + field),
    ):
        next(watcher)
