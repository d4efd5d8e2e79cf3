"""Many simulated machines that fail: no light is lost, doubled or out of its order.

`make simulate` does the same with 200 machines and 100,000 katas.
"""

from dataclasses import replace
from pathlib import Path

import pytest

from support.simulation.mutations import DEFECTS
from support.simulation.story import HARSH, ROUGH, Plan, Report, Simulation

# The rarest defects are noticed by one simulation in ten or so.
MOST_SEEDS = 100


def simulate(plan: Plan, folder: Path, seed: int) -> Report:
    folder.mkdir()
    return Simulation(plan, folder, seed).run()


@pytest.mark.parametrize("seed", range(4))
def test_nothing_is_lost_while_machines_fail_all_the_time(tmp_path: Path, seed: int) -> None:
    report = simulate(HARSH, tmp_path / "disks", seed)
    assert report.lights > 600
    assert sum(report.faults.values()) > 10


@pytest.mark.parametrize("seed", range(2))
def test_katas_go_to_new_machines_and_etcd_keeps_only_what_is_in_use(
    tmp_path: Path, seed: int
) -> None:
    plan = Plan(
        katas=60, machines=3, added=2, avatars=1, presses=6, resting=1.0, fault_seconds=None
    )
    report = simulate(plan, tmp_path / "disks", seed)
    assert report.spread_after["new"] > 0.5
    machines = plan.machines + plan.added
    assert report.left_records == 0
    assert report.left_keys == plan.katas + machines
    assert report.left_keys_archived == machines


def test_a_seed_decides_everything(tmp_path: Path) -> None:
    plan = replace(HARSH, presses=8)
    stories = [simulate(plan, tmp_path / name, 7).story for name in ("one", "two")]
    assert stories[0] == stories[1]
    assert simulate(plan, tmp_path / "three", 8).story != stories[0]


@pytest.mark.parametrize("name", DEFECTS)
def test_a_defect_is_noticed(tmp_path: Path, name: str) -> None:
    with DEFECTS[name](), pytest.raises(AssertionError):
        simulate_many(tmp_path)


def simulate_many(folder: Path) -> None:
    """Simulate until something happens that must not."""
    for seed in range(MOST_SEEDS):
        simulate(ROUGH, folder / str(seed), seed)
