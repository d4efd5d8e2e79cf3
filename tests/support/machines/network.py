"""A network of hosts: a switch in a network namespace of its own, with a link to each host.

The tests have a link to the switch as well, so that their clients reach every host. It is the only
thing that is seen outside of the namespaces; the machine's firewall is not touched. All of it is
gone when the tests end or are killed, because a namespace goes with its last process.
"""

import ipaddress
import itertools
import json
import os
import secrets
import subprocess
from dataclasses import dataclass
from typing import Self

from support import test_run
from support.services import STOP_SECONDS

# No link has this address, so what is sent to it arrives nowhere.
_NOBODY = "02:00:00:00:00:00"
_TRIES = 1000


@dataclass
class Link:
    """A link from a namespace, where it is called `device`, to a port of the switch.

    `pid` is a process of the namespace; None if the link is not plugged in.
    """

    address: str
    device: str
    port: str = ""
    pid: int | None = None

    @property
    def hardware_address(self) -> str:
        """The Ethernet address. It stays when the host is started again."""
        return "02:01:" + ":".join(f"{int(byte):02x}" for byte in self.address.split("."))


class Network:
    """A switch, the links to it, and what is broken between them. `with` starts and ends it."""

    def __init__(self) -> None:
        """Choose addresses. Nothing is made yet."""
        self._subnet = _free_subnet()
        self._addresses = map(str, self._subnet.hosts())
        self._ports = itertools.count(1)
        self._links: list[Link] = []
        self._switch: subprocess.Popen[bytes] | None = None
        self._cut_off_ports: set[str] = set()
        self._dead_ends: set[tuple[int, str, str]] = set()  # process, device, address
        # The name tells whose link it is. It can't have more than these 15 characters.
        self.tests = self.new_link(f"{test_run.namespace_name()}{secrets.token_hex(1)}")

    def __enter__(self) -> Self:
        # Ctrl-C is for the tests, which then end this.
        command = ["unshare", "--net", "env", "--ignore-signal=INT", "cat"]
        self._switch = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            _wait_for_echo(self._switch)
            _ip(
                self._switch.pid,
                "link add switch type bridge mcast_snooping 0",
                "link set switch up",
            )
            self.plug(self.tests, os.getpid())
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        assert self._switch is not None
        if self.tests.pid is not None:
            _ip(self._switch.pid, f"link del {self.tests.port}")
        self._switch.communicate(timeout=STOP_SECONDS)  # which ends its input, and it with that

    def new_link(self, device: str = "eth0") -> Link:
        """Return a link with an address of its own, which is not plugged in yet."""
        self._links.append(Link(next(self._addresses), device))
        return self._links[-1]

    def plug(self, link: Link, pid: int) -> None:
        """Connect the namespace of a process with the switch."""
        # The port that the link had may be there for a moment longer than its namespace.
        link.port = f"port{next(self._ports)}"
        _ip(
            self._switch_pid,
            f"link add {link.port} type veth"
            f" peer name {link.device} address {link.hardware_address} netns {pid}",
            f"link set {link.port} master switch up",
        )
        _ip(
            pid,
            f"address add {link.address}/{self._subnet.prefixlen} dev {link.device}",
            f"link set {link.device} up",
        )
        link.pid = pid

    def unplug(self, link: Link) -> None:
        """Disconnect a host for good; it is plugged in again when it starts again."""
        _ip(self._switch_pid, f"link set {link.port} down")
        link.pid = None

    def cut_off(self, link: Link) -> None:
        """Cut a host off from all others, and from the tests, until `heal`.

        Nothing tells the two sides: frames are lost, in both directions.
        """
        _ip(self._switch_pid, f"link set {link.port} nomaster")
        self._cut_off_ports.add(link.port)

    def cut(self, one: Link, other: Link) -> None:
        """Cut two hosts off from each other, and from nobody else, until `heal`."""
        self.cut_one_way(one, other)
        self.cut_one_way(other, one)

    def cut_one_way(self, source: Link, target: Link) -> None:
        """Lose all that one host sends to another, until `heal`, or until the one starts again.

        What the other sends arrives, but no answer to it does.
        """
        assert source.pid is not None
        _ip(
            source.pid,
            f"neighbour replace {target.address} lladdr {_NOBODY} nud permanent"
            f" dev {source.device}",
        )
        self._dead_ends.add((source.pid, source.device, target.address))

    def heal(self) -> None:
        """Mend all that was cut."""
        plugged = [link for link in self._links if link.pid is not None]
        for port in self._cut_off_ports & {link.port for link in plugged}:
            _ip(self._switch_pid, f"link set {port} master switch")
        self._cut_off_ports.clear()
        pids = {link.pid for link in plugged}
        for pid, device, address in self._dead_ends:
            if pid in pids:
                _ip(pid, f"neighbour del {address} dev {device}")
        self._dead_ends.clear()

    @property
    def _switch_pid(self) -> int:
        assert self._switch is not None
        return self._switch.pid


def _ip(pid: int, *commands: str) -> None:
    """Run commands of `ip` in the network namespace of a process."""
    subprocess.run(
        ["nsenter", f"--net=/proc/{pid}/ns/net", "ip", "-batch", "-"],
        input="\n".join(commands),
        text=True,
        check=True,
    )


def _wait_for_echo(cat: subprocess.Popen[bytes]) -> None:
    """Wait until a `cat` runs, which is in its namespace then."""
    assert cat.stdin is not None
    assert cat.stdout is not None
    cat.stdin.write(b"\n")
    cat.stdin.flush()
    assert cat.stdout.readline() == b"\n", "only root can make a network"


def _free_subnet() -> ipaddress.IPv4Network:
    """Return 254 private addresses that this machine has no route to but the one to all others.

    Which ones is random, so that runs of the tests at the same time do not meet.
    """
    done = subprocess.run(["ip", "-json", "route"], capture_output=True, text=True, check=True)
    found = {route["dst"] for route in json.loads(done.stdout)} - {"default"}
    taken = [ipaddress.IPv4Network(each) for each in found]
    for _ in range(_TRIES):
        subnet = ipaddress.IPv4Network(f"10.{_byte()}.{_byte()}.0/24")
        if not any(subnet.overlaps(each) for each in taken):
            return subnet
    raise AssertionError("this machine has routes to all private networks")


def _byte() -> int:
    return secrets.randbelow(256)
