"""A history in a file, to be looked at and judged again: JSON lines, an attempt in each.

What was read in the end is in the same file, marked as final. A time that is infinite is left out.
"""

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from support.histories.attempts import (
    Answer,
    Attempt,
    Call,
    Kind,
    Outcome,
    Reading,
    Seen,
    check_attempt,
)

# The keys of an attempt that are left out where they say nothing.
_OPTIONAL = ("kata", "avatar", "request_id", "content", "expected", "order")


def write(path: Path, attempts: Iterable[Attempt], final: Iterable[Attempt] = ()) -> None:
    """Write a history, in the order in which its calls were sent, and what was read in the end."""
    with path.open("w", encoding="utf-8") as file:
        for each in sorted(attempts, key=lambda attempt: attempt.sent):
            file.write(json.dumps(_to_json(each)) + "\n")
        for each in final:
            file.write(json.dumps({"final": True, **_to_json(each)}) + "\n")


def read(path: Path) -> tuple[list[Attempt], list[Attempt]]:
    """Return a history, and what was read in the end. Raises ValueError for anything else."""
    attempts: list[Attempt] = []
    final: list[Attempt] = []
    with path.open(encoding="utf-8") as file:
        for line in file:
            value = json.loads(line)
            (final if value.get("final") else attempts).append(_from_json(value))
    return attempts, final


def _to_json(attempt: Attempt) -> dict[str, Any]:
    call = attempt.call
    value = {
        "sent": attempt.sent,
        "ended": None if math.isinf(attempt.ended) else attempt.ended,
        "client": attempt.client,
        "kind": call.kind,
        **{key: getattr(call, key) for key in _OPTIONAL},
        "outcome": attempt.outcome,
        "answer": _answer_to_json(attempt.answer),
        "reason": attempt.reason,
        "newest": attempt.newest,
    }
    return {key: each for key, each in value.items() if each not in ("", None, ())}


def _from_json(value: dict[str, Any]) -> Attempt:
    call = Call(
        Kind(value["kind"]),
        value.get("kata", ""),
        value.get("avatar", ""),
        value.get("request_id", ""),
        value.get("content", ""),
        value.get("expected"),
        tuple(value.get("order", ())),
    )
    attempt = Attempt(
        call,
        value["sent"],
        value.get("ended", math.inf),
        Outcome(value["outcome"]),
        _answer_from_json(value.get("answer")),
        value.get("reason", ""),
        value.get("newest"),
        value.get("client", ""),
    )
    check_attempt(attempt)
    return attempt


def _answer_to_json(answer: Answer) -> Any:
    if not isinstance(answer, Reading):
        return answer
    avatars = {
        name: {"newest": seen.newest, "contents": dict(seen.contents), "irregular": seen.irregular}
        for name, seen in answer.avatars.items()
    }
    return {"avatars": avatars, "content": answer.content, "damaged": answer.damaged}


def _answer_from_json(value: Any) -> Answer:
    if not isinstance(value, dict):
        answer: Answer = value
        return answer
    avatars = {
        name: Seen(
            seen["newest"],
            {int(number): content for number, content in seen["contents"].items()},
            tuple(seen["irregular"]),
        )
        for name, seen in value["avatars"].items()
    }
    return Reading(avatars, value["content"], tuple(value["damaged"]))
