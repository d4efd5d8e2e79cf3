"""`python -m support.simulation`: simulate many katas on many machines, and print what it came to.

By default 100,000 katas on 200 machines. The same seed does the same again, on any machine.
"""

import argparse
import gc
import json
import secrets
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from support.simulation.judge import Violation
from support.simulation.network import Faults
from support.simulation.story import HARSH, Plan, Report, Simulation

# Many files without content that has to stay: in memory, if there is room.
_MEMORY = Path("/dev/shm")  # noqa: S108 - the folder in it has a name of its own


def main() -> None:
    """Simulate; exit with 1 if something happened that must not."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--katas", type=int, default=100_000)
    parser.add_argument("--machines", type=int, default=200)
    parser.add_argument("--seed", type=int, default=secrets.randbits(32))
    parser.add_argument("--harsh", type=int, metavar="SEEDS", help="few katas, rare faults often")
    arguments = parser.parse_args()
    seeds = [arguments.seed]
    plan = large(arguments.katas, arguments.machines)
    if arguments.harsh:
        plan, seeds = HARSH, list(range(arguments.seed, arguments.seed + arguments.harsh))
    for seed in seeds:
        _say(f"seed {seed}")
        try:
            report = simulate(plan, seed)
        except Violation as error:
            _say(f"VIOLATION: {error}")
            sys.exit(1)
        if not arguments.harsh:
            _say(json.dumps(asdict(report), indent=1))


def simulate(plan: Plan, seed: int) -> Report:
    """Simulate a plan, in a folder of its own."""
    folder = _MEMORY if _MEMORY.is_dir() else None
    gc.disable()  # nothing that is made here is garbage in a circle, and there is much of it
    with tempfile.TemporaryDirectory(dir=folder, prefix="simulation-") as made:
        return Simulation(plan, Path(made), seed).run()


def large(katas: int, machines: int) -> Plan:
    """Return a plan in which all katas are in use at once, and machines fail every few seconds."""
    return Plan(
        machines=machines,
        katas=katas,
        avatars=1,
        presses=2,
        think_seconds=20.0,
        create_seconds=120.0,
        rest_seconds=130.0,
        fault_seconds=5.0,
        lasts_seconds=20.0,
        added=max(1, machines // 20),
        give_up=0.001,
        messages=Faults(200, 200, 200, 1000),
        disk_failures=100,
        news_seconds=0.5,
    )


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
