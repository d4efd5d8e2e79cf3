"""An etcd of several members, each on a host of its own."""

from collections.abc import Sequence

from support.machines.etcd import HEALTHY_SECONDS, Etcd
from support.machines.host import Host
from support.services import wait_until

_ANSWER_SECONDS = 0.5


class EtcdCluster:
    """The members of an etcd, by the names of their hosts, with which they end."""

    def __init__(self, hosts: Sequence[Host]) -> None:
        """Start nothing yet."""
        addresses = {host.name: host.address for host in hosts}
        self.members = {
            host.name: Etcd(host.folder / "etcd", host.name, addresses, host.popen)
            for host in hosts
        }

    @property
    def addresses(self) -> list[str]:
        """Where clients connect, as host:port."""
        return [member.address for member in self.members.values()]

    def start(self) -> None:
        """Start all members, and wait until each takes writes."""
        for member in self.members.values():
            member.begin()
        for member in self.members.values():
            member.wait_until_healthy()

    def leader(self) -> Etcd:
        """Wait until one of the members that answer leads, and return that one.

        A leader that is cut off takes itself for one for a while; then the newest is returned.
        """
        found: list[Etcd] = []

        def is_there() -> bool:
            if (leader := self._leader()) is not None:
                found.append(leader)
            return bool(found)

        wait_until(is_there, HEALTHY_SECONDS)
        return found[0]

    def have_lead(self, name: str) -> None:
        """Have a member lead; all of them are there."""
        member, leader = self.members[name], self.leader()
        if leader is not member:
            own_id = member.call("maintenance/status", {})["header"]["member_id"]
            leader.call("maintenance/transfer-leadership", {"targetID": own_id})
            wait_until(lambda: self.leader() is member)

    def _leader(self) -> Etcd | None:
        terms = {name: self._term(member) for name, member in self.members.items()}
        name = max(terms, key=lambda name: terms[name])
        return self.members[name] if terms[name] > 0 else None

    def _term(self, member: Etcd) -> int:
        """Return the term in which a member leads; 0 if it does not, or does not answer."""
        if not member.is_running:
            return 0
        try:
            return member.leads(_ANSWER_SECONDS) or 0
        except OSError:
            return 0
