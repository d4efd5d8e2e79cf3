"""Does with the Node client what cases say: one process, which does one case after the other."""

import contextlib
import json
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

from support.paths import TOP

Drive = Callable[[dict[str, Any]], dict[str, Any]]


@contextlib.contextmanager
def node_driver() -> Iterator[Drive]:
    """Yield what does a case, and returns what comes of it."""
    driver = subprocess.Popen(
        ["node", "test/driver.js"],
        cwd=TOP / "clients/node",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with driver:
        tasks, results = driver.stdin, driver.stdout
        assert tasks is not None
        assert results is not None

        def drive(case: dict[str, Any]) -> dict[str, Any]:
            tasks.write(json.dumps(case) + "\n")
            tasks.flush()
            comes: dict[str, Any] = json.loads(results.readline())
            return comes

        yield drive
        tasks.close()
        assert driver.wait() == 0
