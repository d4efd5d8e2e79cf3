"""The name of a run of the tests, by which its things can be distinguished from all others.

The processes that a run starts have its name in their environment. The names of what they make
begin with it.
"""

import os
import secrets
import subprocess
import sys
from pathlib import Path

from support.paths import TESTS, TOP

VARIABLE = "CYBER_DOJO_TEST_RUN"


def begin() -> None:
    """Set the run's name for this process and all that it starts, pytest-xdist's workers too."""
    os.environ[VARIABLE] = f"test-{secrets.token_hex(3)}"


def name() -> str:
    """Return the run's name: `test-` and six hexadecimal digits."""
    return os.environ[VARIABLE]


def namespace_name() -> str:
    """Return the name of this process's namespace: the run's, and two digits for the worker."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    return f"{name()}{int(worker):02}"


def start_program(program: str, *arguments: str | Path) -> subprocess.Popen[str]:
    """Start a program of Python that uses the tests' modules, and that a test will kill."""
    return subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        env={**os.environ, "PYTHONPATH": f"{TESTS}:{TOP}"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
