"""How soon a sandbox can run again after a hostile program."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.figures import Figure, percentile, table
from benchmarks.places import TRUE, Job, Place, Runner, request, runner
from cyberdojo.colour.v1 import colour_pb2
from cyberdojo.runner.v1 import runner_pb2
from dojo import avatars

# Time limits for attacks that never end by themselves, and for those that meet another limit.
ENDLESS_SECONDS = 2
MAX_SECONDS = 10
ROUNDS = 5

# No attack prints this, so an attack that the runner does not end is amber.
_RULE = colour_pb2.ColourRule(
    patterns=colour_pb2.ColourPatterns(
        patterns=[colour_pb2.ColourPattern(colour=colour_pb2.COLOUR_GREEN, pattern="tests: passed")]
    )
)
_COLUMNS = ("attack", "outcome", "what the participant is told", "attack s", "good run ms", "max")

_FORK_BOMB = b"""import contextlib, os
while True:
    with contextlib.suppress(BlockingIOError):
        os.fork()
"""
_DEAF = b"""import contextlib, signal
for number in range(1, signal.NSIG):
    with contextlib.suppress(OSError, ValueError):
        signal.signal(number, signal.SIG_IGN)
while True:
    signal.sigwait({signal.SIGUSR1})
"""
_DAEMON = b"""import os, time
if os.fork():
    os._exit(0)
os.setsid()
if os.fork():
    os._exit(0)
os.closerange(0, 1024)
time.sleep(1000)
"""
_MANY_SMALL = b"""import os, time
for _ in range(60):
    if os.fork() == 0:
        kept = os.urandom(1) * (20 << 20)
        time.sleep(60)
while True:
    _, status = os.wait()
    if os.WIFSIGNALED(status):
        print("Killed")
        break
"""


@dataclass(frozen=True)
class _Attack:
    """A hostile submission: a script, and a Python program if it needs one."""

    name: str
    script: str
    program: bytes = b""
    max_seconds: int = MAX_SECONDS

    @property
    def job(self) -> Job:
        files = {"cyber-dojo.sh": self.script.encode(), "attack.py": self.program}
        return Job(self.name, TRUE.image_name, files)


ATTACKS = (
    # The yardstick.
    _Attack("none (true)", "true"),
    _Attack("fork bomb", "python3 attack.py", _FORK_BOMB, ENDLESS_SECONDS),
    _Attack(
        "a loop in each process",
        "for i in 1 2 3 4; do while :; do :; done & done; wait",
        max_seconds=ENDLESS_SECONDS,
    ),
    _Attack("deaf to all signals", "python3 attack.py", _DEAF, ENDLESS_SECONDS),
    _Attack("a daemon left behind", "python3 attack.py", _DAEMON),
    _Attack("2 GiB of memory", 'python3 -c "kept = bytes([1]) * (2 << 30)"'),
    _Attack("60 processes of 20 MiB", "python3 attack.py", _MANY_SMALL),
    _Attack("output without end", "yes & yes >&2", max_seconds=ENDLESS_SECONDS),
    _Attack("a file without end", "cat /dev/zero >file"),
    _Attack("a full sandbox", "for i in 1 2 3 4 5 6; do head -c 100M /dev/zero >$i; done; sleep 9"),
    _Attack("60,000 files", "seq 60000 | xargs touch"),
    _Attack("folders 1,000 deep", "for i in $(seq 1000); do mkdir d && cd d; done"),
    _Attack("kills every process that it sees", "kill -9 -1; sleep 60"),
    _Attack("kills the process that reports its end", "kill -9 $PPID; sleep 60"),
    _Attack(
        "stops the process that reports its end",
        "kill -STOP $PPID; sleep 60",
        max_seconds=ENDLESS_SECONDS,
    ),
    _Attack("forges its exit status", "echo 0 >/proc/$PPID/fd/5; exit 3"),
)


def measure(place: Place, scale: float) -> Iterator[Figure]:
    """Print a table; yield the figures."""
    rounds = max(2, round(ROUNDS * scale))
    rows = []
    good: dict[str, float] = {}
    with runner(place) as serving:
        for attack in ATTACKS:
            kata_id = place.new_kata(rounds)
            found = [
                _recovery(serving, kata_id, avatar, attack) for avatar in avatars.NAMES[:rounds]
            ]
            response = found[-1][0]
            milliseconds = [each for _, _, each in found]
            good[attack.name] = percentile(milliseconds, 50)
            rows.append(
                (
                    attack.name,
                    colour_pb2.Colour.Name(response.colour).removeprefix("COLOUR_").lower(),
                    response.reason,
                    percentile([seconds for _, seconds, _ in found], 50),
                    good[attack.name],
                    max(milliseconds),
                )
            )
            place.clear()
    title = f"From an attack's response to that of a good run, p50 of {rounds}"
    print(table(title, _COLUMNS, rows), flush=True)
    yardstick, *after_attacks = good.values()
    yield Figure("runner good run after the worst attack", max(after_attacks), "ms")
    yield Figure(
        "runner good run after the worst attack, against after true",
        max(after_attacks) / yardstick,
        "",
    )


def _recovery(
    serving: Runner, kata_id: str, avatar: str, attack: _Attack
) -> tuple[runner_pb2.RunResponse, float, float]:
    """Run an attack, and then `true` at once.

    Returns the attack's response, its seconds, and the milliseconds of the run of `true`.
    """
    prepare = runner_pb2.PrepareRequest(kata_id=kata_id, avatar=avatar, image_name=TRUE.image_name)
    serving.stub.Prepare(prepare)
    attacking = request(kata_id, avatar, attack.job)
    attacking.max_seconds = attack.max_seconds
    attacking.colour_rule.CopyFrom(_RULE)
    begun = time.monotonic()
    response = serving.stub.Run(attacking)
    answered = time.monotonic()
    good = serving.stub.Run(request(kata_id, avatar, TRUE))
    ended = time.monotonic()
    if good.colour != colour_pb2.COLOUR_GREEN:
        raise RuntimeError(f"after {attack.name} a good run is not green: {good.reason}")
    return response, answered - begun, (ended - answered) * 1000
