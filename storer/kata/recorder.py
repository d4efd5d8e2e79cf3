"""Records lights in an avatar's git repository, in the form that `storer.kata.history` reads.

Every caller holds the lock on the avatar's folder.
"""

import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from dojo.budget import Budget
from dojo.naming import SANDBOX
from storer.fs import durable, json_files, json_times
from storer.fs.write_ahead_log import Entry, Log
from storer.git import index_file, object_writer
from storer.git.object_writer import NewObjects
from storer.kata import edit, light
from storer.kata.edit import At, Edit
from storer.kata.history import GIT, LIGHT_JSON, TEST_RESULTS, History, tag_of
from storer.kata.light import Light, Submission

BRANCH = "refs/heads/main"

# Files beside the repository, which git shall not take for untracked files.
EXCLUDED = "/manifest.json\n/increments.json\n/submission.json\n"

_FOLDERS = ("info", "objects", "objects/pack", "refs", "refs/heads", "refs/tags")
_CONFIG = """[core]
\trepositoryformatversion = 0
\tfilemode = true
\tbare = false
\tlogallrefupdates = false
"""

# Few avatars have more files. With more, no names are kept, and each object is looked up.
_MAX_KNOWN = 256


@dataclass(frozen=True, slots=True)
class Tip:
    """The newest light's commit, and the names of objects that its repository is known to have.

    `branch` is the branch that HEAD names, None if HEAD names a commit.
    """

    commit: str
    known: frozenset[str]
    branch: str | None


class Recorder(History):
    """Reads and writes the git repository in an avatar's folder."""

    @classmethod
    def create(
        cls,
        folder: Path,
        kata_id: str,
        avatar: str,
        *,
        overwrite: bool = False,
        budget: Budget | None = None,
    ) -> Self:
        """Create an empty repository in `folder` and open it for a budget, if any.

        If there is one, only the files that a crash took are written; with `overwrite`, all.
        """
        git = f"{folder}/{GIT}"
        for path, mode in ((git, 0o700), *((f"{git}/{name}", 0o777) for name in _FOLDERS)):
            with suppress(FileExistsError):
                os.mkdir(path, mode)  # noqa: PTH102 - Path.mkdir takes three times as long
        user = f"\tname = {avatar}_{kata_id}\n\temail = {avatar}@cyber-dojo.org\n"
        for name, text in (
            ("HEAD", f"ref: {BRANCH}\n"),
            ("config", f"{_CONFIG}[user]\n{user}"),
            ("info/exclude", EXCLUDED),
        ):
            # A crash, or a failing disk, can leave a file empty or full of zeros. It is replaced:
            # ext4 takes blocks that the disk failed to write for zeros even when rewritten.
            if overwrite or not _read(f"{git}/{name}").strip(b"\0"):
                durable.replace(Path(f"{git}/{name}"), text.encode(), sync=False)
        return cls(folder, kata_id, avatar, budget)

    def record(
        self,
        recorded: Light,
        submission: Submission,
        before: Tip | None = None,
        log: Log | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> Tip:
        """Add a light after the previous one. With a `log`, it is on disk when this returns.

        `more` are keys of light.json that nobody here reads, such as those of another server.
        `before` is the previous light's tip, if it is known. Katas that are not published yet have
        no log: they are synced as a whole.
        """
        if before is None:
            before = self._tip(recorded.number - 1)
        message = f"{recorded.number} {recorded.colour}".strip()
        described = {LIGHT_JSON: _encode(recorded, submission, more or {})}
        at, files = At(recorded.number), submission.files
        return self._commit(at, described, files, recorded.time, message, before=before, log=log)

    def record_edit(
        self,
        recorded: Edit,
        files: Mapping[str, bytes],
        before: Tip,
        log: Log | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> Tip:
        """Add what was changed after a light and before the next one.

        Lights do not follow it: its commit stands beside theirs, after that of the edit before, or
        of its light. `log` and `more` are as for `record`.
        """
        at = At(recorded.number, recorded.minor)
        kinds = dict.fromkeys(each.kind for each in recorded.changes)
        message = f"{at} {', '.join(kinds)}".strip()
        described = {edit.EDIT_JSON: _lines({**(more or {}), **edit.to_json(recorded)})}
        return self._commit(at, described, files, recorded.time, message, before=before, log=log)

    def _commit(
        self,
        at: At,
        described: Mapping[str, bytes],
        files: Mapping[str, bytes],
        time: datetime,
        message: str,
        *,
        before: Tip,
        log: Log | None,
    ) -> Tip:
        """Add the commit of a light or an edit, which has the files of `described` at its top."""
        new = NewObjects(before.known)
        sandbox = new.folder(files)
        known = frozenset(new.used) if len(new.used) <= _MAX_KNOWN else frozenset()
        entries = {
            name.encode(): (object_writer.FILE, new.blob(described[name])) for name in described
        }
        root = new.tree({**entries, SANDBOX.encode(): (object_writer.FOLDER, sandbox)})
        author = f"{self._avatar}_{self._kata_id} <{self._avatar}@cyber-dojo.org>"
        parents = [before.commit] if before.commit else []
        commit = new.commit(root, parents, author, json_times.seconds(time), message)
        self._write(Entry(at.number, commit, new.files, at.minor), before.branch, log)
        return Tip(commit, known, before.branch)

    def _write(self, entry: Entry, branch: str | None, log: Log | None) -> None:
        """Write the objects and references of a light or an edit, with a log durably."""
        if log is None:
            object_writer.write(self._folder, entry.objects)
            self._set_references(entry, branch)
            return
        # The log comes first: a power cut can take the content of git's unsynced files.
        position = log.append(entry)
        written: list[str] = []
        try:
            object_writer.write(self._folder, entry.objects, written=written)
            self._set_references(entry, branch)
        except BaseException:
            # Without this, the next use would replay what the caller was told had failed.
            log.undo(position)
            object_writer.remove(self._folder, written)
            raise

    def replay(self, entries: Iterable[Entry], *, overwrite: bool = False) -> None:
        """Write a log's entries into git's files: what git lacks, or all with `overwrite`."""
        newest: Entry | None = None
        for entry in entries:
            wanted = {
                name: content
                for name, content in entry.objects.items()
                if overwrite or not object_writer.holds(self._folder, name, content)
            }
            object_writer.write(self._folder, wanted, overwrite=True)
            if overwrite or self._target(_tag_of(entry)) != entry.commit:
                self._set_references(entry, self._branch())
            if not entry.minor:
                newest = entry
        if newest is not None and (branch := self._branch()) is not None:
            set_branch = object_writer.write_reference if overwrite else object_writer.move_branch
            with suppress(OSError):  # `check_out` moves a branch that is behind
                set_branch(self._folder, branch, newest.commit)

    def has(self, entry: Entry) -> bool:
        """Say whether a light or an edit of another log is here."""
        return self._target(_tag_of(entry)) == entry.commit

    def _set_references(self, entry: Entry, branch: str | None) -> None:
        """Set the tag of a light or an edit, and for a light the branch, to its commit."""
        # This may overwrite a tag of a legacy kata beyond its increments.json: that is no light.
        object_writer.write_reference(self._folder, _tag_of(entry), entry.commit)
        if branch is not None and not entry.minor:
            # The tag makes the commit a light. `check_out` moves a branch that is behind.
            with suppress(OSError):
                object_writer.move_branch(self._folder, branch, entry.commit)

    def check_out(self, number: int) -> None:
        """Set the branch and the index to light `number`, so that `git status` compares with it."""
        commit = self.commit(number)
        branch = self._branch()
        if branch is not None and self._target(branch) != commit:
            object_writer.move_branch(self._folder, branch, commit)
        with self._reading(tag_of(number)):
            content = index_file.encode(self._reader, self._reader.root(tag_of(number)))
        index_file.write(self._folder, content)

    def _tip(self, number: int) -> Tip:
        if number < 0:
            return Tip("", frozenset(), self._branch())
        return Tip(self.commit(number), frozenset(), self._branch())


def _tag_of(entry: Entry) -> str:
    return edit.tag_of(entry.number, entry.minor) if entry.minor else tag_of(entry.number)


def _encode(recorded: Light, submission: Submission, more: Mapping[str, Any]) -> bytes:
    """Return the content of light.json: the light with its output."""
    value = {
        **more,
        **light.to_json(recorded),
        "stdout": json_files.from_bytes(submission.stdout),
        "stderr": json_files.from_bytes(submission.stderr),
    }
    if submission.test_results is not None:
        value[TEST_RESULTS] = submission.test_results
    return _lines(value)


def _lines(value: Mapping[str, Any]) -> bytes:
    """Return a JSON object with a line for each key: `git diff` shows only keys that changed."""
    lines = (f"{json.dumps(key)}: {json.dumps(each)}" for key, each in value.items())
    return ("{\n " + ",\n ".join(lines) + "\n}\n").encode("ascii")


def _read(path: str) -> bytes:
    """Return the content of a file; empty if there is none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return b""
    with open(descriptor, "rb") as file:
        return file.read()
