"""An avatar's sandbox on the disk: opened for one run, given its visible files, made usable."""

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby

from dojo import avatars, locks, visible_files
from dojo.engine.data_containers import DataContainers
from dojo.errors import AvatarNotFound, DiskFull, KataDamaged, KataNotFound, NotFound
from dojo.naming import SANDBOX
from runner.sandbox import safe_fs
from runner.sandbox.submitted_names import Submission

_PART = ".visible-file"
_NOWHERE = "no data-container holds it"
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

SandboxId = tuple[int, int]
"""Device and inode: which folder a sandbox is, whatever is done to its path."""


@dataclass(frozen=True)
class AvatarFolder:
    """The open folder of an avatar, and the sandbox in it, as descriptors."""

    descriptor: int
    sandbox: int
    uid: int

    @property
    def sandbox_id(self) -> SandboxId:
        """Which folder the sandbox is."""
        found = os.fstat(self.sandbox)
        return found.st_dev, found.st_ino


class Sandbox:
    """The sandbox of one avatar, which nobody else runs in while it is open.

    `descriptor` is the sandbox folder's. Make one with `opened()`.
    """

    def __init__(self, folder: AvatarFolder) -> None:
        self.folder = folder
        self.descriptor = folder.sandbox
        self.removal = safe_fs.Removal(folder.descriptor)
        self._avatar_folder = folder.descriptor
        self._uid = folder.uid

    def free_bytes(self) -> int:
        """Return how much room its disk has."""
        found = os.fstatvfs(self.descriptor)
        return found.f_bavail * found.f_frsize

    def require_free(self, min_free_bytes: int) -> None:
        """Raise DiskFull if its disk has less room than `min_free_bytes`."""
        if (free_bytes := self.free_bytes()) < min_free_bytes:
            raise DiskFull(
                f"{free_bytes} bytes are free and a run needs {min_free_bytes}; delete katas or "
                "set CYBER_DOJO_MIN_FREE_BYTES"
            )

    def submit(self, files: Mapping[str, bytes]) -> None:
        """Make the visible files be `files`.

        Writes those that differ, removes those that were submitted before and are not in
        `files`, and leaves everything else as it is. Whatever is in the way of a visible file
        (a folder of its name, a link or a FIFO in place of its folder) is removed.
        """
        self.removal.finish()
        self._own(self.descriptor, 0o700)
        submission = Submission(self._avatar_folder)
        known = submission.filenames()
        wanted = frozenset(files)
        submission.remember(known | wanted)
        for name in sorted(known - wanted):
            self._delete(name)
        for folder, names in groupby(sorted(files, key=_split), key=lambda name: _split(name)[0]):
            with self._made(folder) as descriptor:
                for name in names:
                    self._put(descriptor, _split(name)[1], files[name])
        submission.remember(wanted)

    @contextlib.contextmanager
    def _made(self, folder: str) -> Iterator[int]:
        """Open the folder of visible files, making real folders of all its parts."""
        with contextlib.ExitStack() as stack:
            descriptor = self.descriptor
            for part in folder.split("/") if folder else ():
                try:
                    inner = stack.enter_context(safe_fs.opened(part, descriptor))
                except OSError as error:
                    if error.errno not in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}:
                        raise
                    self.removal.remove(part, descriptor)
                    os.mkdir(part, 0o700, dir_fd=descriptor)
                    inner = stack.enter_context(safe_fs.opened(part, descriptor))
                    os.fchmod(inner, 0o755)
                self._own(inner, stat.S_IMODE(os.fstat(inner).st_mode) | 0o700)
                descriptor = inner
            yield descriptor

    def _own(self, folder: int, mode: int) -> None:
        """Give the folder to the avatar, with `mode`, if it is otherwise."""
        found = os.fstat(folder)
        if (found.st_uid, found.st_gid) != (self._uid, self._uid):
            os.fchown(folder, self._uid, self._uid)
        if stat.S_IMODE(found.st_mode) != mode:
            os.fchmod(folder, mode)

    def _put(self, folder: int, name: str, content: bytes) -> None:
        """Make `name` in `folder` a file with `content`; if it has that, it keeps its time."""
        mode = visible_files.mode(name)
        found = safe_fs.status(name, folder)
        is_same = (
            found is not None
            and stat.S_ISREG(found.st_mode)
            and found.st_size == len(content)
            and safe_fs.read(name, folder, len(content) + 1) == content
        )
        if (
            is_same
            and found is not None
            and (found.st_uid, found.st_gid) == (self._uid, self._uid)
            and stat.S_IMODE(found.st_mode) == mode
            # Another name of the same file could change it behind this one's back.
            and found.st_nlink == 1
        ):
            return
        # Written beside the sandbox, where no trap can be laid, and then moved into it.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(_PART, dir_fd=self._avatar_folder)
        descriptor = os.open(_PART, _WRITE, 0o600, dir_fd=self._avatar_folder)
        with open(descriptor, "wb", buffering=0) as file:
            rest = memoryview(content)
            while rest:
                rest = rest[file.write(rest) :]
            os.fchown(descriptor, self._uid, self._uid)
            os.fchmod(descriptor, mode)
            if is_same and found is not None:
                os.utime(descriptor, ns=(found.st_atime_ns, found.st_mtime_ns))
        if found is not None and stat.S_ISDIR(found.st_mode):
            self.removal.remove(name, folder)
        os.rename(_PART, name, src_dir_fd=self._avatar_folder, dst_dir_fd=folder)

    def _delete(self, path: str) -> None:
        """Delete the file at `path`, and the folders that it leaves empty."""
        with safe_fs.opened_parent(path, self.descriptor) as place:
            if place is None:
                return
            parent, name = place
            found = safe_fs.status(name, parent)
            # A run may have made a folder of it: a product, which stays.
            if found is None or stat.S_ISDIR(found.st_mode):
                return
            os.unlink(name, dir_fd=parent)
        while (path := path.rpartition("/")[0]) != "":
            with safe_fs.opened_parent(path, self.descriptor) as place:
                if place is None:
                    return
                parent, name = place
                try:
                    os.rmdir(name, dir_fd=parent)
                except OSError:  # it holds something still
                    return


@contextlib.contextmanager
def opened(data_containers: DataContainers, kata_id: str, avatar: str) -> Iterator[Sandbox]:
    """Open the avatar's sandbox, waiting for a run of another process in it to end.

    Raises KataNotFound if no data-container holds the kata and AvatarNotFound if the avatar
    was not started in it.
    """
    while True:
        with opened_folder(data_containers, kata_id, avatar) as folder:
            # The lock is on the sandbox and not on the avatar's folder, which is locked while
            # a light is recorded. A run may lock its own sandbox too: it ends before we let go.
            fcntl.flock(folder.sandbox, fcntl.LOCK_EX)
            # A restored kata may have been put in its place meanwhile.
            with opened_folder(data_containers, kata_id, avatar) as now:
                is_same = now.sandbox_id == folder.sandbox_id
            if is_same:
                yield Sandbox(folder)
                return


@contextlib.contextmanager
def opened_folder(
    data_containers: DataContainers, kata_id: str, avatar: str
) -> Iterator[AvatarFolder]:
    """Open the avatar's folder and sandbox; make the latter where a restored avatar has none.

    Raises KataNotFound, AvatarNotFound or KataDamaged.
    """
    with contextlib.ExitStack() as stack:
        try:
            found = _entered(stack, data_containers, kata_id, avatar)
        except (NotFound, KataDamaged, FileNotFoundError):
            # One that is being deleted, or replaced, can look like this.
            with settled(data_containers, kata_id):
                found = _entered(stack, data_containers, kata_id, avatar)
        yield found


@contextlib.contextmanager
def settled(data_containers: DataContainers, kata_id: str) -> Iterator[None]:
    """Wait for whoever deletes or replaces the kata, and let nobody begin to.

    Raises KataNotFound if there is nothing of it, or what there is goes all the same.
    """
    try:
        with locks.locked(data_containers.folder(kata_id), shared=True):
            yield
    except FileNotFoundError:
        raise KataNotFound(kata_id, _NOWHERE) from None


def _entered(
    stack: contextlib.ExitStack, data_containers: DataContainers, kata_id: str, avatar: str
) -> AvatarFolder:
    """Open what `opened_folder` gives, to be closed with the stack."""
    if not data_containers.exists(kata_id):
        raise KataNotFound(kata_id, _NOWHERE)
    try:
        folder = stack.enter_context(safe_fs.opened(data_containers.folder(kata_id) / avatar))
    except (FileNotFoundError, NotADirectoryError):
        raise AvatarNotFound(kata_id, avatar) from None
    if safe_fs.status(SANDBOX, folder) is None:
        with contextlib.suppress(FileExistsError):
            os.mkdir(SANDBOX, 0o700, dir_fd=folder)
    try:
        sandbox = stack.enter_context(safe_fs.opened(SANDBOX, folder))
    except OSError as error:  # no run can do that: it is the storer's or an operator's doing
        raise KataDamaged(kata_id, f"{avatar}/{SANDBOX}", "is not a folder") from error
    return AvatarFolder(folder, sandbox, avatars.uid(avatar))


def _split(path: str) -> tuple[str, str]:
    folder, _, name = path.rpartition("/")
    return folder, name
