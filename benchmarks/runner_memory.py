"""The memory that the runner itself uses: after many runs, and while output floods it."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from benchmarks.figures import Figure, table
from benchmarks.places import TRUE, Job, Place, Runner, request, runner
from dojo import avatars

CLIENTS = 4
EARLY_RUNS, ALL_RUNS = 100, 2000
MIB = 1024 * 1024

# 10 MB a second for 10 seconds, on both streams.
FLOOD = Job(
    "flood",
    TRUE.image_name,
    {
        "cyber-dojo.sh": b"""for second in 1 2 3 4 5 6 7 8 9 10; do
    head -c 5000000 /dev/zero & head -c 5000000 /dev/zero >&2; wait; sleep 0.9
done
"""
    },
)


def measure(place: Place, scale: float) -> Iterator[Figure]:
    """Print a table; yield the figures."""
    kata_id = place.new_kata(CLIENTS)
    all_runs = max(2 * EARLY_RUNS, round(ALL_RUNS * scale))
    with runner(place) as serving:
        sizes = {}
        for runs, more in ((EARLY_RUNS, EARLY_RUNS), (all_runs, all_runs - EARLY_RUNS)):
            _run(serving, kata_id, more)
            sizes[runs] = serving.resident_bytes
    with runner(place) as serving:
        _run(serving, kata_id, CLIENTS)
        before = serving.resident_bytes
        response = serving.stub.Run(request(kata_id, avatars.NAMES[0], FLOOD))
        if not response.stdout.truncated or response.status:
            raise RuntimeError(f"the flood went wrong: {response}")
        during = serving.peak_bytes
    place.clear()
    rows = [(f"after {runs} runs", size / MIB) for runs, size in sizes.items()]
    rows += [("before a flood", before / MIB), ("at most during it", during / MIB)]
    print(table("Memory of the runner", ("", "MiB"), rows), flush=True)
    yield Figure(
        f"runner memory after {all_runs} runs, against after {EARLY_RUNS}",
        sizes[all_runs] / sizes[EARLY_RUNS],
        "",
        "<=",
        1.1,
    )
    yield Figure("runner memory more in a flood", (during - before) / MIB, "MiB", "<=", 64)


def _run(serving: Runner, kata_id: str, runs: int) -> None:
    """Make `runs` runs, shared by CLIENTS clients at once."""

    def press(avatar: str) -> None:
        for _ in range(runs // CLIENTS):
            serving.stub.Run(request(kata_id, avatar, TRUE))

    with ThreadPoolExecutor(CLIENTS) as threads:
        list(threads.map(press, avatars.NAMES[:CLIENTS]))
