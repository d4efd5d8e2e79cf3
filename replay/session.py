"""Replay every kata of the sources, avatar by avatar, several avatars at once."""

import fnmatch
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

from cyberdojo.storer.v1 import storer_pb2
from dojo import image_names
from dojo.engine.client import Engine
from dojo.errors import InvalidArgument
from replay.calls import Refused
from replay.errors import ReplayStopped
from replay.journal import Journal
from replay.options import Options
from replay.outcomes import Outcome, Ran, Skipped
from replay.report.progress import Progress
from replay.sources.recorded import Kata, Storer
from replay.task import Pair, Task, max_seconds, replay


@dataclass
class Session:
    """A replay. Read `outcomes` and `katas` when `run` has returned or raised."""

    options: Options
    pair: Pair
    engine: Engine
    journal: Journal
    progress: Progress
    outcomes: list[Outcome] = field(default_factory=list)
    katas: int = 0

    def __post_init__(self) -> None:
        """Set up what is not passed in."""
        self._lock = threading.Lock()
        self._stopped: ReplayStopped | None = None
        self._image_ids: dict[str, str | None] = {}

    def run(self, sources: list[Storer]) -> None:
        """Replay everything; raise ReplayStopped if the replay can't continue."""
        slots = threading.BoundedSemaphore(self.options.jobs)
        with ThreadPoolExecutor(self.options.jobs, thread_name_prefix="replay") as executor:
            try:
                for source, kata_id in self._kata_ids(sources):
                    tasks = self._tasks(source, kata_id)
                    countdown = _Countdown(len(tasks), partial(self._release, source, kata_id))
                    for task in tasks:
                        slots.acquire()
                        if self._stopped is not None:
                            break
                        executor.submit(self._perform, task, slots, countdown)
                    if self._stopped is not None:
                        break
            except BaseException:
                self.pair.calls.stop()
                raise
        if self._stopped is not None:
            raise self._stopped

    def _kata_ids(self, sources: list[Storer]) -> Iterator[tuple[Storer, str]]:
        seen: set[str] = set()
        show = self.options.show
        wanted = [show.kata_id] if show else self.options.katas or [""]
        for source in sources:
            for prefix in wanted:
                for kata_id in source.kata_ids(prefix):
                    if kata_id not in seen:  # two sources may have the same kata
                        seen.add(kata_id)
                        yield source, kata_id

    def _tasks(self, source: Storer, kata_id: str) -> list[Task]:
        """Return the tasks of a kata. A kata that can't be read has none, and counts as skipped."""
        self.progress.count_kata()
        self.katas += 1
        try:
            kata = source.read(kata_id)
            return list(self._tasks_of(source, kata))
        except Refused as error:
            self._add(Skipped(kata_id, "", 0, "", None, str(error)))
        except ReplayStopped:
            raise
        except Exception as error:  # noqa: BLE001 - one kata must not end the replay of all
            self._defect(error)
            self._add(Skipped(kata_id, "", 0, "", None, f"a defect of the replay: {error!r}"))
        return []

    def _tasks_of(self, source: Storer, kata: Kata) -> Iterator[Task]:
        image_name = kata.manifest.image_name
        if not self._is_wanted(image_name):
            return
        runs_in = self._replacement(image_name)
        image_id = self._image_id(runs_in) if runs_in else None
        for avatar, lights in kata.lights.items():
            if self.options.show and self.options.show.avatar != avatar:
                continue
            if avatar in kata.damaged:
                reason = kata.damaged[avatar]
                self._add(Skipped(kata.kata_id, avatar, 0, image_name, None, reason))
            if not lights:
                continue
            if image_id is None:
                reason = _no_image(kata.manifest, runs_in)
                self._add(Skipped(kata.kata_id, avatar, 0, image_name, len(lights), reason))
                continue
            task = Task(
                source,
                kata,
                avatar,
                image_name,
                runs_in,
                image_id,
                max_seconds(self.pair, kata.manifest, self.options.min_seconds),
            )
            done = self.journal.done(kata.kata_id, avatar, task.fingerprint)
            if done is None:
                yield task
            else:
                self.progress.count_done_before(len(done))
                with self._lock:
                    self.outcomes += done

    def _perform(
        self, task: Task, slots: threading.BoundedSemaphore, countdown: "_Countdown"
    ) -> None:
        try:
            self._replay(task)
        except ReplayStopped as error:
            with self._lock:
                self._stopped = self._stopped or error
            self.pair.calls.stop()
        except Exception as error:  # noqa: BLE001 - one avatar must not end the replay of all
            self._defect(error)
            reason = f"a defect of the replay: {error!r}"
            self._add(task.skipped(0, len(task.lights), reason))
        finally:
            slots.release()
            countdown.count()

    def _replay(self, task: Task) -> None:
        kata_id, avatar = task.kata.kata_id, task.avatar
        outcomes: list[Outcome] = []

        def add(outcome: Outcome) -> None:
            self.journal.add(outcome)
            self.progress.count_outcome(outcome)
            outcomes.append(outcome.without_outputs() if isinstance(outcome, Ran) else outcome)

        self.journal.begin(kata_id, avatar)
        try:
            replay(self.pair, task, add)
            self.journal.end(kata_id, avatar, task.fingerprint)
        finally:
            with self._lock:
                self.outcomes += outcomes

    def _add(self, outcome: Outcome) -> None:
        self.progress.count_outcome(outcome)
        with self._lock:
            self.outcomes.append(outcome)

    def _defect(self, error: Exception) -> None:
        self.progress.say("".join(traceback.format_exception(error)).rstrip())

    def _release(self, source: Storer, kata_id: str) -> None:
        try:
            source.release(kata_id)
        except ReplayStopped:
            return  # the workplace removes the kata at the end

    def _is_wanted(self, image_name: str) -> bool:
        names = {image_name, image_names.repository(image_name)}
        patterns = self.options.images
        return not patterns or any(
            fnmatch.fnmatchcase(name, pattern) for name in names for pattern in patterns
        )

    def _replacement(self, image_name: str) -> str:
        """Return the image to run in: the replacement, the image, or the untagged image."""
        untagged = image_names.repository(image_name)
        for name in (image_name, untagged):
            if name in self.options.replacements:
                return self.options.replacements[name]
        uses_tag = self._image_id(image_name) is not None or self._image_id(untagged) is None
        return image_name if uses_tag else untagged

    def _image_id(self, image_name: str) -> str | None:
        """Return an image's id, as first asked for; None if the image is not on this host."""
        if image_name not in self._image_ids:
            try:
                found = self.engine.image_id(image_names.tagged(image_names.check(image_name)))
            except InvalidArgument:
                found = None
            self._image_ids[image_name] = found
        return self._image_ids[image_name]


class _Countdown:
    """Calls `then` when `number` tasks have ended; at once if there are none."""

    def __init__(self, number: int, then: Callable[[], None]) -> None:
        self._lock = threading.Lock()
        self._left = number
        self._then = then
        if not number:
            self._then()

    def count(self) -> None:
        """Count a task that has ended."""
        with self._lock:
            self._left -= 1
            is_last = self._left == 0
        if is_last:
            self._then()


def _no_image(manifest: storer_pb2.Manifest, runs_in: str) -> str:
    if runs_in:
        return f"the image {runs_in} is not on this host"
    if not manifest.display_name:
        return "the kata names neither an image nor a language"
    return f"no image is known for the language {manifest.display_name}"
