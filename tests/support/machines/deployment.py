"""Three machines as scripts/machines.py describes them: certificates, settings, configurations.

`Processes` starts what they describe as processes of this checkout, in half a minute. `Composed`
does what docs/many-machines.md says, with the scripts and images, in minutes.
"""

from __future__ import annotations

import http.client
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from cyber_dojo_client import Access, Client, Tls
from dojo.engine.client import Engine
from support import own_engine
from support.commands import CommandLine, Done
from support.machines.fleet import Fleet
from support.machines.node import Node
from support.machines.router import TOOLS
from support.paths import TOP
from support.processes import children_of
from support.services import STOP_SECONDS, Service, wait_until

NAMES = ("n1", "n2", "n3")

# What scripts/machines.py writes.
_ROUTER_PORTS = (4677, 4697)

# What the scripts of a checkout need, on a machine that builds nothing.
_CHECKOUT = ("scripts", "deploy", "docker-compose.yml", "pyproject.toml", "dojo")

_SERVICES = ("storer", "runner", "web", "languages", "exercises", "custom", "ruby_lambdas")
_PARTS = ("etcd", "haproxy", "registry")

_COMPOSE_SECONDS = 300


def write(folder: Path, machines: Sequence[str], *options: str) -> str:
    """Write what machines (name=address) need into a folder; return what is said."""
    done = subprocess.run(
        [sys.executable, "-m", "scripts.machines", folder, *machines, *options],
        cwd=TOP,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def settings_in(folder: Path) -> dict[str, str]:
    """Return the settings of a machine, without those of compose."""
    lines = (folder / "settings").read_text().splitlines()
    pairs = [line.split("=", 1) for line in lines if line and not line.startswith("#")]
    return {name: value for name, value in pairs if name.startswith("CYBER_DOJO_")}


class Deployment:
    """Nodes n1, n2 and n3, and the files of each. Nothing of them is started."""

    def __init__(self, fleet: Fleet, folder: Path) -> None:
        """Keep the files of the installation in `folder`."""
        self._folder = folder / "machines"
        self.nodes = {node.name: node for node in fleet.start_nodes(*NAMES)}
        (folder / "archive").mkdir()
        (folder / "commands").mkdir()
        self._commands = folder / "commands"
        machines = [f"{name}={node.address}" for name, node in self.nodes.items()]
        for name, node in self.nodes.items():
            # Each machine has its files elsewhere: all have this machine's file system.
            place = node.folder / "etc"
            own = folder / "own"
            own.write_text("".join(f"{line}\n" for line in self._own_settings(node)))
            options = ("--archive", str(folder / "archive"), "--settings", str(own))
            write(self._folder, machines, *options, "--directory", str(place))
            shutil.copytree(self._folder / name, place)

    def _own_settings(self, node: Node) -> list[str]:
        return []

    def start(self, engine: Engine, image: str) -> None:
        """Start everything; the nodes get an image of an engine."""
        raise NotImplementedError

    def lose(self, name: str) -> None:
        """Lose a node with everything on it."""
        self.nodes[name].lose()

    def close(self) -> None:
        """End what was started, and assert that it went well."""

    def client(self, name: str) -> Client:
        """Return a web tier's client of the router on a node."""
        tls = Tls((self._folder / "ca.pem").read_bytes())
        token = (self._folder / "web.token").read_text().strip()
        storer, runner = (f"{self.nodes[name].address}:{port}" for port in _ROUTER_PORTS)
        return Client(storer, runner, Access(token, tls))

    def run(self, name: str, *arguments: str) -> Done:
        """Run a command of the operator, who calls the storer on a node."""
        line = CommandLine(f"{self.nodes[name].address}:4577", self._commands)
        return line.run(
            *arguments,
            CYBER_DOJO_CA=str(self._folder / "ca.pem"),
            CYBER_DOJO_TOKEN_FILE=str(self._folder / "operator.token"),
        )

    def pages(self) -> list[str]:
        """Return the first page of each machine that has pages."""
        return []

    def states(self, name: str) -> dict[str, str]:
        """Return what the router on a node says of the machines' storers; nothing if it is down."""
        connection = http.client.HTTPConnection(self.nodes[name].address, 4678, timeout=10)
        try:
            connection.request("GET", "/metrics")
            text = connection.getresponse().read().decode()
        except OSError:
            return {}
        finally:
            connection.close()
        found = re.findall(
            r'haproxy_server_status\{proxy="storers",server="(\w+)",state="(\w+)"\} 1', text
        )
        return dict(found)


class Processes(Deployment):
    """The machines' etcd, router, storer and runner as processes."""

    def __init__(self, fleet: Fleet, folder: Path) -> None:
        super().__init__(fleet, folder)
        self.services: dict[tuple[str, str], Service] = {}
        self._parts: list[subprocess.Popen[Any]] = []

    def start(self, engine: Engine, image: str) -> None:
        """Start everything; the nodes get an image of an engine."""
        with ThreadPoolExecutor() as threads:
            list(threads.map(lambda node: node.load(engine, image), self.nodes.values()))
        for node in self.nodes.values():
            self._start_etcd(node)
        for module in ("storer", "runner"):
            with ThreadPoolExecutor() as threads:
                list(threads.map(lambda node: self._start(node, module), self.nodes.values()))  # noqa: B023
        for node in self.nodes.values():
            configuration = node.folder / "etc/haproxy.cfg"
            command: list[str | Path] = [TOOLS / "haproxy", "-W", "-db", "-f", configuration]
            environ = {**os.environ, "LD_LIBRARY_PATH": str(TOOLS / "lib")}
            self._parts.append(self._popen(node, command, env=environ))
            wait_until(lambda: set(self.states(node.name).values()) == {"UP"})  # noqa: B023

    def lose(self, name: str) -> None:
        """Lose a node with everything on it."""
        super().lose(name)
        for module in ("storer", "runner"):
            self.services.pop((module, name)).kill()

    def close(self) -> None:
        """Stop the services; assert that they logged no defect."""
        for module in ("runner", "storer"):
            for (each, _), service in self.services.items():
                if each == module:
                    service.stop()
        for part in self._parts:
            if part.poll() is None:
                for child in children_of(part.pid):
                    os.kill(child, signal.SIGKILL)
                part.kill()
                part.wait(STOP_SECONDS)
        events = [event for service in self.services.values() for event in service.events()]
        assert not [event for event in events if event["event"] == "defect"]

    def _start_etcd(self, node: Node) -> None:
        configuration = node.folder / "etc/etcd.yml"
        text = configuration.read_text()
        configuration.write_text(text.replace("/var/lib/cyber-dojo-etcd", f"{node.folder}/etcd"))
        environ = {**os.environ, "ETCD_UNSUPPORTED_ARCH": "arm64"}
        command: list[str | Path] = [
            TOP / "build/tools/etcd-server/etcd",
            f"--config-file={configuration}",
        ]
        self._parts.append(self._popen(node, command, env=environ))

    def _start(self, node: Node, module: str) -> None:
        settings = settings_in(node.folder / "etc")
        settings["CYBER_DOJO_ARCHIVE"] = settings.pop("CYBER_DOJO_ARCHIVE_DIRECTORY")
        if module == "runner":
            del settings["CYBER_DOJO_HEALTH_LISTEN"]
        settings["CYBER_DOJO_UNPROTECTED"] = "refuse"
        self.services[module, node.name] = node.service(module, **settings)

    def _popen(
        self, node: Node, command: Sequence[str | Path], **options: Any
    ) -> subprocess.Popen[Any]:
        with node.log_file.open("ab") as log:
            return node.popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **options)


class Composed(Deployment):
    """The machines as the page says: images by the registry, and containers by compose."""

    def start(self, engine: Engine, image: str) -> None:
        """Start everything; n1 gets the images that are needed, and this one, of an engine."""
        tag = self._tag()
        ours = [f"cyber-dojo/{name}:{tag}" for name in (*_SERVICES, *_PARTS)]
        for node in self.nodes.values():
            # The engine looks for certificates of registries in /etc, which all machines share.
            node.run("mkdir", "/run/etc", "/run/work")
            layers = "lowerdir=/etc,upperdir=/run/etc,workdir=/run/work"
            node.run("mount", "-t", "overlay", "overlay", "-o", layers, "/etc")
            for name in _CHECKOUT:
                source, target = TOP / name, node.folder / "checkout" / name
                target.parent.mkdir(exist_ok=True)
                if source.is_dir():
                    shutil.copytree(source, target)
                else:
                    shutil.copy(source, target)
        own_engine.copy_image(engine.url, self.nodes["n1"].engine_url, *ours, image)
        self.script("n1", "scripts/registry.sh", "push")
        self._on_all(lambda name: self.script(name, "scripts/registry.sh", "pull"), NAMES[1:])
        self._on_all(lambda name: self.script(name, "scripts/up.sh"), NAMES)

    def close(self) -> None:
        """Lose all nodes; assert that the services logged no defect.

        A lost node's folder is removed without a time limit: it has the images of an engine.
        """
        for node in self.nodes.values():
            if node.is_on:
                node.lose()
        logs = (node.folder / "state/log" for node in self.nodes.values())
        texts = [each.read_text() for log in logs for each in log.glob("*.log")]
        lines = [line for text in texts for line in text.splitlines()]
        assert not [line for line in lines if '"event": "defect"' in line]

    def pages(self) -> list[str]:
        """Return the first page of each machine."""
        curl = ("curl", "--silent", "--show-error", "--fail", "--max-time", "30")
        return [node.run(*curl, "http://127.0.0.1:4500/") for node in self.nodes.values()]

    def script(self, name: str, *command: str) -> str:
        """Run a script of the checkout on a node; return its output."""
        node = self.nodes[name]
        environ = {**os.environ, "CYBER_DOJO_SETTINGS_FILE": str(node.folder / "etc/settings")}
        for each in ("DOCKER_HOST", "CYBER_DOJO_TAG"):
            environ.pop(each, None)
        process = node.popen(
            command,
            env=environ,
            cwd=node.folder / "checkout",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        output, _ = process.communicate(timeout=_COMPOSE_SECONDS)
        assert process.returncode == 0, output
        return str(output)

    def _own_settings(self, node: Node) -> list[str]:
        kinds = ("ETCD", "REGISTRY", "LOG", "PROMETHEUS", "KATAS", "SAVER", "WEB")
        place = node.folder / "state"
        folders = [f"CYBER_DOJO_{kind}_DIRECTORY={place / kind.lower()}" for kind in kinds]
        return [*folders, f"CYBER_DOJO_TAG={self._tag()}"]

    def _tag(self) -> str:
        """Return the tag of the images that `make images` builds."""
        found = re.search(r'^version = "(.*)"$', (TOP / "pyproject.toml").read_text(), re.MULTILINE)
        assert found is not None
        return os.environ.get("CYBER_DOJO_TAG", found[1])

    def _on_all(self, act: Callable[[str], object], names: Sequence[str]) -> None:
        with ThreadPoolExecutor() as threads:
            list(threads.map(act, names))
