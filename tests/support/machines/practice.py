"""Groups that practise while machines fail: each call is made again until it is answered."""

import secrets
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any, Self

import grpc

from cyber_dojo_client import channels
from cyberdojo.storer.v1 import storer_pb2, storer_pb2_grpc
from support.histories.attempts import Attempt
from support.histories.client import Client
from support.histories.recorder import Recorder
from support.services import wait_until
from support.storer.storing import FILES, a_manifest, a_test

# Of one attempt: a call to a frozen machine is not answered before it thaws.
CALL_SECONDS = 5
# Before a call is made again, longer each time: forty avatars who ask all the time would keep the
# machine busy that has to take over.
_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.05, 0.5
# Between two tests of an avatar: some hundred people practise as often. The long forms go on for
# minutes, and the lights of a kata are not to become ten thousand: forty avatars still press test
# more often than two thousand people do.
_THINK_SECONDS, _LONG_THINK_SECONDS = 0.1, 1.0

# Its answer will be another one, if the call is made again.
_AGAIN = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.ABORTED,
}

_OPTIONS = [
    ("grpc.enable_retries", 0),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 500),
]


class _Stopped(Exception):
    """The avatars were told to stop before a call was answered."""


class Practice:
    """Avatars in several katas, each in a thread, that record tests until they are told to stop.

    `with` closes it.
    """

    def __init__(
        self,
        addresses: Sequence[str],
        *,
        katas: int,
        avatars: int,
        stubborn: Sequence[str] = (),
        is_long: bool = False,
    ) -> None:
        """Create the katas and start the avatars by the storers or routers at these addresses.

        Each avatar has one of the addresses. The threads begin at once. In each kata there is one
        more avatar for each `stubborn` address, for whose tests nobody waits: its machine may be
        away, and is called all the same. If the test `is_long`, they think for longer.
        """
        self._think_seconds = _LONG_THINK_SECONDS if is_long else _THINK_SECONDS
        self.recorder = Recorder()
        self._is_stopped = threading.Event()
        self._failures: list[BaseException] = []
        self.progress: list[int] = []
        self._gaps: list[float] = []
        self._last: dict[int, str] = {}  # of each avatar, the last refusal
        self._while_longest: list[list[str]] = []  # of each avatar, the refusals in its longest gap
        chosen = [addresses[each % len(addresses)] for each in range(katas * avatars)]
        self._waited_for = len(chosen)
        chosen += [address for address in stubborn for _ in range(katas)]
        self._channels = [grpc.insecure_channel(each, _OPTIONS) for each in chosen]
        self.kata_ids = [self._create(self._client(each)) for each in range(katas)]
        self._threads = []
        for number in range(len(chosen)):
            self.progress.append(0)
            self._gaps.append(0.0)
            self._while_longest.append([])
            self._last[number] = "was never refused"
            kata_id = self.kata_ids[number % katas]
            self._threads.append(
                threading.Thread(target=self._practise, args=(number, kata_id), daemon=True)
            )
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def wait_for(self, more: int, seconds: float = 60) -> None:
        """Wait until each avatar has recorded so many more tests."""
        wanted = [each + more for each in self.progress[: self._waited_for]]

        def behind() -> list[int]:
            pairs = enumerate(zip(self.progress[: self._waited_for], wanted, strict=True))
            return [number for number, (now, then) in pairs if now < then]

        def has_them() -> bool:
            self._raise()
            return not behind()

        try:
            wait_until(has_them, seconds)
        except AssertionError as error:
            told = [f"client {each}: {self._last[each]}" for each in behind()]
            raise AssertionError("\n".join([str(error), *told])) from None

    def stop(self) -> None:
        """Have the avatars stop after the call that they are making, and wait for them."""
        self._is_stopped.set()
        for thread in self._threads:
            thread.join()
        self._raise()

    def longest_gap_seconds(self) -> float:
        """Return the longest time for which an avatar waited for an answer."""
        return max(self._gaps[: self._waited_for])

    def check_longest_gap(self, seconds: float) -> None:
        """Assert that no avatar waited longer; tell what it was answered meanwhile."""
        longest = self.longest_gap_seconds()
        number = self._gaps.index(longest)
        refusals = "\n".join(self._while_longest[number])
        assert longest < seconds, f"client {number} waited for {longest:.1f} s:\n{refusals}"

    def read(self, address: str) -> list[Attempt]:
        """Return what a storer says of all katas, for the checker of histories."""
        final = Recorder()
        with closing(grpc.insecure_channel(address, _OPTIONS)) as channel:
            client = Client(storer_pb2_grpc.StorerServiceStub(channel), final, seconds=60)
            for kata_id in self.kata_ids:
                client.read(kata_id, with_contents=True)
        return final.attempts()

    def close(self) -> None:
        """Stop, and close the connections."""
        self._is_stopped.set()
        for thread in self._threads:
            thread.join()
        for channel in self._channels:
            channel.close()

    def _practise(self, number: int, kata_id: str) -> None:
        try:
            client = self._client(number)
            request_id = secrets.token_hex(8)
            avatar = self._until_answered(
                client, lambda each: each.start_avatar(kata_id, request_id=request_id)
            )
            while not self._is_stopped.is_set():
                self._record(number, client, _test(kata_id, avatar))
                self.progress[number] += 1
                self._is_stopped.wait(self._think_seconds)
        except _Stopped:
            pass
        except BaseException as error:  # noqa: BLE001 - it is raised where somebody waits
            self._failures.append(error)

    def _record(self, number: int, client: Client, test: storer_pb2.RecordTestRequest) -> None:
        begun = time.monotonic()
        refusals: list[str] = []

        def note(error: str) -> None:
            self._last[number] = f"{test.kata_id}: {error}"
            refusals.append(f"after {time.monotonic() - begun:.1f} s: {self._last[number]}")

        self._until_answered(client, lambda each: each.record_test(test), note)
        gap_seconds = time.monotonic() - begun
        if gap_seconds > self._gaps[number]:
            self._gaps[number], self._while_longest[number] = gap_seconds, refusals

    def _create(self, client: Client) -> str:
        request_id = secrets.token_hex(8)
        manifest = a_manifest()
        return self._until_answered(client, lambda each: each.create_kata(manifest, request_id))

    def _client(self, number: int) -> Client:
        channel = self._channels[number]
        if number % 2:  # the others leave it to the router which machine they get
            channel = grpc.intercept_channel(channel, _KataId())
        stub = storer_pb2_grpc.StorerServiceStub(channel)
        return Client(stub, self.recorder, f"client {number}", seconds=CALL_SECONDS)

    def _until_answered(
        self,
        client: Client,
        call: Callable[[Client], object],
        on_error: Callable[[str], object] = lambda _: None,
    ) -> str:
        pause_seconds = _PAUSE_SECONDS
        while True:
            try:
                return str(call(client))
            except grpc.RpcError as error:
                if error.code() not in _AGAIN:
                    raise
                if self._is_stopped.is_set():
                    raise _Stopped from None
                on_error(f"{error.code()}: {error.details()}")
                time.sleep(pause_seconds)
                pause_seconds = min(2 * pause_seconds, _LONGEST_PAUSE_SECONDS)

    def _raise(self) -> None:
        if self._failures:
            raise self._failures[0]


def _test(kata_id: str, avatar: str) -> storer_pb2.RecordTestRequest:
    """Return a test that no other one is like."""
    return a_test(
        kata_id,
        avatar,
        {**FILES, "hiker.c": secrets.token_hex(2000).encode()},
        stdout=secrets.token_hex(8).encode(),
        request_id=secrets.token_hex(8),
    )


class _KataId(grpc.UnaryUnaryClientInterceptor):  # type: ignore[type-arg]  # generic in the stubs
    """Adds the metadata by which a router chooses a machine, as our client does, and no more."""

    def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        return continuation(channels._with_metadata(channels.NO_ACCESS, details, request), request)
