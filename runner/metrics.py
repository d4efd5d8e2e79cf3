"""What the runner measures: runs by image and outcome, their steps, the queue, and the pool."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from prometheus_client import Counter, Gauge, Histogram

from dojo import image_names, traces
from dojo.metrics import BUCKETS, REGISTRY, BoundedNames
from runner.colour.colour import Colour
from runner.launch.control_group import Usage

CANCELLED = "cancelled"

# In the order in which a run takes them.
STEPS = ("queue", "container", "files", "program", "colour")

_RUNS = Counter(
    "cyber_dojo_runs",
    "Runs that ended, by image and outcome. The images are the first 100 in which one ended.",
    ["image", "outcome"],
    registry=REGISTRY,
)
_STARTS = Counter(
    "cyber_dojo_run_starts",
    "Runs that ended with an outcome, by whether their container was warm or started cold.",
    ["start"],
    registry=REGISTRY,
)
_STEP_SECONDS = Histogram(
    "cyber_dojo_run_step_seconds",
    "How long a step of a run took: waiting in the queue, getting a container, writing the files, "
    "the program, judging the colour.",
    ["step"],
    registry=REGISTRY,
    buckets=BUCKETS,
)
_PROCESSOR_SECONDS = Counter(
    "cyber_dojo_run_processor_seconds",
    "Processor time of runs that ended, of all processors together, where the kernel counts it.",
    registry=REGISTRY,
)
_PEAK_MEMORY_BYTES = Histogram(
    "cyber_dojo_run_peak_memory_bytes",
    "The most memory that a run used at once, where the kernel counts it.",
    registry=REGISTRY,
    buckets=[2**exponent for exponent in range(20, 34)],
)
_WRITTEN_BYTES = Counter(
    "cyber_dojo_run_written_bytes",
    "Bytes that runs wrote to disks, where the kernel counts them.",
    registry=REGISTRY,
)
RUNS_IN_PROGRESS = Gauge("cyber_dojo_runs_in_progress", "Runs that have a slot.", registry=REGISTRY)
RUNS_WAITING = Gauge(
    "cyber_dojo_runs_waiting",
    "Runs that wait for the avatar's earlier run or for a slot.",
    registry=REGISTRY,
)
MAX_RUNS = Gauge(
    "cyber_dojo_max_runs_in_progress", "How many runs can have a slot.", registry=REGISTRY
)
WARM_CONTAINERS = Gauge(
    "cyber_dojo_warm_containers", "Containers that wait for their run.", registry=REGISTRY
)

_IMAGES = BoundedNames(100)

for _step in STEPS:
    _STEP_SECONDS.labels(_step)
for _start in ("warm", "cold"):
    _STARTS.labels(_start)


@dataclass
class Step:
    """A step of a run, and how long it took."""

    seconds: float = 0.0


@contextmanager
def step(name: str) -> Iterator[Step]:
    """Time, and trace, a step of a run: one of STEPS."""
    found = Step()
    begun = time.perf_counter()
    with traces.step(name):
        try:
            yield found
        finally:
            found.seconds = time.perf_counter() - begun
            _STEP_SECONDS.labels(name).observe(found.seconds)


def count_run(image_name: str, outcome: Colour, usage: Usage | None, *, is_warm: bool) -> None:
    """Count a run that ended with an outcome, and what it used, if that is known."""
    _RUNS.labels(_IMAGES.learn(image_names.tagged(image_name)), outcome.value).inc()
    _STARTS.labels("warm" if is_warm else "cold").inc()
    if usage is not None:
        _count_usage(usage)


def _count_usage(usage: Usage) -> None:
    if usage.processor_seconds is not None:
        _PROCESSOR_SECONDS.inc(usage.processor_seconds)
    if usage.peak_memory_bytes is not None:
        _PEAK_MEMORY_BYTES.observe(usage.peak_memory_bytes)
    if usage.written_bytes is not None:
        _WRITTEN_BYTES.inc(usage.written_bytes)


def count_cancelled(image_name: str) -> None:
    """Count a run that was cancelled; its image may not exist."""
    _RUNS.labels(_IMAGES.value(image_names.tagged(image_name)), CANCELLED).inc()
