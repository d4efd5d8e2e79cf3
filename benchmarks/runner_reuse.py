"""The memory of a container that serves very many runs, and of its runner."""

from collections.abc import Iterator

from benchmarks.figures import Figure, table
from benchmarks.places import TRUE, Place, Runner, runner
from benchmarks.ways import WarmRun, Way, ways
from dojo import naming

EARLY_RUNS, ALL_RUNS = 100, 10_000
MIB = 1024**2


def measure(place: Place, scale: float) -> Iterator[Figure]:
    """Print a table; yield the figures."""
    all_runs = max(2 * EARLY_RUNS, round(ALL_RUNS * scale))
    kata_id = place.new_kata(1)
    # The container is not to be let go meanwhile, however slow the machine is.
    settings = {
        "CYBER_DOJO_RUNNER_MAX_RUNS_OF_CONTAINER": str(2 * all_runs),
        "CYBER_DOJO_RUNNER_MAX_CONTAINER_SECONDS": str(7 * 24 * 3600),
    }
    rows, totals = [], []
    with (
        runner(place, **settings) as serving,
        ways([WarmRun], place, kata_id, TRUE, serving) as (way,),
    ):
        first = ""
        for runs, more in ((EARLY_RUNS, EARLY_RUNS), (all_runs, all_runs - EARLY_RUNS)):
            _run(way, more)
            container, contained = _container(place, kata_id)
            if first not in {"", container}:
                raise RuntimeError("the container was replaced")
            first = container
            rows.append((f"after {runs} runs", _resident(serving), contained))
            totals.append(_resident(serving) + contained)
    place.clear()
    print(table("Memory of one container's runs", ("MiB", "runner", "container"), rows), flush=True)
    name = f"runner and container's memory after {all_runs} runs in it, against after {EARLY_RUNS}"
    yield Figure(name, totals[1] / totals[0], "", "<=", 1.05)


def _run(way: Way, runs: int) -> None:
    for _ in range(runs):
        way.milliseconds()
    way.ready()  # what follows a run has ended, and the next one's shell waits


def _resident(serving: Runner) -> float:
    return serving.resident_bytes / MIB


def _container(place: Place, kata_id: str) -> tuple[str, float]:
    """Return the container of the kata's runs, and what it is charged."""
    labels = [f"{naming.KIND_LABEL}=run", f"{naming.KATA_LABEL}={kata_id}"]
    (found,) = place.engine.api.containers(filters={"label": labels})
    stats = place.engine.api.stats(found["Id"], stream=False, one_shot=True)
    return found["Id"], stats["memory_stats"]["usage"] / MIB
