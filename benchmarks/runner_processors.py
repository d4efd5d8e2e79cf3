"""The processor time of a warm run: of its container and of the runner, against the test alone.

The engine has nothing to do for such a run. Processor time depends less on what else the machine
does than any rate.
"""

from collections.abc import Callable, Iterator

from benchmarks.figures import Figure, table
from benchmarks.places import C_BUILD, PYTEST, TRUE, Job, Place, runner
from benchmarks.ways import Bare, WarmRun, Way
from benchmarks.ways import ways as opened
from dojo import naming

_NANOSECONDS_IN_MS = 1_000_000
_TARGETS = {PYTEST.name: 1.2}


def measure(place: Place, scale: float) -> Iterator[Figure]:
    """Print a table; yield the figures."""
    rows = []
    for job, rounds in ((TRUE, 200), (PYTEST, 30), (C_BUILD, 30)):
        bare, contained, served = _milliseconds(place, job, max(5, round(rounds * scale)))
        ratio = (contained + served) / bare
        rows.append((job.name, bare, contained, served, ratio))
        target = _TARGETS.get(job.name)
        name = f"runner processor time of a run, {job.name}, against bare"
        yield Figure(name, ratio, "", "<=" if target else "", target)
    columns = ("ms of processors", "bare", "run's container", "runner", "both, against bare")
    print(table("Processor time of a warm run", columns, rows), flush=True)


def _milliseconds(place: Place, job: Job, rounds: int) -> tuple[float, float, float]:
    """Return the processor time of the test alone, of a run's container, and of the runner."""
    kata_id = place.new_kata(2)
    with (
        runner(place) as serving,
        opened([Bare, WarmRun], place, kata_id, job, serving) as (bare, warm),
    ):
        if not isinstance(bare, Bare):
            raise TypeError(bare.name)
        warm.ready()
        warm.milliseconds()
        labels = [f"{naming.KIND_LABEL}=run", f"{naming.KATA_LABEL}={kata_id}"]
        (container,) = place.engine.api.containers(filters={"label": labels})
        alone = _used(lambda: _container_ms(place, bare.container), bare, rounds)
        before = serving.processor_seconds
        contained = _used(lambda: _container_ms(place, container["Id"]), warm, rounds)
        served = (serving.processor_seconds - before) * 1000 / rounds
    place.clear()
    return alone, contained, served


def _used(clock: Callable[[], float], way: Way, rounds: int) -> float:
    before = clock()
    for _ in range(rounds):
        way.milliseconds()
    return (clock() - before) / rounds


def _container_ms(place: Place, container: str) -> float:
    found = place.engine.api.stats(container, stream=False)["cpu_stats"]["cpu_usage"]
    return float(found["total_usage"]) / _NANOSECONDS_IN_MS
