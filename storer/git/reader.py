"""Reading a git repository: its references, and its objects, each compared with its name.

A loose object in a file, as ours are until a kata is packed, is read here: libgit2 takes longer
to open a repository than this takes to read a light, and is not to see an object that may be
damaged. What is in a pack is libgit2's to read, and so is a reference that has no file.

The formats are git's own: https://git-scm.com/book/en/v2/Git-Internals-Git-Objects.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pygit2
from pygit2.enums import ObjectType

from storer.git import loose_objects

_KINDS = {
    ObjectType.COMMIT: "commit",
    ObjectType.TREE: "tree",
    ObjectType.BLOB: "blob",
    ObjectType.TAG: "tag",
}
_COMMIT = re.compile(rb"[0-9a-f]{40}\n?")
# What the content of a commit, and of a tag with a message, begins with.
_NAMED = {"commit": b"tree ", "tag": b"object "}
_NAME_BYTES = 20
_ENTRY = re.compile(rb"([0-7]+) ([^\0]+)\0(.{20})", re.DOTALL)
_BESIDE_BYTES = _NAME_BYTES + len(b" \0")

_KIND_OF_FILE = 0o170000
_FOLDER = 0o040000
_SUBMODULE = 0o160000  # what it names is in another repository


class TreeEntry(NamedTuple):
    """What a folder has under a name: the name of an object."""

    mode: int
    object: str

    @property
    def is_folder(self) -> bool:
        """Whether the object is a tree."""
        return self.mode & _KIND_OF_FILE == _FOLDER

    @property
    def is_submodule(self) -> bool:
        """Whether the object is another repository's."""
        return self.mode & _KIND_OF_FILE == _SUBMODULE


class GitReader:
    """A repository, to read from. Belongs to one thread.

    All of it raises ValueError, KeyError, OSError or pygit2.GitError where something is missing
    or damaged.
    """

    def __init__(self, git: Path) -> None:
        self._git = git
        self._repository: pygit2.Repository | None = None

    def open_repository(self) -> pygit2.Repository:
        """Return the repository as libgit2 opens it, which takes a while the first time."""
        if self._repository is None:
            self._repository = pygit2.Repository(str(self._git))
        return self._repository

    def commit(self, reference: str) -> str:
        """Return the name of the commit that a reference leads to."""
        name = self._target(reference)
        kind, content = self.read(name)
        while kind == "tag":
            name = _named(kind, content)
            kind, content = self.read(name)
        if kind != "commit":
            raise ValueError(f"{name} is no commit")
        return name

    def root(self, reference: str) -> dict[bytes, TreeEntry]:
        """Return the folder of the commit that a reference leads to."""
        name = self._target(reference)
        kind, content = self.read(name)
        while kind in _NAMED:
            name = _named(kind, content)
            kind, content = self.read(name)
        return _folder(name, kind, content)

    def folder(self, name: str) -> dict[bytes, TreeEntry]:
        """Return what the tree of this name holds."""
        return _folder(name, *self.read(name))

    def blob(self, name: str) -> bytes:
        """Return the content of a file."""
        kind, content = self.read(name)
        if kind != "blob":
            raise ValueError(f"{name} is a {kind}, and no file")
        return content

    def read(self, name: str) -> tuple[str, bytes]:
        """Return an object's kind and content."""
        found = loose_objects.read(self._git, name)
        if found is not None:
            return found
        try:
            number, content = self.open_repository().read(name)
        except KeyError:
            raise ValueError(f"the object {name} is missing") from None
        return _KINDS[ObjectType(number)], content

    def _target(self, reference: str) -> str:
        try:
            content = loose_objects.content_of(f"{self._git}/{reference}")
        except FileNotFoundError:  # git can keep many of them in one file
            content = b""
        if _COMMIT.fullmatch(content):
            return content[: 2 * _NAME_BYTES].decode()
        return str(self.open_repository().references[reference].resolve().target)


def entries(content: bytes) -> Iterator[tuple[bytes, TreeEntry]]:
    """Yield the names that a tree holds, and what they stand for; raise ValueError if it can't."""
    found = _ENTRY.findall(content)
    if sum(len(mode) + len(name) + _BESIDE_BYTES for mode, name, _ in found) != len(content):
        raise ValueError("it is cut off, or no tree")
    for mode, name, entry in found:
        yield name, TreeEntry(int(mode, 8), entry.hex())


def _folder(name: str, kind: str, content: bytes) -> dict[bytes, TreeEntry]:
    if kind != "tree":
        raise ValueError(f"{name} is a {kind}, and no folder")
    return dict(entries(content))


def _named(kind: str, content: bytes) -> str:
    """Return the object that a commit's or a tag's first line names."""
    key = _NAMED[kind]
    name = content[len(key) : len(key) + 2 * _NAME_BYTES]
    if not content.startswith(key) or not _COMMIT.fullmatch(name):
        raise ValueError(f"a {kind} begins with {content[:60]!r}")
    return name.decode()
