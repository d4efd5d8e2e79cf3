"""The machines of one installation, each with a key in etcd that goes when the machine does.

The key says who can be called, and nothing about who may write: that is in the owners' keys. A
machine that is cut off loses its key, and works on until it is refused.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

import structlog

from dojo.errors import DojoError, EtcdFull, EtcdUnavailable
from dojo.etcd.client import Etcd, OutcomeUnknown, put
from dojo.machines.keys import Keys
from dojo.machines.mirror import Mirror

# How long a machine may be silent before others take it for gone. It tells of itself three times
# as often.
LEASE_SECONDS = 4

_log = structlog.get_logger()


@dataclass(frozen=True)
class Node:
    """A machine: its name, and the addresses (host:port) at which others reach its services.

    An address is "" if there is no such service.
    """

    name: str
    storer: str
    runner: str = ""
    version: str = ""
    is_draining: bool = False


class Nodes:
    """Knows the machines that live. Any thread may ask."""

    def __init__(
        self, etcd: Etcd, keys: Keys, on_gone: Callable[[str], object] = lambda _: None
    ) -> None:
        """Call `on_gone` with the name of each node that is gone."""
        self._on_gone = on_gone
        self._known = Mirror(etcd, keys.nodes, "nodes", self._moved)

    def start(self) -> None:
        """Learn of the machines. Raises EtcdUnavailable."""
        self._known.start()

    def stop(self) -> None:
        """Follow no longer."""
        self._known.stop()

    def find(self, name: str) -> Node | None:
        """Return a node that lives; None if it does not, or nobody knows."""
        value = self._known.get(name)
        return None if value is None else _parsed(name, value)

    def all(self) -> list[Node]:
        """Return the nodes that live, in the order of their names."""
        return [_parsed(name, value) for name, value in sorted(self._known.items())]

    def _moved(self, name: str, value: bytes | None) -> None:
        if value is None:
            _log.info("node gone", node=name)
            self._on_gone(name)


class OwnNode:
    """Keeps the key of this machine in etcd. Any thread may use it.

    A thread renews the lease; a lock guards the node that it tells of.
    """

    def __init__(self, etcd: Etcd, keys: Keys, node: Node) -> None:
        self._etcd = etcd
        self._keys = keys
        self._node = node
        self._lease = 0
        self._lock = threading.Lock()
        self._changed = threading.Event()
        self._is_stopped = False
        self._heard = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="node", daemon=True)

    @property
    def node(self) -> Node:
        """What others are told of this machine."""
        with self._lock:
            return self._node

    def start(self) -> None:
        """Tell of this machine, later if etcd is full now. Raises EtcdUnavailable."""
        try:
            self._tell()
        except EtcdFull as error:
            _log.warning("others not told of this node", reason=str(error))
        except OutcomeUnknown as error:
            raise EtcdUnavailable(str(error)) from error
        self._thread.start()

    def silent_seconds(self) -> float:
        """Return for how long etcd has not answered this machine."""
        return time.monotonic() - self._heard

    def drain(self, *, end: bool = False) -> None:
        """Tell the others that this machine takes no more katas, or takes some again."""
        with self._lock:
            self._node = replace(self._node, is_draining=not end)
        self._changed.set()

    def stop(self) -> None:
        """Take this machine's key away."""
        self._is_stopped = True
        self._changed.set()
        if self._thread.is_alive():
            self._thread.join()
        with contextlib.suppress(EtcdUnavailable):  # the lease ends by itself
            if self._lease:
                self._etcd.revoke(self._lease)

    def _run(self) -> None:
        while True:
            is_changed = self._changed.wait(LEASE_SECONDS / 3)
            self._changed.clear()
            if self._is_stopped:
                return
            try:
                if is_changed or not self._etcd.renew(self._lease):
                    self._tell()
                self._heard = time.monotonic()
            except (DojoError, OutcomeUnknown) as error:
                _log.warning("others not told of this node", reason=str(error))

    def _tell(self) -> None:
        """Write this node's key, under a lease that lives. Raises EtcdUnavailable or others."""
        if not self._lease or not self._etcd.renew(self._lease):
            self._lease = self._etcd.grant(LEASE_SECONDS)
        told = {key: value for key, value in asdict(self.node).items() if key != "name"}
        key = self._keys.node(self.node.name)
        self._etcd.transact([], [put(key, json.dumps(told).encode(), self._lease)])
        self._heard = time.monotonic()


def _parsed(name: str, value: bytes) -> Node:
    """Return the node of a key. Later versions may say more of it."""
    found = json.loads(value)
    return Node(
        name,
        storer=str(found.get("storer", "")),
        runner=str(found.get("runner", "")),
        version=str(found.get("version", "")),
        is_draining=bool(found.get("is_draining", False)),
    )
