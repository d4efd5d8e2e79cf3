"""The engines that tests start: they do not touch the machine's network, and leave nothing."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from dojo.engine.client import Engine
from support import machine, test_run
from support.own_engine import OwnEngine
from support.services import wait_until

IMAGE = "cyberdojofoundation/python_pytest"

# A test that will be killed: it has an engine of its own, on which a container runs.
PROGRAM = """
import subprocess, sys
from pathlib import Path
from dojo.engine.client import Engine
from support.own_engine import OwnEngine

folder, url, image = sys.argv[1:]
own = OwnEngine(Path(folder))
own.start()
own.load(Engine(url), image)
options = ["--detach", "--network=none", "--stop-timeout=1"]
run = ["docker", "--host", own.url, "run", *options, image, "sleep", "1000"]
subprocess.run(run, stdout=subprocess.DEVNULL, check=True)
print("running", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("engine")


@pytest.fixture
def own(folder: Path) -> Iterator[OwnEngine]:
    own = OwnEngine(folder)
    own.start()
    yield own
    own.remove()


@pytest.mark.usefixtures("own")
def test_an_own_engine_sees_none_of_the_machines_links(folder: Path) -> None:
    pid = int((folder / "exec/docker.pid").read_text())
    lines = Path(f"/proc/{pid}/net/dev").read_text().splitlines()
    assert [line.split(":")[0].strip() for line in lines if ":" in line] == ["lo"]


def test_an_own_engine_of_a_killed_test_leaves_nothing(
    folder: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A run name of its own distinguishes this engine's things from those of the other tests.
    monkeypatch.setenv(test_run.VARIABLE, f"{test_run.name()}-killed")
    test = test_run.start_program(PROGRAM, folder, engine.url, IMAGE)
    with test:
        assert test.stdout is not None
        assert test.stdout.readline() == "running\n"
        kinds = {each.kind for each in machine.look(folder).ours}
        assert kinds == {"mount", "process", "control group"}
        test.send_signal(signal.SIGKILL)
    wait_until(lambda: not machine.look(folder).ours)
