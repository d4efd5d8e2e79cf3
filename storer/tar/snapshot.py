"""A kata as the members of a tar, in the state that it has at one moment.

What is in memory does not grow with the sandboxes.
"""

import contextlib
import os
import stat
import tarfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from dojo import avatars, kata_ids, locks
from dojo.chunks import CHUNK_BYTES
from dojo.errors import KataNotFound
from dojo.naming import SANDBOX
from storer.fs import in_place, tree
from storer.kata.avatar import MANIFEST
from storer.kata.head import head_of
from storer.kata.history import GIT, LIGHT_JSON
from storer.kata.kata import Kata
from storer.kata.lights import INCREMENTS
from storer.tar import headers
from storer.tar.packing import Packed

# What a tar ends with, after the members of one kata or of many.
END = bytes(2 * tarfile.BLOCKSIZE)

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Kept:
    """An open file as it was at one moment: what may change of it since is the `end`."""

    descriptor: int
    size: int
    end: bytes = b""


class Snapshot:
    """What of a kata is replaced or added to as it goes on, as it was at one moment.

    Taking it holds the locks of all avatars, for a moment; reading it holds none. git's
    references and what else is small are kept; of the files that can be large an open descriptor:
    they are only ever replaced, or added to, as increments.json is, whose end is kept then. git's
    objects need neither: those that are there never change.
    """

    def __init__(self, kata: Kata, opened: ExitStack) -> None:
        """Take it. What it holds open is closed by `opened`."""
        self.kata = kata
        self.avatars = {avatar.name: avatar for avatar in kata.avatars()}
        self.references: dict[PurePosixPath, bytes] = {}
        self.files: dict[PurePosixPath, Kept] = {}
        self._opened = opened
        self._open(_KATA_MANIFEST)
        with ExitStack() as held:
            for avatar in self.avatars.values():
                held.enter_context(locks.locked(avatar.folder))
            for avatar in self.avatars.values():
                avatar.mend()
                self._keep(PurePosixPath(avatar.name))
            self.head = head_of(kata, self.avatars)

    def check_whole(self) -> None:
        """Raise KataNotFound if the kata was deleted or replaced since the snapshot was taken.

        Some of what was read since can then be missing, or be another kata's.
        """
        try:
            # Whoever deletes or replaces holds this lock: it has not begun, or it is done.
            with locks.locked(self.kata.folder, shared=True):
                now = (self.kata.folder / _KATA_MANIFEST).stat()
            whole = os.path.samestat(now, os.fstat(self.files[_KATA_MANIFEST].descriptor))
        except FileNotFoundError:
            whole = False
        if not whole:
            raise KataNotFound(self.kata.kata_id, "it was deleted or replaced meanwhile")

    def _keep(self, avatar: PurePosixPath) -> None:
        self._open(avatar / MANIFEST, in_place.swapped_bytes)
        self._open(avatar / INCREMENTS, in_place.extended_bytes)
        with contextlib.suppress(FileNotFoundError):  # avatars of old have none before a light
            self._open(avatar / LIGHT_JSON)
        git = self.kata.folder / avatar / GIT
        for found in tree.walk(git, lambda path: path.parts[0] in _REFERENCES):
            if found.path.parts[0] in _REFERENCES and stat.S_ISREG(found.status.st_mode):
                with open(found.open(), "rb") as file:
                    self.references[avatar / GIT / found.path] = file.read()

    def _open(self, path: PurePosixPath, end_bytes: Callable[[int], int] = lambda _: 0) -> None:
        descriptor = os.open(self.kata.folder / path, _FLAGS)
        self._opened.callback(os.close, descriptor)
        size = os.fstat(descriptor).st_size
        kept = end_bytes(size)
        end = os.pread(descriptor, kept, size - kept) if kept else b""
        self.files[path] = Kept(descriptor, size, end)


_KATA_MANIFEST = PurePosixPath(MANIFEST)

# What changes in a repository, besides the objects that are added, when a light is.
_REFERENCES = ("HEAD", "index", "logs", "packed-refs", "refs")


def members(
    snapshot: Snapshot,
    *,
    packed: Packed | None = None,
    leave_out: Callable[[PurePosixPath], bool] = lambda _: False,
    is_held: bool = False,
) -> Iterator[bytes]:
    """Yield the bytes of a kata's members, its folder first; `END` makes a whole tar of them.

    With `packed` it has those files instead of what they replace; what `leave_out` says is left
    out. `is_held`: the caller holds the lock on the kata's folder exclusively. Raises KataNotFound
    if the kata is deleted or replaced meanwhile.
    """
    packed = packed or Packed()
    kata_id = snapshot.kata.kata_id
    outer, inner = kata_ids.outer(kata_id), kata_ids.inner(kata_id)
    try:
        status = snapshot.kata.folder.stat()
        for name in (outer, f"{outer}/{inner}"):
            yield headers.packed(_header(name, status))
        for found in tree.members(snapshot.kata.folder):
            if belongs(snapshot, found) and not (
                packed.replaces(found.path) or leave_out(found.path)
            ):
                yield from _member(snapshot, f"{outer}/{inner}", found)
        for path, content in packed.files.items():
            yield from _packed_member(f"{outer}/{inner}/{path}", content)
    except FileNotFoundError:
        raise KataNotFound(kata_id, "it was deleted meanwhile") from None
    if not is_held:
        snapshot.check_whole()


def chosen_members(snapshot: Snapshot, paths: Iterable[PurePosixPath]) -> Iterator[bytes]:
    """Yield the bytes of some of a kata's members, for who keeps it from being deleted."""
    kata_id = snapshot.kata.kata_id
    top = f"{kata_ids.outer(kata_id)}/{kata_ids.inner(kata_id)}"
    for path in paths:
        descriptor = os.open(snapshot.kata.folder / path, _FLAGS)
        try:
            found = tree.Member(path, os.fstat(descriptor), descriptor)
            yield from _member(snapshot, top, found)
        finally:
            os.close(descriptor)


def members_without_sandbox(snapshot: Snapshot, avatar: str) -> Iterator[bytes]:
    """Yield the bytes of the members of an avatar, but for its sandbox, likewise."""
    folder = snapshot.kata.folder
    paths = [PurePosixPath(avatar)]
    for found in tree.walk(folder / avatar, lambda path: path.parts[0] != SANDBOX):
        path = avatar / found.path
        is_sandbox, is_link = found.path.parts[0] == SANDBOX, stat.S_ISLNK(found.status.st_mode)
        if not is_sandbox and not is_link and belongs(snapshot, tree.Member(path, found.status)):
            paths.append(path)
    yield from chosen_members(snapshot, paths)


def belongs(snapshot: Snapshot, found: tree.Member) -> bool:
    """Say whether a file was there when the snapshot was taken, and is not being written."""
    avatar, *inside = found.path.parts
    if not avatars.is_name(avatar):
        return True
    if avatar not in snapshot.avatars:
        return False
    if not inside or inside[0] == SANDBOX:
        return True
    if inside == [LIGHT_JSON]:
        return found.path in snapshot.files
    if inside[0] != GIT:
        return not inside[0].startswith(".")
    name = found.path.name
    if name.endswith(".lock") or name.startswith("tmp_"):
        return False
    reference = len(inside) > 1 and inside[1] in _REFERENCES
    is_folder = stat.S_ISDIR(found.status.st_mode)
    return not reference or is_folder or found.path in snapshot.references


def _member(snapshot: Snapshot, top: str, found: tree.Member) -> Iterator[bytes]:
    """Yield a member's header and content."""
    path, descriptor = found.path, found.descriptor
    header = _header(f"{top}/{path}", found.status)
    header.linkname = found.target
    if SANDBOX in path.parts[1:2]:
        # make compares timestamps finer than a second.
        seconds, nanoseconds = divmod(found.status.st_mtime_ns, 10**9)
        header.pax_headers = {"mtime": f"{seconds}.{nanoseconds:09}"}
    kept = snapshot.references.get(path)
    if kept is not None:
        header.size = len(kept)
        yield headers.packed(header)
        yield kept + padding(len(kept))
        return
    file = snapshot.files.get(path, Kept(descriptor, header.size))
    header.size = file.size
    yield headers.packed(header)
    if header.isreg():
        yield from _content(file.descriptor, file.size, file.end)


def _packed_member(name: str, content: bytes | Path) -> Iterator[bytes]:
    """Yield the header and content of a file that takes the place of others."""
    header = tarfile.TarInfo(name)
    header.mode = 0o600
    header.uid, header.gid = os.geteuid(), os.getegid()
    if isinstance(content, bytes):
        header.size = len(content)
        yield headers.packed(header)
        yield content + padding(len(content))
        return
    with content.open("rb") as file:
        header.size = os.fstat(file.fileno()).st_size
        yield headers.packed(header)
        yield from _content(file.fileno(), header.size)


def _content(descriptor: int, size: int, end: bytes = b"") -> Iterator[bytes]:
    """Yield a file's first `size` bytes, the last of which are `end`, if that is known.

    One that shrank meanwhile is filled with zeros. So is one that can't be read, before that is
    raised: the tar can go on after it.
    """
    size -= len(end)
    at = 0
    unreadable: OSError | None = None
    while at < size:
        wanted = min(CHUNK_BYTES, size - at)
        try:
            piece = b"" if unreadable else os.pread(descriptor, wanted, at)
        except OSError as error:
            unreadable, piece = error, b""
        piece = piece or bytes(wanted)
        yield piece
        at += len(piece)
    yield end + padding(size + len(end))
    if unreadable:
        raise unreadable


def _header(name: str, status: os.stat_result) -> tarfile.TarInfo:
    header = tarfile.TarInfo(name)
    header.mode = stat.S_IMODE(status.st_mode)
    header.uid, header.gid = status.st_uid, status.st_gid
    header.mtime = int(status.st_mtime)
    if stat.S_ISDIR(status.st_mode):
        header.type = tarfile.DIRTYPE
    elif stat.S_ISLNK(status.st_mode):
        header.type = tarfile.SYMTYPE
    else:
        header.size = status.st_size
    return header


def padding(size: int) -> bytes:
    """Return what a tar has behind so many bytes of content."""
    return bytes(-size % tarfile.BLOCKSIZE)
