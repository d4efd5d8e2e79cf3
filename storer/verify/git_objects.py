"""Checking a git repository's objects, as `git fsck --full` does: each against its name.

Reading takes no lock. What is found is looked at again by the holder of the lock on the avatar's
folder: then nobody writes, and an object that nothing led to, because its light was just being
recorded, has its tag.
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

from storer.fs import tree
from storer.git import loose_objects
from storer.git.reader import entries

_OBJECTS = "objects"
_FOLDER = re.compile(r"[0-9a-f]{2}\Z")
_OBJECT = re.compile(r"[0-9a-f]{38}\Z")
_DIGEST_BYTES = 20
_PIECE_BYTES = 1024**2

_PACKED_KINDS = {ObjectType.TREE: "tree", ObjectType.COMMIT: "commit", ObjectType.TAG: "tag"}

# What git and libgit2 call an object, or a pack, that they have not finished.
UNFINISHED = "tmp_"


@dataclass(frozen=True, slots=True)
class BrokenObject:
    """Something in a repository that is not what it should be; `path` is from its folder."""

    path: str
    what: str


class ObjectsCheck:
    """The objects of the repository in `git`. Belongs to one thread.

    What is in memory are the names of the objects, of one avatar.
    """

    def __init__(self, git: Path) -> None:
        self._git = git
        self._seen: set[str] = set()
        self._unreferenced: dict[str, tuple[str, ...]] = {}
        self._broken: dict[str, str] = {}
        self._referenced_by: dict[str, str] = {}
        self.size_bytes = 0

    def read(self) -> None:
        """Read every object: what references lead to first, and then the rest."""
        repository = pygit2.Repository(str(self._git))
        self._follow(repository, _roots(repository, self._git))
        for found in repository.odb:
            name = str(found)
            if name not in self._seen and name not in self._broken:
                children = self._read(repository, name, "")
                if children is not None:
                    self._unreferenced[name] = children

    def is_broken(self) -> bool:
        """Say whether anything is missing or damaged; then libgit2 had better not read it."""
        return bool(self._broken)

    def needs_recheck(self) -> bool:
        """Say whether there is anything that has to be looked at again."""
        return bool(self._broken or self._unreferenced)

    def recheck(self) -> None:
        """Forget what is no longer so. For the holder of the lock on the avatar's folder."""
        repository = pygit2.Repository(str(self._git))  # another has what the first kept
        for name in list(self._broken):
            del self._broken[name]
            self._seen.discard(name)
            self._follow(repository, [(self._referenced_by.get(name, ""), name)])
        self._follow(repository, _roots(repository, self._git))
        for name in list(self._unreferenced):
            if name in self._seen:
                del self._unreferenced[name]

    def broken(self) -> Iterator[BrokenObject]:
        """Yield what is missing or damaged, and is needed by something or not."""
        for name, reason in sorted(self._broken.items()):
            referenced_by = self._referenced_by.get(name)
            what = f"{reason}; {referenced_by} needs it" if referenced_by else reason
            yield BrokenObject(f"{_OBJECTS}/{name[:2]}/{name[2:]}", what)

    def dangling(self) -> Iterator[BrokenObject]:
        """Yield the objects that nothing leads to, not even another of them."""
        referenced = {child for children in self._unreferenced.values() for child in children}
        for name in sorted(self._unreferenced):
            if name not in referenced and name not in self._broken:
                path = f"{_OBJECTS}/{name[:2]}/{name[2:]}"
                yield BrokenObject(path, "nothing leads to this object; it does no harm")

    def _follow(self, repository: pygit2.Repository, roots: Iterable[tuple[str, str]]) -> None:
        """Read what is not yet read of that which the roots (who needs it, its name) lead to."""
        for referenced_by, root in roots:
            pending = [root]
            while pending:
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
        """Return the names that an object holds, or None, and take note, if it is broken."""
        try:
            found = loose_objects.read(self._git, name)
            if found is None:
                # In a pack: libgit2 compares what it read with the name.
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
    """Yield the packs that are not as they were written."""
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
            continue  # packed anew meanwhile
        except (OSError, ValueError) as error:
            yield BrokenObject(path, str(error))


def stray_files(git: Path) -> Iterator[tuple[Path, bool]]:
    """Yield the files among the objects that are none, and whether they are unfinished ones."""
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
    """Return the digest that a pack or its index ends with; raise ValueError if it is wrong."""
    size = path.stat().st_size
    digest = hashlib.sha1(usedforsecurity=False)
    with path.open("rb") as file:
        remaining = size - _DIGEST_BYTES
        while remaining > 0 and (piece := file.read(min(_PIECE_BYTES, remaining))):
            digest.update(piece)
            remaining -= len(piece)
        trailer = file.read(_DIGEST_BYTES)
    if trailer != digest.digest():
        raise ValueError("is not what its digest says")
    return trailer


def _roots(repository: pygit2.Repository, git: Path) -> Iterator[tuple[str, str]]:
    """Yield who leads to objects (the lights in their order, then the rest), and their names."""
    names = sorted(repository.listall_references(), key=_lights_first)
    for name in names:
        try:
            yield _shown(name), str(repository.lookup_reference(name).resolve().target)
        except (pygit2.GitError, KeyError):
            continue  # it is told of by those who check the references themselves
    if repository.head_is_detached:
        yield "HEAD", str(repository.head.target)
    with contextlib.suppress(pygit2.GitError):  # likewise
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
    return f"light {number}" if number.isdigit() else reference


def _children(kind: str, content: bytes) -> tuple[str, ...]:
    """Return the names of the objects that an object names; raise ValueError if it is malformed."""
    if kind == "tree":
        return tuple(each.object for _, each in entries(content) if not each.is_submodule)
    if kind in {"commit", "tag"}:
        found = []
        for line in content.partition(b"\n\n")[0].split(b"\n"):
            key, _, value = line.partition(b" ")
            if key in {b"tree", b"parent", b"object"}:
                found.append(value.decode("ascii"))
            else:
                break
        if not found:
            raise ValueError("it names no object")
        return tuple(found)
    return ()
