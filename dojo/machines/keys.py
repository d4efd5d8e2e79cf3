"""The keys in etcd that both services of an installation know.

/<installation>/node/<node>        a machine, while it lives
/<installation>/owner/<kata>       the node that owns a kata in use
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Keys:
    """The keys of one installation."""

    installation: str

    @property
    def nodes(self) -> bytes:
        """What the keys of all nodes begin with."""
        return self._key("node/")

    @property
    def owners(self) -> bytes:
        """What the keys of all owners begin with."""
        return self._key("owner/")

    def node(self, name: str) -> bytes:
        """Return the key of a node."""
        return self.nodes + name.encode()

    def owner(self, kata_id: str) -> bytes:
        """Return the key of a kata's owner."""
        return self.owners + kata_id.encode()

    def _key(self, text: str) -> bytes:
        return f"/{self.installation}/{text}".encode()
