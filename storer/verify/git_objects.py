"""Verify the objects of a git repository, as `git fsck --full` does: each against its name.

Reading takes no lock. Findings are checked again with the lock on the avatar's folder held: then
nobody writes, and an object of a light that was being recorded is referenced by its tag.
"""

import contextlib
import hashlib
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pygit2
from pygit2.enums import ObjectType

from dojo import waits
from storer.fs import tree
from storer.git import libgit2, loose_objects, packed_sizes
from storer.git.reader import entries, named_objects
from storer.kata import edit

_OBJECTS = "objects"
_FOLDER = re.compile(r"[0-9a-f]{2}\Z")
_OBJECT = re.compile(r"[0-9a-f]{38}\Z")
_DIGEST_BYTES = 20
_PIECE_BYTES = 1024**2

_PACKED_KINDS = {ObjectType.TREE: "tree", ObjectType.COMMIT: "commit", ObjectType.TAG: "tag"}

# The beginning of the names that git and libgit2 give to incomplete objects and packs.
UNFINISHED = "tmp_"


@dataclass(frozen=True, slots=True)
class BrokenObject:
    """Something that is wrong in a repository; `path` is relative to its folder."""

    path: str
    what: str


class ObjectsCheck:
    """The check of the objects of the repository in `git`. Belongs to one thread.

    Memory holds the names of the objects, but not the objects.
    """

    def __init__(self, git: Path) -> None:
        self._git = git
        self._seen: set[str] = set()
        self._unreferenced: dict[str, tuple[str, ...]] = {}
        self._broken: dict[str, str] = {}
        self._referenced_by: dict[str, str] = {}
        self._too_large: dict[str, str] = {}
        self.size_bytes = 0

    def read(self) -> None:
        """Read every object: those that references lead to first, then all others."""
        repository = libgit2.opened(self._git)
        self._too_large = packed_sizes.too_large(self._git)
        self._follow(repository, _roots(repository, self._git))
        for found in repository.odb:
            name = str(found)
            if name not in self._seen and name not in self._broken:
                children = self._read(repository, name, "")
                if children is not None:
                    self._unreferenced[name] = children

    @property
    def count(self) -> int:
        """The number of objects that were read."""
        return len(self._seen) + len(self._unreferenced)

    def is_broken(self) -> bool:
        """Say whether an object is missing or damaged: libgit2 should not read this repository."""
        return bool(self._broken)

    def needs_recheck(self) -> bool:
        """Say whether anything has to be checked again."""
        return bool(self._broken or self._unreferenced)

    def recheck(self) -> None:
        """Drop findings that no longer hold. For the holder of the lock on the avatar's folder."""
        repository = libgit2.opened(self._git)  # another caches nothing of the first read
        for name in list(self._broken):
            del self._broken[name]
            self._seen.discard(name)
            self._follow(repository, [(self._referenced_by.get(name, ""), name)])
        self._follow(repository, _roots(repository, self._git))
        for name in list(self._unreferenced):
            if name in self._seen:
                del self._unreferenced[name]

    def broken(self) -> Iterator[BrokenObject]:
        """Yield the objects that are missing or damaged, whether or not anything needs them."""
        for name, reason in sorted(self._broken.items()):
            referenced_by = self._referenced_by.get(name)
            what = f"{reason}; {referenced_by} needs it" if referenced_by else reason
            yield BrokenObject(f"{_OBJECTS}/{name[:2]}/{name[2:]}", what)

    def dangling(self) -> Iterator[BrokenObject]:
        """Yield the objects that neither a reference nor another object leads to."""
        referenced = {child for children in self._unreferenced.values() for child in children}
        for name in sorted(self._unreferenced):
            if name not in referenced and name not in self._broken:
                path = f"{_OBJECTS}/{name[:2]}/{name[2:]}"
                yield BrokenObject(path, "nothing leads to this object; it does no harm")

    def _follow(self, repository: pygit2.Repository, roots: Iterable[tuple[str, str]]) -> None:
        """Read all objects that the roots (what refers to it, its name) lead to, each once."""
        for referenced_by, root in roots:
            pending = [root]
            while pending:
                waits.check()
                name = pending.pop()
                if name in self._seen or name in self._broken:
                    continue
                children = self._unreferenced.get(name)
                if children is None:
                    children = self._read(repository, name, referenced_by)
                if children is not None:
                    self._seen.add(name)
                    pending += children

    def _read(
        self, repository: pygit2.Repository, name: str, referenced_by: str
    ) -> tuple[str, ...] | None:
        """Return the names of the objects that an object refers to; None if it is broken."""
        try:
            found = loose_objects.read(self._git, name)
            if found is None:
                if name in self._too_large:
                    raise ValueError(self._too_large[name])
                # It is in a pack: libgit2 compares its content with its name.
                number, content = repository.odb.read(name)
                found = _PACKED_KINDS.get(number, ""), content
            self.size_bytes += len(found[1])
            return _children(*found)
        except KeyError:
            reason = "the object is missing"
        except (pygit2.GitError, ValueError) as error:
            reason = f"the object is damaged: {str(error).removeprefix(f'{name}: ')}"
        self._broken[name] = reason
        if referenced_by:
            self._referenced_by.setdefault(name, referenced_by)
        return None


def broken_packs(git: Path) -> Iterator[BrokenObject]:
    """Yield the packs and indexes that are not as they were written."""
    for pack in sorted((git / _OBJECTS / "pack").glob("*.pack")):
        path = f"{_OBJECTS}/pack/{pack.name}"
        index = pack.with_suffix(".idx")
        try:
            trailer = _verified_trailer(pack)
            if not index.exists():
                yield BrokenObject(path, "its index is missing, so nothing in it can be found")
                continue
            path = f"{_OBJECTS}/pack/{index.name}"
            _verified_trailer(index)
            with index.open("rb") as file:
                file.seek(-2 * _DIGEST_BYTES, 2)
                if file.read(_DIGEST_BYTES) != trailer:
                    yield BrokenObject(path, "is the index of another pack")
        except FileNotFoundError:
            continue  # git has just packed again
        except (OSError, ValueError) as error:
            yield BrokenObject(path, str(error))


def stray_files(git: Path) -> Iterator[tuple[Path, bool]]:
    """Yield files among the objects that are not objects, and whether each is an incomplete one."""
    for folder in sorted((git / _OBJECTS).iterdir()):
        if folder.name == "pack":
            yield from ((path, True) for path in sorted(folder.glob(f"{UNFINISHED}*")))
        elif _FOLDER.match(folder.name):
            for path in sorted(folder.iterdir()):
                if not _OBJECT.match(path.name):
                    yield path, path.name.startswith(UNFINISHED)
        elif folder.name.startswith(UNFINISHED):
            yield folder, True


def _verified_trailer(path: Path) -> bytes:
    """Return the digest that ends a pack or its index; raise ValueError if it is wrong."""
    size = path.stat().st_size
    digest = hashlib.sha1(usedforsecurity=False)
    with path.open("rb") as file:
        remaining = size - _DIGEST_BYTES
        while remaining > 0 and (piece := file.read(min(_PIECE_BYTES, remaining))):
            digest.update(piece)
            remaining -= len(piece)
        trailer = file.read(_DIGEST_BYTES)
    if trailer != digest.digest():
        raise ValueError("its content does not match its digest")
    return trailer


def _roots(repository: pygit2.Repository, git: Path) -> Iterator[tuple[str, str]]:
    """Yield what refers to objects, and their names: the lights by number, then the rest."""
    names = sorted(repository.listall_references(), key=_lights_first)
    for name in names:
        try:
            yield _shown(name), str(repository.lookup_reference(name).resolve().target)
        except (pygit2.GitError, KeyError):
            continue  # LightsCheck reports it
    if repository.head_is_detached:
        yield "HEAD", str(repository.head.target)
    with contextlib.suppress(pygit2.GitError):  # LightsCheck reports it
        yield from (("the index", str(entry.id)) for entry in repository.index)
    for found in tree.walk(git, lambda path: path.parts[0] == "logs"):
        if found.path.parts[0] == "logs" and stat.S_ISREG(found.status.st_mode):
            with open(found.open(), errors="replace", encoding="utf-8") as log:
                for line in log.read().splitlines():
                    names = line.split(" ", 2)[:2]
                    yield from (("a log", name) for name in names if name.strip("0"))


def _lights_first(name: str) -> tuple[int, int, str]:
    number = name.removeprefix("refs/tags/")
    return (0, int(number), name) if number.isdigit() and number.isascii() else (1, 0, name)


def _shown(reference: str) -> str:
    number = reference.removeprefix("refs/tags/")
    if edit.number_of(reference) is not None:
        return f"edit {number}"
    return f"light {number}" if number.isdigit() else reference


def _children(kind: str, content: bytes) -> tuple[str, ...]:
    """Return the names that an object refers to; raise ValueError if it is malformed."""
    if kind == "tree":
        return tuple(each.object for _, each in entries(content) if not each.is_submodule)
    if kind in {"commit", "tag"}:
        found = tuple(named_objects(content))
        if not found:
            raise ValueError("it refers to no object")
        return found
    return ()
