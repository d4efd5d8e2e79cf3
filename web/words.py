"""What went wrong, in words for people who practise."""

from dataclasses import dataclass

import grpc

from cyber_dojo_client import (
    AvatarsTaken,
    CallFailed,
    DiskFull,
    ImageMissing,
    Incomplete,
    KataDamaged,
    MalformedField,
    MessageTooLarge,
    NoSuchAvatar,
    NoSuchKata,
    NoSuchLight,
    QueueFull,
    StaleNumber,
    TimedOut,
    TooManyGuesses,
    Unreachable,
)
from web.access.browsers import ForeignForm
from web.access.limits import TooLarge, TooOften, Unreadable


@dataclass(frozen=True)
class Trouble:
    """Why something did not happen: a word for scripts, an HTTP status, and what people read.

    `goes_on` says that it may work in a moment, without anybody's doing: scripts try again.
    """

    kind: str
    status: int
    title: str
    text: str
    goes_on: bool = False
    retry_after: float | None = None


class Troubled(Exception):
    """A page can't be shown, for a reason that has its words already."""

    def __init__(self, trouble: Trouble) -> None:
        super().__init__(trouble.title)
        self.trouble = trouble


NO_SUCH_PAGE = Trouble("no_such_page", 404, "No such page", "There is nothing at this address.")
NO_SUCH_KATA = Trouble(
    "no_such_kata",
    404,
    "No such kata",
    "No kata has this id. Look at the id again: it has ten characters, 0 to 9 and A to F.",
)
NOT_YOURS = Trouble(
    "not_yours",
    403,
    "This is somebody else's editor",
    "This browser does not hold the personal link of this animal. Open that link, or join the kata "
    "as another animal.",
)
DEFECT = Trouble(
    "defect",
    500,
    "Something is wrong here",
    "The page has a defect. What you typed is kept in this browser. Try again, and tell an "
    "operator if it stays.",
)

_WAIT = "Nothing is lost. This goes on by itself as soon as it answers."
_OF_TYPE: tuple[tuple[type[Exception], Trouble], ...] = (
    (NoSuchKata, NO_SUCH_KATA),
    (
        NoSuchAvatar,
        Trouble("no_such_avatar", 404, "No such animal", "Nobody has joined as this animal here."),
    ),
    (
        NoSuchLight,
        Trouble("no_such_light", 404, "No such light", "This animal has no light of that number."),
    ),
    (
        AvatarsTaken,
        Trouble("full", 409, "The kata is full", "All 64 animals of this kata are taken."),
    ),
    (
        QueueFull,
        Trouble(
            "busy",
            503,
            "Very many are testing",
            "The runner is full. Press test again.",
            goes_on=True,
        ),
    ),
    (
        ImageMissing,
        Trouble(
            "no_image",
            503,
            "The language is not here",
            "The image of this language is not on the runner's machine. An operator has to add it: "
            "make images-all builds those of all languages.",
        ),
    ),
    (
        StaleNumber,
        Trouble("stale", 409, "Another window was faster", "Another window recorded a light."),
    ),
    (
        TooManyGuesses,
        Trouble(
            "too_often",
            429,
            "Too many wrong ids",
            "Too many ids were tried that no kata has. Wait a while, then try again.",
        ),
    ),
    (
        DiskFull,
        Trouble(
            "disk_full",
            507,
            "The disk is full",
            "The server has no room left. What you typed is kept in this browser. An operator has "
            "to make room; it goes on by itself then.",
            goes_on=True,
        ),
    ),
    (
        KataDamaged,
        Trouble(
            "damaged", 500, "This kata is damaged", "It can't be read. Tell an operator its id."
        ),
    ),
    (
        MessageTooLarge,
        Trouble("too_large", 413, "Too large", "The files are too large together."),
    ),
    (
        TimedOut,
        Trouble(
            "slow", 504, "The server is slow", "It did not answer in time. " + _WAIT, goes_on=True
        ),
    ),
    (
        Unreachable,
        Trouble("away", 503, "The server is away for a moment", _WAIT, goes_on=True),
    ),
    (
        Incomplete,
        Trouble("away", 503, "The server is away for a moment", _WAIT, goes_on=True),
    ),
    (
        ForeignForm,
        Trouble(
            "foreign_form",
            403,
            "This page is too old",
            "The page was opened in another way, or its cookies are gone. Reload it, then try "
            "again: what you typed is kept.",
        ),
    ),
)


def trouble_of(error: Exception) -> Trouble:
    """Return what to say of an error; DEFECT if nobody has foreseen it."""
    match error:
        case Troubled():
            return error.trouble
        case TooOften():
            text = f"Wait {round(error.retry_after)} s: {error.what}."
            return Trouble(
                "too_often", 429, "Too often", text, goes_on=True, retry_after=error.retry_after
            )
        case Unreadable():
            return Trouble("malformed", 400, "That can't be", f"{error}.")
        case TooLarge():
            text = f"It has more than {error.limit // 2**20} MiB, and that is the most."
            return Trouble("too_large", 413, "Too large", text)
        case MalformedField():
            whats = "; ".join(error.fields.values()) or error.details()
            return Trouble("malformed", 400, "That can't be", whats)
    for kind, trouble in _OF_TYPE:
        if isinstance(error, kind):
            return trouble
    if isinstance(error, CallFailed):
        return _other_refusal(error)
    return DEFECT


def _other_refusal(error: CallFailed) -> Trouble:
    """Return what to say of a refusal that has no type of its own."""
    if error.is_temporary:
        return Trouble(
            "away", 503, "The server can't do this now", f"{error.details()}. {_WAIT}", goes_on=True
        )
    if error.code() is grpc.StatusCode.NOT_FOUND:
        return Trouble("not_found", 404, "Not found", error.details())
    if error.code() is grpc.StatusCode.INTERNAL:
        return DEFECT
    return Trouble("refused", 409, "The server refuses this", error.details())
