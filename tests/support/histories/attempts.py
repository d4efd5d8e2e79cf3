"""What a history consists of: the calls that clients made, when, and how each of them ended.

Times are seconds of one monotonic clock. All processes of a machine have the same one, in whichever
network namespace they are, so their attempts make one history.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

NO_SUCH_KATA = "NO_SUCH_KATA"
NO_SUCH_AVATAR = "NO_SUCH_AVATAR"
STALE_NUMBER = "STALE_NUMBER"
AVATARS_TAKEN = "AVATARS_TAKEN"
REQUEST_ID_REUSED = "REQUEST_ID_REUSED"


class Kind(StrEnum):
    """What a call asks for."""

    CREATE_KATA = "CreateKata"
    START_AVATAR = "StartAvatar"
    RECORD_TEST = "RecordTest"
    DELETE_KATA = "DeleteKata"
    READ = "a read"


class Outcome(StrEnum):
    """How a call ended for its client.

    What was refused was not done. What has an unknown outcome may have been done, or may be done at
    any time after it was sent, or never; but once at most.
    """

    ACKNOWLEDGED = "acknowledged"
    REFUSED = "refused"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Call:
    """What a client asks for. A call that is sent again is an equal one.

    `request_id` is empty for a call without one. `content` is a digest of what the call gives: the
    files that a kata is created from, or what a light has. `expected` is the number that a light is
    to get, None for any. `order` has the avatars that would do, in the order in which they are
    tried; empty for all 64, in any order. A read with an `avatar` is about this one alone.
    """

    kind: Kind
    kata: str = ""
    avatar: str = ""
    request_id: str = ""
    content: str = ""
    expected: int | None = None
    order: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Seen:
    """The lights of an avatar that a read showed: all from 0, which is the start, to `newest`.

    `contents` has the digests of those whose content was read, by their numbers. `irregular` has
    the numbers that were not shown, or more than once.
    """

    newest: int
    contents: Mapping[int, str] = field(default_factory=dict)
    irregular: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Reading:
    """What a read showed of a kata: its avatars, or the one that was asked for.

    `content` is the digest of what the kata was created from, empty if that was not read. The
    lights of the `damaged` avatars can't be read.
    """

    avatars: Mapping[str, Seen]
    content: str = ""
    damaged: tuple[str, ...] = ()


# A kata's id, an avatar's name, a light's number, what a read showed; None of a deleted kata.
Answer = str | int | Reading | None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One sending of a call, from the moment before it was sent to the moment after it ended.

    `ended` is infinite for one that had not ended when the history was written down. `reason` says
    why it was refused, as refusal.proto does, or what is known of an unknown outcome. `newest` is
    the number of the newest light that a refusal with STALE_NUMBER tells. `client` names who sent
    it.
    """

    call: Call
    sent: float
    ended: float
    outcome: Outcome
    answer: Answer = None
    reason: str = ""
    newest: int | None = None
    client: str = ""

    @property
    def latest(self) -> float:
        """Until when it can have been done."""
        return math.inf if self.outcome is Outcome.UNKNOWN else self.ended

    @property
    def is_acknowledged(self) -> bool:
        """Whether it has an answer."""
        return self.outcome is Outcome.ACKNOWLEDGED

    @property
    def is_refused(self) -> bool:
        """Whether it was surely not done."""
        return self.outcome is Outcome.REFUSED


def create_kata(content: str, request_id: str = "") -> Call:
    """Return a CreateKata."""
    return Call(Kind.CREATE_KATA, request_id=request_id, content=content)


def start_avatar(kata: str, order: tuple[str, ...] = (), request_id: str = "") -> Call:
    """Return a StartAvatar."""
    return Call(Kind.START_AVATAR, kata, request_id=request_id, order=order)


def record_test(
    kata: str, avatar: str, content: str, request_id: str = "", expected: int | None = None
) -> Call:
    """Return a RecordTest."""
    return Call(Kind.RECORD_TEST, kata, avatar, request_id, content, expected)


def delete_kata(kata: str) -> Call:
    """Return a DeleteKata."""
    return Call(Kind.DELETE_KATA, kata)


def read(kata: str, avatar: str = "") -> Call:
    """Return a read of a kata, or of one of its avatars."""
    return Call(Kind.READ, kata, avatar)


def check_attempt(attempt: Attempt) -> None:
    """Raise ValueError if an attempt says what no attempt can."""
    wanted: dict[Kind, Any] = {
        Kind.CREATE_KATA: str,
        Kind.START_AVATAR: str,
        Kind.RECORD_TEST: int,
        Kind.DELETE_KATA: type(None),
        Kind.READ: Reading,
    }
    if not attempt.sent <= attempt.ended:
        raise ValueError(f"ended before it was sent: {attempt}")
    if attempt.is_acknowledged and not isinstance(attempt.answer, wanted[attempt.call.kind]):
        raise ValueError(f"the answer is of another call: {attempt}")
    if isinstance(attempt.answer, Reading) and attempt.call.avatar:
        shown = [*attempt.answer.avatars, *attempt.answer.damaged]
        if shown != [attempt.call.avatar]:
            raise ValueError(f"a read of one avatar shows others, or none: {attempt}")
    if not attempt.is_acknowledged and attempt.answer is not None:
        raise ValueError(f"an answer, but not acknowledged: {attempt}")
    if attempt.is_refused and attempt.reason == NO_SUCH_AVATAR and not attempt.call.avatar:
        raise ValueError(f"no avatar that it named was missing: {attempt}")
    is_stale = attempt.is_refused and attempt.reason == STALE_NUMBER
    if is_stale != (attempt.newest is not None):
        raise ValueError(f"a refusal with STALE_NUMBER, and no other, has the newest: {attempt}")
