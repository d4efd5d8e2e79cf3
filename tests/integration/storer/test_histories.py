"""Two storers share katas, one of them is killed, and nobody can tell them from a single one."""

import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from support.histories.attempts import Attempt, Kind
from support.histories.checker import check, judge
from support.histories.client import Client, kata_ids, read_in_the_end
from support.histories.digests import Contents
from support.histories.recorder import Recorder
from support.histories.simulated import mutations
from support.histories.simulated.clients import History
from support.services import Service
from support.storer.storing import FILES, Katas, a_manifest, a_test

CLIENTS = 6
CALLS = 60  # of each client, before the kill and after it
NAMES = ("bat", "bear", "bee", "crab", "deer")


class Player:
    """A client that plays with all others, and sends what got no answer again, to any storer."""

    def __init__(self, number: int, clients: list[Client], shared: "Shared") -> None:
        self._random = random.Random(number)  # noqa: S311 - the same calls each time
        self._number = number
        self._clients = clients
        self._shared = shared
        self._made = 0
        self._unanswered: list[Callable[[Client], object]] = []

    def play(self, count: int) -> None:
        """Make so many calls, or send some again."""
        for _ in range(count):
            client = self._random.choice(self._clients)
            again = self._unanswered and self._random.random() < 0.5
            call = self._unanswered.pop() if again else self._choose()
            try:
                call(client)
            except grpc.RpcError as error:
                if error.code() in {
                    grpc.StatusCode.UNAVAILABLE,
                    grpc.StatusCode.DEADLINE_EXCEEDED,
                }:
                    self._unanswered.append(call)

    def _choose(self) -> Callable[[Client], object]:
        """Choose a call."""
        self._made += 1
        request_id = f"request {self._number} {self._made} of this test"
        if self._made == 1 or self._random.random() < 0.03:
            return lambda client: self._shared.katas.append(
                client.create_kata(a_manifest(), request_id)
            )
        kata_id = self._random.choice([self._shared.katas[0], *self._shared.katas[-3:]])
        name = self._random.choice(NAMES)
        order = self._random.sample(NAMES, self._random.randint(1, len(NAMES)))
        expected = self._random.choice((None, None, None, *range(1, 5)))
        test = a_test(
            kata_id,
            name,
            {**FILES, "hiker.c": request_id.encode()},
            stdout=request_id.encode(),
            request_id=request_id,
            expected_number=expected,
        )
        calls: list[Callable[[Client], object]] = [
            lambda client: client.start_avatar(kata_id, order, request_id),
            lambda client: client.record_test(test),
            lambda client: client.read(kata_id, name),
            lambda client: client.read(kata_id, with_contents=True),
            lambda client: client.delete_kata(kata_id),
        ]
        may_delete = kata_id != self._shared.katas[0]  # that one is to have much in it
        (call,) = self._random.choices(calls, [3, 16, 3, 1, 1 if may_delete else 0])
        return call


class Shared:
    """What the clients tell each other."""

    def __init__(self, kata_id: str) -> None:
        self.katas = [kata_id]


@pytest.mark.parametrize("contents", Contents)
def test_two_storers_of_which_one_is_killed_are_like_one(
    start_storer: Callable[..., Service],
    client: Callable[[Service], Katas],
    tmp_path: Path,
    contents: Contents,
) -> None:
    services = [start_storer(), start_storer()]
    stubs = [client(each).stub for each in services]
    recorder = Recorder()
    first = Client(stubs[0], recorder, "first", contents=contents)
    kata_id = first.create_kata(a_manifest(), f"the first request of {contents.name}")
    shared = Shared(kata_id)
    for name in NAMES[:3]:
        first.start_avatar(kata_id, [name], f"start {name}")
    players = []
    for number in range(CLIENTS):
        # One storer has little time for each call, so many answers are lost.
        clients = [
            Client(stubs[0], recorder, str(number), contents=contents),
            Client(stubs[0], recorder, str(number), contents=contents, seconds=0.01),
            Client(stubs[1], recorder, str(number), contents=contents),
        ]
        players.append(Player(number, clients, shared))
    with ThreadPoolExecutor(CLIENTS) as threads:
        list(threads.map(lambda player: player.play(CALLS), players))
        killed = threading.Timer(0.2, services[1].kill)
        killed.start()
        list(threads.map(lambda player: player.play(CALLS), players))
        killed.join()
    final = read_in_the_end(stubs[0], [*shared.katas, *kata_ids(stubs[0])], contents)
    attempts = recorder.attempts()
    check(tmp_path / "history.jsonl", attempts, final)
    assert_much_happened(attempts)
    assert_mistakes_are_found(History(attempts, final))


def assert_much_happened(attempts: list[Attempt]) -> None:
    """Check that the history has calls of every kind that ended in every way."""
    recorded = [each for each in attempts if each.call.kind is Kind.RECORD_TEST]
    assert sum(each.is_acknowledged for each in recorded) > CLIENTS
    assert any(each.reason == "STALE_NUMBER" for each in recorded)
    assert any(not each.is_acknowledged and not each.is_refused for each in recorded)
    for kind in Kind:
        assert any(each.call.kind is kind and each.is_acknowledged for each in attempts), kind


def assert_mistakes_are_found(history: History) -> None:
    """Check that the judge sees what is wrong, in this history too."""
    changes = [mutations.lose_an_avatar, mutations.lose_a_light, mutations.double_a_light]
    for change in [*changes, mutations.lose_a_kata]:
        # Some katas have no avatars or lights, and nobody was told of some lights: of many, if
        # the machine is slow.
        chances = (random.Random(seed) for seed in range(1000))  # noqa: S311 - the same each time
        changed = (each for chance in chances if (each := change(chance, history)) is not None)
        assert any(judge(each.attempts, each.final).findings for each in changed), change
