"""Do the same with several katas, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import grpc

from cli import exits
from cli.storer_command import Session
from cli.terminal.complaint import complain


def for_each_kata(
    session: Session,
    kata_ids: Iterable[str],
    act: Callable[[str], tuple[str, dict[str, object]]],
) -> int:
    """Call `act` with each kata's id; return the worst exit code.

    `act` returns what it did as a text and as JSON. If it fails for one kata, the failure is
    printed and the next kata follows.
    """
    worst = exits.GOOD
    for kata_id in kata_ids:
        try:
            text, value = act(kata_id)
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
