"""Runs and their warm containers: what the runner's RPCs call."""

from concurrent.futures import Future
from contextlib import ExitStack
from functools import partial

from runner.colour.judge import Judge
from runner.engine.container_remover import ContainerRemover
from runner.run.container_config import RunKey
from runner.run.pool import Pool
from runner.run.run import OnOutput, Result, Run, Submission
from runner.run.starter import ContainerStarter
from runner.sandbox.quota import DiskLimits
from runner.sandbox.sandboxes import Sandboxes
from runner.storer_client import StorerClient


class RunService:
    """Performs runs, and keeps containers warm for them. Any thread may use it."""

    def __init__(
        self,
        *,
        sandboxes: Sandboxes,
        pool: Pool,
        starter: ContainerStarter,
        remover: ContainerRemover,
        judge: Judge,
        storer: StorerClient,
        disk_limits: DiskLimits,
    ) -> None:
        self._sandboxes = sandboxes
        self._pool = pool
        self._starter = starter
        self._remover = remover
        self._judge = judge
        self._storer = storer
        self._disk_limits = disk_limits

    def new(self, submission: Submission, on_output: OnOutput | None = None) -> Run:
        """Return a run of `submission`. `on_output` gets its output as it comes."""
        return Run(
            submission,
            on_output,
            sandboxes=self._sandboxes,
            pool=self._pool,
            starter=self._starter,
            judge=self._judge,
            disk_limits=self._disk_limits,
        )

    def perform(self, run: Run) -> Result:
        """Perform a run. If no data-container holds its kata, have the storer import the kata.

        The kata is imported before the run or not at all: one that goes while its program runs
        would have the program run twice. Raises KataNotFound, AvatarNotFound, KataDamaged, and what
        Run.perform() and StorerClient.import_kata() raise.
        """
        self._remover.retry_failed()
        kata_id, avatar = run.submission.kata_id, run.submission.avatar
        with ExitStack() as stack:
            opened = partial(self._sandboxes.opened, kata_id, avatar)
            sandbox = self._storer.import_on_miss(kata_id, lambda: stack.enter_context(opened()))
            return run.perform(sandbox)

    def prepare(self, key: RunKey) -> "Future[None] | None":
        """Have a container wait for `key`; return what to wait for, if anything.

        Raises KataNotFound, AvatarNotFound, and what StorerClient.import_kata() raises.
        """

        def warm() -> "Future[None] | None":
            with self._sandboxes.opened_folder(key.kata_id, key.avatar):
                self._sandboxes.touch(key.kata_id)
                return self._pool.warm(key)

        return self._storer.import_on_miss(key.kata_id, warm)
