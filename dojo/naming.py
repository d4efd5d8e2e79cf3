"""How containers, volumes, images and labels are named.

A namespace prefixes all of them. A process in another namespace, such as a test session, can
neither see nor touch what is in this one.
"""

import re
from dataclasses import dataclass
from pathlib import PurePath, PurePosixPath

from dojo import avatars, kata_ids

# The folder, in an avatar's folder, in which its runs work.
SANDBOX = "sandbox"

# Where other servers mount the sandbox of a run. Scripts that were written for those find it there.
SANDBOX_ELSEWHERE = PurePosixPath("/sandbox")

# The file in the folder of an avatar that came in damaged; it says what is wrong.
DAMAGED_JSON = "damaged.json"

KATAS_ROOT = PurePosixPath("/usr/src/cyber-dojo/katas")

LABEL = "cyber-dojo.namespace"
KIND_LABEL = "cyber-dojo.kind"
KATA_LABEL = "cyber-dojo.kata"
AVATAR_LABEL = "cyber-dojo.avatar"

_NAMESPACE = re.compile(r"[a-z0-9][a-z0-9-]{0,39}\Z")


@dataclass(frozen=True)
class Namespace:
    """The prefix of every name that belongs to one installation."""

    name: str

    def __post_init__(self) -> None:
        """Refuse a name that docker would refuse, or that could be mistaken for another one."""
        if not _NAMESPACE.match(self.name):
            raise ValueError("is not 1 to 40 lower-case letters, digits and dashes")

    def __str__(self) -> str:
        return self.name

    def kata(self, kata_id: str) -> str:
        """Return the name that a kata's container and its volume both have."""
        return f"{self.name}-kata-{kata_id}"

    def kata_id(self, name: str) -> str | None:
        """Return the kata whose container or volume has this name; None if it is no kata's."""
        prefix = f"{self.name}-kata-"
        rest = name.removeprefix(prefix)
        return rest if name.startswith(prefix) and kata_ids.is_whole(rest) else None

    @property
    def kata_image(self) -> str:
        """The name of the empty image that kata containers are created from."""
        return f"{self.name}-kata:empty"

    @property
    def backups(self) -> str:
        """The name of the volume that records what the last backups held."""
        return f"{self.name}-backups"

    @property
    def deleted(self) -> str:
        """The name of the volume that records which katas of the katas directory were deleted."""
        return f"{self.name}-deleted"

    @property
    def damaged(self) -> str:
        """The name of the volume that records which katas are known to be damaged."""
        return f"{self.name}-damaged"

    @property
    def old_ids(self) -> str:
        """The name of the volume that records which kata an avatar's old id leads to."""
        return f"{self.name}-old-ids"

    def labels(self, kind: str, **more: str) -> dict[str, str]:
        """Return the labels of a container or volume of this kind (`kata`, `run`)."""
        named = {f"cyber-dojo.{key}": value for key, value in more.items()}
        return {LABEL: self.name, KIND_LABEL: kind, **named}


def mount_path(kata_id: str) -> PurePosixPath:
    """Return where a kata's volume is mounted, in its own container and in every run's."""
    return KATAS_ROOT / kata_ids.outer(kata_id) / kata_ids.inner(kata_id)


def sandbox_path(kata_id: str, avatar: str) -> PurePosixPath:
    """Return the working directory of an avatar's runs, inside a run's container."""
    return mount_path(kata_id) / avatar / SANDBOX


def in_words(path: PurePath) -> str:
    """Return what a path on a kata's volume belongs to, for messages: `kata 493A06504A, whale`."""
    for place, part in enumerate(path.parts):
        _, separator, kata_id = part.rpartition("-kata-")
        if separator and kata_ids.is_whole(kata_id):
            avatar = [each for each in path.parts[place + 1 :] if avatars.is_name(each)]
            return ", ".join([f"kata {kata_id}", *avatar[:1]])
    return str(path)
