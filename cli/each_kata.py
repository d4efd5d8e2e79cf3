"""What is done to katas, one after another."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import grpc

from cli import exits
from cli.storer_command import Session
from cli.terminal.complaint import complain


def each_kata(
    session: Session,
    kata_ids: Iterable[str],
    one: Callable[[str], tuple[str, dict[str, object]]],
) -> int:
    """Do something with each kata; return the worst exit code.

    `one` does it, and returns what it did as a text and as JSON. What can't be done with one kata
    is told, and the others get their turn.
    """
    worst = exits.GOOD
    for kata_id in kata_ids:
        try:
            text, value = one(kata_id)
        except grpc.RpcError as error:
            if exits.code_of(error) == exits.UNAVAILABLE:
                raise
            worst = max(worst, exits.code_of(error))
            complain(exits.message_of(error, session.client.address))
            continue
        if session.screen.as_json:
            session.screen.record({"id": kata_id, **value})
        else:
            session.screen.say(f"{kata_id}  {text}")
            session.screen.flush()
    return worst
