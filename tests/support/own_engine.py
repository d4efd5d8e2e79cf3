"""A docker engine of a test's own, which the test can stop, freeze and start again."""

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

# The user whose user ids the containers of an engine with userns-remap have.
_REMAPPED = "dojoremap"

# A second runtime of these engines, which is the same program as the default one.
OTHER_RUNTIME = "other"

StartService = Callable[..., Service]


class OwnEngine:
    """A `dockerd` that keeps everything in one folder, in a network namespace of its own.

    The engine does not see the machine's links and firewall rules. Everything that it makes is
    removed when it is stopped, or when the tests are killed. The services under test are outside
    of its namespaces, and reach the engine by its socket and the volumes by their paths.
    """

    def __init__(self, folder: Path, *, remaps_users: bool = False) -> None:
        """Keep everything in `folder`. Its path has to be short enough for names of sockets.

        An engine that `remaps_users` gives containers user ids of their own (userns-remap).
        """
        self.url = f"unix://{folder}/docker.sock"
        self._remaps_users = remaps_users
        self._folder = folder
        self._keeper: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the engine and wait until it answers."""
        settings: dict[str, object] = {"runtimes": {OTHER_RUNTIME: {"path": "runc"}}}
        command = ["unshare", "--net"]
        if self._remaps_users:
            settings["userns-remap"] = _REMAPPED
            command += ["--mount", "sh", "-c", self._with_remapped_user(), "sh"]
        (self._folder / "daemon.json").write_text(json.dumps(settings))
        program = Path(__file__).with_name("engine_keeper.py")
        name = f"{test_run.name()}-{secrets.token_hex(4)}"
        keeper: list[str | Path] = [sys.executable, program, self._folder, name]
        with (self._folder / "log").open("ab") as log:
            self._keeper = subprocess.Popen(
                [*command, *keeper], stdin=subprocess.PIPE, stdout=log, stderr=log
            )
        wait_until(self._answers, 60)

    def _with_remapped_user(self) -> str:
        """Return a script that gives a command a user with user ids for containers.

        The files that name the user are seen in the command's mount namespace alone.
        """
        added = {
            "passwd": f"{_REMAPPED}:x:64998:64998::/:/bin/false",
            "group": f"{_REMAPPED}:x:64998:",
            "subuid": f"{_REMAPPED}:1000000:65536",
            "subgid": f"{_REMAPPED}:1000000:65536",
        }
        mounts = []
        for name, line in added.items():
            path, ours = Path("/etc", name), self._folder / name
            ours.write_text(f"{path.read_text() if path.exists() else ''}{line}\n")
            mounts.append(f"mount --bind '{ours}' {path}")
        return " && ".join([*mounts, 'exec "$@"'])

    def load(self, engine: Engine, image: str) -> None:
        """Copy an image from another engine."""
        copy_image(engine.url, self.url, image)

    def stop(self) -> None:
        """Stop the engine cleanly."""
        keeper, self._keeper = self._keeper, None
        if keeper is None:
            return
        assert keeper.stdin is not None
        keeper.stdin.close()
        assert keeper.wait(STOP_SECONDS) == 0, self._log()

    def freeze(self) -> None:
        """Freeze the engine: it neither answers nor refuses, like one that hangs."""
        self._send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen engine continue."""
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # the engine is stopped
            self._send_signal(signal.SIGCONT)

    def remove(self) -> None:
        """Stop the engine, whatever its state, and remove its folder."""
        self.stop()
        shutil.rmtree(self._folder)

    def _send_signal(self, number: signal.Signals) -> None:
        os.kill(int((self._folder / "exec/docker.pid").read_text()), number)

    def _log(self) -> str:
        return (self._folder / "log").read_text()[-3000:]

    def _answers(self) -> bool:
        assert self._keeper is not None
        assert self._keeper.poll() is None, self._log()
        return answers(self.url)


def answers(url: str) -> bool:
    """Return whether the engine at a URL answers."""
    command = ["docker", "--host", url, "version"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def copy_image(source_url: str, target_url: str, *images: str) -> None:
    """Copy images from one engine to another."""
    save = subprocess.Popen(
        ["docker", "--host", source_url, "save", *images], stdout=subprocess.PIPE
    )
    with save:
        subprocess.run(
            ["docker", "--host", target_url, "load"],
            stdin=save.stdout,
            stdout=subprocess.DEVNULL,
            check=True,
        )
    assert save.returncode == 0


@contextlib.contextmanager
def services_on_an_own_engine(
    modules: Sequence[str],
    engine: Engine,
    folder: Path,
    start_service: StartService,
    image: str,
    *,
    remaps_users: bool = False,
    **environ: str,
) -> Iterator[tuple[OwnEngine, list[Service]]]:
    """Yield an engine of a test's own with `image`, and a service of each module on that engine.

    `image` is copied from `engine`; `environ` has the services' settings. Everything is removed at
    the end, whatever its state. The test fails if a service has logged a defect.
    """
    assert os.geteuid() == 0, "only root can start an engine of its own"
    own = OwnEngine(folder, remaps_users=remaps_users)
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
    exceptions = "\n".join(event["exception"] for event in defects)
    assert not exceptions, exceptions
