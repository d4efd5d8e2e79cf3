"""Writes objects and references of a git repository, as fast as the disk takes them.

libgit2 syncs each object and its folder before it writes the next, and all other threads wait
meanwhile. Here nothing is synced, because the write-ahead log is. And an object that the previous
light has is not even looked up.

The formats are git's own: https://git-scm.com/book/en/v2/Git-Internals-Git-Objects.
"""

import hashlib
import os
import zlib
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from dojo import visible_files
from storer.fs import durable, json_files

FILE = "100644"
PROGRAM = "100755"
FOLDER = "40000"

_OBJECT_MODE = 0o444
_COMPRESSION = 1  # sources are small: a higher level saves less than a block of the disk


class NewObjects:
    """Collects objects to add to a repository. Belongs to one thread.

    `known` holds names of objects that the repository has. `files` collects the new objects, as
    loose object files by name; `used` collects the names of all objects, new or not.
    """

    def __init__(self, known: Collection[str] = ()) -> None:
        self._known = known
        self.files: dict[str, bytes] = {}
        self.used: set[str] = set()

    def blob(self, content: bytes) -> str:
        """Add a blob with a file's content; return the object's name, in hexadecimal."""
        return self._add(b"blob", content)

    def tree(self, entries: Mapping[bytes, tuple[str, str]]) -> str:
        """Add a tree that maps each name to a mode and an object; return the tree's name."""
        content = b"".join(
            b"%s %s\0%s" % (mode.encode(), name, bytes.fromhex(entry))
            for name, (mode, entry) in sorted(entries.items(), key=_order)
        )
        return self._add(b"tree", content)

    def folder(self, files: Mapping[str, bytes]) -> str:
        """Add files, by path, and the trees that hold them; return the topmost tree's name."""
        folders: dict[str, dict[str, bytes]] = {}
        entries: dict[bytes, tuple[str, str]] = {}
        for name, content in files.items():
            folder, slash, rest = name.partition("/")
            if slash:
                folders.setdefault(folder, {})[rest] = content
            else:
                mode = PROGRAM if visible_files.mode(name) & 0o100 else FILE
                entries[json_files.to_bytes(name)] = (mode, self.blob(content))
        for folder, inside in folders.items():
            entries[json_files.to_bytes(folder)] = (FOLDER, self.folder(inside))
        return self.tree(entries)

    def commit(
        self, tree: str, parents: Collection[str], author: str, time: int, message: str
    ) -> str:
        """Add a commit; return the object's name.

        `author` is `name <email>`, `time` is in seconds since the epoch.
        """
        signature = f"{author} {time} +0000"
        lines = [
            f"tree {tree}",
            *(f"parent {parent}" for parent in parents),
            f"author {signature}",
            f"committer {signature}",
            "",
            message,
        ]
        return self._add(b"commit", "\n".join(lines).encode())

    def _add(self, kind: bytes, content: bytes) -> str:
        whole = b"%s %d\0%s" % (kind, len(content), content)
        name = hashlib.sha1(whole, usedforsecurity=False).hexdigest()
        self.used.add(name)
        if name not in self._known and name not in self.files:
            self.files[name] = zlib.compress(whole, _COMPRESSION)
        return name


def blob_name(content: bytes) -> str:
    """Return the name of the blob with a file's content, in hexadecimal."""
    whole = hashlib.sha1(b"blob %d\0" % len(content), usedforsecurity=False)
    whole.update(content)
    return whole.hexdigest()


def write(
    git: Path,
    files: Mapping[str, bytes],
    *,
    overwrite: bool = False,
    written: list[str] | None = None,
) -> None:
    """Write objects, given as loose object files by name, into the repository in `git`.

    An object that is there stays, unless `overwrite` is set or its file is damaged: a power cut can
    leave the name of a file without its content. The names of objects that were not there are
    appended to `written`, even if this raises.
    """
    top = os.open(git / "objects", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name, content in files.items():
            path = f"{name[:2]}/{name[2:]}"
            existing = None if overwrite else _read(path, top)
            if existing is None or not _is_same(existing, content):
                _write_object(top, path, content)
                if existing is None and written is not None:
                    written.append(name)
    finally:
        os.close(top)


def remove(git: Path, names: Iterable[str]) -> None:
    """Remove objects that nothing refers to."""
    for name in names:
        (git / "objects" / name[:2] / name[2:]).unlink(missing_ok=True)


def holds(git: Path, name: str, content: bytes) -> bool:
    """Return whether the repository has the object as a file with exactly this content."""
    try:
        return (git / "objects" / name[:2] / name[2:]).read_bytes() == content
    except FileNotFoundError:
        return False


def write_reference(git: Path, name: str, commit: str) -> None:
    """Set a reference (`refs/tags/17`) to a commit, whatever its target was.

    The caller holds the lock on the avatar's folder. So git's own lock file on the reference, if
    there is one, was left by a process that died, and is overwritten.
    """
    replace_locked(f"{git}/{name}", f"{commit}\n".encode())


def replace_locked(path: str, content: bytes, *, sync: bool = False) -> None:
    """Replace a file of a repository as git does: by a lock file, which is renamed.

    With `sync`, the content is on disk when this returns; the folder is not synced.
    """
    lock = f"{path}.lock"
    flags = os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(lock, flags, durable.PRIVATE)
    except FileNotFoundError:  # the first reference in this folder
        Path(path).parent.mkdir(parents=True)
        descriptor = os.open(lock, flags, durable.PRIVATE)
    try:
        try:
            durable.write_all(descriptor, content)
            if sync:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(lock, path)  # noqa: PTH104 - Path.rename takes three times as long
    except BaseException:  # such as a full disk
        with suppress(OSError):
            os.unlink(lock)  # noqa: PTH108 - as above
        raise


def move_branch(git: Path, name: str, commit: str) -> None:
    """Set a branch to a commit, by rewriting its file in place.

    Replacing the file for each light would free an inode each time, and ext4 creates files ten
    times more slowly where inodes were freed a moment ago. A crash in the middle does no harm: the
    file is written in one step, and the tags tell the newest commit.
    """
    content = f"{commit}\n".encode()
    try:
        descriptor = os.open(f"{git}/{name}", os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        write_reference(git, name, commit)
        return
    try:
        os.pwrite(descriptor, content, 0)
        if os.fstat(descriptor).st_size != len(content):
            os.ftruncate(descriptor, len(content))
    finally:
        os.close(descriptor)


def _write_object(top: int, path: str, content: bytes) -> None:
    # `git gc` removes files of such names, if a process that died left one.
    folder = path[:2]
    new = f"{folder}/tmp_obj_{os.urandom(4).hex()}"  # noqa: S108 - not in /tmp
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(new, flags, _OBJECT_MODE, dir_fd=top)
    except FileNotFoundError:  # the first object in this folder
        with suppress(FileExistsError):
            os.mkdir(folder, dir_fd=top)
        descriptor = os.open(new, flags, _OBJECT_MODE, dir_fd=top)
    try:
        try:
            durable.write_all(descriptor, content)
        finally:
            os.close(descriptor)
        os.rename(new, path, src_dir_fd=top, dst_dir_fd=top)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(new, dir_fd=top)
        raise


def _read(path: str, folder: int) -> bytes | None:
    """Return the content of a file; None if there is none."""
    if not os.access(path, os.F_OK, dir_fd=folder, follow_symlinks=False):
        return None  # the usual case, for which catching an exception takes longer
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    with open(descriptor, "rb") as file:
        return file.read()


def _is_same(existing: bytes, content: bytes) -> bool:
    """Return whether two files hold the same object, however each is compressed."""
    if existing == content:
        return True
    try:
        return zlib.decompress(existing) == zlib.decompress(content)
    except zlib.error:  # the existing file is damaged
        return False


def _order(entry: tuple[bytes, tuple[str, str]]) -> bytes:
    """Return the key by which git sorts a tree's entries: a folder's name ends with a slash."""
    name, (mode, _) = entry
    return name + b"/" if mode == FOLDER else name
