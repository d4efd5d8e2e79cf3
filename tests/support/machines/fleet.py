"""Several machines at once: hosts and nodes on one network, which end together."""

import contextlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from support.machines.host import Host
from support.machines.network import Network
from support.machines.node import Node

AnyHost = TypeVar("AnyHost", bound=Host)


class Fleet:
    """Hosts and nodes on a network of their own. `with` ends them all, whatever their state."""

    def __init__(self, folder: Path) -> None:
        """Keep everything in `folder`. Its path has to be short enough for names of sockets."""
        self.network = Network()
        self._folder = folder
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self._stack.enter_context(self.network)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.__exit__(kind, error, traceback)

    def start_hosts(self, *names: str) -> list[Host]:
        """Start hosts without engines, in a tenth of a second each."""
        return self._start_all([Host(self.network, self._folder / name) for name in names])

    def start_nodes(self, *names: str) -> list[Node]:
        """Start hosts with engines, at once, in some seconds."""
        return self._start_all([Node(self.network, self._folder / name) for name in names])

    def _start_all(self, hosts: Sequence[AnyHost]) -> list[AnyHost]:
        for host in hosts:
            self._stack.callback(host.close)
        with ThreadPoolExecutor() as threads:
            list(threads.map(lambda host: host.start(), hosts))
        return list(hosts)
