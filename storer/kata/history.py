"""An avatar's history: a git repository in which tag N is light N.

A light's commit holds `sandbox/`, the visible files, and `light.json`, the light with its
output. Legacy commits hold `manifest.json` (filename -> content, with the output as a file)
instead of light.json, and a copy of the files in `sandbox/`. This module reads both forms;
`storer.kata.recorder` writes the new form.

Reading needs no lock: objects never change, and a tag is written after its light is whole and on
disk, in git's files or in the write-ahead log.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pygit2

from dojo import visible_files
from dojo.errors import InvalidArgument, KataDamaged
from dojo.limits import GIT_DEPTH
from dojo.naming import SANDBOX
from storer.fs import json_files
from storer.fs.json_files import Unreadable
from storer.git.libgit2 import in_words
from storer.git.reader import GitReader, TreeEntry
from storer.kata import light
from storer.kata.light import Light, Submission
from storer.kata.manifest import OUTPUT

GIT = ".git"
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

    def __init__(self, folder: Path, kata_id: str, avatar: str) -> None:
        """Stand for the repository in the avatar's `folder`, without opening it yet."""
        self._kata_id = kata_id
        self._avatar = avatar
        self._folder = folder / GIT
        self._reader = GitReader(self._folder)

    def open_repository(self) -> pygit2.Repository:
        """Open the repository by libgit2, for reading. Raises KataDamaged if there is none."""
        with self._reading("HEAD"):
            return self._reader.open_repository()

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
        commit = self.open_repository()[self._commit(number)].peel(pygit2.Commit)
        with self._reading(tag_of(number)):
            return datetime.fromtimestamp(commit.commit_time, UTC)

    def submission(self, number: int) -> Submission:
        """Return the visible files and the output of light `number`."""
        root = self._root(number)
        if LIGHT_JSON.encode() not in root:
            files = self._legacy_files(number, root)
            return Submission(files=files, stdout=files.pop(OUTPUT, b""))
        value = self._json_in(root, number, LIGHT_JSON)
        return Submission(
            files=self._files_in(root, number, {}),
            stdout=json_files.to_bytes(str(value.get("stdout", ""))),
            stderr=json_files.to_bytes(str(value.get("stderr", ""))),
        )

    def files(self, number: int, known: dict[str, bytes]) -> dict[str, bytes]:
        """Return the visible files of light `number`.

        Git objects that `known` has, by name, are not read again; those that are read are added.
        """
        root = self._root(number)
        if LIGHT_JSON.encode() in root:
            return self._files_in(root, number, known)
        files = self._legacy_files(number, root)
        files.pop(OUTPUT, None)
        return files

    def is_legacy(self, number: int) -> bool:
        """Return whether light `number` was committed without a light.json."""
        return LIGHT_JSON.encode() not in self._root(number)

    def _branch(self) -> str | None:
        """Return the branch that HEAD names, if it names one."""
        try:
            head = (self._folder / "HEAD").read_text()
        except (OSError, ValueError):
            return None
        name = head.removeprefix("ref:").strip()
        is_branch = head.startswith("ref:") and name.startswith("refs/heads/")
        return name if is_branch and pygit2.reference_is_valid_name(name) else None

    def _target(self, reference: str) -> str:
        """Return the object that a reference names; an empty string if it can't be read."""
        try:
            found = self.open_repository().references.get(reference)
        except (pygit2.GitError, ValueError):  # a crash can leave a file without its content
            return ""
        return "" if found is None else str(found.target)

    def _commit(self, number: int) -> str:
        with self._reading(tag_of(number)):
            return self._reader.commit(tag_of(number))

    def _root(self, number: int) -> dict[bytes, TreeEntry]:
        with self._reading(tag_of(number)):
            return self._reader.root(tag_of(number))

    def _legacy_files(self, number: int, root: dict[bytes, TreeEntry]) -> dict[str, bytes]:
        """Return the visible files of a legacy light, with its output among them."""
        if MANIFEST_JSON.encode() not in root:
            return self._files_in(root, number, {})
        value = self._json_in(root, number, MANIFEST_JSON)
        with self._reading(f"{tag_of(number)}:{MANIFEST_JSON}"):
            files = json_files.read_files(value)
            visible_files.check(files)
            return files

    def _files_in(
        self, root: dict[bytes, TreeEntry], number: int, known: dict[str, bytes]
    ) -> dict[str, bytes]:
        with self._reading(f"{tag_of(number)}:{SANDBOX}"):
            return self._blobs(self._sandbox(root), known)

    def _sandbox(self, root: dict[bytes, TreeEntry]) -> str:
        found = root[SANDBOX.encode()]
        if not found.is_folder:
            raise Unreadable("is not a folder")
        return found.object

    def _json_in(self, root: dict[bytes, TreeEntry], number: int, name: str) -> dict[str, Any]:
        with self._reading(f"{tag_of(number)}:{name}"):
            value: dict[str, Any] = json_files.loads(self._blob_in(root, name), dict)
            return value

    def _blob_in(self, root: dict[bytes, TreeEntry], name: str) -> bytes:
        found = root[name.encode()]
        if found.is_folder or found.is_submodule:
            raise Unreadable("is not a file")
        return self._reader.blob(found.object)

    def _blobs(self, tree: str, known: dict[str, bytes]) -> dict[str, bytes]:
        """Return the files in a tree, by path; raise Unreadable if they can't be visible files.

        The trees of a kata that an earlier version let in can hold each other, without an end.
        """
        files: dict[str, bytes] = {}
        size_bytes = folders = 0
        opened = [("", iter(self._reader.folder(tree).items()))]
        most_files, most_bytes = visible_files.MAX_FILES, visible_files.MAX_TOTAL_BYTES
        while opened:
            prefix, listed = opened[-1]
            for raw_name, entry in listed:
                name = prefix + json_files.from_bytes(raw_name)
                if entry.is_folder:
                    folders += 1
                    if len(opened) >= GIT_DEPTH or folders > _MAX_FOLDERS:
                        raise Unreadable(
                            f"more than {GIT_DEPTH} folders in each other, or too many"
                        )
                    opened.append((name + "/", iter(self._reader.folder(entry.object).items())))
                    break
                if entry.is_submodule:
                    continue
                if (fault := visible_files.name_fault(name)) is not None:
                    raise Unreadable(f"{visible_files.shown(name)}: {fault}")
                content = known.get(entry.object)
                if content is None:
                    content = known[entry.object] = self._reader.blob(entry.object)
                size_bytes += len(content)
                files[name] = content
                if len(files) > most_files or size_bytes > most_bytes:
                    raise Unreadable(f"more than {most_files} files or {most_bytes} bytes in all")
            else:
                opened.pop()
        return files

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


def tag_of(number: int) -> str:
    """Return the name of the reference that leads to light `number`."""
    return f"refs/tags/{number}"
