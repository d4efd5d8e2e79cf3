"""One run: the submission is written, the tests run, and the output is judged."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import structlog

from runner import metrics
from runner.colour.colour import Colour
from runner.colour.judge import Judge
from runner.colour.rules import ColourRule
from runner.launch.launcher import LaunchFailed
from runner.results import file as results_file
from runner.results.results import Results
from runner.run.container import Exit, RunContainer
from runner.run.container_config import RunKey
from runner.run.pool import Pool
from runner.run.starter import ContainerStarter
from runner.run.watchdog import EndedBy, Watchdog
from runner.sandbox import changes, file_versions, quota
from runner.sandbox.changes import Changes
from runner.sandbox.file_versions import FileVersion
from runner.sandbox.quota import DiskLimits
from runner.sandbox.sandbox import Sandbox
from runner.sandbox.sandboxes import Sandboxes

_log = structlog.get_logger()

# A run that leaves this file has its colour told as a special one.
_SPECIAL = "outcome.special"

OnOutput = Callable[[str, bytes], None]


@dataclass(frozen=True)
class Submission:
    """What to run. The servicer has validated all of it."""

    kata_id: str
    avatar: str
    image_name: str
    files: Mapping[str, bytes]
    max_seconds: int
    colour_rule: ColourRule | None
    results_filename: str = ""

    @property
    def key(self) -> RunKey:
        """The key of a warm container for this submission."""
        return RunKey(self.kata_id, self.avatar, self.image_name)


@dataclass(frozen=True)
class Result:
    """The result of a run."""

    exit: Exit
    outcome: Colour
    reason: str
    changes: Changes
    waited_seconds: float
    is_warm: bool
    test_results: Results | None = None
    is_special: bool = False


class RunCancelled(Exception):
    """The run was cancelled before its program ended."""


class Run:
    """One run. Call `perform()` and then `give_back()`, and `finish()` if that leaves it something.

    All of them wait, so they are for threads. Any thread may call `cancel()`.
    """

    def __init__(
        self,
        submission: Submission,
        on_output: OnOutput | None,
        *,
        sandboxes: Sandboxes,
        pool: Pool,
        starter: ContainerStarter,
        judge: Judge,
        disk_limits: DiskLimits,
    ) -> None:
        self.submission = submission
        self._on_output = on_output
        self._sandboxes = sandboxes
        self._pool = pool
        self._starter = starter
        self._judge = judge
        self._disk_limits = disk_limits
        self._container: RunContainer | None = None
        self._sandbox: Sandbox | None = None
        self._watchdog = Watchdog(self._kill, self._disk_excess, submission.max_seconds)
        self.is_last = False
        """Whether the avatar was released since: no container is to wait for its next run."""
        self.is_given_back = False
        """Whether its container waits for the avatar's next run."""
        self.waited_seconds = 0.0
        """How long the run waited for its turn and for a slot."""

    def cancel(self) -> None:
        """End the run soon, and remove its container."""
        self._watchdog.cancel()

    def perform(self, sandbox: Sandbox) -> Result:
        """Run the tests in the avatar's sandbox. The container is left for `give_back()`.

        Raises KataNotFound, AvatarNotFound, ImageMissing, ImageUnusable, DiskFull,
        EngineUnavailable, RunLost; and RunCancelled.
        """
        self._raise_if_cancelled()
        kata_id, avatar = self.submission.kata_id, self.submission.avatar
        self._sandboxes.touch(kata_id)
        self._sandbox = sandbox
        try:
            with self._sandboxes.attributing_failures(kata_id, avatar, sandbox.folder):
                return self._perform_in(sandbox)
        except BaseException:
            self.finish()  # the container has to be gone before another run is in the sandbox
            raise

    def give_back(self, result: Result) -> bool:
        """Have the container wait for the avatar's next run, if it may serve one; log the run.

        Call it when the caller has the result, and before the avatar's next run begins. It does not
        wait for the engine. Says whether `finish()` has something left to do.
        """
        _log.info(
            "run",
            image=self.submission.image_name,
            warm=result.is_warm,
            waited_seconds=round(result.waited_seconds, 3),
            outcome=result.outcome.value,
            status=result.exit.status,
            seconds=round(result.exit.duration_seconds, 3),
            reason=result.reason,
        )
        try:
            self._give_back()
        except BaseException:
            self.finish()
            raise
        return not (self.is_given_back and self._starter.knows_handle(self.submission.kata_id))

    def finish(self) -> None:
        """Remove the container, unless it waits for the next run. Nothing of the run is left."""
        if self._container is not None:
            self._container.close()
        if self.is_given_back:
            self._starter.keep_handle(self.submission.kata_id)

    def _perform_in(self, sandbox: Sandbox) -> Result:
        submission, limits = self.submission, self._disk_limits
        self._raise_if_cancelled()
        # Before a file is written: a submission for a missing image changes nothing.
        with metrics.step("container"):
            self._container, is_warm = self._take_container(sandbox)
        with metrics.step("files"):
            sandbox.require_free(limits.min_free_bytes)
            sandbox.submit(submission.files)
            before = file_versions.versions(sandbox, limits.files)
        with metrics.step("program"):
            ended = self._run_in_container(sandbox, self._container)
        self._raise_if_cancelled()
        reason = self._watchdog.reason
        if self._watchdog.ended_by is EndedBy.ITSELF and (excess := self._disk_excess()):
            reason = excess
        if self._watchdog.ended_by is EndedBy.DISK_LIMIT or reason:
            quota.shrink(sandbox, before, limits)
        result = self._result(ended, reason, sandbox, before, is_warm=is_warm)
        # A kata that was deleted or replaced during the run gets no result.
        self._sandboxes.require_same(submission.kata_id, submission.avatar, sandbox.folder)
        return result

    def _run_in_container(self, sandbox: Sandbox, container: RunContainer) -> Exit:
        """Run the program; a container in which none can be started costs a cold start."""
        try:
            return container.run(self._watchdog, self._on_output)
        except LaunchFailed as error:
            _log.info("container given up", reason=str(error))
        container.close()
        self._container = self._starter.start_in(sandbox.folder, self.submission.key)
        return self._container.run(self._watchdog, self._on_output)

    def _give_back(self) -> None:
        container = self._container
        if container is None or self.is_last or not container.prepare_next():
            return
        if self._pool.give_back(container):
            self._container = None
            self.is_given_back = True
            if self.is_last:  # the avatar was released at the same moment
                self._pool.release(self.submission.kata_id, self.submission.avatar)

    def _take_container(self, sandbox: Sandbox) -> tuple[RunContainer, bool]:
        """Return a container that waits in the sandbox, and whether it is a warm one."""
        key = self.submission.key
        warm = self._pool.take(key)
        if warm is not None:
            # A kata that was restored has another sandbox now.
            if warm.sandbox_id == sandbox.folder.sandbox_id:
                return warm, True
            warm.close()
        return self._starter.start_in(sandbox.folder, key), False

    def _result(
        self,
        ended: Exit,
        reason: str,
        sandbox: Sandbox,
        before: Mapping[str, FileVersion],
        *,
        is_warm: bool,
    ) -> Result:
        submission = self.submission
        reasons = [reason] if reason else []
        if ended.is_out_of_memory:
            reasons.append(
                "it reached the limit of memory, and the kernel killed one of its processes"
            )
        if self._watchdog.ended_by is EndedBy.TIMEOUT:
            outcome = Colour.TIMED_OUT
        elif ended.is_status_spoilt:
            outcome = Colour.FAULTY
            reasons.append("one of its processes wrote to the pipe of its exit status")
        elif ended.was_killed:
            outcome = Colour.FAULTY
            reasons.append("all of its processes were killed at once")
        else:
            with metrics.step("colour"):
                judgement = self._judge.judge(
                    submission.colour_rule,
                    submission.image_name,
                    ended.stdout.both_ends,
                    ended.stderr.both_ends,
                    ended.status,
                )
            outcome = judgement.colour
            reasons += [judgement.reason] if judgement.reason else []
        filename = submission.results_filename
        found = changes.since(
            before,
            submission.files,
            sandbox,
            self._disk_limits.files,
            left_out=[_SPECIAL, *filter(None, [filename])],
        )
        results = results_file.read(filename, sandbox, before) if filename else None
        return Result(
            ended,
            outcome,
            "; ".join(reasons),
            found,
            waited_seconds=self.waited_seconds,
            is_warm=is_warm,
            test_results=results,
            is_special=self._is_special(sandbox, before),
        )

    def _is_special(self, sandbox: Sandbox, before: Mapping[str, FileVersion]) -> bool:
        """Say whether the file that makes a colour special was submitted, or left by this run."""
        entry = sandbox.entry(_SPECIAL)
        if entry is None or not entry.is_file:
            return False
        is_new = before.get(_SPECIAL) != file_versions.version(entry)
        return is_new or _SPECIAL in self.submission.files

    def _kill(self) -> bool:
        return self._container is not None and self._container.kill()

    def _disk_excess(self) -> str | None:
        if self._sandbox is None:
            return None
        return quota.excess(self._sandbox, self._disk_limits)

    def _raise_if_cancelled(self) -> None:
        if self._watchdog.is_cancelled:
            raise RunCancelled("the call was cancelled")
