"""Reads a git repository: its references, and its objects, each checked against its name.

Loose objects, which all objects are until a kata is packed, are read here. libgit2 takes longer to
open a repository than this module takes to read a light, and loops forever on some damaged objects.
libgit2 reads packed objects, and references without a file of their own.

The formats are git's own: https://git-scm.com/book/en/v2/Git-Internals-Git-Objects.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import pygit2
from pygit2.enums import ObjectType

from dojo.budget import Budget
from storer.git import libgit2, loose_objects, packed_sizes

_KINDS = {
    ObjectType.COMMIT: "commit",
    ObjectType.TREE: "tree",
    ObjectType.BLOB: "blob",
    ObjectType.TAG: "tag",
}
_COMMIT = re.compile(rb"[0-9a-f]{40}\n?")
# The key of the first line of a commit, and of an annotated tag: an object's name follows.
_FIRST_KEYS = {"commit": b"tree ", "tag": b"object "}
_NAME_BYTES = 20
_ENTRY = re.compile(rb"([0-7]++) ([^\0]++)\0(.{20})", re.DOTALL)

_FILE_TYPE = 0o170000
_FOLDER = 0o040000
_SUBMODULE = 0o160000  # the object is in another repository


class TreeEntry(NamedTuple):
    """An entry of a tree: a mode, and the name of an object."""

    mode: int
    object: str

    @property
    def is_folder(self) -> bool:
        """Whether the object is a tree."""
        return self.mode & _FILE_TYPE == _FOLDER

    @property
    def is_submodule(self) -> bool:
        """Whether the object is a commit of another repository."""
        return self.mode & _FILE_TYPE == _SUBMODULE


class GitReader:
    """Reads a repository. Belongs to one thread.

    All methods raise ValueError, KeyError, OSError or pygit2.GitError if an object or a reference
    is missing or damaged; and BudgetExceeded if there is a budget for what is read.
    """

    def __init__(self, git: Path, budget: Budget | None = None) -> None:
        self._git = git
        self._budget = budget
        self._repository: pygit2.Repository | None = None
        self._too_large: dict[str, str] = {}

    def open_repository(self) -> pygit2.Repository:
        """Return libgit2's repository, for references and for objects that were read here.

        The first call opens it, which is slow.
        """
        if self._repository is None:
            opened = libgit2.opened(self._git)
            self._too_large = packed_sizes.too_large(self._git)  # first: a call can end in there
            self._repository = opened
        return self._repository

    def open_whole_repository(self) -> pygit2.Repository:
        """Return libgit2's repository, for any of its objects: none is too large."""
        repository = self.open_repository()
        for name, reason in self._too_large.items():
            raise ValueError(f"the object {name}: {reason}")
        return repository

    def commit(self, reference: str) -> str:
        """Return the name of the commit that a reference leads to."""
        name = self.target(reference)
        kind, content = self.read(name)
        while kind == "tag":
            name = _first_object(kind, content)
            kind, content = self.read(name)
        if kind != "commit":
            raise ValueError(f"the object {name} is a {kind}, not a commit")
        return name

    def root(self, reference: str) -> dict[bytes, TreeEntry]:
        """Return the entries of the root tree of the commit that a reference leads to."""
        return self.root_of(self.target(reference))

    def root_of(self, name: str) -> dict[bytes, TreeEntry]:
        """Return the entries of the root tree of a commit, or of the commit that a tag names."""
        kind, content = self.read(name)
        while kind in _FIRST_KEYS:
            name = _first_object(kind, content)
            kind, content = self.read(name)
        return _tree_entries(name, kind, content)

    def folder(self, name: str) -> dict[bytes, TreeEntry]:
        """Return the entries of the tree of this name."""
        return _tree_entries(name, *self.read(name))

    def blob(self, name: str, *budgets: Budget) -> bytes:
        """Return the content of the blob of this name; draw on the budgets, as `read` does."""
        kind, content = self.read(name, *budgets)
        if kind != "blob":
            raise ValueError(f"the object {name} is a {kind}, not a file")
        return content

    def read(self, name: str, *budgets: Budget) -> tuple[str, bytes]:
        """Return an object's kind and content.

        Draws its bytes on the budgets before the object is held; raises BudgetExceeded.
        """
        if self._budget is not None:
            budgets = (*budgets, self._budget)
        found = loose_objects.read(self._git, name, *budgets)
        if found is not None:
            return found
        try:
            repository = self.open_repository()
            if (reason := self._too_large.get(name)) is not None:
                raise ValueError(f"the object {name}: {reason}")
            if budgets:
                _, size = repository.odb.read_header(name)
                for budget in budgets:
                    budget.take_bytes(size)
            number, content = repository.read(name)
        except KeyError:
            raise ValueError(f"the object {name} is missing") from None
        return _KINDS[ObjectType(number)], content

    def target(self, reference: str) -> str:
        """Return the name of the object that a reference names: a commit, or a tag."""
        try:
            content = loose_objects.read_file(f"{self._git}/{reference}")
        except FileNotFoundError:  # the reference may be in packed-refs
            content = b""
        if _COMMIT.fullmatch(content):
            return content[: 2 * _NAME_BYTES].decode()
        return str(self.open_repository().references[reference].resolve().target)


def packed_references(lines: Iterable[bytes], errors: str = "replace") -> Iterator[tuple[str, str]]:
    """Yield the name and the object of each reference in the lines of packed-refs.

    `errors` says what becomes of a name that is not UTF-8, as for `bytes.decode`.
    """
    for line in lines:
        target, _, name = line.decode("utf-8", errors).rstrip("\r\n").partition(" ")
        if name and not target.startswith(("#", "^")):
            yield name, target


def named_objects(content: bytes) -> Iterator[str]:
    """Yield the objects that a commit or a tag names: its tree and parents, or what it tags."""
    for line in content.partition(b"\n\n")[0].split(b"\n"):
        key, _, name = line.partition(b" ")
        if key not in {b"tree", b"parent", b"object"}:
            return
        yield name.decode("ascii")


def entries(content: bytes) -> Iterator[tuple[bytes, TreeEntry]]:
    """Yield the names in a tree with their entries; raise ValueError where it is malformed."""
    at = 0
    while at < len(content):
        # Not a search: in a malformed tree that would try each byte as the beginning of an entry.
        found = _ENTRY.match(content, at)
        if found is None:
            raise ValueError("the tree is cut off or malformed")
        at = found.end()
        mode, name, entry = found.groups()
        yield name, TreeEntry(int(mode, 8), entry.hex())


def _tree_entries(name: str, kind: str, content: bytes) -> dict[bytes, TreeEntry]:
    if kind != "tree":
        raise ValueError(f"the object {name} is a {kind}, not a folder")
    return dict(entries(content))


def _first_object(kind: str, content: bytes) -> str:
    """Return the name of the object in the first line of a commit or a tag."""
    key = _FIRST_KEYS[kind]
    name = content[len(key) : len(key) + 2 * _NAME_BYTES]
    if not content.startswith(key) or not _COMMIT.fullmatch(name):
        raise ValueError(f"a {kind} begins with {content[:60]!r}")
    return name.decode()
