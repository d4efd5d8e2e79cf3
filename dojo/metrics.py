"""Metrics: the registry that Prometheus reads, and what both services measure.

A metric is a constant of the module that knows what it means, as a logger is: whoever measures
imports it. Labels have few values, whatever callers send: names of theirs are in `BoundedNames`.
Any thread may use a metric; each has a lock of its own.
"""

import threading

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)

# Else each counter has a second sample, for when it was made: twice as much to read, and of no use.
disable_created_metrics()  # type: ignore[no-untyped-call]  # as it is in the package

REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)
GCCollector(registry=REGISTRY)

# Seconds, for what takes from less than a millisecond, as most calls, to the longest run.
BUCKETS = (
    *(0.0005, 0.001, 0.0015, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120),
)

OTHER = "other"

ENGINE_UP = Gauge(
    "cyber_dojo_engine_up",
    "Whether the docker engine answers, and its events arrive: 1 or 0.",
    registry=REGISTRY,
)
ENGINE_SECONDS = Histogram(
    "cyber_dojo_engine_request_seconds",
    "How long the docker engine took to begin its answer, by operation.",
    ["operation"],
    registry=REGISTRY,
    buckets=BUCKETS,
)
ENGINE_FAILURES = Counter(
    "cyber_dojo_engine_requests_failed",
    "Requests that the docker engine did not answer, by operation.",
    ["operation"],
    registry=REGISTRY,
)


class BoundedNames:
    """Names that callers chose, as values of a label: the first of them; all others are OTHER."""

    def __init__(self, most: int) -> None:
        """Keep the first `most` names."""
        self._most = most
        self._known: set[str] = set()
        self._lock = threading.Lock()

    def learn(self, name: str) -> str:
        """Return the label's value for a name that is known to exist."""
        with self._lock:
            if len(self._known) < self._most:
                self._known.add(name)
        return self.value(name)

    def value(self, name: str) -> str:
        """Return the label's value for a name that may be anything."""
        return name if name in self._known else OTHER
