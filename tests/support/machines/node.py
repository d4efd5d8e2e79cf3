"""A node: a host with a docker engine of its own, on which services run."""

import json
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dojo.engine.client import Engine
from support import own_engine, test_run
from support.engine_keeper import containerd_command, dockerd_command
from support.machines.host import Host
from support.services import STOP_SECONDS, Service, wait_until

# Where services listen, on the node's address.
PORTS = {"storer": 4577, "runner": 4597}

# What ends with the node, as on other machines: the node has a /run of its own.
_STATE = Path("/run/docker")
_SOCKET = "unix:///run/docker.sock"

_START_SECONDS = 60


class Node(Host):
    """A host whose engine keeps its data in the host's folder.

    To processes on the node, the engine is at /var/run/docker.sock, and its volumes are where it
    says. The tests reach it at `engine_url`.
    """

    @property
    def engine_url(self) -> str:
        """The URL of the engine for clients that are not on the node."""
        return f"unix://{self.folder}/docker.sock"

    def start(self) -> None:
        """Switch the node on, and wait until its engine answers."""
        super().start()
        (self.folder / "daemon.json").write_text(json.dumps({}))
        self._start(containerd_command(self.folder, _STATE))
        self.start_engine()

    def start_engine(self) -> None:
        """Start the engine again after `kill_engine`, and wait until it answers."""
        command = dockerd_command(self.folder, _STATE, self.group)
        self._dockerd = self._start([*command, f"--host={_SOCKET}"])
        wait_until(self._engine_answers, _START_SECONDS)

    def kill_engine(self) -> None:
        """Kill the engine alone, as a crash would. Its containers continue."""
        self._dockerd.kill()
        assert self._dockerd.wait(STOP_SECONDS) == -signal.SIGKILL, self.log()

    def load(self, engine: Engine, image: str) -> None:
        """Copy an image from another engine."""
        own_engine.copy_image(engine.url, self.engine_url, image)

    def service(
        self, module: str, *options: str, until: str = "serving", **environ: str
    ) -> Service:
        """Start a service on the node, at the node's address and the module's port.

        `environ` has its settings. Anybody may call it, because only the tests can.
        """
        own = {
            "DOCKER_HOST": _SOCKET,
            "CYBER_DOJO_NAMESPACE": test_run.namespace_name(),
            "CYBER_DOJO_UNPROTECTED": "allow",
            f"CYBER_DOJO_{module.upper()}_LISTEN": f"{self.address}:{PORTS[module]}",
        }
        return Service(module, {**own, **environ}, *options, until=until, popen=self.popen)

    def _start(self, command: Sequence[str]) -> subprocess.Popen[Any]:
        with self.log_file.open("ab") as log:
            return self.popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def _engine_answers(self) -> bool:
        assert self._dockerd.poll() is None, self.log()
        return own_engine.answers(self.engine_url)
