"""Opens the sandboxes of avatars, although a kata can be deleted or replaced at any moment."""

import contextlib
import fcntl
import os
from collections.abc import Iterator

import docker.errors

from dojo import avatars, locks
from dojo.engine.data_containers import DataContainers
from dojo.errors import (
    AvatarNotFound,
    EngineUnavailable,
    ImageUnusable,
    KataDamaged,
    KataNotFound,
    NotFound,
    RunLost,
)
from dojo.naming import DAMAGED_JSON, SANDBOX
from runner.sandbox import safe_fs
from runner.sandbox.sandbox import AvatarFolder, Sandbox

_NOT_HERE = "no data-container holds it"


class Sandboxes:
    """The sandboxes of all katas that have a data-container. Any thread may use it."""

    def __init__(self, data_containers: DataContainers) -> None:
        self._data_containers = data_containers

    @contextlib.contextmanager
    def opened(self, kata_id: str, avatar: str) -> Iterator[Sandbox]:
        """Open the avatar's sandbox; wait for another process's run in it to end first.

        Raises KataNotFound if no data-container holds the kata, AvatarNotFound if the avatar was
        not started, and KataDamaged.
        """
        while True:
            with self.opened_folder(kata_id, avatar) as folder:
                # Lock the sandbox. The avatar's folder is locked while the storer records a light,
                # which a run would then hold up. A program can lock its own sandbox too, but it
                # ends before this lock is released.
                fcntl.flock(folder.sandbox, fcntl.LOCK_EX)
                # A restored kata may have replaced this one during the wait.
                with self.opened_folder(kata_id, avatar) as now:
                    is_same = now.sandbox_id == folder.sandbox_id
                if is_same:
                    yield Sandbox(folder)
                    return

    @contextlib.contextmanager
    def opened_folder(self, kata_id: str, avatar: str) -> Iterator[AvatarFolder]:
        """Open the avatar's folder and sandbox. A restored avatar without a sandbox gets one.

        Raises KataNotFound, AvatarNotFound or KataDamaged.
        """
        with contextlib.ExitStack() as stack:
            try:
                folder = self._open_folder(stack, kata_id, avatar)
            except (NotFound, KataDamaged, FileNotFoundError):
                # Deleting or replacing a kata passes through states that look like this.
                with self._kata_locked(kata_id):
                    folder = self._open_folder(stack, kata_id, avatar)
            yield folder

    def touch(self, kata_id: str) -> None:
        """Record that the kata is used now."""
        self._data_containers.touch(kata_id)

    def require_same(self, kata_id: str, avatar: str, folder: AvatarFolder) -> None:
        """Make sure that the sandbox in `folder` still is the avatar's.

        Raises KataNotFound or AvatarNotFound if it was deleted, RunLost if it was replaced.
        """
        with self.opened_folder(kata_id, avatar) as now:
            if now.sandbox_id != folder.sandbox_id:
                raise RunLost(f"kata {kata_id} was replaced during the run")

    @contextlib.contextmanager
    def attributing_failures(
        self, kata_id: str, avatar: str, folder: AvatarFolder
    ) -> Iterator[None]:
        """Raise what `require_same` raises, instead of a failure in the block that follows from it.

        Nothing keeps a kata from being deleted between two steps of a run. The next step then
        fails, with whichever error the disk or the engine has for it.
        """
        try:
            yield
        except (
            OSError,
            docker.errors.APIError,
            EngineUnavailable,
            ImageUnusable,
            RunLost,
        ) as error:
            with self._kata_locked(kata_id):
                self.require_same(kata_id, avatar, folder)
            is_refusal = isinstance(error, docker.errors.APIError)
            if is_refusal and not self._data_containers.engine.listens():
                raise EngineUnavailable("it was stopped during the call") from error
            raise

    @contextlib.contextmanager
    def _kata_locked(self, kata_id: str) -> Iterator[None]:
        """Wait for the end of a deletion or replacement of the kata, and keep others from starting.

        Raises KataNotFound if the kata does not exist, or is deleted during the wait.
        """
        try:
            with locks.locked(self._data_containers.folder(kata_id), shared=True):
                yield
        except FileNotFoundError:
            raise KataNotFound(kata_id, _NOT_HERE) from None

    def _open_folder(self, stack: contextlib.ExitStack, kata_id: str, avatar: str) -> AvatarFolder:
        """Open the avatar's folder and sandbox, until the stack is closed."""
        if not self._data_containers.exists(kata_id):
            raise KataNotFound(kata_id, _NOT_HERE)
        try:
            path = self._data_containers.folder(kata_id) / avatar
            folder = stack.enter_context(safe_fs.opened(path))
        except (FileNotFoundError, NotADirectoryError):
            raise AvatarNotFound(kata_id, avatar) from None
        if safe_fs.status(DAMAGED_JSON, folder) is not None:
            raise KataDamaged(kata_id, avatar, "the avatar came in damaged; GetKata says how")
        # Folders of katas from before let everybody pass.
        if not avatars.is_closed_to_others(os.fstat(folder), avatar):
            avatars.close_to_others(folder, avatar)
        if safe_fs.status(SANDBOX, folder) is None:
            with contextlib.suppress(FileExistsError):
                os.mkdir(SANDBOX, 0o700, dir_fd=folder)
        try:
            sandbox = stack.enter_context(safe_fs.opened(SANDBOX, folder))
        except OSError as error:  # no run can do that: the storer did, or an operator
            raise KataDamaged(kata_id, f"{avatar}/{SANDBOX}", "is not a folder") from error
        return AvatarFolder(folder, sandbox, avatars.uid(avatar))
