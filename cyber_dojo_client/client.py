"""The two clients: one that blocks, and one for asyncio."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from pathlib import Path
from typing import Any, Self, TypeVar

from cyber_dojo_client.channels import NO_ACCESS, Access, open_aio_channel, open_channel
from cyber_dojo_client.work import RECORD_SECONDS, Pressed, Work
from cyberdojo.colour.v1 import colour_pb2
from cyberdojo.runner.v1 import runner_pb2, runner_pb2_grpc
from cyberdojo.startpoints.v1 import startpoints_pb2_grpc
from cyberdojo.storer.v1 import storer_pb2, storer_pb2_grpc

T = TypeVar("T")

STORER = "127.0.0.1:4577"
RUNNER = "127.0.0.1:4597"


def _ignore(part: runner_pb2.RunStreamResponse) -> None:
    """Do nothing with a part of a run."""


class Client:
    """A client of a storer and a runner. Any thread may use it.

    `storer`, `runner` and `start_points` have a method for each RPC; the methods here are for what
    takes more than one call. All of them raise the types of `errors`.
    """

    def __init__(
        self, storer: str = STORER, runner: str = RUNNER, access: Access = NO_ACCESS
    ) -> None:
        """Take the services' addresses, each host:port; nothing is sent yet."""
        self._channels = [open_channel(storer, access), open_channel(runner, access)]
        self.storer = storer_pb2_grpc.StorerServiceStub(self._channels[0])
        self.start_points = startpoints_pb2_grpc.StartPointsServiceStub(self._channels[0])
        self.runner = runner_pb2_grpc.RunnerServiceStub(self._channels[1])
        self._work = Work(self.storer, self.runner, _Blocking())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; calls in progress end."""
        for channel in self._channels:
            channel.close()

    def call(self, rpc: Callable[..., T], request: Any, seconds: float = RECORD_SECONDS) -> T:
        """Return an RPC's answer; make the call again while it fails for a while.

        A request that can have a `request_id` gets one, so that a lost answer does no harm. The
        last error is raised after `seconds`, and one that lasts at once.
        """
        answer: T = _run(self._work.call(rpc, request, seconds))
        return answer

    def pages(self, rpc: Callable[..., T], request: Any) -> Iterator[T]:
        """Yield all pages of a list, beginning with the one that the request asks for."""
        return _iterate(self._work.pages(rpc, request))

    def press_test(
        self,
        kata_id: str,
        avatar: str,
        manifest: storer_pb2.Manifest,
        files: Mapping[str, bytes],
        *,
        expected_number: int | None = None,
        predicted: colour_pb2.Colour.ValueType = colour_pb2.COLOUR_UNSPECIFIED,
        writer: str = "",
        on_part: Callable[[runner_pb2.RunStreamResponse], object] = _ignore,
        request_id: str = "",
    ) -> Pressed:
        """Run an avatar's tests and record the light.

        `expected_number` is the number that the light is to get: if another browser was faster, the
        call fails with StaleNumber, whose `ran` has the run's result all the same. `predicted` is
        the colour that somebody expected, `writer` names the browser or tab. `on_part` is
        called with each part of the run, for an editor that shows the output as it comes; if the
        run is lost and done again, the parts come again from the first.
        """
        return _run(
            self._work.press_test(
                kata_id,
                avatar,
                manifest,
                files,
                expected_number=expected_number,
                predicted=predicted,
                writer=writer,
                on_part=on_part,
                request_id=request_id,
            )
        )

    def watch(
        self,
        kata_id: str,
        seen: Mapping[str, int] | None = None,
        *,
        with_options: bool = False,
    ) -> Iterator[storer_pb2.WatchKataResponse]:
        """Yield a kata's lights as they happen, beginning after those `seen` of each avatar.

        With `with_options` also its options, those of now first, and again when they change. A
        stream that breaks is opened again, so each light comes once, and `caught_up` too. Close
        the iterator to end it; it ends with NoSuchKata when the kata is deleted.
        """
        return _iterate(self._work.watch(kata_id, dict(seen or {}), with_options=with_options))

    def watch_katas(
        self, seen: Mapping[str, Mapping[str, int]]
    ) -> Iterator[storer_pb2.WatchKatasResponse]:
        """Yield what happens in several katas, beginning after what was `seen` of each.

        `seen` has the katas, at most 64: kata id -> avatar -> the newest number seen. A kata that
        is deleted, unknown or damaged comes with a `refusal` (`refused` makes an error of it), and
        no more of it does; the iterator ends when none is left. A stream that breaks is opened
        again, and so is one of which a kata can't be watched for a while.
        """
        return _iterate(self._work.watch_katas(_copies(seen)))

    def download(
        self, kata_id: str, path: Path, compression: int = storer_pb2.COMPRESSION_GZIP
    ) -> Path:
        """Download a kata's tar to `path`; until all of it is there the file is called PATH.part.

        Raises Incomplete if the end is missing or the digest differs; nothing is left then.
        """
        return _run(self._work.download(kata_id, Path(path), compression))

    def download_bundle(self, kata_id: str, avatar: str, path: Path) -> Path:
        """Download an avatar's git repository, as `download`, to a file that `git clone` takes."""
        return _run(self._work.download_bundle(kata_id, avatar, Path(path)))


class AsyncClient:
    """The same for asyncio; its methods are those of Client, to be awaited or iterated over."""

    def __init__(
        self, storer: str = STORER, runner: str = RUNNER, access: Access = NO_ACCESS
    ) -> None:
        """Take the services' addresses, each host:port; nothing is sent yet."""
        self._channels = [open_aio_channel(storer, access), open_aio_channel(runner, access)]
        self.storer = storer_pb2_grpc.StorerServiceStub(self._channels[0])
        self.start_points = startpoints_pb2_grpc.StartPointsServiceStub(self._channels[0])
        self.runner = runner_pb2_grpc.RunnerServiceStub(self._channels[1])
        self._work = Work(self.storer, self.runner, _Asyncio())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections; calls in progress end."""
        for channel in self._channels:
            await channel.close(None)

    async def call(
        self, rpc: Callable[..., Any], request: Any, seconds: float = RECORD_SECONDS
    ) -> Any:
        """As Client.call."""
        return await self._work.call(rpc, request, seconds)

    def pages(self, rpc: Callable[..., Any], request: Any) -> AsyncIterator[Any]:
        """As Client.pages."""
        return self._work.pages(rpc, request)

    async def press_test(
        self,
        kata_id: str,
        avatar: str,
        manifest: storer_pb2.Manifest,
        files: Mapping[str, bytes],
        *,
        expected_number: int | None = None,
        predicted: colour_pb2.Colour.ValueType = colour_pb2.COLOUR_UNSPECIFIED,
        writer: str = "",
        on_part: Callable[[runner_pb2.RunStreamResponse], object] = _ignore,
        request_id: str = "",
    ) -> Pressed:
        """As Client.press_test."""
        return await self._work.press_test(
            kata_id,
            avatar,
            manifest,
            files,
            expected_number=expected_number,
            predicted=predicted,
            writer=writer,
            on_part=on_part,
            request_id=request_id,
        )

    def watch(
        self,
        kata_id: str,
        seen: Mapping[str, int] | None = None,
        *,
        with_options: bool = False,
    ) -> AsyncIterator[storer_pb2.WatchKataResponse]:
        """As Client.watch."""
        return self._work.watch(kata_id, dict(seen or {}), with_options=with_options)

    def watch_katas(
        self, seen: Mapping[str, Mapping[str, int]]
    ) -> AsyncIterator[storer_pb2.WatchKatasResponse]:
        """As Client.watch_katas."""
        return self._work.watch_katas(_copies(seen))

    async def download(
        self, kata_id: str, path: Path, compression: int = storer_pb2.COMPRESSION_GZIP
    ) -> Path:
        """As Client.download; the file is written between the parts, on the event loop."""
        return await self._work.download(kata_id, Path(path), compression)

    async def download_bundle(self, kata_id: str, avatar: str, path: Path) -> Path:
        """As Client.download_bundle, and AsyncClient.download."""
        return await self._work.download_bundle(kata_id, avatar, Path(path))


class _Blocking:
    """Calls that block, so that no coroutine ever suspends."""

    async def call(self, rpc: Any, request: Any, seconds: float) -> Any:
        return rpc(request, timeout=seconds)

    async def parts(self, rpc: Any, request: Any, seconds: float | None) -> AsyncIterator[Any]:
        call = rpc(request, timeout=seconds)
        try:
            for part in call:
                yield part
        finally:
            call.cancel()

    async def pause(self, seconds: float) -> None:
        time.sleep(seconds)  # noqa: ASYNC251 - this one is to block


class _Asyncio:
    """Calls on the event loop."""

    async def call(self, rpc: Any, request: Any, seconds: float) -> Any:
        return await rpc(request, timeout=seconds)

    async def parts(self, rpc: Any, request: Any, seconds: float | None) -> AsyncIterator[Any]:
        call = rpc(request, timeout=seconds)
        try:
            async for part in call:
                yield part
        finally:
            call.cancel()

    async def pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def _copies(seen: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, int]]:
    return {kata_id: dict(numbers) for kata_id, numbers in seen.items()}


def _run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never suspends."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        value: T = done.value
        return value
    raise RuntimeError("a blocking call suspended")


def _iterate(iterator: Any) -> Iterator[Any]:
    """Iterate over an asynchronous iterator that never suspends."""
    try:
        while True:
            try:
                value = _run(iterator.__anext__())
            except StopAsyncIteration:
                return
            yield value
    finally:
        _run(iterator.aclose())
