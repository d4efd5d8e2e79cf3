"""Histories that are written by hand: a call after the other, unless their times say otherwise."""

from collections.abc import Mapping, Sequence
from typing import Any

from support.histories.attempts import (
    NO_SUCH_KATA,
    STALE_NUMBER,
    Answer,
    Attempt,
    Call,
    Outcome,
    Reading,
    Seen,
    create_kata,
    delete_kata,
    read,
    record_test,
    start_avatar,
)

KATA = "493A06504A"


class Script:
    """A history to write. Each call takes a second, and comes a second after the one before.

    `at` gives a call other times: of its sending and of its end. A call is acknowledged, unless
    `refused` gives a reason or it is `lost`, without an answer.
    """

    def __init__(self) -> None:
        self.attempts: list[Attempt] = []
        self.final: list[Attempt] = []
        self._now = 0.0

    def create(
        self, request: str = "create", kata: str = KATA, content: str = "files", **how: Any
    ) -> None:
        """Create a kata."""
        self._add(create_kata(content, request), kata, **how)

    def start(
        self, avatar: str, *order: str, request: str | None = None, kata: str = KATA, **how: Any
    ) -> None:
        """Start an avatar, the only one in its order unless there is another."""
        name = f"start {avatar}" if request is None else request
        self._add(start_avatar(kata, order or (avatar,), name), avatar, **how)

    def record(
        self,
        avatar: str,
        number: int = 0,
        content: str = "",
        *,
        request: str | None = None,
        expected: int | None = None,
        kata: str = KATA,
        **how: Any,
    ) -> None:
        """Record a test; its content and request are named after its number."""
        content = content or f"{avatar} {number}"
        name = f"record {content}" if request is None else request
        self._add(record_test(kata, avatar, content, name, expected), number, **how)

    def delete(self, kata: str = KATA, **how: Any) -> None:
        """Delete the kata."""
        self._add(delete_kata(kata), None, **how)

    def read(self, avatar: str, newest: int, contents: Mapping[int, str] = {}, **how: Any) -> None:
        """Read an avatar."""
        shown = Reading({avatar: Seen(newest, contents)})
        self._add(read(KATA, avatar), shown, **how)

    def list(self, kata: str = KATA, *, how: Mapping[str, Any] = {}, **newest: int) -> None:
        """Read the kata: the newest light of each avatar."""
        shown = Reading({name: Seen(number) for name, number in newest.items()})
        self._add(read(kata), shown, **how)

    def end(self, kata: str = KATA, content: str = "files", **lights: int | Sequence[str]) -> None:
        """Read a kata in the end: the number of each avatar's lights, or their contents."""
        seen = {}
        for name, of_one in lights.items():
            contents = (
                [f"{name} {number}" for number in range(1, of_one + 1)]
                if isinstance(of_one, int)
                else of_one
            )
            seen[name] = Seen(len(contents), dict(enumerate(contents, 1)))
        self._end(kata, Outcome.ACKNOWLEDGED, Reading(seen, content))

    def end_without(self, kata: str = KATA) -> None:
        """Read in the end that there is no such kata."""
        self._end(kata, Outcome.REFUSED, None, NO_SUCH_KATA)

    def _end(self, kata: str, outcome: Outcome, answer: Answer, reason: str = "") -> None:
        self._now += 1
        attempt = Attempt(read(kata), self._now, self._now + 1, outcome, answer, reason)
        self.final.append(attempt)

    def _add(
        self,
        call: Call,
        answer: Answer,
        *,
        at: tuple[float, float] | None = None,
        lost: bool = False,
        refused: str = "",
        newest: int | None = None,
    ) -> None:
        sent, ended = at or (self._now + 1, self._now + 2)
        self._now = max(self._now, ended)
        outcome = Outcome.UNKNOWN if lost else Outcome.ACKNOWLEDGED
        if refused or newest is not None:
            outcome, refused = Outcome.REFUSED, refused or STALE_NUMBER
        given = answer if outcome is Outcome.ACKNOWLEDGED else None
        self.attempts.append(Attempt(call, sent, ended, outcome, given, refused, newest))
