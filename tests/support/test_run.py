"""How what one run of the tests makes is told from what anybody else's does.

The processes that it starts have its name in their environment, and what they make has it in
front of theirs.
"""

import os
import secrets

VARIABLE = "CYBER_DOJO_TEST_RUN"


def begin() -> None:
    """Have a name, in this process and in all that it starts, pytest-xdist's workers too."""
    os.environ[VARIABLE] = f"test-{secrets.token_hex(3)}"


def name() -> str:
    """Return the run's name: `test-` and six digits."""
    return os.environ[VARIABLE]


def namespace_name() -> str:
    """Return the name of this process's namespace: the run's, and two digits for the worker."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    return f"{name()}{int(worker):02}"
