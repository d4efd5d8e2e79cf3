"""Runs: an avatar's visible files into its sandbox, its tests run, what came of it."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass

import docker.errors
import structlog

from dojo import image_names
from dojo.engine.data_containers import DataContainers
from dojo.errors import EngineUnavailable, ImageUnusable
from runner.colour.image_rules import ImageRules
from runner.colour.judge import Rules
from runner.colour.lambda_evaluator import RubyLambdas
from runner.colour.rules import Colour, ColourRule
from runner.engine.container_remover import ContainerRemover
from runner.run.container import RunContainer, RunKey, RunLost
from runner.run.output import Exit
from runner.run.pool import Pool, PoolLimits
from runner.run.watchdog import Ended, Guard
from runner.sandbox import changes, quota, sandbox
from runner.sandbox.changes import Changes
from runner.sandbox.quota import DiskLimits
from runner.sandbox.sandbox import Sandbox
from runner.settings import CORES, RunnerSettings
from runner.storer_client import Bringing

_log = structlog.get_logger()

OnOutput = Callable[[str, bytes], None]


@dataclass(frozen=True)
class Submission:
    """What is to be run. All of it has been checked."""

    kata_id: str
    avatar: str
    image_name: str
    files: Mapping[str, bytes]
    max_seconds: int
    colour_rule: ColourRule | None

    @property
    def key(self) -> RunKey:
        """What a container for it is made for."""
        return RunKey(self.kata_id, self.avatar, self.image_name)


@dataclass(frozen=True)
class Result:
    """What a run came to."""

    exit: Exit
    outcome: Colour
    reason: str
    changes: Changes


class RunCancelled(Exception):
    """Nobody waits for the run any more."""


class Runs:
    """Makes runs, and has containers wait for them. Any thread may use it."""

    def __init__(self, data_containers: DataContainers, settings: RunnerSettings) -> None:
        self.data_containers = data_containers
        self.leftovers = ContainerRemover(data_containers)
        self.bringing = Bringing(settings.storer)
        self.disk_limits = DiskLimits(
            size_bytes=settings.max_sandbox_bytes,
            files=settings.max_sandbox_files,
            min_free_bytes=settings.min_free_bytes,
        )
        self._settings = settings
        self._ruby_lambdas = RubyLambdas(data_containers, self.leftovers, settings)
        self.rules = Rules(self._ruby_lambdas, ImageRules(data_containers, self.leftovers))
        limits = PoolLimits(
            containers=settings.max_warm_containers,
            idle_seconds=settings.max_warm_seconds,
            min_available_bytes=settings.min_available_memory_bytes,
        )
        self.pool = Pool(self._start_unlocked, self._image_id, limits, max(1, CORES // 2))

    def sweep(self) -> None:
        """Remove what an earlier runner, which was killed, left."""
        self.leftovers.sweep_all()
        self._ruby_lambdas.tell_if_missing()

    def new(self, submission: Submission, on_output: OnOutput | None = None) -> "Run":
        """Return a run of `submission`. `on_output` gets its output as it comes."""
        return Run(self, submission, on_output)

    def prepare(self, key: RunKey) -> "Future[None] | None":
        """Have a container wait for `key`; return what to wait for, if anything.

        Raises KataNotFound or AvatarNotFound, and what the storer says that was asked for it.
        """

        def warm() -> "Future[None] | None":
            with sandbox.opened_folder(self.data_containers, key.kata_id, key.avatar):
                self.data_containers.touch(key.kata_id)
                return self.pool.warm(key)

        return self.bringing.with_kata(key.kata_id, warm)

    def start(self, key: RunKey, folder: sandbox.AvatarFolder) -> RunContainer:
        """Return a container that was made and waits for its run in the sandbox in `folder`.

        Raises EngineUnavailable at once while the engine is known not to answer; and what
        RunContainer.start() and require_same() raise.
        """
        self.data_containers.engine.require_answers()
        container = RunContainer(self.data_containers, self.leftovers, self._settings, key)
        try:
            with self.blaming_its_kata(key, folder):
                container.start(folder)
        except BaseException:
            container.close()
            raise
        return container

    def require_same(self, key: RunKey, folder: sandbox.AvatarFolder) -> None:
        """Make sure that the sandbox in `folder` is the avatar's still.

        Raises KataNotFound or AvatarNotFound if it was deleted, RunLost if it was replaced.
        """
        with sandbox.opened_folder(self.data_containers, key.kata_id, key.avatar) as now:
            if now.sandbox_id != folder.sandbox_id:
                raise RunLost(f"kata {key.kata_id} was replaced meanwhile")

    @contextmanager
    def blaming_its_kata(self, key: RunKey, folder: sandbox.AvatarFolder) -> Iterator[None]:
        """Tell of a kata that was deleted or replaced, instead of what failed because of that.

        Nobody keeps a kata from going between any two steps, and the disk and the engine then
        refuse the next one, whichever it is, each in words of its own.
        """
        try:
            yield
        except (OSError, docker.errors.APIError, EngineUnavailable, ImageUnusable) as error:
            with sandbox.settled(self.data_containers, key.kata_id):
                self.require_same(key, folder)
            is_refusal = isinstance(error, docker.errors.APIError)
            if is_refusal and not self.data_containers.engine.listens():
                raise EngineUnavailable("it was stopped meanwhile") from error
            raise

    def close(self) -> None:
        """Remove all containers that wait."""
        self.pool.close()
        self._ruby_lambdas.close()

    def _start_unlocked(self, key: RunKey) -> RunContainer:
        with sandbox.opened_folder(self.data_containers, key.kata_id, key.avatar) as folder:
            return self.start(key, folder)

    def _image_id(self, image_name: str) -> str | None:
        return self.data_containers.engine.image_id(image_names.tagged(image_name))


class Run:
    """One run. `perform()` it once and then `finish()` it, in threads that may wait.

    Any thread may `cancel()` it.
    """

    def __init__(self, runs: Runs, submission: Submission, on_output: OnOutput | None) -> None:
        self._runs = runs
        self._submission = submission
        self._on_output = on_output
        self._container: RunContainer | None = None
        self._sandbox: Sandbox | None = None
        self._guard = Guard(self._kill, self._disk_excess, submission.max_seconds)

    def cancel(self) -> None:
        """End the run as soon as can be; its container goes too."""
        self._guard.cancel()

    def perform(self) -> Result:
        """Run the tests and return what came of them. The container is left, to be removed.

        Raises KataNotFound, AvatarNotFound, ImageMissing, ImageUnusable, DiskFull,
        EngineUnavailable; and RunCancelled if it was cancelled before its program ended.
        """
        self._runs.leftovers.sweep()
        return self._runs.bringing.with_kata(self._submission.kata_id, self._perform_here)

    def _perform_here(self) -> Result:
        """Perform it, if a data-container holds the kata."""
        submission = self._submission
        self._stop_if_cancelled()
        with sandbox.opened(
            self._runs.data_containers, submission.kata_id, submission.avatar
        ) as self._sandbox:
            self._runs.data_containers.touch(submission.kata_id)
            try:
                with self._runs.blaming_its_kata(submission.key, self._sandbox.folder):
                    return self._perform(self._sandbox)
            except BaseException:
                self.finish()  # before another run can be in the sandbox
                raise

    def finish(self) -> None:
        """Remove the container. Then nothing of the run is left."""
        if self._container is not None:
            self._container.close()

    def _perform(self, opened: Sandbox) -> Result:
        submission, limits = self._submission, self._runs.disk_limits
        self._stop_if_cancelled()
        # Before any file is written: an image that isn't there changes nothing.
        self._container, is_warm = self._ready_container(opened)
        opened.require_free(limits.min_free_bytes)
        opened.submit(submission.files)
        before = quota.snapshot(opened, limits)
        ended = self._container.run(self._guard, self._on_output)
        self._stop_if_cancelled()
        reason = self._guard.reason
        if self._guard.ended is Ended.BY_ITSELF and (too_much := self._disk_excess()):
            reason = too_much
        if self._guard.ended is Ended.DISK or reason:
            quota.shrink(opened, before, limits)
        result = self._result(ended, reason, opened, before)
        # What was made of files that went is no light of anybody's.
        self._runs.require_same(submission.key, opened.folder)
        _log.info(
            "run",
            image=submission.image_name,
            warm=is_warm,
            outcome=result.outcome.value,
            status=ended.status,
            seconds=round(ended.duration_seconds, 3),
            reason=result.reason,
        )
        return result

    def _ready_container(self, opened: Sandbox) -> tuple[RunContainer, bool]:
        key = self._submission.key
        found = self._runs.pool.take(key)
        if found is not None:
            # A kata that was restored has another sandbox now.
            if found.sandbox_id == opened.folder.sandbox_id:
                return found, True
            found.close()
        return self._runs.start(key, opened.folder), False

    def _result(
        self, ended: Exit, reason: str, opened: Sandbox, before: Mapping[str, quota.Identity]
    ) -> Result:
        submission = self._submission
        reasons = [reason] if reason else []
        if ended.is_out_of_memory:
            reasons.append("it reached the limit of memory, and the kernel ended a process of it")
        if self._guard.ended is Ended.TIMED_OUT:
            outcome = Colour.TIMED_OUT
        elif ended.is_status_spoilt:
            outcome = Colour.FAULTY
            reasons.append("a process of it wrote where its exit status is told")
        elif ended.was_killed:
            outcome = Colour.FAULTY
            reasons.append("all of its processes were killed at once")
        else:
            judged = self._runs.rules.judge(
                submission.colour_rule,
                submission.image_name,
                ended.stdout.both_ends,
                ended.stderr.both_ends,
                ended.status,
            )
            outcome = judged.colour
            reasons += [judged.reason] if judged.reason else []
        found = changes.since(before, submission.files, opened, self._runs.disk_limits.files)
        return Result(ended, outcome, "; ".join(reasons), found)

    def _kill(self) -> bool:
        return self._container is not None and self._container.kill()

    def _disk_excess(self) -> str | None:
        if self._sandbox is None:
            return None
        return quota.excess(self._sandbox, self._runs.disk_limits)

    def _stop_if_cancelled(self) -> None:
        if self._guard.is_cancelled:
            raise RunCancelled("the call was cancelled")
