"""Hosts reach each other, until they are cut off, frozen or lost; and then again."""

import contextlib
import itertools
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.machines.fleet import Fleet
from support.machines.host import Host
from support.machines.network import Network
from support.services import wait_until
from support.storer.s3 import S3Server

PORT = "7000"

# Answers each datagram with itself, and says what came. A connection to it stays open.
ECHO = """
import socket, sys
address = (sys.argv[1], int(sys.argv[2]))
connections = socket.create_server(address)
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
    datagrams.bind(address)
    print("ready", flush=True)
    while True:
        datagram, sender = datagrams.recvfrom(100)
        print(datagram.decode(), flush=True)
        datagrams.sendto(datagram, sender)
"""

# Sends a datagram, and says what came back within some seconds.
SEND = """
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
    datagrams.settimeout(float(sys.argv[4]))
    datagrams.sendto(sys.argv[3].encode(), (sys.argv[1], int(sys.argv[2])))
    try:
        print(datagrams.recv(100).decode())
    except TimeoutError:
        print("nothing")
"""


class Echo:
    """A program on a host that answers."""

    def __init__(self, host: Host) -> None:
        command = [sys.executable, "-c", ECHO, host.address, PORT]
        self._process = host.popen(command, stdout=subprocess.PIPE, text=True)
        assert self.next() == "ready"

    def next(self) -> str:
        """Wait for the next datagram that comes, and return it."""
        assert self._process.stdout is not None
        return str(self._process.stdout.readline()).strip()

    def close(self) -> None:
        with self._process:
            self._process.kill()


def answer(source: Host | None, target: Host, text: str, seconds: float) -> str:
    """Send a datagram from a host, or from the tests; return what comes back."""
    command = [sys.executable, "-c", SEND, target.address, PORT, text, str(seconds)]
    if source is not None:
        return source.run(*command).strip()
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def reaches(source: Host | None, target: Host) -> bool:
    return answer(source, target, "reached", 10) == "reached"


def does_not_reach(source: Host | None, target: Host, text: str = "lost") -> bool:
    return answer(source, target, text, 0.3) == "nothing"


@pytest.fixture(scope="module")
def hosts(fleet: Fleet) -> list[Host]:
    return fleet.start_hosts("n1", "n2", "n3")


@pytest.fixture
def network(fleet: Fleet) -> Iterator[Network]:
    yield fleet.network
    fleet.network.heal()


@pytest.fixture(autouse=True)
def echoes(hosts: list[Host]) -> Iterator[list[Echo]]:
    """A program on each host that answers. All hosts are on."""
    for host in hosts:
        if not host.is_on:
            host.start()
    echoes = [Echo(host) for host in hosts]
    yield echoes
    for echo in echoes:
        echo.close()


def test_hosts_reach_each_other_and_the_tests_reach_them(hosts: list[Host]) -> None:
    assert all(itertools.starmap(reaches, itertools.permutations(hosts, 2)))
    assert all(reaches(None, host) for host in hosts)


def test_a_host_that_is_cut_off_reaches_nobody_and_nobody_reaches_it(
    hosts: list[Host], network: Network
) -> None:
    n1, n2, n3 = hosts
    network.cut_off(n1.link)
    for other in (n2, n3):
        assert does_not_reach(n1, other)
        assert does_not_reach(other, n1)
    assert does_not_reach(None, n1)
    assert reaches(n2, n3)
    network.heal()
    assert reaches(n1, n2)
    assert reaches(n3, n1)
    assert reaches(None, n1)


def test_two_hosts_are_cut_off_from_each_other_and_from_nobody_else(
    hosts: list[Host], network: Network
) -> None:
    n1, n2, n3 = hosts
    network.cut(n1.link, n2.link)
    assert does_not_reach(n1, n2)
    assert does_not_reach(n2, n1)
    for host in (n1, n2):
        assert reaches(host, n3)
        assert reaches(n3, host)
        assert reaches(None, host)
    network.heal()
    assert reaches(n1, n2)
    assert reaches(n2, n1)


def test_in_one_direction_all_is_lost_and_in_the_other_nothing(
    hosts: list[Host], echoes: list[Echo], network: Network
) -> None:
    n1, n2, n3 = hosts
    network.cut_one_way(n1.link, n2.link)
    assert does_not_reach(n1, n2, "lost")
    # It arrives, but its answer does not.
    assert does_not_reach(n2, n1, "arrives")
    assert echoes[0].next() == "arrives"
    assert reaches(n1, n3)
    assert echoes[2].next() == "reached"
    network.heal()
    assert reaches(n1, n2)
    assert echoes[1].next() == "reached"  # and before it nothing


def test_the_tests_are_cut_off_from_a_host_in_one_direction(
    hosts: list[Host], echoes: list[Echo], network: Network
) -> None:
    n1, n2, _ = hosts
    network.cut_one_way(n1.link, network.tests)
    assert does_not_reach(None, n1, "arrives")
    assert echoes[0].next() == "arrives"
    network.heal()
    network.cut_one_way(network.tests, n1.link)
    assert does_not_reach(None, n1, "lost")
    assert reaches(n2, n1)
    assert echoes[0].next() == "reached"
    network.heal()
    assert reaches(None, n1)


def test_a_frozen_host_answers_when_it_is_thawed(hosts: list[Host], echoes: list[Echo]) -> None:
    n1, n2, _ = hosts
    n1.freeze()
    assert n1.is_on
    assert does_not_reach(n2, n1, "waits")
    n1.thaw()
    assert echoes[0].next() == "waits"
    assert reaches(n2, n1)


def test_a_lost_host_is_silent_and_its_connections_are_not_told(hosts: list[Host]) -> None:
    n1, n2, _ = hosts
    with socket.create_connection((n1.address, int(PORT)), 10) as connection:
        n1.lose()
        assert not n1.is_on
        connection.settimeout(0.3)
        with pytest.raises(TimeoutError):
            connection.recv(1)
    assert does_not_reach(n2, n1)


def test_a_lost_host_loses_its_processes_and_run_but_no_files(hosts: list[Host]) -> None:
    n1, n2, _ = hosts
    address = n1.address
    script = "touch /run/gone stays; (setsid sleep 1000 & exec sleep 1000) & echo started; wait"
    process = n1.popen(["sh", "-c", script], cwd=n1.folder, stdout=subprocess.PIPE)
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"started\n"
        n1.lose()
    assert process.returncode == -signal.SIGKILL
    n1.start()
    assert n1.address == address
    # Its first process, and the one that is asked.
    assert n1.run("ps", "-e", "-o", "comm=").split() == ["sleep", "ps"]
    assert n1.run("ls", "/run") == ""
    assert (n1.folder / "stays").exists()
    with contextlib.closing(Echo(n1)):
        wait_until(lambda: reaches(n2, n1))  # it looks for the new link at the old address


def test_a_host_has_a_name_and_a_folder_as_a_machine_has(hosts: list[Host]) -> None:
    n1, n2, _ = hosts
    assert n1.run("hostname") == "n1\n"
    assert n2.run("hostname") == "n2\n"
    assert n1.run("pwd") == f"{Path.cwd()}\n"


def test_a_command_that_fails_on_a_host_is_told(hosts: list[Host]) -> None:
    with pytest.raises(subprocess.CalledProcessError, match="exit status 3"):
        hosts[0].run("sh", "-c", "exit 3")


def test_a_store_on_one_host_serves_another_until_its_host_is_lost(hosts: list[Host]) -> None:
    n1, n2, _ = hosts
    store = S3Server(address=n1.address, popen=n1.popen)
    program = "import urllib.request as r, sys; r.urlopen(sys.argv[1], None, float(sys.argv[2]))"
    get = [sys.executable, "-c", program, store.url]
    n2.run(*get, "10")
    n1.lose()
    store.stop()
    with pytest.raises(subprocess.CalledProcessError):
        n2.run(*get, "0.3")
