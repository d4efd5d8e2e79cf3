"""A service that a replay starts for itself: a process on a free port."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping

from dojo.service import settings_file
from replay.errors import ReplayStopped

START_SECONDS = 60
STOP_SECONDS = 60
_LOG_LINES = 50
_INHERITED = (
    "CYBER_DOJO_MIN_FREE_BYTES",
    "CYBER_DOJO_RUN_",
    "CYBER_DOJO_RUNNER_",
    "CYBER_DOJO_SANDBOX_",
    "CYBER_DOJO_VOLUME_ROOT",
)


class PrivateService:
    """A `python -m MODULE serve` that ends with this process, and the end of its log."""

    def __init__(self, module: str, environ: Mapping[str, str]) -> None:
        """Start the service, and wait until it serves. Raises ReplayStopped if it does not."""
        self._module = module
        self._lines: deque[str] = deque(maxlen=_LOG_LINES)
        self.defects = 0
        self.last_defect = ""
        self._serving = threading.Event()
        self.address = ""
        self._process = subprocess.Popen(  # noqa: S603 - a module of ours
            [sys.executable, "-m", "replay.services.child", module],
            env={
                **{name: value for name, value in os.environ.items() if _is_inherited(name)},
                settings_file.FILE: os.devnull,  # what is inherited of it is above
                f"CYBER_DOJO_{module.upper()}_LISTEN": "127.0.0.1:0",
                **environ,
            },
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
            # Ctrl-C must not reach the services: the replay needs them to clean up.
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, name=f"{module} log", daemon=True)
        self._reader.start()
        try:
            self._serving.wait(START_SECONDS)
        except KeyboardInterrupt:
            self.stop()
            raise
        if not self.address:
            self.stop()
            raise ReplayStopped(f"the {module} did not start: {self.last_line()}")

    def last_line(self) -> str:
        """Return the last line of the service's log, for people."""
        return self._lines[-1] if self._lines else "it logged nothing"

    def stop(self) -> None:
        """Stop the service, and wait until it has ended."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join()
        if self._process.stderr is not None:
            self._process.stderr.close()

    def _read(self) -> None:
        if self._process.stderr is None:
            return
        for line in self._process.stderr:
            self._lines.append(line.rstrip("\n"))
            event = _event(line)
            if event.get("event") == "serving":
                self.address = str(event["listen"])
                self._serving.set()
            if event.get("event") == "defect":
                self.defects += 1
                self.last_defect = str(event.get("exception", ""))
        self._serving.set()  # the service has ended: the constructor must not wait for it


def _is_inherited(name: str) -> bool:
    """Return whether a private service inherits a variable: not one that says where katas are."""
    return not name.startswith("CYBER_DOJO_") or name.startswith(_INHERITED)


def _event(line: str) -> dict[str, object]:
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
