"""Run an avatar's lights again: in order, in one sandbox, in a scratch kata."""

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from cyberdojo.colour.v1 import colour_pb2
from cyberdojo.runner.v1 import runner_pb2, runner_pb2_grpc
from cyberdojo.storer.v1 import storer_pb2, storer_pb2_grpc
from dojo.image_names import repository
from dojo.visible_files import CYBER_DOJO_SH
from replay.calls import Calls, Refused
from replay.legacy_files import files_to_run
from replay.outcomes import Outcome, Ran, Skipped, clipped, colour_name, recorded_colour
from replay.sources.recorded import Kata, Storer

LARGEST_SECONDS = 60
# In addition to the run itself: starting its container, and waiting for the runs before it.
_RUN_SECONDS = 300.0


@dataclass(frozen=True)
class Pair:
    """Clients of the replay's own storer and runner.

    `max_seconds` is what the start points allow a run, by the repository of the image.
    """

    calls: Calls
    storer: storer_pb2_grpc.StorerServiceStub
    runner: runner_pb2_grpc.RunnerServiceStub
    max_seconds: Mapping[str, int]


@dataclass(frozen=True)
class Task:
    """One avatar's lights, to be run.

    They were recorded in the image `image_name`. They run in `runs_in`, which is the same image or
    a replacement, and has the id `image_id`.
    """

    source: Storer
    kata: Kata
    avatar: str
    image_name: str
    runs_in: str
    image_id: str
    max_seconds: int

    @property
    def lights(self) -> list[storer_pb2.Light]:
        """The recorded lights, in order."""
        return self.kata.lights[self.avatar]

    @property
    def fingerprint(self) -> str:
        """A digest of everything that decides the colours: if it changes, the lights run again."""
        rule = self.kata.manifest.colour_rule.SerializeToString(deterministic=True)
        recorded = [(light.number, light.colour) for light in self.lights]
        parts = (self.image_name, self.image_id, self.max_seconds, rule, recorded)
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    def skipped(self, number: int, lights: int, reason: str) -> Skipped:
        """Return the outcome of `lights` lights that could not be run, the first being `number`."""
        return Skipped(self.kata.kata_id, self.avatar, number, self.image_name, lights, reason)


def max_seconds(pair: Pair, manifest: storer_pb2.Manifest, least: int) -> int:
    """Return how many seconds a run may take.

    That is the kata's own limit; but no less than the start point of its image allows today,
    because machines and compilers have changed, and no less than `least`.
    """
    today = pair.max_seconds.get(repository(manifest.image_name), 1)
    return min(LARGEST_SECONDS, max(least, today, manifest.max_seconds))


def replay(pair: Pair, task: Task, on_outcome: Callable[[Outcome], None]) -> None:
    """Run an avatar's lights again, and call `on_outcome` with each outcome.

    Lights that can't be run are skipped. Raises ReplayStopped if the replay can't continue.
    """
    manifest = task.kata.manifest
    number, left = 0, len(task.lights)
    try:
        with _scratch_kata(pair, task) as kata_id:
            for light in task.lights:
                number = light.number
                outcome = _run(pair, task, light, kata_id)
                if not manifest.colour_rule.WhichOneof("rule") and _is_without_rule(outcome):
                    raise Refused(f"there is no rule for the colour: {outcome.reason}")
                on_outcome(outcome)
                left -= 1
    except Refused as error:
        on_outcome(task.skipped(number, left, str(error)))


def _run(pair: Pair, task: Task, light: storer_pb2.Light, kata_id: str) -> Outcome:
    try:
        recorded = task.source.files(task.kata.kata_id, task.avatar, light.number)
    except Refused as error:
        return task.skipped(light.number, 1, f"the light's files can't be read: {error}")
    files = files_to_run(light, recorded.files)
    if CYBER_DOJO_SH not in files:
        return task.skipped(light.number, 1, f"the light has no {CYBER_DOJO_SH}")
    request = runner_pb2.RunRequest(
        kata_id=kata_id,
        avatar=task.avatar,
        image_name=task.runs_in,
        files=files,
        max_seconds=task.max_seconds,
        colour_rule=task.kata.manifest.colour_rule,
    )
    try:
        ran = pair.calls.call(pair.runner.Run, request, task.max_seconds + _RUN_SECONDS)
    except Refused as error:
        return task.skipped(light.number, 1, str(error))
    return Ran(
        kata_id=task.kata.kata_id,
        avatar=task.avatar,
        number=light.number,
        image_name=task.image_name,
        image_id=task.image_id,
        recorded=recorded_colour(light.colour, recorded.stdout.content),
        now=colour_name(ran.colour),
        reason=ran.reason,
        status=ran.status,
        seconds=ran.duration.ToTimedelta().total_seconds(),
        max_seconds=task.max_seconds,
        recorded_output=clipped(recorded.stdout.content + recorded.stderr.content),
        stdout=clipped(ran.stdout.content),
        stderr=clipped(ran.stderr.content),
    )


def _is_without_rule(outcome: Outcome) -> bool:
    return isinstance(outcome, Ran) and outcome.now == colour_name(colour_pb2.COLOUR_FAULTY)


@contextmanager
def _scratch_kata(pair: Pair, task: Task) -> Iterator[str]:
    """Make a kata like the recorded one, start the avatar in it, and delete it at the end."""
    kata_id = _create(pair, task)
    try:
        request = storer_pb2.StartAvatarRequest(kata_id=kata_id, avatars=[task.avatar])
        pair.calls.call(pair.storer.StartAvatar, request)
        yield kata_id
    finally:
        with contextlib.suppress(Refused):  # the workplace removes the kata at the end
            deleted = storer_pb2.DeleteKataRequest(kata_id=kata_id)
            pair.calls.call(pair.storer.DeleteKata, deleted)


def _create(pair: Pair, task: Task) -> str:
    manifest = storer_pb2.Manifest()
    manifest.CopyFrom(task.kata.manifest)
    try:
        made = pair.calls.call(
            pair.storer.CreateKata, storer_pb2.CreateKataRequest(manifest=manifest)
        )
    except Refused:
        # A legacy manifest can exceed today's limits. A minimal one does not change any colour,
        # because each run brings its own files and its rule.
        plain = storer_pb2.Manifest(
            display_name="a replay",
            image_name=task.runs_in,
            files={CYBER_DOJO_SH: b""},
        )
        made = pair.calls.call(pair.storer.CreateKata, storer_pb2.CreateKataRequest(manifest=plain))
    return made.kata_id
