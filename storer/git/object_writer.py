"""Objects and references of a git repository, written as fast as the disk takes them.

libgit2 writes an object at a time: it syncs the file and its folder before it goes on, and
keeps all other threads waiting meanwhile. Here nothing is synced: a write-ahead log is. And
an object that the light before has is not even looked for.

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
_COMPRESSION = 1  # sources are small: what a better one saves is less than a block of the disk


class NewObjects:
    """Objects that a repository is to get. Belongs to one thread.

    `known` has the names of objects that it has. `files` gets what is new, each as the file
    that it is in git, by name; `used` gets the names of all that were added, new or not.
    """

    def __init__(self, known: Collection[str] = ()) -> None:
        self._known = known
        self.files: dict[str, bytes] = {}
        self.used: set[str] = set()

    def blob(self, content: bytes) -> str:
        """Add a file's content; return the object's name, in hexadecimal."""
        return self._add(b"blob", content)

    def tree(self, entries: Mapping[bytes, tuple[str, str]]) -> str:
        """Add a folder: for each name in it, a mode and an object; return the object's name."""
        content = b"".join(
            b"%s %s\0%s" % (mode.encode(), name, bytes.fromhex(entry))
            for name, (mode, entry) in sorted(entries.items(), key=_order)
        )
        return self._add(b"tree", content)

    def folder(self, files: Mapping[str, bytes]) -> str:
        """Add files, some of them in folders, and a tree with them; return the tree's name."""
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

        `author` is `name <email>`, `time` is in seconds since 1970.
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


def write(
    git: Path,
    files: Mapping[str, bytes],
    *,
    overwrite: bool = False,
    written: list[str] | None = None,
) -> None:
    """Write objects, given as their files by name, into the repository in `git`.

    Those that are there already stay, unless they are to be overwritten, or are not what they
    should be: a power cut can leave the name of a file without its content. The names of those
    that were not there are added to `written`, also where this raises.
    """
    top = os.open(git / "objects", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name, content in files.items():
            path = f"{name[:2]}/{name[2:]}"
            there = None if overwrite else _read(path, top)
            if there is None or not _is_same(there, content):
                _write_object(top, path, content)
                if there is None and written is not None:
                    written.append(name)
    finally:
        os.close(top)


def remove(git: Path, names: Iterable[str]) -> None:
    """Remove objects that nothing refers to."""
    for name in names:
        (git / "objects" / name[:2] / name[2:]).unlink(missing_ok=True)


def holds(git: Path, name: str, content: bytes) -> bool:
    """Say whether the repository has an object as just this file."""
    try:
        return (git / "objects" / name[:2] / name[2:]).read_bytes() == content
    except FileNotFoundError:
        return False


def write_reference(git: Path, name: str, commit: str) -> None:
    """Have a reference (`refs/tags/17`) name a commit, whatever it named before.

    For who holds the lock that guards the repository: git's own lock of the reference, which a
    process may have left that died, is taken over.
    """
    path = f"{git}/{name}"
    lock = f"{path}.lock"
    flags = os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(lock, flags, durable.PRIVATE)
    except FileNotFoundError:  # the first of its kind
        Path(path).parent.mkdir(parents=True)
        descriptor = os.open(lock, flags, durable.PRIVATE)
    try:
        try:
            durable.write_all(descriptor, f"{commit}\n".encode())
        finally:
            os.close(descriptor)
        os.rename(lock, path)  # noqa: PTH104 - a path's own takes thrice as long
    except BaseException:  # the disk is full, say
        with suppress(OSError):
            os.unlink(lock)  # noqa: PTH108 - as above
        raise


def move_branch(git: Path, name: str, commit: str) -> None:
    """Have a branch name another commit, in the file that it has.

    To make another for each light would leave ext4 with many files that were just deleted, which
    it looks through whenever it makes one: that takes ten times as long. The file is written at
    once, and what it names is known from the tags in any case.
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
    # git knows the name, and removes what a process left that died.
    folder = path[:2]
    new = f"{folder}/tmp_obj_{os.urandom(4).hex()}"  # noqa: S108 - in a folder of ours
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(new, flags, _OBJECT_MODE, dir_fd=top)
    except FileNotFoundError:  # the first of its kind
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
    """Return what is in a file; None if there is none."""
    if not os.access(path, os.F_OK, dir_fd=folder, follow_symlinks=False):
        return None  # as mostly; to find that out by an exception takes longer
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    with open(descriptor, "rb") as file:
        return file.read()


def _is_same(there: bytes, content: bytes) -> bool:
    """Say whether two files are the same object; others may have compressed it in another way."""
    if there == content:
        return True
    try:
        return zlib.decompress(there) == zlib.decompress(content)
    except zlib.error:  # it was cut off
        return False


def _order(entry: tuple[bytes, tuple[str, str]]) -> bytes:
    """Return what git sorts a folder's entries by: a folder's name counts with its slash."""
    name, (mode, _) = entry
    return name + b"/" if mode == FOLDER else name
