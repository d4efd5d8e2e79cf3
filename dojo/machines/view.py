"""What a service knows of the machines around it, for which it writes nothing."""

from __future__ import annotations

import time
from collections.abc import Callable

from dojo.errors import KataMoved
from dojo.etcd.client import Etcd
from dojo.machines.keys import Keys
from dojo.machines.mirror import Mirror
from dojo.machines.nodes import Node, Nodes

# News of etcd come within milliseconds.
_NEWS_SECONDS = 2.0
_LOOK_SECONDS = 0.005


class View:
    """The machines that live and the owners of katas, as etcd tells them. Any thread may ask."""

    def __init__(self, etcd: Etcd, keys: Keys, node: str, on_gone: Callable[[str], object]) -> None:
        """Look at them from `node`; call `on_gone` with the name of each node that is gone."""
        self._etcd = etcd
        self._keys = keys
        self._node = node
        self.nodes = Nodes(etcd, keys, on_gone)
        self._owners = Mirror(etcd, keys.owners, "owners", lambda *_: None)

    def start(self) -> None:
        """Learn of all. Raises EtcdUnavailable."""
        self._owners.start()
        self.nodes.start()

    def stop(self) -> None:
        """Follow no longer, and close the connections to etcd."""
        self.nodes.stop()
        self._owners.stop()
        self._etcd.close()

    def is_ours(self, kata_id: str) -> bool:
        """Say whether this machine owns a kata, as far as this service knows."""
        return self._owners.get(kata_id) == self._node.encode()

    def elsewhere(self, kata_id: str) -> Node | None:
        """Return the machine that owns a kata, if it is another one that lives."""
        owner = self._owners.get(kata_id)
        if owner is None or owner == self._node.encode():
            return None
        return self.nodes.find(owner.decode())

    def wait_until_ours(self, kata_id: str) -> None:
        """Wait for the news that this machine owns a kata, which it has just claimed.

        Raises KataMoved if another one does, or the news do not come.
        """
        deadline = time.monotonic() + _NEWS_SECONDS
        while not self.is_ours(kata_id):
            if self.elsewhere(kata_id) is not None or time.monotonic() > deadline:
                raise KataMoved(kata_id)
            time.sleep(_LOOK_SECONDS)

    def check_ours(self, kata_id: str) -> None:
        """Ask etcd whether this machine owns a kata. Raises KataMoved or EtcdUnavailable."""
        found = self._etcd.get(self._keys.owner(kata_id))
        if found is None or found.value != self._node.encode():
            raise KataMoved(kata_id)
