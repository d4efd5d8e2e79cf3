"""The members of a kata's tar, with the kata's state at one moment.

Memory use does not grow with the size of the sandboxes.
"""

import os
import stat
import tarfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path, PurePosixPath

import pygit2
import structlog

from dojo import avatars, kata_ids, locks
from dojo.budget import Budget
from dojo.chunks import CHUNK_BYTES
from dojo.errors import KataDamaged, KataNotFound
from dojo.limits import GIT_DEPTH, GIT_TREE_FILES
from dojo.naming import SANDBOX
from storer.fs import holes, in_place, json_files, tree
from storer.fs.json_files import Unreadable
from storer.git.reader import GitReader, TreeEntry
from storer.kata import options
from storer.kata.avatar import MANIFEST
from storer.kata.head import DAMAGED, head_of
from storer.kata.history import GIT, LIGHT_JSON
from storer.kata.kata import Kata
from storer.kata.lights import INCREMENTS
from storer.kata.options import OPTIONS, KataOptions
from storer.tar import headers
from storer.tar.packing import PackedObjects

# The end of a tar, behind the members of one kata or of many.
END = bytes(2 * tarfile.BLOCKSIZE)

# What a program that knows no sparse files calls one; the true name is in the extended header.
_SPARSE_NAME = "GNUSparseFile.0/sparse"

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class FileSnapshot:
    """A file at one moment: its open descriptor, its size, and its `tail`, which may change."""

    descriptor: int
    size: int
    tail: bytes = b""


class Snapshot:
    """The state of a kata at one moment: of everything in the kata that recording changes.

    Taking a snapshot holds the locks of all avatars, for a moment; reading it holds none. The
    snapshot copies git's references and small files, such as the options. Files that can be large
    are kept open: they are replaced as a whole, or only their end changes, as that of
    increments.json does; then the snapshot copies the end. Git's objects need neither, because
    objects never change.

    `damaged` has the avatars whose files were not brought up to date, because git has not all.
    """

    def __init__(self, kata: Kata, opened: ExitStack) -> None:
        """Take the snapshot. Its descriptors stay open until `opened` is closed."""
        self.kata = kata
        self.avatars = {avatar.name: avatar for avatar in kata.avatars()}
        self.references: dict[PurePosixPath, bytes] = {}
        self.files: dict[PurePosixPath, FileSnapshot] = {}
        self.damaged: set[str] = set()
        self._opened = opened
        self._add_file(_KATA_MANIFEST)
        options_digest = self._add_options()
        with ExitStack() as held:
            for avatar in self.avatars.values():
                held.enter_context(locks.locked(avatar.folder))
            for avatar in self.avatars.values():
                try:
                    avatar.write_derived_files()
                except (KataDamaged, pygit2.GitError) as error:
                    # Its files go as they are; what is damaged of it keeps nobody else's.
                    _log.warning("avatar damaged", avatar=avatar.name, reason=str(error))
                    self.damaged.add(avatar.name)
                    kata.tell_damage(avatar.name)
                self._add_avatar(PurePosixPath(avatar.name))
            self.head = head_of(kata, self.avatars, options_digest)

    @property
    def has_head_of_whole(self) -> bool:
        """Whether the head would be the same if a damaged avatar were whole, or mended later."""
        return any(name in self.damaged and at != DAMAGED for name, at, _ in self.head.lights)

    def check_whole(self) -> None:
        """Raise KataNotFound if the kata was deleted or replaced since the snapshot was taken.

        In that case, files that were read since can be missing or belong to the other kata.
        """
        try:
            # Deleting and replacing hold this lock, so neither is in progress here.
            with locks.locked(self.kata.folder, shared=True):
                now = (self.kata.folder / _KATA_MANIFEST).stat()
            is_same = os.path.samestat(now, os.fstat(self.files[_KATA_MANIFEST].descriptor))
        except FileNotFoundError:
            is_same = False
        if not is_same:
            raise KataNotFound(self.kata.kata_id, "it was deleted or replaced during the read")

    def options(self) -> KataOptions:
        """Return the kata's options; none if their file can't be read."""
        with suppress(Unreadable):
            if (content := self.references.get(OPTIONS_PATH)) is not None:
                return options.parse(json_files.loads(content, dict))
        return KataOptions()

    def _add_options(self) -> str:
        """Copy the options, which the avatars' locks don't guard; return their digest."""
        try:
            content = options.content(self.kata.folder)
        except Unreadable:
            return options.UNREADABLE  # the file goes as it is
        if content:
            self.references[OPTIONS_PATH] = content
        return options.digest_of(content)

    def _add_avatar(self, avatar: PurePosixPath) -> None:
        for name, tail_bytes in _RECORDED.items():
            # Legacy avatars have no light.json, and damaged ones may lack any file.
            if (self.kata.folder / avatar / name).is_file():
                self._add_file(avatar / name, tail_bytes)
        git = self.kata.folder / avatar / GIT
        if not git.is_dir():
            return  # a damaged avatar
        for entry in tree.walk(git, lambda path: path.parts[0] in _REFERENCES):
            if entry.path.parts[0] in _REFERENCES and stat.S_ISREG(entry.status.st_mode):
                with open(entry.open(), "rb") as file:
                    self.references[avatar / GIT / entry.path] = file.read()

    def _add_file(
        self, path: PurePosixPath, tail_bytes: Callable[[int], int] = lambda _: 0
    ) -> None:
        """Open a file, and copy the tail whose size `tail_bytes` returns for the file's size."""
        descriptor = os.open(self.kata.folder / path, _FLAGS)
        self._opened.callback(os.close, descriptor)
        size = os.fstat(descriptor).st_size
        copied = tail_bytes(size)
        tail = os.pread(descriptor, copied, size - copied) if copied else b""
        self.files[path] = FileSnapshot(descriptor, size, tail)


_KATA_MANIFEST = PurePosixPath(MANIFEST)
OPTIONS_PATH = PurePosixPath(OPTIONS)

# What recording a light changes beside the repository, and how many of a file's last bytes.
_RECORDED: dict[str, Callable[[int], int]] = {
    MANIFEST: in_place.swapped_bytes,
    INCREMENTS: in_place.extended_bytes,
    LIGHT_JSON: lambda _: 0,
}

# What recording a light changes in a repository, besides adding objects.
_REFERENCES = ("HEAD", "index", "logs", "packed-refs", "refs")


def members(
    snapshot: Snapshot,
    *,
    packed: PackedObjects | None = None,
    leave_out: Callable[[PurePosixPath], bool] = lambda _: False,
    is_held: bool = False,
) -> Iterator[bytes]:
    """Yield the bytes of a kata's members, its folder first; `END` completes the tar.

    The files of `packed` take the place of those that they replace. Paths for which `leave_out`
    returns True are left out. `is_held` says that the caller holds the lock on the kata's folder
    exclusively. Raises KataNotFound if the kata is deleted or replaced meanwhile.
    """
    packed = packed or PackedObjects()
    kata_id = snapshot.kata.kata_id
    outer, inner = kata_ids.outer(kata_id), kata_ids.inner(kata_id)
    try:
        status = snapshot.kata.folder.stat()
        for name in (outer, f"{outer}/{inner}"):
            yield headers.encode(_header(name, status))
        for member in tree.members(snapshot.kata.folder):
            if is_included(snapshot, member) and not (
                packed.replaces(member.path) or leave_out(member.path)
            ):
                yield from _member(snapshot, f"{outer}/{inner}", member)
        for path, content in packed.files.items():
            yield from _packed_member(f"{outer}/{inner}/{path}", content)
    except FileNotFoundError:
        raise KataNotFound(kata_id, "it was deleted during the read") from None
    if not is_held:
        snapshot.check_whole()


def selected_members(snapshot: Snapshot, paths: Iterable[PurePosixPath]) -> Iterator[bytes]:
    """Yield the bytes of the members at `paths`. The caller holds the kata's lock."""
    kata_id = snapshot.kata.kata_id
    top = f"{kata_ids.outer(kata_id)}/{kata_ids.inner(kata_id)}"
    for path in paths:
        descriptor = os.open(snapshot.kata.folder / path, _FLAGS)
        try:
            member = tree.Member(path, os.fstat(descriptor), descriptor)
            yield from _member(snapshot, top, member)
        finally:
            os.close(descriptor)


def members_without_sandbox(snapshot: Snapshot, avatar: str) -> Iterator[bytes]:
    """Yield the bytes of an avatar's members, without its sandbox; locked as selected_members."""
    folder = snapshot.kata.folder
    paths = [PurePosixPath(avatar)]
    for entry in tree.walk(folder / avatar, lambda path: path.parts[0] != SANDBOX):
        path = avatar / entry.path
        is_sandbox, is_link = entry.path.parts[0] == SANDBOX, stat.S_ISLNK(entry.status.st_mode)
        if not is_sandbox and not is_link:
            member = tree.Member(path, entry.status)
            if is_included(snapshot, member):
                paths.append(path)
    yield from selected_members(snapshot, paths)


def repository_members(snapshot: Snapshot, avatar: str) -> Iterator[bytes]:
    """Yield the bytes of an avatar's repository, in a folder `493A06504A-whale/.git`.

    Raises KataNotFound if the kata is deleted meanwhile.
    """
    top, folder = repository_folder(snapshot, avatar), snapshot.kata.folder
    try:
        for path in (PurePosixPath(avatar), PurePosixPath(avatar, GIT)):
            header = _header(_below(top, path), (folder / path).stat())
            header.mode = 0o755
            yield headers.encode(header)
        with closing(tree.members(folder, PurePosixPath(avatar, GIT))) as found:
            for member in found:
                if is_included(snapshot, member):
                    yield from _member(snapshot, top, member, name=_below(top, member.path))
    except FileNotFoundError:
        raise KataNotFound(snapshot.kata.kata_id, "it was deleted during the read") from None


def tree_members(
    snapshot: Snapshot, avatar: str, reader: GitReader, commit: str
) -> Iterator[bytes]:
    """Yield the files of a commit as members beside `repository_members`.

    Raises BudgetExceeded, and what `reader` does.
    """
    budget = Budget(max_entries=GIT_TREE_FILES, max_depth=GIT_DEPTH)
    root = reader.root_of(commit)
    yield from _tree_members(repository_folder(snapshot, avatar), reader, root, budget)


def _tree_members(
    top: str, reader: GitReader, folder: dict[bytes, TreeEntry], budget: Budget
) -> Iterator[bytes]:
    with budget.one_deeper():
        for raw_name, entry in folder.items():
            budget.take_entry()
            header = tarfile.TarInfo(f"{top}/{json_files.from_bytes(raw_name)}")
            header.mode = entry.mode & 0o777 or 0o755
            if entry.is_folder:
                header.type = tarfile.DIRTYPE
                yield headers.encode(header)
                inside = reader.folder(entry.object)
                yield from _tree_members(header.name, reader, inside, budget)
            elif not entry.is_submodule:
                yield from held_member(header, reader.blob(entry.object))


def repository_folder(snapshot: Snapshot, avatar: str) -> str:
    """Return the name of the folder with an avatar's repository in a tar of its own."""
    return f"{snapshot.kata.kata_id}-{avatar}"


def _below(top: str, path: PurePosixPath) -> str:
    return "/".join([top, *path.parts[1:]])


def is_included(snapshot: Snapshot, member: tree.Member) -> bool:
    """Return whether a file was there when the snapshot was taken, and is not being written."""
    avatar, *inside = member.path.parts
    if member.path == OPTIONS_PATH:
        return bool(snapshot.head.options)
    if not avatars.is_name(avatar):
        return True
    if avatar not in snapshot.avatars:
        return False
    if not inside or inside[0] == SANDBOX:
        return True
    if len(inside) == 1 and inside[0] in _RECORDED:
        return member.path in snapshot.files
    if inside[0] != GIT:
        return not inside[0].startswith(".")
    name = member.path.name
    if name.endswith(".lock") or name.startswith("tmp_"):
        return False
    is_reference = len(inside) > 1 and inside[1] in _REFERENCES
    is_folder = stat.S_ISDIR(member.status.st_mode)
    return not is_reference or is_folder or member.path in snapshot.references


def _member(snapshot: Snapshot, top: str, member: tree.Member, name: str = "") -> Iterator[bytes]:
    """Yield a member's header and content. Its name is by default its path below `top`."""
    path, descriptor = member.path, member.descriptor
    header = _header(name or f"{top}/{path}", member.status)
    header.linkname = member.target
    if SANDBOX in path.parts[1:2]:
        # In whole seconds, timestamps would make `make` compile again what is up to date.
        modified_ns = member.status.st_mtime_ns
        seconds, nanoseconds = divmod(abs(modified_ns), 10**9)
        header.pax_headers = {"mtime": f"{'-' * (modified_ns < 0)}{seconds}.{nanoseconds:09}"}
        if header.isreg() and (pieces := holes.extents(descriptor, member.status)) is not None:
            yield from _sparse_member(header, descriptor, pieces)
            return
    reference = snapshot.references.get(path)
    if reference is not None:
        header.size = len(reference)
        yield headers.encode(header)
        yield reference + padding(len(reference))
        return
    file = snapshot.files.get(path, FileSnapshot(descriptor, header.size))
    header.size = file.size
    yield headers.encode(header)
    if header.isreg():
        yield from _content(file.descriptor, [(0, file.size - len(file.tail))], file.tail)


def _sparse_member(
    header: tarfile.TarInfo, descriptor: int, pieces: list[tuple[int, int]]
) -> Iterator[bytes]:
    """Yield a file with holes, in the format of pax 1.0, which GNU tar and tarfile know too."""
    size = header.size
    # An empty piece ends a file that has a hole at its end.
    listed = pieces if pieces and sum(pieces[-1]) == size else [*pieces, (size, 0)]
    content = "".join(f"{number}\n" for number in (len(listed), *chain.from_iterable(listed)))
    content_map = content.encode() + padding(len(content))
    header.pax_headers = {
        **header.pax_headers,
        "GNU.sparse.major": "1",
        "GNU.sparse.minor": "0",
        "GNU.sparse.name": header.name,
        "GNU.sparse.realsize": str(size),
    }
    header.name = _SPARSE_NAME
    header.size = len(content_map) + sum(size for _, size in pieces)
    yield headers.encode(header)
    yield content_map
    yield from _content(descriptor, pieces)


def _packed_member(name: str, content: bytes | Path) -> Iterator[bytes]:
    """Yield the header and content of one of the packed files."""
    header = tarfile.TarInfo(name)
    header.mode = 0o600
    header.uid, header.gid = os.geteuid(), os.getegid()
    if isinstance(content, bytes):
        yield from held_member(header, content)
        return
    with content.open("rb") as file:
        header.size = os.fstat(file.fileno()).st_size
        yield headers.encode(header)
        yield from _content(file.fileno(), [(0, header.size)])


def _content(descriptor: int, pieces: list[tuple[int, int]], tail: bytes = b"") -> Iterator[bytes]:
    """Yield the pieces of a file, each a place and a size, then `tail` and the padding.

    A file that shrank meanwhile is padded with zeros. So is a file that can't be read; its OSError
    is raised after that, so that the caller can continue the tar.
    """
    unreadable: OSError | None = None
    for start, size in pieces:
        at, end = start, start + size
        while at < end:
            wanted = min(CHUNK_BYTES, end - at)
            try:
                piece = b"" if unreadable else os.pread(descriptor, wanted, at)
            except OSError as error:
                unreadable, piece = error, b""
            piece = piece or bytes(wanted)
            yield piece
            at += len(piece)
    yield tail + padding(sum(size for _, size in pieces) + len(tail))
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


def held_member(header: tarfile.TarInfo, content: bytes) -> Iterator[bytes]:
    """Yield the bytes of a file's member whose content is in memory."""
    header.size = len(content)
    yield headers.encode(header)
    yield content + padding(len(content))


def padding(size: int) -> bytes:
    """Return the zeros that fill the last block behind `size` bytes of content."""
    return bytes(-size % tarfile.BLOCKSIZE)
