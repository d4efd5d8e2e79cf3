"""A real HAProxy, which routes the calls of a kata to one node."""

import csv
import os
import signal
import socket
import subprocess
from collections.abc import Sequence
from typing import Any

from support.machines.host import Host
from support.machines.node import PORTS
from support.paths import TOP
from support.services import STOP_SECONDS, wait_until

TOOLS = TOP / "build/tools/haproxy"  # scripts/test-tools.sh puts it there, with its libraries

_START_SECONDS = 30

# The comments tell what goes wrong without a line.
_CONFIGURATION = """\
global
  maxconn 8000
  stats socket {socket} mode 600
  # By default 100, so that of 300 watches 100 would be forwarded.
  tune.h2.max-concurrent-streams 5000
  # By default 64 KB, which slow down large streams.
  tune.h2.initial-window-size 1048576
  tune.bufsize 65536

defaults
  mode http
  timeout connect 1s
  # A watch may have no news for long.
  timeout client 1h
  timeout server 1h
  timeout check 1s
  retries 3
  retry-on conn-failure empty-response
  option redispatch 1
  # A node that is down does not end its calls itself.
  default-server proto h2 inter 1s fall 2 rise 2 on-marked-down shutdown-sessions
  balance hdr(kata-id)
  # A node that is down moves its own katas only.
  hash-type consistent
  # HAProxy 2.6 can't ask by gRPC, and a connection alone would not tell of a frozen process.
  option httpchk GET /
  http-check connect port {health_port} proto h1
  http-check send meth GET uri / ver HTTP/1.1 hdr Host node
  # A node that is being drained ends the calls that it has, and gets no others.
  http-check disable-on-404

frontend storers
  bind {address}:{storer_port} proto h2
  # Without a majority of etcd all nodes are down, and katas can still be read.
  use_backend all-storers if {{ nbsrv(storers) eq 0 }}
  default_backend storers

frontend runners
  bind {address}:{runner_port} proto h2
  use_backend all-runners if {{ nbsrv(runners) eq 0 }}
  default_backend runners

backend storers
{storers}

backend all-storers
{all_storers}

# A kata's runner is the one beside its storer: both choose by the same names and states.
backend runners
{runners}

backend all-runners
{all_runners}
"""


class Router:
    """An HAProxy on a host of its own. It answers at the ports that the services have on nodes."""

    def __init__(self, host: Host, nodes: Sequence[Host], health_port: int) -> None:
        """Route to services on `nodes`, of which an HTTP server at `health_port` tells the health.

        Its answers mean: 200 that the node takes calls, 404 that it takes those that it has, any
        other that it takes none.
        """
        self.host = host
        self._socket = host.folder / "haproxy.sock"
        self._configuration = host.folder / "haproxy.cfg"
        storers, runners = [], []
        for number, node in enumerate(nodes, 1):
            # The id places the node among the others, also when one is added or left out.
            storer = f"  server {node.name} {node.address}:{PORTS['storer']} id {number}"
            runner = f"  server {node.name} {node.address}:{PORTS['runner']} id {number}"
            storers.append(storer)
            runners.append(runner)
        self._text = _CONFIGURATION.format(
            socket=self._socket,
            health_port=health_port,
            address=host.address,
            storer_port=PORTS["storer"],
            runner_port=PORTS["runner"],
            storers="\n".join(f"{each} check" for each in storers),
            runners="\n".join(
                f"{each} track storers/{node.name}"
                for each, node in zip(runners, nodes, strict=True)
            ),
            all_storers="\n".join(storers),
            all_runners="\n".join(runners),
        )
        self._process: subprocess.Popen[Any] | None = None

    def address(self, module: str) -> str:
        """Return where clients call a service, as host:port."""
        return f"{self.host.address}:{PORTS[module]}"

    def start(self) -> None:
        """Start the router, and wait until it knows how each node is."""
        self._configuration.write_text(self._text)
        self._socket.unlink(missing_ok=True)  # of a router that was killed
        with self.host.log_file.open("ab") as log:
            self._process = self.host.popen(
                [TOOLS / "haproxy", "-db", "-f", self._configuration],
                env={**os.environ, "LD_LIBRARY_PATH": str(TOOLS / "lib")},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        wait_until(self._has_checked_all, _START_SECONDS)

    def kill(self) -> None:
        """Kill the router, with the calls that it has. It can be started again."""
        assert self._process is not None
        self._process.kill()
        assert self._process.wait(STOP_SECONDS) == -signal.SIGKILL, self.host.log()

    def states(self, module: str) -> dict[str, str]:
        """Return the state of the service on each node: UP, DOWN, NOLB (it is being drained)."""
        states = {}
        for row in self._servers():
            if row["pxname"] == f"{module}s":
                states[row["svname"]] = row["status"].split()[0]
        return states

    def _has_checked_all(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.host.log()
        return self._socket.exists() and all(
            row["check_status"] not in {"", "INI"}
            for row in self._servers()
            if row["pxname"] == "storers"
        )

    def _servers(self) -> list[dict[str, str]]:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self._socket))
            # 4: servers only, of all backends.
            connection.sendall(b"show stat -1 4 -1\n")
            with connection.makefile() as answer:
                header, *rows = answer.read().strip().splitlines()
        return list(csv.DictReader([header.removeprefix("# "), *rows]))
