"""A docker engine of a test's own, to be stopped, frozen and started again."""

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from dojo.engine.client import Engine
from support.services import Service, wait_until

STOP_SECONDS = 60

StartService = Callable[..., Service]


class OwnEngine:
    """A `dockerd` with everything that it keeps in one folder, and without a network."""

    def __init__(self, folder: Path) -> None:
        """Keep everything in `folder`, whose path has to leave room for the names of sockets."""
        self.url = f"unix://{folder}/docker.sock"
        self._folder = folder
        self._name = f"own-{secrets.token_hex(4)}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        options = [
            f"--host={self.url}",
            f"--data-root={self._folder}/data",
            f"--exec-root={self._folder}/exec",
            f"--pidfile={self._folder}/docker.pid",
            # Nothing of these is anybody else's: not the containers of another engine that has
            # the same containerd, not the machine's bridges and firewall.
            f"--containerd-namespace={self._name}",
            f"--containerd-plugins-namespace={self._name}-plugins",
            "--bridge=none",
            "--iptables=false",
            "--ip-forward=false",
            "--ip-masq=false",
        ]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                ["dockerd", *options], stdin=subprocess.DEVNULL, stdout=log, stderr=log
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
        self.thaw()
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        finally:
            process.kill()
            process.wait()

    def freeze(self) -> None:
        """Let it neither answer nor refuse, as an engine that hangs does."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on, if it was frozen."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    def remove(self) -> None:
        """Stop it, whatever state it is in, and remove all that it kept."""
        try:
            self.stop()
        finally:
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                # It stopped its containerd, unless it was killed itself.
                pid = int((self._folder / "exec/containerd/containerd.pid").read_text())
                if str(self._folder) in Path(f"/proc/{pid}/cmdline").read_text():
                    os.kill(pid, signal.SIGKILL)
            wait_until(self._is_unmounted)
            shutil.rmtree(self._folder)

    def _is_unmounted(self) -> bool:
        for mount in reversed(self._mounts()):
            # One that goes by itself meanwhile can't be unmounted.
            subprocess.run(["umount", "--lazy", mount], capture_output=True, check=False)
        return not self._mounts()

    def _mounts(self) -> list[str]:
        lines = Path("/proc/self/mounts").read_text().splitlines()
        found = [line.split()[1] for line in lines]
        return [mount for mount in found if mount.startswith(f"{self._folder}/")]

    def _answers(self) -> bool:
        assert self._process is not None
        log = self._folder / "log"
        assert self._process.poll() is None, log.read_text()[-3000:]
        asked = ["docker", "--host", self.url, "version"]
        return subprocess.run(asked, capture_output=True, check=False).returncode == 0


@contextlib.contextmanager
def services_on_an_own_engine(
    modules: Sequence[str], engine: Engine, folder: Path, start_service: StartService, image: str
) -> Iterator[tuple[OwnEngine, list[Service]]]:
    """Give an engine of a test's own, which has the image, and a service of each module on it.

    `image` is copied from `engine`. All of it goes, whatever state the test leaves it in, and no
    service may have come upon a defect of its own.
    """
    assert os.geteuid() == 0, "only root can start an engine of its own"
    own = OwnEngine(folder)
    services: list[Service] = []
    try:
        own.start()
        own.load(engine, image)
        for module in modules:
            services.append(start_service(module, DOCKER_HOST=own.url))  # noqa: PERF401 - the next may fail
        yield own, services
    finally:
        own.thaw()
        for service in services:
            service.stop()
        own.remove()
    defects = [event for each in services for event in each.events() if event["event"] == "defect"]
    told = "\n".join(event["exception"] for event in defects)
    assert not told, told
