"""Katas of version 2 of a saver: a git repository, in which tag N is event N.

The working tree is old: a saver of today commits without it. So all is read from git. Nothing of it
is trusted: each loose object is compared with its name as it is read. Packs are copied, and all
that is in them is checked before libgit2 reads any, as in a repository that comes in.
"""

import contextlib
import re
import stat
from pathlib import Path, PurePosixPath
from typing import Any

import pygit2

from dojo import limits, waits
from dojo.budget import Budget
from dojo.errors import InvalidArgument
from storer.fs import json_files
from storer.fs.json_files import Unreadable
from storer.git import loose_objects, untrusted_repository
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

_PACKS = PurePosixPath("objects/pack")
_MAX_HEAD_BYTES = 1000
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
        """Copy packs into `copied`, which the caller made and removes; read the list of events.

        Raises Damaged or BudgetExceeded.
        """
        super().__init__(folder.path, budget)
        self._source = Path(f"/proc/self/fd/{folder.descriptor}/{GIT}")
        with self._reading(GIT):
            self._references = untrusted_repository.references(self._source, budget)
            self._reader = _Reader(self._source, copied, budget)
        self._known: dict[str, bytes] = {}
        with folder.inside(GIT) as git:
            head = self._head(git)
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
            target = self._references.get(tag) or self._untagged.get(place)
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

    def _head(self, folder: Folder) -> str:
        """Return the object that HEAD leads to."""
        with self._reading("HEAD"):
            head = folder.read("HEAD", self.budget, _MAX_HEAD_BYTES)
            if _COMMIT.fullmatch(head):
                return head.decode().strip()
            branch = head.decode("utf-8", "replace").removeprefix("ref:").strip()
            for name in (branch, "refs/heads/main", "refs/heads/master"):
                if name in self._references:
                    return self._references[name]
            raise Unreadable("names no branch that is there")

    def _find_untagged(self, head: str) -> dict[int, str]:
        """Return the commits of events, by place, that a saver died before it tagged.

        It is the first whose list of events has the event. Its message begins with the number that
        a browser counted, which can be that of an earlier event.
        """
        wanted = {
            place
            for place in range(len(self.events))
            if f"refs/tags/{place}" not in self._references
        }
        found: dict[int, str] = {}
        counts: dict[str, int] = {}
        name: str | None = head
        while wanted and name is not None:
            waits.check()
            self.budget.take_entry()
            with self._reading("HEAD"):
                count = self._count(name, counts)
                here = {place for place in wanted if place < count}
                found |= dict.fromkeys(here, name)
                kind, content = self._reader.read(name)
                is_commit = here and kind == "commit"
                parent = _PARENT.search(content.partition(b"\n\n")[0] + b"\n")
            name = parent[1].decode() if is_commit and parent is not None else None
        return found

    def _count(self, commit: str, counts: dict[str, int]) -> int:
        """Return how many events there were at a commit; `counts` are those of lists, by name."""
        listed = self._reader.root_of(commit).get(EVENTS.encode())
        if listed is None:
            return 0
        if listed.object not in counts:
            found = plain.parse_events(self._reader.blob(listed.object), f"{self.path}/{EVENTS}")
            counts[listed.object] = len(found)
        return counts[listed.object]

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


class _Reader(GitReader):
    """Reads objects of a repository that stays as it is, and of a copy of its packs."""

    def __init__(self, source: Path, copied: Path, budget: Budget) -> None:
        """Copy the packs of `source` into the empty folder `copied`; check what is in them.

        Raises untrusted_repository.Damaged or BudgetExceeded.
        """
        super().__init__(copied, Budget(max_bytes=_READ_BYTES))
        self._source = source
        files.copy(source, copied, budget, _is_wanted)
        self._has_packs = any((copied / _PACKS).glob("*.pack"))
        if self._has_packs:
            (copied / "HEAD").write_text(f"ref: {untrusted_repository.DEFAULT_BRANCH}\n")
            untrusted_repository.take(copied, budget)

    def read(self, name: str, *budgets: Budget) -> tuple[str, bytes]:
        """Return an object's kind and content, as a GitReader does."""
        path = self._source / f"objects/{name[:2]}/{name[2:]}"
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            if not stat.S_ISREG(path.lstat().st_mode):
                raise ValueError(f"the object {name} is not a file")
            drawn = (*budgets, self._budget) if self._budget is not None else budgets
            if (found := loose_objects.read(self._source, name, *drawn)) is not None:
                return found
        if not self._has_packs:
            raise ValueError(f"the object {name} is missing")
        return super().read(name, *budgets)


def _is_wanted(path: PurePosixPath) -> bool:
    """Say whether a path leads to a pack."""
    parts, at = path.parts, _PACKS.parts
    is_above = parts == at[: len(parts)]
    return is_above or (parts[:-1] == at and path.suffix == ".pack")


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
