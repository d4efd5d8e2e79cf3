"""What verifying a kata finds."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """The kind of a finding; the proto explains each."""

    MANIFEST = "manifest"
    HISTORY = "history"
    LIGHTS = "lights"
    STALE = "stale"
    OWNERSHIP = "ownership"
    HANDLE = "handle"
    LEFTOVER = "leftover"
    DANGLING = "dangling"
    ARCHIVE = "archive"
    DAMAGED = "damaged"
    LARGE = "large"
    OPTIONS = "options"


# What mending does not bring back: it takes a backup.
DAMAGE = frozenset({Kind.MANIFEST, Kind.HISTORY, Kind.LIGHTS, Kind.ARCHIVE})


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong.

    `path` is relative to the kata's folder or, in a check of an avatar, to the avatar's. `mend`
    mends it, for the holder of the lock that guards it; None if nothing can or may mend it.
    """

    path: str
    kind: Kind
    what: str
    mend: Callable[[], None] | None = None
