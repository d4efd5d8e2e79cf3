"""What a warm Ruby lambda costs, compared with patterns and with starting a program."""

import os
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from benchmarks.figures import Figure, percentile, table
from benchmarks.places import Place
from dojo.service.settings import load
from runner.colour.colour import Colour
from runner.colour.lambda_evaluator import LambdaEvaluator
from runner.colour.ruby_container import RubyContainer
from runner.colour.rules import ColourPatterns, Pattern, RubyLambda
from runner.engine import seccomp
from runner.engine.container_remover import ContainerRemover
from runner.engine.presence import Presence
from runner.settings import KIB, RunnerSettings

_MS = 1000.0
CLIENTS = 4
SUMMARY = b"\n===== 1 failed, 3 passed in 0.05 s =====\n"
LAMBDA = RubyLambda(
    "lambda { |stdout, stderr, status|\n"
    "  output = stdout + stderr\n"
    "  return :red   if /=== (\\d+) failed/.match(output)\n"
    "  return :green if /=== (\\d+) passed/.match(output)\n"
    "  return :amber\n"
    "}\n"
)
PATTERNS = [
    Pattern(Colour.RED, "=== \\d+ failed"),
    Pattern(Colour.GREEN, "=== \\d+ passed"),
]


def measure(place: Place, scale: float) -> Iterator[Figure]:
    """Print a table; yield the figures."""
    rounds = max(20, round(1000 * scale))
    engine, settings = place.engine, load(RunnerSettings, {})
    remover = ContainerRemover(
        engine, place.namespace, Presence(place.data_containers.volume_root, place.namespace)
    )
    new_container = partial(
        RubyContainer, engine, place.namespace, remover, settings, seccomp.profile()
    )
    lambdas = LambdaEvaluator(new_container, settings.ruby_image, max(2, os.cpu_count() or 1))
    try:
        yield from _measure(lambdas, rounds)
    finally:
        lambdas.close()


def _measure(lambdas: LambdaEvaluator, rounds: int) -> Iterator[Figure]:
    begun = time.perf_counter()
    lambdas.judge(LAMBDA, SUMMARY, b"", 1)
    yield Figure("runner Ruby lambda, the first one", (time.perf_counter() - begun) * _MS, "ms")
    found = {}
    for size_bytes in (KIB, 100 * KIB):
        output = b"." * (size_bytes - len(SUMMARY)) + SUMMARY

        def ruby(output: bytes = output) -> Colour:
            return lambdas.judge(LAMBDA, output, b"", 1).colour

        def patterns(output: bytes = output) -> Colour:
            # Compiled each time, because the runner compiles the patterns of each request.
            return ColourPatterns(PATTERNS, "patterns").colour(output, b"")

        size = f"{size_bytes // KIB} KiB of output"
        found[f"Ruby lambda, {size}"] = _times(ruby, rounds)
        found[f"patterns, {size}"] = _times(patterns, rounds)
        with ThreadPoolExecutor(CLIENTS) as threads:
            each = threads.map(_times, [ruby] * CLIENTS, [rounds // CLIENTS] * CLIENTS)
            found[f"Ruby lambda, {size}, {CLIENTS} at once"] = [t for times in each for t in times]
    found["start of a program (true)"] = _times(_start_a_program, rounds)
    rows = (
        (name, *(percentile(times, percent) for percent in (50, 90, 99)), len(times))
        for name, times in found.items()
    )
    print(table("Colours", ("ms", "p50", "p90", "p99", "times"), rows), flush=True)
    small = found["Ruby lambda, 1 KiB of output"]
    yield Figure("runner Ruby lambda warm p50", statistics.median(small), "ms", "<=", 3)
    yield Figure("runner Ruby lambda warm p99", percentile(small, 99), "ms")
    yardstick = statistics.median(found["start of a program (true)"])
    ratio = statistics.median(small) / yardstick
    yield Figure("runner Ruby lambda, against the start of true", ratio, "")


def _start_a_program() -> Colour:
    subprocess.run(["true"], check=True)
    return Colour.RED


def _times(judge: Callable[[], Colour], rounds: int) -> list[float]:
    times = []
    for _ in range(rounds):
        begun = time.perf_counter()
        colour = judge()
        times.append((time.perf_counter() - begun) * _MS)
        if colour is not Colour.RED:
            raise RuntimeError(f"the colour should be red, and is {colour}")
    return times
