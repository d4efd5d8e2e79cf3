"""Recording lights in an avatar's git repository, as `storer.kata.history` reads them.

Everything here is for the holder of the lock on the avatar's folder.
"""

import json
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pygit2

from dojo.naming import SANDBOX
from storer.fs import durable, json_files, json_times
from storer.fs.write_ahead_log import Entry, WriteAheadLog
from storer.git import object_writer
from storer.git.object_writer import NewObjects
from storer.kata import light
from storer.kata.history import GIT, LIGHT_JSON, History, tag_of
from storer.kata.light import Light, Submission

BRANCH = "refs/heads/main"

# Beside the repository, and not part of it.
EXCLUDED = "/manifest.json\n/increments.json\n/submission.json\n"

_FOLDERS = ("info", "objects", "objects/pack", "refs", "refs/heads", "refs/tags")
_MAKE = os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_CONFIG = """[core]
\trepositoryformatversion = 0
\tfilemode = true
\tbare = false
\tlogallrefupdates = false
"""

# An avatar seldom has more files; where it has, they are looked for each time.
_MOST_KNOWN = 256


@dataclass(frozen=True, slots=True)
class Tip:
    """The newest light's commit, and objects of its that are known to be on disk, by name.

    `branch` is what HEAD names, None if it names no branch.
    """

    commit: str
    known: frozenset[str]
    branch: str | None


class Recorder(History):
    """The git repository in an avatar's folder, to write to."""

    @classmethod
    def create(cls, folder: Path, kata_id: str, avatar: str, *, overwrite: bool = False) -> Self:
        """Make an empty repository in `folder` and open it.

        In one that is there already, what a crash left out is made; with `overwrite`, all of it.
        """
        git = f"{folder}/{GIT}"
        for path, mode in ((git, 0o700), *((f"{git}/{name}", 0o777) for name in _FOLDERS)):
            with suppress(FileExistsError):
                os.mkdir(path, mode)  # noqa: PTH102 - a path's own takes thrice as long
        who = f"\tname = {avatar}_{kata_id}\n\temail = {avatar}@cyber-dojo.org\n"
        for name, text in (
            ("HEAD", f"ref: {BRANCH}\n"),
            ("config", f"{_CONFIG}[user]\n{who}"),
            ("info/exclude", EXCLUDED),
        ):
            # A crash, or a disk that fails, can leave nothing of a file, or its length alone.
            if overwrite or not _read(f"{git}/{name}").strip(b"\0"):
                descriptor = os.open(f"{git}/{name}", _MAKE, 0o666)
                try:
                    durable.write_all(descriptor, text.encode())
                    os.ftruncate(descriptor, len(text))
                finally:
                    os.close(descriptor)
        return cls(folder, kata_id, avatar)

    def record(
        self,
        recorded: Light,
        submission: Submission,
        before: Tip | None = None,
        log: WriteAheadLog | None = None,
    ) -> Tip:
        """Add a light after the one before it. With a `log` it is on disk when this returns.

        `before` is what is known of the light before, if anything. There is no log where nobody
        sees the kata yet: it is synced as a whole.
        """
        if before is None:
            before = self._tip(recorded.number - 1)
        new = NewObjects(before.known)
        sandbox = new.folder(submission.files)
        known = frozenset(new.used) if len(new.used) <= _MOST_KNOWN else frozenset()
        described = new.blob(_describe(recorded, submission))
        root = new.tree(
            {
                LIGHT_JSON.encode(): (object_writer.FILE, described),
                SANDBOX.encode(): (object_writer.FOLDER, sandbox),
            }
        )
        author = f"{self._avatar}_{self._kata_id} <{self._avatar}@cyber-dojo.org>"
        message = f"{recorded.number} {recorded.colour}".strip()
        parents = [before.commit] if before.commit else []
        commit = new.commit(root, parents, author, json_times.seconds(recorded.time), message)
        if log is None:
            object_writer.write(self._folder, new.files)
            self._name(recorded.number, commit, before.branch)
            return Tip(commit, known, before.branch)
        # First the log: it has the content of an object that git has, and the disk maybe not.
        position = log.append(Entry(recorded.number, commit, new.files))
        written: list[str] = []
        try:
            object_writer.write(self._folder, new.files, written=written)
            self._name(recorded.number, commit, before.branch)
        except BaseException:
            # Or it would be found there, though the caller is told that it failed.
            log.undo(position)
            object_writer.remove(self._folder, written)
            raise
        return Tip(commit, known, before.branch)

    def replay(self, entries: Iterable[Entry], *, overwrite: bool = False) -> None:
        """Write a log's entries that git has not, or all of them with `overwrite`."""
        newest: Entry | None = None
        for newest in entries:
            wanted = {
                name: content
                for name, content in newest.objects.items()
                if overwrite or not object_writer.holds(self._folder, name, content)
            }
            object_writer.write(self._folder, wanted, overwrite=True)
            if overwrite or self._named(tag_of(newest.number)) != newest.commit:
                self._name(newest.number, newest.commit, self._branch())
        if newest is not None and (branch := self._branch()) is not None:
            with suppress(OSError):  # it is moved when somebody needs it
                object_writer.move_branch(self._folder, branch, newest.commit)

    def _name(self, number: int, commit: str, branch: str | None) -> None:
        # What old katas tagged beyond the end of their increments.json is no light, and gives way.
        object_writer.write_reference(self._folder, tag_of(number), commit)
        if branch is not None:
            # With its tag it is a light. A branch that is behind is moved when somebody needs it.
            with suppress(OSError):
                object_writer.move_branch(self._folder, branch, commit)

    def check_out(self, number: int) -> None:
        """Let a plain `git status` compare with light `number`: the branch and the index.

        For the holder of the lock on the avatar's folder.
        """
        commit = self._commit(number)
        branch = self._branch()
        if branch is not None and self._named(branch) != commit:
            object_writer.move_branch(self._folder, branch, commit)
        (self._folder / "index.lock").unlink(missing_ok=True)
        index = self.open_repository().index
        index.read_tree(self.open_repository()[commit].peel(pygit2.Tree))
        with durable.translate_disk_errors():
            index.write()

    def _tip(self, number: int) -> Tip:
        if number < 0:
            return Tip("", frozenset(), self._branch())
        return Tip(self._commit(number), frozenset(), self._branch())


def _describe(recorded: Light, submission: Submission) -> bytes:
    """Return a light's light.json: the light with its output."""
    value = {
        **light.to_json(recorded),
        "stdout": json_files.from_bytes(submission.stdout),
        "stderr": json_files.from_bytes(submission.stderr),
    }
    # A line for each, as a diff of git shows lines.
    lines = (f"{json.dumps(key)}: {json.dumps(each)}" for key, each in value.items())
    return ("{\n " + ",\n ".join(lines) + "\n}\n").encode("ascii")


def _read(path: str) -> bytes:
    """Return what a file has, nothing if there is none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return b""
    with open(descriptor, "rb") as file:
        return file.read()
