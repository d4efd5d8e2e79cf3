"""Katas of version 2 of a saver: a git repository, in which tag N is event N.

The working tree is old: a saver of today commits without it. So all but manifest.json, which never
changes, is read from git. A copy of the objects and references is read, and each object is checked
first, as in any repository that somebody else wrote.
"""

import re
from pathlib import Path
from typing import Any

import pygit2

from dojo import limits, waits
from dojo.budget import Budget
from dojo.errors import InvalidArgument
from storer.fs import json_files
from storer.fs.json_files import Unreadable
from storer.git import untrusted_repository
from storer.git.libgit2 import in_words
from storer.git.reader import GitReader, TreeEntry
from storer.kata.history import TreeFiles
from storer.saver import files, plain
from storer.saver.files import Damaged, Folder
from storer.saver.kata import EVENTS, MANIFEST, Content, SaverKata

GIT = ".git"
FILES = "files"
OPTIONS = "options.json"
TRUNCATIONS = "truncations.json"
# Ours: the results of each test, of one event.
RESULTS = "test_results.json"

_WANTED = {"HEAD", "objects", "refs", "packed-refs"}
# Each object is read a few times: those that events share, with each of them.
_READ_BYTES = 4 * limits.GIT_BYTES

_ERRORS = (
    pygit2.GitError,
    KeyError,
    ValueError,
    OSError,
    Unreadable,
    InvalidArgument,
    untrusted_repository.Damaged,
)
_PARENT = re.compile(rb"parent ([0-9a-f]{40})\n")
_COMMIT = re.compile(rb"(?:[0-9a-f]{40})\n?")


class RepositoryKata(SaverKata):
    """A kata of version 2."""

    def __init__(self, folder: Folder, copied: Path, budget: Budget) -> None:
        """Copy the repository into `copied`, which the caller made and removes; read its list.

        Raises Damaged or BudgetExceeded.
        """
        super().__init__(folder.path, budget)
        self._git = copied
        source = Path(f"/proc/self/fd/{folder.descriptor}/{GIT}")
        with self._reading(GIT):
            files.copy(
                source,
                copied,
                budget,
                lambda path: path.parts[0] in _WANTED and len(path.parts) <= 4,
            )
            self._taken = untrusted_repository.take(copied, budget)
        self._reader = GitReader(copied, Budget(max_bytes=_READ_BYTES))
        self._known: dict[str, bytes] = {}
        head = self._head()
        with self._reading(EVENTS):
            root = self._reader.root_of(head)
            self.events = plain.parse_events(self._blob(root, EVENTS), f"{self.path}/{EVENTS}")
        with self._reading(MANIFEST):
            self.manifest = json_files.loads(self._blob(root, MANIFEST), dict)
        with self._reading(OPTIONS):
            if OPTIONS.encode() in root:
                self.options = json_files.loads(self._blob(root, OPTIONS), dict)
        self._untagged = self._find_untagged(head)

    def content(self, place: int) -> Content:
        """Return the content of an event."""
        waits.check()
        tag = f"refs/tags/{place}"
        with self._reading(tag):
            target = self._taken.references.get(tag) or self._untagged.get(place)
            if target is None:
                raise Unreadable("is missing")
            root = self._reader.root_of(target)
            truncations: dict[str, Any] = {}
            if TRUNCATIONS.encode() in root:
                truncations = json_files.loads(self._blob(root, TRUNCATIONS), dict)
            status = self._optional(root, "status")
            return Content(
                self._files(root),
                self._optional(root, "stdout") or b"",
                self._optional(root, "stderr") or b"",
                None if status is None else status.decode("utf-8", "replace"),
                truncations.get("stdout") is True,
                truncations.get("stderr") is True,
                test_results=self._results(root, place),
            )

    def _head(self) -> str:
        """Return the object that HEAD leads to."""
        with self._reading("HEAD"):
            head = (self._git / "HEAD").read_bytes()
            if _COMMIT.fullmatch(head):
                return head.decode().strip()
            branch = head.decode("utf-8", "replace").removeprefix("ref:").strip()
            for name in (branch, "refs/heads/main", "refs/heads/master"):
                if name in self._taken.references:
                    return self._taken.references[name]
            raise Unreadable("names no branch that is there")

    def _find_untagged(self, head: str) -> dict[int, str]:
        """Return the commits of events, by place, that a saver died before it tagged."""
        wanted = {
            str(place): place
            for place in range(len(self.events))
            if f"refs/tags/{place}" not in self._taken.references
        }
        found: dict[int, str] = {}
        name = head
        for _ in range(2 * len(self.events)):  # settings of options are commits, too
            if len(found) == len(wanted):
                break
            waits.check()
            with self._reading("HEAD"):
                kind, content = self._reader.read(name)
                if kind != "commit":
                    break
                lines, _, message = content.partition(b"\n\n")
                place = wanted.get(message.split(b" ", 1)[0].decode("ascii", "replace"))
                if place is not None:
                    found.setdefault(place, name)
                parent = _PARENT.search(lines + b"\n")
            if parent is None:
                break
            name = parent[1].decode()
        return found

    def _files(self, root: dict[bytes, TreeEntry]) -> dict[str, bytes]:
        entry = root.get(FILES.encode())
        if entry is None:
            return {}  # git has no empty folders
        if not entry.is_folder:
            raise Unreadable(f"{FILES} is not a folder")
        # Only those of the event before are known: all together can be more than memory.
        known: dict[str, bytes] = dict(self._known)
        found = TreeFiles(self._reader, known, ()).read(entry.object)
        used = {id(content) for content in found.values()}
        self._known = {name: content for name, content in known.items() if id(content) in used}
        return found

    def _results(self, root: dict[bytes, TreeEntry], place: int) -> dict[str, Any] | None:
        """Return the results of each test, if they are those of this event."""
        if RESULTS.encode() not in root:
            return None
        value = json_files.loads(self._blob(root, RESULTS), dict)
        results = value.get("results")
        return results if value.get("index") == place and isinstance(results, dict) else None

    def _optional(self, root: dict[bytes, TreeEntry], name: str) -> bytes | None:
        return self._blob(root, name) if name.encode() in root else None

    def _blob(self, root: dict[bytes, TreeEntry], name: str) -> bytes:
        found = root.get(name.encode())
        if found is None:
            raise Unreadable("is missing")
        if found.is_folder or found.is_submodule:
            raise Unreadable("is not a file")
        return self._reader.blob(found.object)

    def _reading(self, what: str) -> "_Reading":
        return _Reading(f"{self.path}/{what}")


class _Reading:
    """Raises Damaged, naming what is read, for all that reading git can raise."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, untrusted_repository.Damaged):
            raise Damaged(f"{self._path}/{error.path}", error.reason) from None
        if isinstance(error, _ERRORS):
            raise Damaged(self._path, in_words(error) or type(error).__name__) from error
