"""The outputs of many lights, in pages.

A page is read in this process as far as it is small. A light that is large by itself has a page of
its own, which is made in a process: to do that here would hold up other calls.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cyberdojo.storer.v1 import storer_pb2
from dojo import limits, process_main
from dojo.budget import Budget, NotSmall, SmallBudget
from dojo.errors import AvatarNotFound, KataDamaged, LightNotFound, ProcessTooLarge
from dojo.processes import Processes
from dojo.service.statuses import refusal_of
from storer.api import converters, facts_converters, page_tokens
from storer.api.converters import Asked
from storer.git import libgit2
from storer.kata.avatar import Avatar
from storer.kata.history import History
from storer.kata.kata import Kata
from storer.kata.light import Light

# Returns the output of a light: a serialized GetOutputsResponse with nothing else.
_Read = Callable[[Avatar, Light], bytes]


def page(
    kata: Kata, asked: Sequence[Asked], first: int, processes: Processes, *, with_results: bool
) -> bytes:
    """Return the serialized answer to GetOutputs that begins with the light at place `first`."""
    budget = SmallBudget(max_bytes=limits.LARGE_LIGHT_BYTES)

    def read_small(avatar: Avatar, light: Light) -> bytes:
        history = avatar.open_history()
        return _output(history, avatar.name, light, budget, with_results=with_results)

    def read_large(avatar: Avatar, light: Light) -> bytes:
        avatar.open_history()  # it replays a log; the process only reads
        with processes.one() as process:
            about = (avatar.folder, avatar.kata_id, light)
            process.call(_write_output, *about, with_results=with_results)
            return process.written()

    # Messages one behind the other are one message, with the repeated fields of all.
    pieces: list[bytes] = []
    for each in asked[first:]:
        try:
            pieces.append(_answer(kata, each, read_small))
        except NotSmall:
            break
    if not pieces:
        pieces.append(_answer(kata, asked[first], read_large))
    following = first + len(pieces)
    if following < len(asked):
        pieces.append(_serialized(next_page_token=page_tokens.token(following)))
    return b"".join(pieces)


def _answer(kata: Kata, asked: Asked, read: _Read) -> bytes:
    """Return what `read` returns of a light; for one that can't be read, a refusal."""
    try:
        avatar = kata.avatar(asked.avatar)
        return read(avatar, avatar.light(asked.number))
    except KataDamaged as error:
        kata.tell_damage(error.path)
        refusal = refusal_of(error)
    except (AvatarNotFound, LightNotFound, ProcessTooLarge) as error:
        refusal = refusal_of(error)
    return _serialized(outputs=[storer_pb2.LightOutput(avatar=asked.avatar, refusal=refusal)])


def _write_output(folder: Path, kata_id: str, light: Light, *, with_results: bool) -> None:
    """Write the output of a light into the file, in a process."""
    libgit2.configure()
    history = History(folder, kata_id, folder.name)
    process_main.file().write(_output(history, folder.name, light, with_results=with_results))


def _output(
    history: History,
    avatar: str,
    light: Light,
    budget: Budget | None = None,
    *,
    with_results: bool,
) -> bytes:
    found = history.output(light.number, budget)
    output = storer_pb2.LightOutput(
        avatar=avatar,
        light=converters.light_to(light),
        stdout=converters.output_to(found.stdout, truncated=light.facts.is_stdout_truncated),
        stderr=converters.output_to(found.stderr, truncated=light.facts.is_stderr_truncated),
    )
    if with_results:
        facts_converters.results_to(found.test_results, output)
    return _serialized(outputs=[output])


def _serialized(**fields: Any) -> bytes:
    serialized: bytes = storer_pb2.GetOutputsResponse(**fields).SerializeToString()
    return serialized
