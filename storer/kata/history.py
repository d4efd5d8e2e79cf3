"""An avatar's history: a git repository in which tag N is light N.

A light's commit holds `sandbox/`, the visible files, and `light.json`, the light with its
output. Commits of old hold `manifest.json` (filename -> content, with the output as a file)
instead of light.json, and a copy of the files in `sandbox/`. Both are read; ours are written.

Who may write: whoever holds the lock on the avatar's folder. Reading needs none: objects
never change, and a tag is there once its light is whole and on disk.
"""

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pygit2
from pygit2.enums import FileMode

from dojo.errors import KataDamaged
from dojo.naming import SANDBOX
from storer.fs import durable, json_files, json_times
from storer.fs.json_files import Unreadable
from storer.fs.write_ahead_log import Entry, WriteAheadLog
from storer.git import loose_objects, object_writer
from storer.git.object_writer import NewObjects
from storer.git.reader import GitReader, TreeEntry
from storer.kata import light
from storer.kata.light import Light, Submission
from storer.kata.manifest import OUTPUT

GIT = ".git"
BRANCH = "refs/heads/main"
LIGHT_JSON = "light.json"
MANIFEST_JSON = "manifest.json"

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


class History:
    """The git repository in an avatar's folder."""

    def __init__(self, folder: Path, kata_id: str, avatar: str) -> None:
        """Stand for the repository in `folder`, which nobody has looked at yet."""
        self._kata_id = kata_id
        self._avatar = avatar
        self._folder = folder / GIT
        self._reader = GitReader(self._folder)

    @classmethod
    def create(
        cls, folder: Path, kata_id: str, avatar: str, *, overwrite: bool = False
    ) -> "History":
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

    @property
    def repository(self) -> pygit2.Repository:
        """The repository itself, to read from. Raises KataDamaged if there is none."""
        with self._reading("HEAD"):
            return self._reader.repository

    def has(self, number: int) -> bool:
        """Say whether light `number` is there, the one before it being the newest that is known.

        A tag that can't be read is what a power cut left of a light that was taken back, if
        nothing is behind it. Raises KataDamaged if something is.
        """
        tag = _tag(number)
        if self._named(tag):
            return True
        if not self.has_file_of(number):
            return False
        if self._named(tag):  # it came meanwhile, and they come whole
            return True
        branch = self._branch()
        behind = self._named(branch) if branch else ""
        if self.has_file_of(number + 1) or behind not in {"", self._named(_tag(number - 1))}:
            raise KataDamaged(self._kata_id, Path(self._avatar) / GIT / tag, "names nothing")
        return False

    def has_file_of(self, number: int) -> bool:
        """Say whether light `number` is there, its tag a file, as that of each new light is."""
        return os.path.exists(f"{self._folder}/{_tag(number)}")  # noqa: PTH110 - as a path, slower

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
            if overwrite or self._named(_tag(newest.number)) != newest.commit:
                self._name(newest.number, newest.commit, self._branch())
        if newest is not None and (branch := self._branch()) is not None:
            with suppress(OSError):  # it is moved when somebody needs it
                object_writer.move_branch(self._folder, branch, newest.commit)

    def _name(self, number: int, commit: str, branch: str | None) -> None:
        # What old katas tagged beyond the end of their increments.json is no light, and gives way.
        object_writer.write_reference(self._folder, _tag(number), commit)
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
        index = self.repository.index
        index.read_tree(self.repository[commit].peel(pygit2.Tree))
        with durable.refusing():
            index.write()

    def described(self, number: int) -> bytes:
        """Return what light.json of light `number` holds, which has one."""
        with self._reading(f"{_tag(number)}:{LIGHT_JSON}"):
            return self._blob_in(self._root(number), LIGHT_JSON)

    def light(self, number: int) -> Light | None:
        """Return light `number` as its commit has it; None where a commit of old has not."""
        root = self._root(number)
        if LIGHT_JSON.encode() not in root:
            return None
        value = self._json_in(root, number, LIGHT_JSON)
        with self._reading(f"{_tag(number)}:{LIGHT_JSON}"):
            return light.from_json(value)

    def time(self, number: int) -> datetime:
        """Return when light `number` was committed."""
        found = self.repository[self._commit(number)].peel(pygit2.Commit)
        return datetime.fromtimestamp(found.commit_time, UTC)

    def submission(self, number: int) -> Submission:
        """Return the visible files and the output of light `number`."""
        root = self._root(number)
        if LIGHT_JSON.encode() not in root:
            files = self._files_of_old(number, root)
            return Submission(files=files, stdout=files.pop(OUTPUT, b""))
        value = self._json_in(root, number, LIGHT_JSON)
        return Submission(
            files=self._files_in(root, number, {}),
            stdout=json_files.to_bytes(str(value.get("stdout", ""))),
            stderr=json_files.to_bytes(str(value.get("stderr", ""))),
        )

    def files(self, number: int, known: dict[str, bytes]) -> dict[str, bytes]:
        """Return the visible files of light `number`.

        What `known` has of git's objects, by name, is not read again, and what is read gets there.
        """
        root = self._root(number)
        if LIGHT_JSON.encode() in root:
            return self._files_in(root, number, known)
        files = self._files_of_old(number, root)
        files.pop(OUTPUT, None)
        return files

    def is_of_old(self, number: int) -> bool:
        """Say whether light `number` was committed without a light.json."""
        return LIGHT_JSON.encode() not in self._root(number)

    def tree(self, number: int, known: dict[str, bytes]) -> pygit2.Tree | None:
        """Return the git tree with the visible files of light `number`; None for a light of old.

        Its files are read before: libgit2 is to see nothing that is damaged. `known` is as for
        `files`.
        """
        root = self._root(number)
        if LIGHT_JSON.encode() not in root:
            return None
        self._files_in(root, number, known)
        with self._reading(f"{_tag(number)}:{SANDBOX}"):
            return self.repository[self._sandbox(root)].peel(pygit2.Tree)

    def verify(self, numbers: Iterable[int]) -> None:
        """Read every object of these lights.

        Raises KataDamaged, naming the file, when one is missing or not what its name says.
        """
        seen: set[pygit2.Oid] = set()
        for number in numbers:
            with self._reading(_tag(number)):
                named = self.repository.references[_tag(number)].resolve().target
            self._verify(pygit2.Oid(hex=str(named)), seen)
            self._commit(number)

    def _verify(self, found: pygit2.Oid, seen: set[pygit2.Oid]) -> None:
        waiting = [found]
        while waiting:
            name = waiting.pop()
            if name in seen:
                continue
            seen.add(name)
            with self._reading(self._object_path(name)):
                loose_objects.read(self._folder, str(name))  # before libgit2, as it says there
                each = self.repository[name]
                each.read_raw()
            if isinstance(each, pygit2.Commit):
                waiting += [each.tree_id, *each.parent_ids]
            elif isinstance(each, pygit2.Tag):
                waiting.append(each.target)
            elif isinstance(each, pygit2.Tree):
                waiting += [entry.id for entry in each if entry.filemode != FileMode.COMMIT]

    def _object_path(self, name: pygit2.Oid) -> str:
        """Return the file that an object is in, as far as that can be said."""
        loose = f"objects/{str(name)[:2]}/{str(name)[2:]}"
        packs = sorted((self._folder / "objects" / "pack").glob("*.pack"))
        return (
            f"objects/pack/{packs[0].name}"
            if packs and not (self._folder / loose).exists()
            else loose
        )

    def _tip(self, number: int) -> Tip:
        if number < 0:
            return Tip("", frozenset(), self._branch())
        return Tip(self._commit(number), frozenset(), self._branch())

    def _branch(self) -> str | None:
        """Return the branch that HEAD names, if it names one."""
        try:
            head = (self._folder / "HEAD").read_text()
        except (OSError, ValueError):
            return None
        name = head.removeprefix("ref:").strip()
        is_branch = head.startswith("ref:") and name.startswith("refs/heads/")
        return name if is_branch and pygit2.reference_is_valid_name(name) else None

    def _named(self, reference: str) -> str:
        """Return the commit that a reference names, or nothing."""
        try:
            found = self.repository.references.get(reference)
        except (pygit2.GitError, ValueError):  # a file that a crash left without content
            return ""
        return "" if found is None else str(found.target)

    def _commit(self, number: int) -> str:
        with self._reading(_tag(number)):
            return self._reader.commit(_tag(number))

    def _root(self, number: int) -> dict[bytes, TreeEntry]:
        with self._reading(_tag(number)):
            return self._reader.root(_tag(number))

    def _files_of_old(self, number: int, root: dict[bytes, TreeEntry]) -> dict[str, bytes]:
        """Return the visible files of a light of old, its output among them."""
        if MANIFEST_JSON.encode() not in root:
            return self._files_in(root, number, {})
        value = self._json_in(root, number, MANIFEST_JSON)
        with self._reading(f"{_tag(number)}:{MANIFEST_JSON}"):
            return json_files.read_files(value)

    def _files_in(
        self, root: dict[bytes, TreeEntry], number: int, known: dict[str, bytes]
    ) -> dict[str, bytes]:
        with self._reading(f"{_tag(number)}:{SANDBOX}"):
            return dict(self._blobs(self._sandbox(root), known))

    def _sandbox(self, root: dict[bytes, TreeEntry]) -> str:
        found = root[SANDBOX.encode()]
        if not found.is_folder:
            raise Unreadable("is not a folder")
        return found.object

    def _json_in(self, root: dict[bytes, TreeEntry], number: int, name: str) -> dict[str, Any]:
        with self._reading(f"{_tag(number)}:{name}"):
            value: dict[str, Any] = json_files.loads(self._blob_in(root, name), dict)
            return value

    def _blob_in(self, root: dict[bytes, TreeEntry], name: str) -> bytes:
        found = root[name.encode()]
        if found.is_folder or found.is_submodule:
            raise Unreadable("is not a file")
        return self._reader.blob(found.object)

    def _blobs(
        self, tree: str, known: dict[str, bytes], prefix: str = ""
    ) -> Iterator[tuple[str, bytes]]:
        for raw_name, entry in self._reader.folder(tree).items():
            name = prefix + json_files.from_bytes(raw_name)
            if entry.is_folder:
                yield from self._blobs(entry.object, known, name + "/")
            elif not entry.is_submodule:
                content = known.get(entry.object)
                if content is None:
                    content = known[entry.object] = self._reader.blob(entry.object)
                yield name, content

    @contextmanager
    def _reading(self, what: str) -> Iterator[None]:
        try:
            yield
        except (pygit2.GitError, KeyError, ValueError, TypeError, OSError, Unreadable) as error:
            path = Path(self._avatar) / GIT / what
            raise KataDamaged(self._kata_id, path, str(error) or type(error).__name__) from error


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


def _tag(number: int) -> str:
    return f"refs/tags/{number}"
