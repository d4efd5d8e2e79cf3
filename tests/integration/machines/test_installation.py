"""Whole machines fail while groups practise: what was acknowledged is there, and they go on."""

import random
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.histories import checker
from support.machines.faults import FAULTS
from support.machines.fleet import Fleet
from support.machines.installation import Installation
from support.machines.practice import Practice

KATAS, AVATARS = 4, 5

# For which the groups go on before, during and after a fault.
LIGHTS = 5
WAIT_SECONDS = 120

# How long a class may wait for a machine that takes over.
GAP_SECONDS = 30

# In every run of the tests; `--machine-faults` adds others, at random.
ALWAYS = ["lost", "cut off from the other machines", "frozen"]


@pytest.fixture(scope="module")
def installation(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Three machines behind a router."""
    installation = Installation(fleet, tmp_path_factory.mktemp("archive") / "archive")
    yield installation
    installation.close()


@pytest.fixture
def practise(installation: Installation) -> Iterator[Callable[..., Practice]]:
    """Has four groups of five practise by way of the router, and of the machines of these names."""
    begun: list[Practice] = []

    def practise(*names: str) -> Practice:
        installation.wait_until_up()
        addresses = [installation.router.address("storer")] * max(1, len(names))
        addresses += [installation.address(name) for name in names]
        begun.append(Practice(addresses, katas=KATAS, avatars=AVATARS))
        return begun[-1]

    yield practise
    for practice in begun:
        practice.close()


def happen(practice: Practice, installation: Installation, fault: str, name: str) -> None:
    """Have something happen to a machine while the groups go on."""
    practice.wait_for(LIGHTS, WAIT_SECONDS)
    FAULTS[fault].begin(installation, name)
    practice.wait_for(LIGHTS, WAIT_SECONDS)
    FAULTS[fault].end(installation, name)
    installation.wait_until_up()
    practice.wait_for(LIGHTS, WAIT_SECONDS)


def check(practice: Practice, installation: Installation, tmp_path: Path) -> None:
    """Stop, and judge what happened; all machines are there again."""
    practice.stop()
    final = practice.read(installation.router.address("storer"))
    checker.check(tmp_path / "history.jsonl", practice.recorder.attempts(), final)
    assert practice.longest_gap_seconds() < GAP_SECONDS


@pytest.mark.parametrize("fault", ALWAYS)
def test_no_light_is_lost_doubled_or_out_of_its_order(
    installation: Installation,
    practise: Callable[..., Practice],
    tmp_path: Path,
    fault: str,
) -> None:
    practice = practise("n2", "n3")
    happen(practice, installation, fault, "n1")
    check(practice, installation, tmp_path)


def test_machines_fail_again_and_again(
    installation: Installation,
    practise: Callable[..., Practice],
    tmp_path: Path,
    pytestconfig: pytest.Config,
) -> None:
    seed = secrets.randbits(32)
    chance = random.Random(seed)  # noqa: S311 - a test repeats it
    practice, story = practise(), [f"seed {seed}"]
    for number in range(pytestconfig.getoption("machine_faults")):
        fault, name = chance.choice([*FAULTS]), chance.choice([*installation.nodes])
        story.append(f"{number}: {name}: {fault}")
        try:
            happen(practice, installation, fault, name)
        except AssertionError as error:
            raise AssertionError("\n".join([*story, str(error)])) from None
    check(practice, installation, tmp_path)
