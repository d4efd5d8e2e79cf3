"""What both clients do, written once.

All of it is asynchronous in form. The blocking client hands in an `Io` that never suspends, so its
coroutines run to their end in one step.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from cyber_dojo_client.errors import CallFailed, Incomplete, refused
from cyber_dojo_client.values import checked
from cyberdojo.colour.v1 import colour_pb2
from cyberdojo.runner.v1 import runner_pb2
from cyberdojo.storer.v1 import storer_pb2

Q = TypeVar("Q")
T = TypeVar("T")

RUN_SECONDS = 120.0
RECORD_SECONDS = 30.0
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 1.0


@dataclass(frozen=True)
class Pressed:
    """What a press of *test* came to.

    `files` are those that the editor shows from now on: the submitted ones, with what the run
    changed, created and deleted.
    """

    light: storer_pb2.Light
    ran: runner_pb2.RunResponse
    files: dict[str, bytes]


def pages(fetch: Callable[[Q], T], request: Q) -> Iterator[T]:
    """Yield all pages of a list; `fetch` is asked for each, beginning with the request's."""
    request = _copy(request)
    while True:
        page: Any = fetch(request)
        yield page
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token  # type: ignore[attr-defined]


class Io(Protocol):
    """How to call and to wait."""

    async def call(self, rpc: Any, request: Any, seconds: float) -> Any:
        """Return a call's answer."""

    def parts(self, rpc: Any, request: Any, seconds: float | None) -> AsyncIterator[Any]:
        """Yield what a call streams, and cancel it when the iterator is closed."""

    async def pause(self, seconds: float) -> None:
        """Wait."""


class _Attempts:
    """When a call that fails for a while is made again: until a deadline, with growing pauses."""

    def __init__(self, io: Io, seconds: float | None) -> None:
        self._io = io
        self._end = None if seconds is None else time.monotonic() + seconds
        self.reset()

    def reset(self) -> None:
        """Begin with the shortest pause again: a call succeeded."""
        self._pause = _FIRST_PAUSE

    @property
    def left(self) -> float | None:
        """How many seconds are left."""
        return None if self._end is None else max(self._end - time.monotonic(), 0.001)

    async def after(self, error: CallFailed) -> None:
        """Wait before the next attempt; raise the error if there can be none."""
        pause = self._pause if error.retry_after is None else error.retry_after
        if not error.is_temporary or (self.left is not None and self.left <= pause):
            raise error
        await self._io.pause(pause)
        self._pause = min(self._pause * 2, _LONGEST_PAUSE)


class Work:
    """The calls that take more than one step."""

    def __init__(self, storer: Any, runner: Any, io: Io) -> None:
        self._storer = storer
        self._runner = runner
        self._io = io

    async def call(self, rpc: Any, request: Any, seconds: float) -> Any:
        """Make a call, again and again for `seconds` while it fails for a while."""
        request = _with_id(request)
        attempts = _Attempts(self._io, seconds)
        while True:
            try:
                return await self._io.call(rpc, request, attempts.left or seconds)
            except CallFailed as error:
                await attempts.after(error)

    async def pages(self, rpc: Any, request: Any) -> AsyncIterator[Any]:
        """Yield all pages of a list."""
        request = _copy(request)
        while True:
            page = await self.call(rpc, request, RECORD_SECONDS)
            yield page
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def press_test(
        self,
        kata_id: str,
        avatar: str,
        manifest: storer_pb2.Manifest,
        files: Mapping[str, bytes],
        *,
        expected_number: int | None,
        predicted: colour_pb2.Colour.ValueType,
        writer: str,
        on_part: Callable[[runner_pb2.RunStreamResponse], object],
        request_id: str,
    ) -> Pressed:
        """Run the tests, and record the light."""
        ran = await self._run(
            runner_pb2.RunRequest(
                kata_id=kata_id,
                avatar=avatar,
                image_name=manifest.image_name,
                files=checked(files),
                max_seconds=manifest.max_seconds,
                colour_rule=manifest.colour_rule if manifest.HasField("colour_rule") else None,
                results_filename=manifest.results_filename,
            ),
            on_part,
        )
        shown = {**files, **ran.changed_files}
        shown = {name: shown[name] for name in shown if name not in ran.deleted_filenames}
        record = storer_pb2.RecordTestRequest(
            kata_id=kata_id,
            avatar=avatar,
            files=shown,
            stdout=ran.stdout,
            stderr=ran.stderr,
            status=ran.status,
            colour=ran.colour,
            duration=ran.duration,
            reason=ran.reason,
            special=ran.special,
            test_results=ran.test_results if ran.HasField("test_results") else None,
            request_id=request_id,
            expected_number=expected_number,
            predicted=predicted,
            writer=writer,
        )
        try:
            recorded = await self.call(self._storer.RecordTest, record, RECORD_SECONDS)
        except CallFailed as error:
            error.ran = ran
            raise
        return Pressed(recorded.light, ran, shown)

    async def _run(self, run: runner_pb2.RunRequest, on_part: Callable[[Any], object]) -> Any:
        request = runner_pb2.RunStreamRequest(run=run)
        attempts = _Attempts(self._io, RUN_SECONDS)
        while True:
            try:
                async with _closing(
                    self._io.parts(self._runner.RunStream, request, attempts.left)
                ) as parts:
                    async for part in parts:
                        on_part(part)
                        if part.HasField("result"):
                            return part.result
            except CallFailed as error:
                await attempts.after(error)
            else:
                raise Incomplete("the run's stream ended without a result")

    async def watch(
        self, kata_id: str, seen: dict[str, int], *, with_options: bool
    ) -> AsyncIterator[storer_pb2.WatchKataResponse]:
        """Yield a kata's lights as they happen, and go on when the stream breaks."""
        attempts = _Attempts(self._io, None)
        has_caught_up = False
        options: storer_pb2.KataOptions | None = None
        while True:
            request = storer_pb2.WatchKataRequest(
                kata_id=kata_id, seen=seen, with_options=with_options
            )
            try:
                async with _closing(
                    self._io.parts(self._storer.WatchKata, request, None)
                ) as happened:
                    async for each in happened:
                        attempts.reset()
                        if each.HasField("options"):
                            if each.options == options:
                                continue
                            options = each.options
                        elif not each.caught_up:
                            seen[each.avatar] = each.light.number
                        elif has_caught_up:
                            continue
                        has_caught_up |= each.caught_up
                        yield each
            except CallFailed as error:
                await attempts.after(error)
            else:
                return

    async def watch_katas(
        self, seen: dict[str, dict[str, int]]
    ) -> AsyncIterator[storer_pb2.WatchKatasResponse]:
        """Yield what happens in katas, and go on when the stream breaks, or one for a while."""
        attempts = _Attempts(self._io, None)
        caught_up: set[str] = set()
        while seen:
            katas = [
                storer_pb2.WatchKataRequest(kata_id=kata_id, seen=numbers)
                for kata_id, numbers in seen.items()
            ]
            request = storer_pb2.WatchKatasRequest(katas=katas)
            is_one_away = False
            try:
                async with _closing(
                    self._io.parts(self._storer.WatchKatas, request, None)
                ) as parts:
                    async for each in parts:
                        attempts.reset()
                        if each.HasField("refusal"):
                            is_one_away = refused(each.refusal).is_temporary
                            if is_one_away:
                                break
                            del seen[each.kata_id]
                        elif not each.happened.caught_up:
                            light = each.happened.light.number
                            seen[each.kata_id][each.happened.avatar] = light
                        elif each.kata_id in caught_up:
                            continue
                        else:
                            caught_up.add(each.kata_id)
                        yield each
            except CallFailed as error:
                await attempts.after(error)
            else:
                if not is_one_away:
                    return
                await self._io.pause(_LONGEST_PAUSE)

    async def download(self, kata_id: str, path: Path, compression: int) -> Path:
        """Download a kata's tar to a file, which has its name when all of it is there."""
        request = storer_pb2.DownloadKataRequest(kata_id=kata_id, compression=compression)  # type: ignore[arg-type]
        return await self._download(request, path)

    async def download_bundle(self, kata_id: str, avatar: str, path: Path) -> Path:
        """Download an avatar's git repository, as `download`."""
        request = storer_pb2.DownloadKataRequest(kata_id=kata_id, avatar=avatar, as_bundle=True)
        return await self._download(request, path)

    async def _download(self, request: storer_pb2.DownloadKataRequest, path: Path) -> Path:
        part_path = path.with_name(f"{path.name}.part")
        try:
            with part_path.open("wb") as file:
                digest, size_bytes, is_whole = hashlib.sha256(), 0, False
                async with _closing(
                    self._io.parts(self._storer.DownloadKata, request, None)
                ) as parts:
                    async for part in parts:
                        digest.update(part.data)
                        size_bytes += len(part.data)
                        file.write(part.data)
                        if part.HasField("end"):
                            end = (part.end.sha256, part.end.size_bytes)
                            is_whole = end == (digest.digest(), size_bytes)
                if not is_whole:
                    raise Incomplete(f"{path}: the download ended early, or is not what was sent")
                file.flush()
                os.fsync(file.fileno())
            part_path.replace(path)
        finally:
            part_path.unlink(missing_ok=True)
        return path


def _closing(iterator: AsyncIterator[Any]) -> Any:
    closing: Any = aclosing  # its type wants an async generator, which every `parts` is
    return closing(iterator)


def _copy(request: Any) -> Any:
    return type(request).FromString(request.SerializeToString())


def _with_id(request: Any) -> Any:
    """Return the request with a request_id, if its kind has one, so that it can be sent twice."""
    if "request_id" not in request.DESCRIPTOR.fields_by_name or request.request_id:
        return request
    request = _copy(request)
    request.request_id = secrets.token_hex(16)
    return request
