"""An avatar's sandbox on the disk: the submission that is written into it, and its content."""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby, islice

from dojo import free_space, visible_files
from dojo.errors import DiskFull
from runner.sandbox import safe_fs
from runner.sandbox.safe_fs import Entry
from runner.sandbox.submitted_names import SubmittedNames

_PART = ".visible-file"
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

SandboxId = tuple[int, int]
"""The device and inode of a sandbox's folder. Another folder at the same path has another id."""


@dataclass(frozen=True)
class AvatarFolder:
    """The descriptors of an avatar's folder and of the sandbox in it, and the avatar's user id."""

    descriptor: int
    sandbox: int
    uid: int

    @property
    def sandbox_id(self) -> SandboxId:
        """The id of the sandbox's folder."""
        found = os.fstat(self.sandbox)
        return found.st_dev, found.st_ino


class Sandbox:
    """The sandbox of one avatar. No other run works in it while it is open.

    `Sandboxes.opened()` makes one.
    """

    def __init__(self, folder: AvatarFolder) -> None:
        self.folder = folder
        self._descriptor = folder.sandbox
        self._remover = safe_fs.TreeRemover(folder.descriptor)
        self._avatar_folder = folder.descriptor
        self._uid = folder.uid

    def walk(self, max_entries: int | None = None) -> Iterator[Entry]:
        """Yield the files and folders in the sandbox, each folder before its content."""
        return islice(safe_fs.walk(self._descriptor), max_entries)

    def entry(self, path: str) -> Entry | None:
        """Return what is at a path; None if nothing is."""
        with safe_fs.opened_parent(path, self._descriptor) as place:
            if place is None:
                return None
            parent, name = place
            found = safe_fs.status(name, parent)
            return None if found is None else Entry(path, found)

    def files_in(self, path: str, max_entries: int) -> list[Entry]:
        """Return the regular files in a folder, by name, of its first entries; [] without one."""
        with safe_fs.opened_parent(f"{path}/.", self._descriptor) as place:
            if place is None:
                return []
            folder, _ = place
            inside = islice(safe_fs.listed(folder, f"{path}/"), max_entries)
            return sorted((each for each in inside if each.is_file), key=lambda each: each.path)

    def read(self, path: str, limit_bytes: int) -> bytes | None:
        """Return the first `limit_bytes` of a regular file; None if it is not a regular file."""
        with safe_fs.opened_parent(path, self._descriptor) as place:
            if place is None:
                return None
            parent, name = place
            return safe_fs.read(name, parent, limit_bytes)

    def remove(self, path: str) -> None:
        """Remove a file, or a folder with its content, if it exists."""
        with safe_fs.opened_parent(path, self._descriptor) as place:
            if place is not None:
                parent, name = place
                self._remover.remove(name, parent)

    def free_bytes(self) -> int:
        """Return how much room the sandbox's disk has."""
        return free_space.free_bytes(self._descriptor)

    def require_free(self, min_free_bytes: int) -> None:
        """Raise DiskFull if the sandbox's disk has less room than `min_free_bytes`."""
        if (free_bytes := self.free_bytes()) < min_free_bytes:
            raise DiskFull(
                f"{free_bytes} bytes are free and a run needs {min_free_bytes}; delete katas or "
                "set CYBER_DOJO_MIN_FREE_BYTES"
            )

    def submit(self, files: Mapping[str, bytes]) -> None:
        """Make `files` the visible files.

        Writes files that differ, removes those of the submission before that are not in `files`,
        and leaves everything else as it is. Removes what is in the way of a visible file, such as
        a folder of its name, or a link or a FIFO in place of its folder.
        """
        self._remover.finish()
        self._own(self._descriptor, 0o700)
        submitted = SubmittedNames(self._avatar_folder, self._remover)
        known = submitted.load()
        wanted = frozenset(files)
        submitted.save(known | wanted)
        for name in sorted(known - wanted):
            self._delete(name)
        for folder, names in groupby(sorted(files, key=_split), key=lambda name: _split(name)[0]):
            with self._opened_folder(folder) as descriptor:
                for name in names:
                    self._write(descriptor, _split(name)[1], files[name])
        submitted.save(wanted)

    @contextlib.contextmanager
    def _opened_folder(self, folder: str) -> Iterator[int]:
        """Open a folder of visible files. Makes each part of its path a real folder first."""
        with contextlib.ExitStack() as stack:
            descriptor = self._descriptor
            for part in folder.split("/") if folder else ():
                try:
                    inner = stack.enter_context(safe_fs.opened(part, descriptor))
                except OSError as error:
                    if error.errno not in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}:
                        raise
                    self._remover.remove(part, descriptor)
                    os.mkdir(part, 0o700, dir_fd=descriptor)
                    inner = stack.enter_context(safe_fs.opened(part, descriptor))
                    os.fchmod(inner, 0o755)
                self._own(inner, stat.S_IMODE(os.fstat(inner).st_mode) | 0o700)
                descriptor = inner
            yield descriptor

    def _own(self, folder: int, mode: int) -> None:
        """Set the folder's owner to the avatar and its permissions to `mode`, if they differ."""
        found = os.fstat(folder)
        if (found.st_uid, found.st_gid) != (self._uid, self._uid):
            os.fchown(folder, self._uid, self._uid)
        if stat.S_IMODE(found.st_mode) != mode:
            os.fchmod(folder, mode)

    def _write(self, folder: int, name: str, content: bytes) -> None:
        """Make `name` in `folder` a file with `content`. An equal file keeps its time."""
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
            # With a hard link, a run could change the file under another name.
            and found.st_nlink == 1
        ):
            return
        # Written beside the sandbox, where no run can interfere, and then moved into it.
        self._remover.remove(_PART, self._avatar_folder)
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
            self._remover.remove(name, folder)
        os.rename(_PART, name, src_dir_fd=self._avatar_folder, dst_dir_fd=folder)

    def _delete(self, path: str) -> None:
        """Delete the file at `path`, and then the folders around it that are empty."""
        with safe_fs.opened_parent(path, self._descriptor) as place:
            if place is None:
                return
            parent, name = place
            found = safe_fs.status(name, parent)
            # A run may have replaced the file by a folder. That is a build product, and stays.
            if found is None or stat.S_ISDIR(found.st_mode):
                return
            os.unlink(name, dir_fd=parent)
        while (path := path.rpartition("/")[0]) != "":
            with safe_fs.opened_parent(path, self._descriptor) as place:
                if place is None:
                    return
                parent, name = place
                try:
                    os.rmdir(name, dir_fd=parent)
                except OSError:  # the folder is not empty
                    return


def _split(path: str) -> tuple[str, str]:
    folder, _, name = path.rpartition("/")
    return folder, name
