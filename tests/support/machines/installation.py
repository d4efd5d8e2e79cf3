"""Three nodes that are one installation: on each a storer and a member of etcd; and a router.

Their archive is a folder that all of them see, as a file server would be.
"""

import contextlib
import secrets
from pathlib import Path

from support.machines.etcd_cluster import EtcdCluster
from support.machines.fleet import Fleet
from support.machines.node import PORTS
from support.machines.router import Router
from support.services import Service, wait_until
from support.storer.fixtures import defects

HEALTH_PORT = 7002

_NAMES = ("n1", "n2", "n3")


class Installation:
    """Storers n1, n2 and n3 behind a router."""

    def __init__(self, fleet: Fleet, archive: Path) -> None:
        """Start everything, and wait until the router takes calls for all."""
        self._fleet = fleet
        self._archive = archive
        self.name = f"test-{secrets.token_hex(4)}"
        self.nodes = {node.name: node for node in fleet.start_nodes(*_NAMES)}
        self.etcd = EtcdCluster(list(self.nodes.values()))
        self.etcd.start()
        self.storers: dict[str, Service] = {}
        self.runners: dict[str, Service] = {}
        for name in self.nodes:
            self.start_storer(name)
        self.routers: list[Router] = []
        self.router = self.add_router()
        self.wait_until_up()

    def add_router(self) -> Router:
        """Start one more router to the same nodes; return it."""
        (host,) = self._fleet.start_hosts(f"router{len(self.routers) + 1}")
        self.routers.append(Router(host, list(self.nodes.values()), HEALTH_PORT))
        self.routers[-1].start()
        return self.routers[-1]

    def start_storer(self, name: str) -> None:
        """Start the storer of a node that is on, and whose member of etcd is."""
        node = self.nodes[name]
        self.storers[name] = node.service(
            "storer",
            **self._shared(name),
            CYBER_DOJO_NODE_RUNNER=self.address(name, "runner"),
            CYBER_DOJO_ARCHIVE=str(self._archive),
            CYBER_DOJO_ARCHIVE_COPY_SECONDS="2",
            CYBER_DOJO_HEALTH_LISTEN=f"{node.address}:{HEALTH_PORT}",
        )

    def start_runner(self, name: str) -> Service:
        """Start the runner beside the storer of a node; return it."""
        self.runners[name] = self.nodes[name].service(
            "runner", **self._shared(name), CYBER_DOJO_STORER=self.address(name)
        )
        return self.runners[name]

    def address(self, name: str, module: str = "storer") -> str:
        """Return where a service of a node listens."""
        return f"{self.nodes[name].address}:{PORTS[module]}"

    def owner(self, kata_id: str) -> str | None:
        """Return the node that owns a kata, as etcd has it; None if it does not answer now."""
        for member in self.etcd.members.values():
            with contextlib.suppress(OSError):
                value = member.get(f"/{self.name}/owner/{kata_id}")
                return None if value is None else value.decode()
        return None

    def lose(self, name: str) -> None:
        """Lose a node: its storer, its engine, its member of etcd."""
        self.nodes[name].lose()
        self.storers[name].kill()  # it is dead, and this is told

    def close(self) -> None:
        """Stop the routers and the services; assert that these logged no defect."""
        for router in self.routers:
            router.kill()
        services = [*self.runners.values(), *self.storers.values()]
        for service in services:
            if service.is_running:
                service.stop()
        found = [defect for service in services for defect in defects(service)]
        assert not found, "".join(found)

    def bring_back(self, name: str) -> None:
        """Start a node that was lost, with the disk that it had."""
        self.nodes[name].start()
        self.etcd.members[name].begin()
        self.etcd.members[name].wait_until_healthy()
        self.start_storer(name)

    def cut_off_from_peers(self, name: str) -> None:
        """Cut a node off from the other nodes, and not from its clients."""
        node = self.nodes[name]
        for other in self.nodes.values():
            if other is not node:
                node.network.cut(node.link, other.link)

    def heal(self) -> None:
        """Mend the network."""
        next(iter(self.nodes.values())).network.heal()

    def wait_until_up(self) -> None:
        """Wait until the routers send calls to all nodes."""
        wait_until(
            lambda: all(set(each.states("storer").values()) == {"UP"} for each in self.routers)
        )

    def _shared(self, name: str) -> dict[str, str]:
        """Return the settings of both services of a node."""
        # Each asks the member on its own node first.
        members = sorted(self.etcd.members, key=lambda each: each != name)
        return {
            "CYBER_DOJO_ETCD": ",".join(self.etcd.members[each].address for each in members),
            "CYBER_DOJO_INSTALLATION": self.name,
            "CYBER_DOJO_NODE": name,
        }
