"""Packs an avatar's git objects and tags into a few files, for a tar of the archive.

A light adds half a dozen files to a repository, one for each object and one for its tag. The time
to archive and to fetch a kata depends mostly on its number of files. So the tar holds one pack with
its index, and one file of tags. The pack has every object, unreachable ones too.

The newest tag keeps a file of its own, because that is quicker to read.
"""

import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import pygit2
import structlog

from dojo import free_space
from dojo.errors import DiskFull
from storer.fs import durable, tree
from storer.git.libgit2 import in_words
from storer.git.reader import GitReader, packed_references
from storer.kata.history import GIT
from storer.kata.kata import Kata

# Temporary folders are in the kata's folder: on the same disk, and deleted together with the kata.
_TEMPORARY = ".packing-"
_TAGS = "refs/tags/"
# Up to this many loose objects of an avatar go into the tar faster than a new pack of all objects.
_MAX_UNPACKED = 32
# More packs than this are made one. A kata gets one more each time that it comes back with copies.
_MAX_PACKS = 8

_log = structlog.get_logger()

_OBJECT = re.compile(r"[0-9a-f]{2}/[0-9a-f]{38}")


@dataclass
class PackedObjects:
    """Files for the tar in place of loose objects and tags, by their path in the kata's folder.

    Each of `files` is the content, or the path of a file that has the content. `avatars` are those
    whose objects are packed. `tags` are the tags that keep their own files. `damaged` are the
    avatars with objects that can't be packed.
    """

    files: dict[PurePosixPath, bytes | Path] = field(default_factory=dict)
    avatars: set[str] = field(default_factory=set)
    tags: set[PurePosixPath] = field(default_factory=set)
    damaged: set[str] = field(default_factory=set)

    def replaces(self, path: PurePosixPath) -> bool:
        """Return whether `files` has the content of the file at `path`, in another form."""
        parts = path.parts
        if len(parts) < 3 or parts[0] not in self.avatars or parts[1] != GIT:
            return False
        match parts[2:]:
            case ("packed-refs",):
                return True
            case ("refs", "tags", _, *_):
                return path not in self.tags
            case ("objects", "pack", _):
                return True
            case ("objects", name, *_):
                return len(name) == 2
        return False


@contextmanager
def pack_objects(kata: Kata, references: Mapping[PurePosixPath, bytes]) -> Iterator[PackedObjects]:
    """Pack all objects and the tags of a kata's avatars, with the tags as in `references`.

    Avatars with few loose objects and packs stay as they are, and so do damaged ones. Only one
    caller at a time may pack a kata: temporary folders that are there are removed. Raises DiskFull.
    """
    packed = PackedObjects()
    for leftover in kata.folder.glob(f"{_TEMPORARY}*"):
        shutil.rmtree(leftover, ignore_errors=True)
    with ExitStack() as temporary:
        for name in kata.avatar_names():
            git, at = kata.folder / name / GIT, PurePosixPath(name) / GIT
            if not (git / "objects").is_dir() or not _is_to_pack(git):
                continue
            folder = Path(
                temporary.enter_context(
                    tempfile.TemporaryDirectory(prefix=_TEMPORARY, dir=kata.folder)
                )
            )
            try:
                _pack(git, folder)
                packed.files[at / "packed-refs"] = _packed_references(references, at)
            except (pygit2.GitError, KeyError, ValueError) as error:
                _log.warning("avatar not packed", avatar=name, reason=in_words(error))
                packed.damaged.add(name)
                continue
            for path in folder.iterdir():
                packed.files[at / "objects" / "pack" / path.name] = path
            packed.tags.update(_newest_tag(references, at))
            packed.avatars.add(name)
        yield packed


def _pack(git: Path, folder: Path) -> None:
    """Pack all objects of a repository into `folder`. Raises DiskFull or pygit2.GitError."""
    try:
        with durable.translate_disk_errors():
            GitReader(git).open_whole_repository().pack(folder, n_threads=1)
    except pygit2.GitError as error:
        # libgit2 gives no reason if it can't write a pack's index, and removes the pack.
        needed_bytes = sum(each.status.st_blocks * 512 for each in tree.walk(git / "objects"))
        if free_space.free_bytes(folder) < needed_bytes:
            raise DiskFull(f"there is no room for a pack of {git}") from error
        raise


def _is_to_pack(git: Path) -> bool:
    return _loose_count(git) > _MAX_UNPACKED or _pack_count(git) > _MAX_PACKS


def _pack_count(git: Path) -> int:
    return sum(1 for _ in (git / "objects/pack").glob("*.pack"))


def _loose_count(git: Path) -> int:
    """Return the number of loose objects."""
    entries = tree.walk(git / "objects", lambda path: len(path.name) == 2)
    return sum(_OBJECT.fullmatch(str(each.path)) is not None for each in entries)


def _newest_tag(
    references: Mapping[PurePosixPath, bytes], git: PurePosixPath
) -> Iterator[PurePosixPath]:
    """Yield the path of the newest light's tag, if the tag is a loose file."""
    tags = git / _TAGS
    numbers = [path.name for path in references if path.parent == tags and path.name.isdecimal()]
    if numbers:
        yield tags / max(numbers, key=int)


def _packed_references(references: Mapping[PurePosixPath, bytes], git: PurePosixPath) -> bytes:
    """Return packed-refs with the loose tags added, which replace packed tags of the same name."""
    packed = references.get(git / "packed-refs", b"").splitlines()
    found = dict(packed_references(packed, errors="strict"))
    for path, content in references.items():
        if path.is_relative_to(git) and (name := str(path.relative_to(git))).startswith(_TAGS):
            found[name] = content.decode().strip()
    # Without a header that says that tags are peeled, git peels them itself.
    return "".join(f"{found[name]} {name}\n" for name in sorted(found)).encode()
