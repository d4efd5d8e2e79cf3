"""Run the command line as a process, with and without a terminal."""

import contextlib
import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import termios
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.paths import TOP

COMMAND = [sys.executable, "-W", "error", "-m", "cli"]


@dataclass(frozen=True)
class Done:
    """A command's output and exit code."""

    code: int
    stdout: bytes
    stderr: bytes = b""

    @property
    def text(self) -> str:
        """The command's standard output."""
        return self.stdout.decode()

    @property
    def complaint(self) -> str:
        """The command's standard error."""
        return self.stderr.decode()

    def records(self) -> list[dict[str, Any]]:
        """Return the objects in the JSON lines of standard output."""
        return [json.loads(line) for line in self.stdout.splitlines()]


@dataclass(frozen=True)
class CommandLine:
    """The command line, with the address of its storer and its working directory."""

    address: str
    folder: Path

    def environ(self, **more: str) -> dict[str, str]:
        """Return the environment of a command."""
        left_out = {"NO_COLOR", "COLUMNS", "LINES"}
        kept = {name: value for name, value in os.environ.items() if name not in left_out}
        path = f"{TOP}:{kept.get('PYTHONPATH', '')}"
        own = {"CYBER_DOJO_STORER": self.address, "TERM": "xterm", "PYTHONPATH": path}
        return {**kept, **own, **more}

    def run(self, *arguments: str, stdin: bytes = b"", **environ: str) -> Done:
        """Run a command without a terminal."""
        done = subprocess.run(
            [*COMMAND, *arguments],
            cwd=self.folder,
            env=self.environ(**environ),
            input=stdin,
            capture_output=True,
            check=False,
            timeout=60,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def on_terminal(
        self, *arguments: str, width: int = 100, typed: bytes = b"", **environ: str
    ) -> Done:
        """Run a command on a terminal. Standard output and standard error are one stream."""
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
        process = subprocess.Popen(
            [*COMMAND, *arguments],
            cwd=self.folder,
            env=self.environ(**environ),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        if typed:
            os.write(ours, typed)
        written = b""
        # Linux reports the end of a terminal's other side as an error.
        with contextlib.suppress(OSError):
            while piece := os.read(ours, 65536):
                written += piece
        os.close(ours)
        return Done(process.wait(60), written.replace(b"\r\n", b"\n"))
