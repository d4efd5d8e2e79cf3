"""Runs: an avatar's visible files into its sandbox, its tests run, what came of it."""

from collections.abc import Mapping
from dataclasses import dataclass

import structlog

from dojo.data_containers import DataContainers
from runner import changes, disk, sandbox
from runner.changes import Changes
from runner.colour import Colour, ColourRule
from runner.disk import DiskLimits
from runner.guard import Ended, Guard
from runner.leftovers import Leftovers
from runner.run_container import ColdContainer, Exit
from runner.settings import RunnerSettings

_log = structlog.get_logger()


@dataclass(frozen=True)
class Submission:
    """What is to be run. All of it has been checked."""

    kata_id: str
    avatar: str
    image_name: str
    files: Mapping[str, bytes]
    max_seconds: int
    colour_rule: ColourRule | None


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
    """Makes runs. Any thread may use it."""

    def __init__(self, data_containers: DataContainers, settings: RunnerSettings) -> None:
        self._data_containers = data_containers
        self._settings = settings
        self._leftovers = Leftovers(data_containers)
        self._disk_limits = DiskLimits(
            size_bytes=settings.max_sandbox_bytes,
            files=settings.max_sandbox_files,
            min_free_bytes=settings.min_free_bytes,
        )

    def sweep(self) -> None:
        """Remove what an earlier runner, which was killed, left."""
        self._leftovers.sweep_all()

    def new(self, submission: Submission) -> "Run":
        """Return a run of `submission`, to be performed."""
        return Run(
            self._data_containers, self._leftovers, self._settings, self._disk_limits, submission
        )


class Run:
    """One run: `perform()` it once, in a thread that may wait. Any thread may `cancel()` it."""

    def __init__(
        self,
        data_containers: DataContainers,
        leftovers: Leftovers,
        settings: RunnerSettings,
        disk_limits: DiskLimits,
        submission: Submission,
    ) -> None:
        self._data_containers = data_containers
        self._leftovers = leftovers
        self._disk_limits = disk_limits
        self._submission = submission
        self._container = ColdContainer(
            data_containers,
            leftovers,
            settings,
            kata_id=submission.kata_id,
            avatar=submission.avatar,
            image_name=submission.image_name,
        )
        self._sandbox: sandbox.Sandbox | None = None
        self._guard = Guard(self._container.kill, self._disk_excess, submission.max_seconds)

    def cancel(self) -> None:
        """End the run as soon as can be; its container goes too."""
        self._guard.cancel()

    def perform(self) -> Result:
        """Run the tests and return what came of them.

        Raises KataNotFound, AvatarNotFound, ImageMissing, DiskFull, EngineUnavailable; and
        RunCancelled if it was cancelled before its program ended.
        """
        submission = self._submission
        self._leftovers.sweep()
        self._stop_if_cancelled()
        with sandbox.opened(
            self._data_containers, submission.kata_id, submission.avatar
        ) as self._sandbox:
            self._stop_if_cancelled()
            try:
                # Before any file is written: an image that isn't there changes nothing.
                self._container.start()
                self._sandbox.require_free(self._disk_limits.min_free_bytes)
                self._sandbox.submit(submission.files)
                before = disk.snapshot(self._sandbox, self._disk_limits)
                ended = self._container.run(submission.max_seconds, self._guard)
            finally:
                self._container.close()
            self._stop_if_cancelled()
            reason = self._guard.reason
            if self._guard.ended is Ended.BY_ITSELF and (too_much := self._disk_excess()):
                reason = too_much
            if self._guard.ended is Ended.DISK or reason:
                disk.shrink(self._sandbox, before, self._disk_limits)
            result = self._result(ended, reason, self._sandbox, before)
        _log.info(
            "run",
            image=submission.image_name,
            outcome=result.outcome.value,
            status=ended.status,
            seconds=round(ended.duration_seconds, 3),
            reason=result.reason,
        )
        return result

    def _result(
        self,
        ended: Exit,
        reason: str,
        opened: sandbox.Sandbox,
        before: Mapping[str, disk.Identity],
    ) -> Result:
        submission = self._submission
        reasons = [reason] if reason else []
        if ended.is_out_of_memory:
            reasons.append("it reached the limit of memory, and the kernel ended a process of it")
        if self._guard.ended is Ended.TIMED_OUT:
            outcome = Colour.TIMED_OUT
        elif submission.colour_rule is None:
            outcome = Colour.FAULTY
            reasons.append("no colour rule was given")
        else:
            outcome = submission.colour_rule.colour(ended.stdout.content, ended.stderr.content)
        found = changes.since(before, submission.files, opened, self._disk_limits.files)
        return Result(ended, outcome, "; ".join(reasons), found)

    def _disk_excess(self) -> str | None:
        if self._sandbox is None:
            return None
        return disk.excess(self._sandbox, self._disk_limits)

    def _stop_if_cancelled(self) -> None:
        if self._guard.is_cancelled:
            raise RunCancelled("the call was cancelled")
