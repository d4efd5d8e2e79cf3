"""The keys in etcd of one installation, besides those in `dojo.machines.keys`.

    /<installation>/generation                             how many etcds there were before this one
    /<installation>/deleted/<kata>                         a kata whose deletion is not finished
    /<installation>/kata/<kata>/base                       what the kata began with
    /<installation>/kata/<kata>/options                    its options
    /<installation>/kata/<kata>/light/<avatar>/<number>.<minor>    a light, or an edit after it

The revision at which an owner's key was last changed is the fencing token of that owner: whatever
an owner writes is conditional on it.
"""

import re
from dataclasses import dataclass

from dojo.machines.keys import Keys
from storer.kata.edit import At

_NUMBER_DIGITS, _MINOR_DIGITS = 10, 6
_LIGHT = re.compile(rb"light/([a-z]+)/([0-9]{10})\.([0-9]{6})\Z")


@dataclass(frozen=True)
class RecordKeys(Keys):
    """All keys of one installation."""

    @property
    def generation(self) -> bytes:
        """The key of the generation that this etcd is of."""
        return self._key("generation")

    @property
    def deletions(self) -> bytes:
        """What the keys of all katas begin with that are being deleted."""
        return self._key("deleted/")

    def deleted(self, kata_id: str) -> bytes:
        """Return the key that says that a kata is being deleted."""
        return self.deletions + kata_id.encode()

    def records(self, kata_id: str) -> bytes:
        """Return what the keys of a kata's records begin with."""
        return self._key(f"kata/{kata_id}/")

    def base(self, kata_id: str) -> bytes:
        """Return the key of what a kata began with."""
        return self.records(kata_id) + b"base"

    def options(self, kata_id: str) -> bytes:
        """Return the key of a kata's options."""
        return self.records(kata_id) + b"options"

    def light(self, kata_id: str, avatar: str, at: At) -> bytes:
        """Return the key of a light, or of an edit after it."""
        number = f"{at.number:0{_NUMBER_DIGITS}}.{at.minor:0{_MINOR_DIGITS}}"
        return self.records(kata_id) + f"light/{avatar}/{number}".encode()

    def place(self, kata_id: str, key: bytes) -> tuple[str, At] | None:
        """Return the avatar and the place of the light that a key is of; None if it is of none."""
        match = _LIGHT.match(key.removeprefix(self.records(kata_id)))
        return None if match is None else (match[1].decode(), At(int(match[2]), int(match[3])))
