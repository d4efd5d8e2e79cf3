"""WatchKata and WatchKatas: what happens in one kata, or in several, as a stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext
from dataclasses import dataclass
from functools import partial

import structlog
from structlog.contextvars import bind_contextvars

from cyberdojo.storer.v1 import storer_pb2
from dojo import kata_ids, limits
from dojo.access import guesses
from dojo.errors import InvalidArgument, KataMoved, KataNotFound, Stopping
from dojo.service.call_threads import CallThreads
from dojo.service.statuses import refusal_of
from storer.api import converters, option_converters
from storer.api.peers import Peers
from storer.kata.edit import At, Edit
from storer.kata.options import KataOptions
from storer.katas.repository import Katas
from storer.katas.watch import Event, Watches, at_of

_log = structlog.get_logger()

# Until a machine that takes a kata over has it.
_MOVED_SECONDS = 0.2


@dataclass(frozen=True)
class _Watch:
    """What a caller wants to know of one kata. `seen` grows as events are sent."""

    kata_id: str
    seen: dict[str, At]
    with_edits: bool
    with_options: bool


def answer_watch_kata(
    threads: CallThreads, katas: Katas, watches: Watches, request: storer_pb2.WatchKataRequest
) -> AsyncGenerator[storer_pb2.WatchKataResponse, None]:
    """Return what yields what happens in a kata, without an end.

    Raises InvalidArgument; and while it yields, KataNotFound when the kata is gone, and Stopping.
    """
    return _happened(threads, katas, watches, _watch_from(request))


async def answer_watch_katas(
    threads: CallThreads,
    katas: Katas,
    watches: Watches,
    peers: Peers,
    request: storer_pb2.WatchKatasRequest,
) -> AsyncGenerator[storer_pb2.WatchKatasResponse, None]:
    """Yield what happens in several katas, and why the part of one ends, until all have.

    Raises Stopping.
    """
    wanted = _watches_from(request)
    # Each kata has a task, which waits with what happened until the caller has taken what others
    # put before it. So a caller that reads slowly delays no one else, and no kata takes its turn
    # from another.
    parts: asyncio.Queue[storer_pb2.WatchKatasResponse | Stopping] = asyncio.Queue(1)
    # One call does not fill the places of all.
    fetching = asyncio.Semaphore(limits.MAX_FETCHES_FOR_ONE)

    async def watch(one: _Watch) -> None:
        bind_contextvars(kata=one.kata_id)
        try:
            with guesses.watching_part(one):
                here = partial(_happened, threads, katas, watches, one, fetching)
                async with aclosing(_happened_anywhere(here, peers, one)) as happened:
                    async for each in happened:
                        part = storer_pb2.WatchKatasResponse(kata_id=one.kata_id, happened=each)
                        await parts.put(part)
        except Stopping as error:
            await parts.put(error)
        except Exception as error:  # noqa: BLE001 - whatever it is, the other katas go on
            refusal = refusal_of(error)
            _log.info("refused", code=refusal.status, reason=refusal.message)
            await parts.put(storer_pb2.WatchKatasResponse(kata_id=one.kata_id, refusal=refusal))

    tasks = [asyncio.create_task(watch(one)) for one in wanted]
    left = len(tasks)
    try:
        while left:
            part = await parts.get()
            if isinstance(part, Stopping):
                raise part
            if part.HasField("refusal"):
                left -= 1
            yield part
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _happened_anywhere(
    here: Callable[[], AsyncGenerator[storer_pb2.WatchKataResponse, None]],
    peers: Peers,
    wanted: _Watch,
) -> AsyncGenerator[storer_pb2.WatchKataResponse, None]:
    """Yield what happens in a kata, wherever it is, and goes on when the kata moves.

    `here` yields it while this machine owns the kata. Raises as `_happened`.
    """
    has_caught_up = False
    while True:
        elsewhere = peers.watch(_request_of(wanted))
        try:
            async with aclosing(elsewhere or here()) as happened:
                async for each in happened:
                    if each.HasField("light"):
                        wanted.seen[each.avatar] = At(each.light.number)
                    elif each.HasField("edit"):
                        wanted.seen[each.avatar] = At(each.edit.light_number, each.edit.number)
                    elif each.caught_up and has_caught_up:
                        continue  # it had before the kata moved
                    has_caught_up = has_caught_up or each.caught_up
                    yield each
        except KataMoved:
            await asyncio.sleep(_MOVED_SECONDS)


def _request_of(wanted: _Watch) -> storer_pb2.WatchKataRequest:
    """Return the request to another machine for what is wanted."""
    request = storer_pb2.WatchKataRequest(
        kata_id=wanted.kata_id,
        seen={name: at.number for name, at in wanted.seen.items()},
        with_edits=wanted.with_edits,
        with_options=wanted.with_options,
    )
    for name, at in wanted.seen.items():
        if at.minor:
            request.seen_edits[name] = at.minor
    return request


async def _happened(
    threads: CallThreads,
    katas: Katas,
    watches: Watches,
    wanted: _Watch,
    fetching: AbstractAsyncContextManager[object] | None = None,
) -> AsyncGenerator[storer_pb2.WatchKataResponse, None]:
    """Yield what happens in a kata, without an end; it is fetched within `fetching`.

    Raises KataNotFound when the kata is gone, and Stopping.
    """
    kata_id, seen = wanted.kata_id, wanted.seen
    options: KataOptions | None = None
    has_caught_up = False
    while True:
        # Only here: if the watch fetched the kata, it would import a deleted one again.
        async with fetching or nullcontext():
            await threads.run(katas.import_, kata_id)
        try:
            async with aclosing(
                watches.watch(kata_id, seen, with_edits=wanted.with_edits, options_seen=options)
            ) as events:
                async for happened in events:
                    if isinstance(happened, KataOptions):
                        options = happened
                        if wanted.with_options:
                            sent = option_converters.options_to(options)
                            yield storer_pb2.WatchKataResponse(options=sent)
                    elif happened is not None:
                        avatar, event = happened
                        seen[avatar] = at_of(event)
                        yield _event_to(avatar, event)
                    elif not has_caught_up:
                        has_caught_up = True
                        yield storer_pb2.WatchKataResponse(caught_up=True)
        except KataNotFound:
            # Another storer, which does not know this one's watchers, may have archived it.
            if not await threads.run(katas.is_stored, kata_id):
                raise


def _watches_from(request: storer_pb2.WatchKatasRequest) -> list[_Watch]:
    """Return what a request wants of each kata; raise InvalidArgument."""
    if not 0 < (count := len(request.katas)) <= limits.MAX_WATCHED_KATAS:
        raise InvalidArgument("katas", f"{count} is not from 1 to {limits.MAX_WATCHED_KATAS}")
    found: dict[str, _Watch] = {}
    for place, each in enumerate(request.katas):
        within = f"katas[{place}]."
        one = _watch_from(each, within)
        if one.kata_id in found:
            raise InvalidArgument(f"{within}kata_id", "is there twice")
        found[one.kata_id] = one
    return list(found.values())


def _watch_from(request: storer_pb2.WatchKataRequest, within: str = "") -> _Watch:
    """Return what a request wants of a kata; raise InvalidArgument for a field `within` another."""
    kata_id = kata_ids.check(request.kata_id, f"{within}kata_id")
    seen = converters.seen_from(request, within)
    return _Watch(kata_id, seen, request.with_edits, request.with_options)


def _event_to(avatar: str, event: Event) -> storer_pb2.WatchKataResponse:
    if isinstance(event, Edit):
        return storer_pb2.WatchKataResponse(avatar=avatar, edit=converters.edit_to(event))
    return storer_pb2.WatchKataResponse(avatar=avatar, light=converters.light_to(event))
