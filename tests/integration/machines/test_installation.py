"""Whole machines fail while groups practise: what was acknowledged is there, and they go on."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.histories import checker
from support.machines.fleet import Fleet
from support.machines.installation import Installation
from support.machines.practice import Practice
from support.services import wait_until

KATAS, AVATARS = 4, 5

# For which others go on while one machine is gone, and after it is back.
LIGHTS = 5

# How long a class may wait for a machine that takes over.
GAP_SECONDS = 30


@pytest.fixture(scope="module")
def installation(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Three machines behind a router."""
    installation = Installation(fleet, tmp_path_factory.mktemp("archive") / "archive")
    yield installation
    installation.close()


@pytest.fixture
def practice(installation: Installation) -> Iterator[Practice]:
    """Four groups of five, half of whom call the router, and the others any machine."""
    installation.wait_until_up()
    addresses = [installation.router.address("storer")] * 2
    addresses += [installation.address(name) for name in ("n2", "n3")]
    practice = Practice(addresses, katas=KATAS, avatars=AVATARS)
    yield practice
    practice.close()


def check(practice: Practice, installation: Installation, tmp_path: Path) -> None:
    """Stop, and judge what happened; all machines are there again."""
    practice.stop()
    final = practice.read(installation.router.address("storer"))
    checker.check(tmp_path / "history.jsonl", practice.recorder.attempts(), final)
    assert practice.longest_gap_seconds() < GAP_SECONDS


def test_a_lost_machine_takes_nothing_along(
    practice: Practice, installation: Installation, tmp_path: Path
) -> None:
    practice.wait_for(LIGHTS)
    lost = "n1"
    installation.lose(lost)
    practice.wait_for(LIGHTS)
    installation.bring_back(lost)
    installation.wait_until_up()
    practice.wait_for(LIGHTS)
    check(practice, installation, tmp_path)


def test_a_machine_that_is_cut_off_from_the_others_acknowledges_nothing_that_they_lack(
    practice: Practice, installation: Installation, tmp_path: Path
) -> None:
    practice.wait_for(LIGHTS)
    cut_off = "n1"
    installation.cut_off_from_peers(cut_off)
    wait_until(lambda: installation.router.states("storer")[cut_off] != "UP")
    practice.wait_for(LIGHTS)
    installation.heal()
    installation.wait_until_up()
    practice.wait_for(LIGHTS)
    check(practice, installation, tmp_path)


def test_a_frozen_machine_that_thaws_acknowledges_nothing_that_the_others_lack(
    practice: Practice, installation: Installation, tmp_path: Path
) -> None:
    practice.wait_for(LIGHTS)
    frozen = installation.nodes["n1"]
    frozen.freeze()
    wait_until(lambda: installation.router.states("storer")["n1"] != "UP")
    practice.wait_for(LIGHTS)
    frozen.thaw()
    installation.wait_until_up()
    practice.wait_for(LIGHTS)
    check(practice, installation, tmp_path)
