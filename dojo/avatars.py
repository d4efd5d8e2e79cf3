"""Avatars: the 64 animals, and the user id that owns each one's sandbox."""

import os
import stat
from pathlib import Path

from dojo.errors import InvalidArgument

# An avatar's position gives its user id, which is on the disk: if a name moved, avatars would own
# each other's sandboxes.
NAMES = (
    "alligator", "antelope", "bat", "bear", "bee", "beetle", "buffalo", "butterfly",
    "cheetah", "crab", "deer", "dolphin", "eagle", "elephant", "flamingo", "fox",
    "frog", "gopher", "gorilla", "heron", "hippo", "hummingbird", "hyena", "jellyfish",
    "kangaroo", "kingfisher", "koala", "leopard", "lion", "lizard", "lobster", "moose",
    "mouse", "ostrich", "owl", "panda", "parrot", "peacock", "penguin", "porcupine",
    "puffin", "rabbit", "raccoon", "ray", "rhino", "salmon", "seal", "shark",
    "skunk", "snake", "spider", "squid", "squirrel", "starfish", "swan", "tiger",
    "toucan", "tuna", "turtle", "vulture", "walrus", "whale", "wolf", "zebra",
)  # fmt: skip

FIRST_UID = 40000

# The mode of an avatar's folder, whose group is the avatar's own: the avatar's runs pass through to
# the sandbox, but can't list the folder. No other avatar gets any further, whatever modes a run
# gives to its sandbox.
FOLDER_MODE = 0o710

_UIDS = {name: FIRST_UID + place for place, name in enumerate(NAMES)}


def check(avatar: str, field: str = "avatar") -> str:
    """Return `avatar` if it is one of the 64 names; raise InvalidArgument if not."""
    if avatar not in _UIDS:
        shown = ascii(avatar[:40])
        raise InvalidArgument(field, f"{shown} is none of the 64 avatars")
    return avatar


def is_name(text: str) -> bool:
    """Say whether `text` is one of the 64 names."""
    return text in _UIDS


def uid(avatar: str) -> int:
    """Return the user id, and group id, that owns the avatar's sandbox."""
    return _UIDS[avatar]


def is_closed_to_others(found: os.stat_result, avatar: str) -> bool:
    """Say whether the status of an avatar's folder is that of one that `close_to_others` closed."""
    return stat.S_IMODE(found.st_mode) == FOLDER_MODE and found.st_gid == uid(avatar)


def close_to_others(folder: Path | int, avatar: str) -> None:
    """Let the avatar's own runs, and nobody else, pass through its folder."""
    os.chown(folder, -1, uid(avatar))
    os.chmod(folder, FOLDER_MODE)  # noqa: PTH101 - the folder may be a descriptor
