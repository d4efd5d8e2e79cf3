"""An avatar's history: a git repository in which tag N is light N.

A light's commit holds `sandbox/`, the visible files, and `light.json`, the light with its
output. Commits of old hold `manifest.json` (filename -> content, with the output as a file)
instead of light.json, and a copy of the files in `sandbox/`. Both are read; ours are written.

Who may write: whoever holds the lock on the avatar's folder. Reading needs none: objects
never change, and a tag is there once its light is whole and on disk.
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pygit2
from pygit2.enums import ConfigLevel, FileMode

from dojo.errors import KataDamaged
from storer import durable, json_files, light, loose_objects, objects
from storer.journal import Entry, Journal
from storer.json_files import Unreadable
from storer.light import Light, Submission
from storer.manifest import OUTPUT
from storer.objects import NewObjects

GIT = ".git"
BRANCH = "refs/heads/main"
SANDBOX = "sandbox"
LIGHT_JSON = "light.json"
MANIFEST_JSON = "manifest.json"

# Beside the repository, and not part of it.
EXCLUDED = "/manifest.json\n/increments.json\n/submission.json\n"

_FOLDERS = ("objects/info", "objects/pack", "refs/heads", "refs/tags", "info")
_CONFIG = """[core]
\trepositoryformatversion = 0
\tfilemode = true
\tbare = false
\tlogallrefupdates = false
"""

# An avatar seldom has more files; where it has, they are looked for each time.
_MOST_KNOWN = 256

pygit2.settings.owner_validation = False  # imported katas belong to whoever they belonged to
pygit2.settings.enable_fsync_gitdir(True)  # noqa: FBT003 - its only argument
for _level in (ConfigLevel.SYSTEM, ConfigLevel.GLOBAL, ConfigLevel.XDG):
    pygit2.settings.search_path[_level] = ""  # a kata's history depends on no one's ~/.gitconfig


@dataclass(frozen=True, slots=True)
class Tip:
    """The newest light's commit, and objects of its that are known to be on disk, by name."""

    commit: str
    known: frozenset[str]


class History:
    """The git repository in an avatar's folder."""

    def __init__(self, folder: Path, kata_id: str, avatar: str) -> None:
        """Open the repository in `folder`; raise KataDamaged if there is none."""
        self._kata_id = kata_id
        self._avatar = avatar
        self._folder = folder / GIT
        with self._reading("HEAD"):
            self._repository = pygit2.Repository(str(self._folder))

    @classmethod
    def create(cls, folder: Path, kata_id: str, avatar: str) -> "History":
        """Make an empty repository in `folder` and open it.

        In one that is there already, what a crash left out of it is made.
        """
        git = folder / GIT
        git.mkdir(mode=0o700, exist_ok=True)
        for name in _FOLDERS:
            (git / name).mkdir(parents=True, exist_ok=True)
        who = f"\tname = {avatar}_{kata_id}\n\temail = {avatar}@cyber-dojo.org\n"
        for name, text in (
            ("HEAD", f"ref: {BRANCH}\n"),
            ("config", f"{_CONFIG}[user]\n{who}"),
            ("info/exclude", EXCLUDED),
        ):
            path = git / name
            if not path.exists() or not path.stat().st_size:
                path.write_text(text)
        return cls(folder, kata_id, avatar)

    @property
    def repository(self) -> pygit2.Repository:
        """The repository itself, to read from."""
        return self._repository

    def has(self, number: int) -> bool:
        """Say whether light `number` is there."""
        return self._repository.references.get(_tag(number)) is not None

    def record(
        self,
        recorded: Light,
        submission: Submission,
        before: Tip | None = None,
        journal: Journal | None = None,
    ) -> Tip:
        """Add a light after the one before it. With a `journal` it is on disk when this returns.

        `before` is what is known of the light before, if anything. There is no journal where
        nobody sees the kata yet: it is put on disk as a whole.
        """
        if before is None:
            before = self._tip(recorded.number - 1)
        new = NewObjects(before.known)
        sandbox = new.folder(submission.files)
        known = frozenset(new.used) if len(new.used) <= _MOST_KNOWN else frozenset()
        described = new.blob(_describe(recorded, submission))
        root = new.tree(
            {
                LIGHT_JSON.encode(): (objects.FILE, described),
                SANDBOX.encode(): (objects.FOLDER, sandbox),
            }
        )
        author = f"{self._avatar}_{self._kata_id} <{self._avatar}@cyber-dojo.org>"
        message = f"{recorded.number} {recorded.colour}".strip()
        parents = [before.commit] if before.commit else []
        commit = new.commit(root, parents, author, int(recorded.time.timestamp()), message)
        if journal is None:
            objects.write(self._folder, new.files)
            self._name(recorded.number, commit)
            return Tip(commit, known)
        size = journal.size
        # First the journal: it has the content of an object that git has, and the disk maybe not.
        journal.append(Entry(recorded.number, commit, new.files))
        written: list[str] = []
        try:
            objects.write(self._folder, new.files, written=written)
            written.clear()  # from here on a branch may refer to them
            self._name(recorded.number, commit)
        except BaseException:
            # Or it would be found there, though the caller is told that it failed.
            journal.take_back(size)
            objects.remove(self._folder, written)
            raise
        return Tip(commit, known)

    def recover(self, entries: Iterable[Entry]) -> None:
        """Write what a journal has and git has not."""
        newest: Entry | None = None
        for newest in entries:
            missing = {
                name: content
                for name, content in newest.objects.items()
                if not objects.holds(self._folder, name, content)
            }
            objects.write(self._folder, missing, anew=True)
            if self._named(_tag(newest.number)) != newest.commit:
                self._name(newest.number, newest.commit)
        if newest is not None and (branch := self._branch()) is not None:
            objects.move_branch(self._folder, branch, newest.commit)

    def _name(self, number: int, commit: str) -> None:
        # A branch that is ahead of the tags is a light that nobody was told of: a process died
        # between these two lines. The next light starts from its tag, so nothing is wrong.
        if (branch := self._branch()) is not None:
            objects.move_branch(self._folder, branch, commit)
        # What old katas tagged beyond the end of their increments.json is no light, and gives way.
        objects.write_reference(self._folder, _tag(number), commit)

    def check_out(self, number: int) -> None:
        """Let a plain `git status` compare with light `number`: the branch and the index.

        For the holder of the lock on the avatar's folder.
        """
        commit = str(self._commit(number).id)
        branch = self._branch()
        if branch is not None and self._named(branch) != commit:
            objects.move_branch(self._folder, branch, commit)
        (self._folder / "index.lock").unlink(missing_ok=True)
        index = self._repository.index
        index.read_tree(self._root(number))
        with durable.refusing():
            index.write()

    def described(self, number: int) -> bytes:
        """Return what light.json of light `number` holds, which has one."""
        with self._reading(f"{_tag(number)}:{LIGHT_JSON}"):
            return self._blob_in(self._root(number), LIGHT_JSON).data

    def light(self, number: int) -> Light | None:
        """Return light `number` as its commit has it; None where a commit of old has not."""
        value = self._light_json(number)
        if value is None:
            return None
        with self._reading(f"{_tag(number)}:{LIGHT_JSON}"):
            return light.from_json(value)

    def time(self, number: int) -> datetime:
        """Return when light `number` was committed."""
        return datetime.fromtimestamp(self._commit(number).commit_time, UTC)

    def submission(self, number: int) -> Submission:
        """Return the visible files and the output of light `number`."""
        value = self._light_json(number)
        if value is None:
            return self._submission_of_old(number)
        with self._reading(f"{_tag(number)}:{SANDBOX}"):
            files = dict(self._blobs(self.tree(number)))
        return Submission(
            files=files,
            stdout=json_files.to_bytes(str(value.get("stdout", ""))),
            stderr=json_files.to_bytes(str(value.get("stderr", ""))),
        )

    def is_of_old(self, number: int) -> bool:
        """Say whether light `number` was committed without a light.json."""
        return LIGHT_JSON not in self._root(number)

    def tree(self, number: int) -> pygit2.Tree:
        """Return the git tree with the visible files of light `number`, all of them readable."""
        found = self._tree_in(self._root(number), number)
        with self._reading(f"{_tag(number)}:{SANDBOX}"):
            self._check_tree(found)
        return found

    def verify(self, numbers: Iterable[int]) -> None:
        """Read every object of these lights.

        Raises KataDamaged, naming the file, when one is missing or not what its name says.
        """
        seen: set[pygit2.Oid] = set()
        for number in numbers:
            with self._reading(_tag(number)):
                named = self._repository.references[_tag(number)].resolve().target
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
                each = self._repository[name]
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
            return Tip("", frozenset())
        return Tip(str(self._commit(number).id), frozenset())

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
            found = self._repository.references.get(reference)
        except (pygit2.GitError, ValueError):  # a file that a crash left without content
            return ""
        return "" if found is None else str(found.target)

    def _commit(self, number: int) -> pygit2.Commit:
        with self._reading(_tag(number)):
            name = self._repository.references[_tag(number)].resolve().target
            self._check(name)
            found = self._repository[name]
            while isinstance(found, pygit2.Tag):
                self._check(found.target)
                found = self._repository[found.target]
            return found.peel(pygit2.Commit)

    def _root(self, number: int) -> pygit2.Tree:
        commit = self._commit(number)
        with self._reading(_tag(number)):
            self._check(commit.tree_id)
            return commit.tree

    def _light_json(self, number: int) -> dict[str, Any] | None:
        root = self._root(number)
        if LIGHT_JSON not in root:
            return None
        return self._json_in(root, number, LIGHT_JSON)

    def _submission_of_old(self, number: int) -> Submission:
        root = self._root(number)
        if MANIFEST_JSON in root:
            value = self._json_in(root, number, MANIFEST_JSON)
            with self._reading(f"{_tag(number)}:{MANIFEST_JSON}"):
                files = json_files.read_files(value)
        else:
            with self._reading(f"{_tag(number)}:{SANDBOX}"):
                files = dict(self._blobs(self._tree_in(root, number)))
        return Submission(files=files, stdout=files.pop(OUTPUT, b""))

    def _tree_in(self, root: pygit2.Tree, number: int) -> pygit2.Tree:
        with self._reading(f"{_tag(number)}:{SANDBOX}"):
            found = root[SANDBOX]
            if not isinstance(found, pygit2.Tree):
                raise Unreadable("is not a folder")
            self._check(found.id)
            return found

    def _json_in(self, root: pygit2.Tree, number: int, name: str) -> dict[str, Any]:
        with self._reading(f"{_tag(number)}:{name}"):
            value: dict[str, Any] = json_files.loads(self._blob_in(root, name).data, dict)
            return value

    def _blob_in(self, root: pygit2.Tree, name: str) -> pygit2.Blob:
        found = root[name]
        if not isinstance(found, pygit2.Blob):
            raise Unreadable("is not a file")
        self._check(found.id)
        return found

    def _check(self, name: object) -> None:
        """Raise ValueError if an object is damaged: libgit2 is not to be asked to read it."""
        loose_objects.check(str(self._folder), str(name))

    def _check_tree(self, tree: pygit2.Tree) -> None:
        for entry in tree:
            self._check(entry.id)
            if isinstance(entry, pygit2.Tree):
                self._check_tree(entry)

    def _blobs(self, tree: pygit2.Tree, prefix: str = "") -> Iterator[tuple[str, bytes]]:
        for entry in tree:
            self._check(entry.id)
            name = prefix + json_files.from_bytes(entry.raw_name or b"")
            if isinstance(entry, pygit2.Tree):
                yield from self._blobs(entry, name + "/")
            elif isinstance(entry, pygit2.Blob):
                yield name, entry.data

    @contextmanager
    def _reading(self, what: str) -> Iterator[None]:
        try:
            yield
        except (pygit2.GitError, KeyError, ValueError, TypeError, OSError, Unreadable) as error:
            path = Path(self._avatar) / GIT / what
            raise KataDamaged(self._kata_id, path, str(error) or type(error).__name__) from error


def _describe(recorded: Light, submission: Submission) -> bytes:
    """Return a light's light.json: the light with its output."""
    output = {
        "stdout": json_files.from_bytes(submission.stdout),
        "stderr": json_files.from_bytes(submission.stderr),
    }
    return json.dumps({**light.to_json(recorded), **output}, indent=1).encode("ascii")


def _tag(number: int) -> str:
    return f"refs/tags/{number}"
