"""An avatar's history: a git repository in which tag N is light N.

A light's commit holds `sandbox/`, the visible files, and `light.json`, the light with its
output. Legacy commits hold `manifest.json` (filename -> content, with the output as a file)
instead of light.json, and a copy of the files in `sandbox/`. This module reads both forms;
`storer.kata.recorder` writes the new form.

Reading needs no lock: objects never change, and a tag is written after its light is whole and on
disk, in git's files or in the write-ahead log.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pygit2

from dojo import regular_files, visible_files
from dojo.budget import Budget, BudgetExceeded
from dojo.errors import InvalidArgument, KataDamaged
from dojo.limits import GIT_DEPTH
from dojo.naming import SANDBOX
from storer.fs import json_files
from storer.fs.json_files import Unreadable
from storer.git import object_writer
from storer.git.libgit2 import in_words
from storer.git.reader import GitReader, TreeEntry, packed_references
from storer.kata import edit, light
from storer.kata.edit import EDIT_JSON, Edit
from storer.kata.light import Light, Submission
from storer.kata.manifest import OUTPUT

GIT = ".git"
# The key in light.json of the results of each test.
TEST_RESULTS = "test_results"
LIGHT_JSON = "light.json"
MANIFEST_JSON = "manifest.json"

_MAX_FOLDERS = visible_files.MAX_FILES * GIT_DEPTH  # each file can be in folders of its own

_READING_ERRORS = (
    pygit2.GitError,
    KeyError,
    ValueError,
    TypeError,
    OSError,
    OverflowError,
    Unreadable,
    InvalidArgument,
)


class History:
    """Reads the git repository in an avatar's folder."""

    def __init__(
        self, folder: Path, kata_id: str, avatar: str, budget: Budget | None = None
    ) -> None:
        """Stand for the repository in the avatar's `folder`, without opening it yet.

        With a budget, its git objects draw on that, and every method raises BudgetExceeded.
        """
        self._kata_id = kata_id
        self._avatar = avatar
        self._folder = folder / GIT
        self._reader = GitReader(self._folder, budget)

    def open_repository(self) -> pygit2.Repository:
        """Open the repository by libgit2, for its references.

        Raises KataDamaged if there is none.
        """
        with self._reading("HEAD"):
            return self._reader.open_repository()

    def open_whole_repository(self) -> pygit2.Repository:
        """Open the repository by libgit2, to read any of its objects.

        Raises KataDamaged if there is none, or an object is too large to be read.
        """
        with self._reading("objects"):
            return self._reader.open_whole_repository()

    def has_light(self, number: int) -> bool:
        """Return whether light `number` exists; the light before has to be the newest known one.

        A power cut can leave an unreadable tag of a light that was undone: that is no light.
        Raises KataDamaged if the tag is unreadable and a later light exists.
        """
        tag = tag_of(number)
        if self._target(tag):
            return True
        if not self.has_tag_file(number):
            return False
        if self._target(tag):  # written meanwhile: a tag's file appears with its content
            return True
        branch = self._branch()
        tip = self._target(branch) if branch else ""
        if self.has_tag_file(number + 1) or tip not in {"", self._target(tag_of(number - 1))}:
            raise KataDamaged(self._kata_id, Path(self._avatar) / GIT / tag, "names no commit")
        return False

    def has_tag_file(self, number: int) -> bool:
        """Return whether the tag of light `number` has a file, as the tag of a new light does."""
        return os.path.exists(f"{self._folder}/{tag_of(number)}")  # noqa: PTH110 - faster

    def light_json(self, number: int) -> bytes:
        """Return the content of light.json of light `number`, which must not be a legacy light."""
        with self._reading(f"{tag_of(number)}:{LIGHT_JSON}"):
            return self._blob_in(self._root(number), LIGHT_JSON)

    def light(self, number: int) -> Light | None:
        """Return light `number` from its commit; None if that is a legacy commit."""
        root = self._root(number)
        if LIGHT_JSON.encode() not in root:
            return None
        value = self._json_in(root, number, LIGHT_JSON)
        with self._reading(f"{tag_of(number)}:{LIGHT_JSON}"):
            return light.from_json(value)

    def time(self, number: int) -> datetime:
        """Return when light `number` was committed."""
        commit = self.open_repository()[self.commit(number)].peel(pygit2.Commit)
        with self._reading(tag_of(number)):
            return datetime.fromtimestamp(commit.commit_time, UTC)

    def submission(
        self, number: int, budget: Budget | None = None, *, minor: int = 0
    ) -> Submission:
        """Return the visible files and the output of light `number`.

        With a `minor`, the files are those of that edit after it. What is read of them is drawn on
        the budget before it is held.
        """
        budgets = () if budget is None else (budget,)
        root = self._root(number)
        edited = self._edit_files(number, minor, {}, *budgets) if minor else None
        if LIGHT_JSON.encode() not in root:
            files = self._legacy_files(number, root, *budgets)
            output = files.pop(OUTPUT, b"")
            return Submission(files=files if edited is None else edited, stdout=output)
        without_files = self._output_in(root, number, *budgets)
        files = self._files_in(root, number, {}, *budgets) if edited is None else edited
        return replace(without_files, files=files)

    def output(self, number: int, budget: Budget | None = None) -> Submission:
        """Return the output of light `number`, without its files.

        What is read, which of a legacy light is all of it, is drawn on the budget before it is
        held.
        """
        budgets = () if budget is None else (budget,)
        root = self._root(number)
        if LIGHT_JSON.encode() in root:
            return self._output_in(root, number, *budgets)
        return Submission({}, self._legacy_files(number, root, *budgets).get(OUTPUT, b""))

    def more_of_light(self, number: int, key: str) -> dict[str, Any]:
        """Return what light.json has under a key of another server; {} for a legacy light."""
        root = self._root(number)
        if LIGHT_JSON.encode() not in root:
            return {}
        return _object(self._json_in(root, number, LIGHT_JSON), key)

    def more_of_edit(self, number: int, minor: int, key: str) -> dict[str, Any]:
        """Return what edit.json has under a key of another server."""
        tag = edit.tag_of(number, minor)
        with self._reading(f"{tag}:{EDIT_JSON}"):
            content = self._blob_in(self._reader.root(tag), EDIT_JSON)
            return _object(json_files.loads(content, dict), key)

    def files(
        self,
        number: int,
        known: dict[str, bytes],
        budget: Budget | None = None,
        *,
        minor: int = 0,
    ) -> dict[str, bytes]:
        """Return the visible files of light `number`, or of edit `minor` after it.

        Git objects that `known` has, by name, are not read again; those that are read are added,
        and their bytes are drawn on the budget before they are held.
        """
        budgets = () if budget is None else (budget,)
        if minor:
            return self._edit_files(number, minor, known, *budgets)
        root = self._root(number)
        if LIGHT_JSON.encode() in root:
            return self._files_in(root, number, known, *budgets)
        files = self._legacy_files(number, root, *budgets)
        files.pop(OUTPUT, None)
        return files

    def file_names(self, number: int, minor: int) -> dict[str, str]:
        """Return the visible files of light `number`, or of edit `minor` after it, as blobs' names.

        No file is read, but for a legacy light.
        """
        tag = edit.tag_of(number, minor) if minor else tag_of(number)
        if not minor and self.is_legacy(number):
            files = self.files(number, {})
            return {name: object_writer.blob_name(content) for name, content in files.items()}
        with self._reading(f"{tag}:{SANDBOX}"):
            tree = self._sandbox(self._reader.root(tag))
            return TreeFiles(self._reader, {}, ()).names(tree)

    def edit(self, number: int, minor: int) -> Edit:
        """Return edit `minor` after light `number`. Raises KataDamaged."""
        tag = edit.tag_of(number, minor)
        with self._reading(f"{tag}:{EDIT_JSON}"):
            content = self._blob_in(self._reader.root(tag), EDIT_JSON)
            found = edit.from_json(json_files.loads(content, dict))
            if (found.number, found.minor) != (number, minor):
                raise Unreadable(f"it is edit {found.number}.{found.minor}")
            return found

    def edit_commit(self, number: int, minor: int) -> str:
        """Return the commit of edit `minor` after light `number`. Raises KataDamaged."""
        tag = edit.tag_of(number, minor)
        with self._reading(tag):
            return self._reader.commit(tag)

    def has_edit_file(self, number: int, minor: int) -> bool:
        """Return whether the tag of an edit has a file, as the tag of a new one does."""
        return os.path.exists(f"{self._folder}/{edit.tag_of(number, minor)}")  # noqa: PTH110 - faster

    def edit_numbers(self) -> list[tuple[int, int]]:
        """Return the light and the minor number of each edit that has a tag, in their order."""
        found: set[tuple[int, int] | None] = set()
        with suppress(FileNotFoundError), os.scandir(f"{self._folder}/refs/tags") as entries:
            found.update(edit.number_of(f"refs/tags/{entry.name}") for entry in entries)
        packed = self._folder / "packed-refs"
        with (
            self._reading("packed-refs"),
            suppress(FileNotFoundError),
            regular_files.open_to_read(packed) as lines,
        ):
            found.update(edit.number_of(name) for name, _ in packed_references(lines))
        return sorted(each for each in found if each is not None)

    def is_legacy(self, number: int) -> bool:
        """Return whether light `number` was committed without a light.json."""
        return LIGHT_JSON.encode() not in self._root(number)

    def legacy_object(self, number: int) -> str:
        """Return the git object that the visible files of a legacy light come from."""
        root = self._root(number)
        with self._reading(f"{tag_of(number)}:{SANDBOX}"):
            return (root.get(MANIFEST_JSON.encode()) or root[SANDBOX.encode()]).object

    def _output_in(self, root: dict[bytes, TreeEntry], number: int, *budgets: Budget) -> Submission:
        value = self._json_in(root, number, LIGHT_JSON, *budgets)
        results = value.get(TEST_RESULTS)
        return Submission(
            files={},
            stdout=json_files.to_bytes(str(value.get("stdout", ""))),
            stderr=json_files.to_bytes(str(value.get("stderr", ""))),
            test_results=results if isinstance(results, dict) else None,
        )

    def _branch(self) -> str | None:
        """Return the branch that HEAD names, if it names one."""
        try:
            head = (self._folder / "HEAD").read_text()
        except (OSError, ValueError):
            return None
        name = head.removeprefix("ref:").strip()
        is_branch = head.startswith("ref:") and name.startswith("refs/heads/")
        return name if is_branch and pygit2.reference_is_valid_name(name) else None

    def leads_to(self, reference: str, target: str) -> bool:
        """Return whether a reference names this object. Raises KataDamaged."""
        found = self.open_repository().references.get(reference)
        return found is not None and str(found.target) == target

    def _target(self, reference: str) -> str:
        """Return the object that a reference names; an empty string if it can't be read."""
        try:
            found = self.open_repository().references.get(reference)
        except (pygit2.GitError, ValueError):  # a crash can leave a file without its content
            return ""
        return "" if found is None else str(found.target)

    def commit(self, number: int) -> str:
        """Return the commit of light `number`. Raises KataDamaged."""
        with self._reading(tag_of(number)):
            return self._reader.commit(tag_of(number))

    def _root(self, number: int) -> dict[bytes, TreeEntry]:
        with self._reading(tag_of(number)):
            return self._reader.root(tag_of(number))

    def _legacy_files(
        self, number: int, root: dict[bytes, TreeEntry], *budgets: Budget
    ) -> dict[str, bytes]:
        """Return the visible files of a legacy light, with its output among them."""
        if MANIFEST_JSON.encode() not in root:
            return self._files_in(root, number, {}, *budgets)
        value = self._json_in(root, number, MANIFEST_JSON, *budgets)
        with self._reading(f"{tag_of(number)}:{MANIFEST_JSON}"):
            files = json_files.read_files(value)
            visible_files.check(files)
            return files

    def _files_in(
        self, root: dict[bytes, TreeEntry], number: int, known: dict[str, bytes], *budgets: Budget
    ) -> dict[str, bytes]:
        with self._reading(f"{tag_of(number)}:{SANDBOX}"):
            return TreeFiles(self._reader, known, budgets).read(self._sandbox(root))

    def _edit_files(
        self, number: int, minor: int, known: dict[str, bytes], *budgets: Budget
    ) -> dict[str, bytes]:
        tag = edit.tag_of(number, minor)
        with self._reading(f"{tag}:{SANDBOX}"):
            tree = self._sandbox(self._reader.root(tag))
            return TreeFiles(self._reader, known, budgets).read(tree)

    def _sandbox(self, root: dict[bytes, TreeEntry]) -> str:
        found = root[SANDBOX.encode()]
        if not found.is_folder:
            raise Unreadable("is not a folder")
        return found.object

    def _json_in(
        self, root: dict[bytes, TreeEntry], number: int, name: str, *budgets: Budget
    ) -> dict[str, Any]:
        with self._reading(f"{tag_of(number)}:{name}"):
            content = self._blob_in(root, name, *budgets)
            value: dict[str, Any] = json_files.loads(content, dict)
            return value

    def _blob_in(self, root: dict[bytes, TreeEntry], name: str, *budgets: Budget) -> bytes:
        found = root[name.encode()]
        if found.is_folder or found.is_submodule:
            raise Unreadable("is not a file")
        return self._reader.blob(found.object, *budgets)

    def damage(self, path: str, reason: str) -> KataDamaged:
        """Return the error for a file, by its path from the avatar's folder."""
        return KataDamaged(self._kata_id, Path(self._avatar) / path, reason)

    @contextmanager
    def _reading(self, what: str) -> Iterator[None]:
        try:
            yield
        except _READING_ERRORS as error:
            path = Path(self._avatar) / GIT / what
            reason = in_words(error) or type(error).__name__
            raise KataDamaged(self._kata_id, path, reason) from error


class TreeFiles:
    """Reads the files in a tree, by path, where they can be visible files.

    The trees of a kata that an earlier version let in can hold each other, without an end.
    """

    def __init__(
        self, reader: GitReader, known: dict[str, bytes], budgets: Iterable[Budget]
    ) -> None:
        """Read by `reader`; `known` has contents by the names of their objects, and gets more."""
        self._reader = reader
        self._known = known
        self._of_light = Budget(
            max_bytes=visible_files.MAX_TOTAL_BYTES,
            max_entries=visible_files.MAX_FILES,
            max_depth=GIT_DEPTH,
        )
        self._folders = Budget(max_entries=_MAX_FOLDERS)
        self._of_call = budgets
        self._found: dict[str, bytes] = {}
        self._names: dict[str, str] = {}

    def read(self, tree: str) -> dict[str, bytes]:
        """Return the files; raise Unreadable, or BudgetExceeded for the budget of a call."""
        self._walk("", tree, self._add)
        return self._found

    def names(self, tree: str) -> dict[str, str]:
        """Return the names of the files' blobs; raise Unreadable."""
        self._walk("", tree, self._names.__setitem__)
        return self._names

    def _walk(self, prefix: str, tree: str, add: Callable[[str, str], None]) -> None:
        try:
            self._folders.take_entry()
            with self._of_light.one_deeper():
                for raw_name, entry in self._reader.folder(tree).items():
                    self._take(prefix + json_files.from_bytes(raw_name), entry, add)
        except BudgetExceeded as error:
            raise Unreadable(f"its files are too much: {error.reason}") from None

    def _take(self, name: str, entry: TreeEntry, add: Callable[[str, str], None]) -> None:
        if entry.is_folder:
            self._walk(f"{name}/", entry.object, add)
        elif not entry.is_submodule:
            if (fault := visible_files.name_fault(name)) is not None:
                raise Unreadable(f"{visible_files.shown(name)}: {fault}")
            self._of_light.take_entry()
            add(name, entry.object)

    def _add(self, name: str, blob: str) -> None:
        content = self._known.get(blob)
        if content is None:
            content = self._reader.blob(blob, self._of_light, *self._of_call)
            self._known[blob] = content
        else:
            self._of_light.take_bytes(len(content))
        self._found[name] = content


def _object(value: Mapping[str, Any], key: str) -> dict[str, Any]:
    found = value.get(key)
    return found if isinstance(found, dict) else {}


def tag_of(number: int) -> str:
    """Return the name of the reference that leads to light `number`."""
    return f"refs/tags/{number}"
