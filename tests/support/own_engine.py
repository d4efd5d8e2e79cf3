"""A docker engine of a test's own, to be stopped, frozen and started again."""

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from dojo.engine.client import Engine
from support import test_run
from support.services import Service, wait_until

STOP_SECONDS = 120

# A runtime that these engines have beside their default one; it is the same program.
OTHER_RUNTIME = "other"

StartService = Callable[..., Service]


class OwnEngine:
    """A `dockerd` that keeps everything in one folder, in a network namespace of its own.

    The machine's links and firewall rules are out of its sight, and all that it makes goes when it
    is stopped, or when the tests are killed. The services under test, which are in none of its
    namespaces, reach it by its socket, and its volumes by their path.
    """

    def __init__(self, folder: Path) -> None:
        """Keep everything in `folder`, whose path has to leave room for the names of sockets."""
        self.url = f"unix://{folder}/docker.sock"
        self._folder = folder
        self._keeper: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        settings = {"runtimes": {OTHER_RUNTIME: {"path": "runc"}}}
        (self._folder / "daemon.json").write_text(json.dumps(settings))
        program = Path(__file__).with_name("engine_keeper.py")
        name = f"{test_run.name()}-{secrets.token_hex(4)}"
        keeper: list[str | Path] = [sys.executable, program, self._folder, name]
        with (self._folder / "log").open("ab") as log:
            self._keeper = subprocess.Popen(
                ["unshare", "--net", "--", *keeper], stdin=subprocess.PIPE, stdout=log, stderr=log
            )
        wait_until(self._answers, 60)

    def load(self, engine: Engine, image: str) -> None:
        """Copy an image from another engine."""
        save = subprocess.Popen(
            ["docker", "--host", engine.url, "save", image], stdout=subprocess.PIPE
        )
        with save:
            subprocess.run(
                ["docker", "--host", self.url, "load"],
                stdin=save.stdout,
                stdout=subprocess.DEVNULL,
                check=True,
            )
        assert save.returncode == 0

    def stop(self) -> None:
        """Stop it in good order."""
        keeper, self._keeper = self._keeper, None
        if keeper is None:
            return
        assert keeper.stdin is not None
        keeper.stdin.close()
        assert keeper.wait(STOP_SECONDS) == 0, self._log()

    def freeze(self) -> None:
        """Let it neither answer nor refuse, as an engine that hangs does."""
        self._send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on, if it was frozen."""
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it does not run
            self._send_signal(signal.SIGCONT)

    def remove(self) -> None:
        """Stop it, whatever state it is in, and remove all that it kept."""
        self.stop()
        shutil.rmtree(self._folder)

    def _send_signal(self, number: signal.Signals) -> None:
        os.kill(int((self._folder / "docker.pid").read_text()), number)

    def _log(self) -> str:
        return (self._folder / "log").read_text()[-3000:]

    def _answers(self) -> bool:
        assert self._keeper is not None
        assert self._keeper.poll() is None, self._log()
        asked = ["docker", "--host", self.url, "version"]
        return subprocess.run(asked, capture_output=True, check=False).returncode == 0


@contextlib.contextmanager
def services_on_an_own_engine(
    modules: Sequence[str],
    engine: Engine,
    folder: Path,
    start_service: StartService,
    image: str,
    **environ: str,
) -> Iterator[tuple[OwnEngine, list[Service]]]:
    """Give an engine of a test's own, which has the image, and a service of each module on it.

    `image` is copied from `engine`, and `environ` is what the services are set to. All of it goes,
    whatever state the test leaves it in, and no service may have come upon a defect of its own.
    """
    assert os.geteuid() == 0, "only root can start an engine of its own"
    own = OwnEngine(folder)
    services: list[Service] = []
    try:
        own.start()
        own.load(engine, image)
        for module in modules:
            service = start_service(module, DOCKER_HOST=own.url, **environ)
            services.append(service)
        yield own, services
    finally:
        own.thaw()
        for service in services:
            service.stop()
        own.remove()
    defects = [event for each in services for event in each.events() if event["event"] == "defect"]
    told = "\n".join(event["exception"] for event in defects)
    assert not told, told
