"""What checking a kata finds."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """What kind of thing is not as it should be; the proto says what each is."""

    MANIFEST = "manifest"
    HISTORY = "history"
    LIGHTS = "lights"
    STALE = "stale"
    OWNERSHIP = "ownership"
    HANDLE = "handle"
    LEFTOVER = "leftover"
    DANGLING = "dangling"
    ARCHIVE = "archive"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be.

    `path` is from the folder of the kata or, where a check of an avatar made it, of the avatar.
    `mend` mends it, for who holds the lock that guards it; None where nothing can, or may.
    """

    path: str
    kind: Kind
    what: str
    mend: Callable[[], None] | None = None
