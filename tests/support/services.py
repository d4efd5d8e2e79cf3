"""Real services for tests: each is a process on a free port, in the tests' namespace."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import grpc

# A busy machine needs a fraction of these times. A test that hangs fails after them.
STOP_SECONDS = 60
WAIT_SECONDS = 60

# Warnings are errors, except one: the docker package leaves sockets of failed connections to the
# garbage collector, whose warnings would be in the middle of the log.
_WARNINGS = ("-W", "error", "-W", "ignore::ResourceWarning")

Popen = Callable[..., subprocess.Popen[Any]]


class Service:
    """A running `python -m <module> serve`, and everything that it logged."""

    def __init__(
        self,
        module: str,
        environ: Mapping[str, str],
        *options: str,
        until: str = "serving",
        popen: Popen = subprocess.Popen,
    ) -> None:
        """Start the service with these options, and wait until it logs the event `until`.

        `popen` starts the process, as subprocess.Popen does.
        """
        listen = f"CYBER_DOJO_{module.upper()}_LISTEN"
        self._process = popen(
            [sys.executable, *_WARNINGS, "-m", module, "serve", *options],
            env={**os.environ, listen: "127.0.0.1:0", **environ},
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        self.module = module
        self._lines: list[str] = []
        self._changed = threading.Condition()
        self._ended = False
        self._reader = threading.Thread(target=self._read, name=f"{module} log", daemon=True)
        self._reader.start()
        self.address = str(self.wait_for_event(lambda event: event["event"] == until)["listen"])

    @property
    def pid(self) -> int:
        """The id of the service's process."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether the process has not ended yet."""
        return self._process.poll() is None

    def events(self) -> list[dict[str, Any]]:
        """Return the events logged so far."""
        with self._changed:
            lines = list(self._lines)
        return [json.loads(line) for line in lines if line.startswith("{")]

    def troubles(self) -> list[str]:
        """Return the warnings and errors logged so far, defects included."""
        found = (event for event in self.events() if event["level"] in {"warning", "error"})
        return [event.get("exception", str(event)) for event in found]

    def wait_for_event(
        self, wanted: Callable[[dict[str, Any]], bool], seconds: float = WAIT_SECONDS
    ) -> dict[str, Any]:
        """Wait for an event that is `wanted`; return the first one."""

        def found() -> dict[str, Any] | None:
            return next((event for event in self.events() if wanted(event)), None)

        with self._changed:
            self._changed.wait_for(lambda: found() is not None or self._ended, seconds)
            event = found()
            assert event is not None, f"{self.module} logged:\n" + "\n".join(self._lines)
            return event

    def send_signal(self, number: signal.Signals) -> None:
        """Send the process a signal."""
        self._process.send_signal(number)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Stop the process, and assert that it stopped cleanly."""
        self.send_signal(number)
        self.wait()

    def wait(self) -> None:
        """Wait for a process that was told to stop, and assert that it stopped cleanly."""
        self._wait(0)

    def kill(self) -> None:
        """Kill the process, as a crash would."""
        self._process.kill()
        self._wait(-signal.SIGKILL)

    def _wait(self, expected: int) -> None:
        try:
            status = self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise
        finally:
            self._reader.join()
            assert self._process.stderr is not None
            self._process.stderr.close()
        assert status == expected, f"{self.module} ended with {status}:\n" + "\n".join(self._lines)

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            with self._changed:
                self._lines.append(line.rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()


def wait_until(condition: Callable[[], object], seconds: float = WAIT_SECONDS) -> None:
    """Wait for a condition that another process fulfils; fail after `seconds`."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"the condition was not met within {seconds} s"
        time.sleep(0.02)


def freeze(process: subprocess.Popen[Any] | Service) -> None:
    """Freeze a process, until none of its threads runs: it neither answers nor refuses."""
    process.send_signal(signal.SIGSTOP)
    tasks = Path(f"/proc/{process.pid}/task")

    def is_frozen() -> bool:
        texts = [(each / "stat").read_text() for each in tasks.iterdir()]
        return all(text.rpartition(")")[2].split()[0] == "T" for text in texts)

    wait_until(is_frozen)


def free_ports(count: int) -> list[str]:
    """Return ports of 127.0.0.1 on which nothing listens."""
    with contextlib.ExitStack() as open_sockets:
        taken = [open_sockets.enter_context(socket.socket()) for _ in range(count)]
        for each in taken:
            each.bind(("127.0.0.1", 0))
        return [str(each.getsockname()[1]) for each in taken]


def files_in_use(pid: int) -> list[str]:
    """Return the paths of the files that a process has open or mapped; `socket:[INODE]` too."""
    process = Path(f"/proc/{pid}")
    lines = (process / "maps").read_text().splitlines()
    found = [line.split(maxsplit=5)[5] for line in lines if "/" in line]
    for descriptor in (process / "fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # it has just been closed
            found.append(str(descriptor.readlink()))
    return found


def code_of(call: Callable[[], object]) -> grpc.StatusCode:
    """Make a call; return the status that it ends with."""
    try:
        call()
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK


def run_healthcheck(address: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the healthcheck command for a service."""
    return subprocess.run(
        [sys.executable, "-m", "dojo.service.healthcheck", address],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
