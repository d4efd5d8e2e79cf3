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
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pygit2
from pygit2.enums import ConfigLevel, FileMode

from dojo import visible_files
from dojo.errors import KataDamaged
from storer import json_files, light
from storer.json_files import Unreadable
from storer.light import Light, Submission
from storer.manifest import OUTPUT

GIT = ".git"
BRANCH = "refs/heads/main"
SANDBOX = "sandbox"
LIGHT_JSON = "light.json"
MANIFEST_JSON = "manifest.json"

# Beside the repository, and not part of it.
EXCLUDED = "/manifest.json\n/increments.json\n/submission.json\n"

_FILE = FileMode.BLOB
_PROGRAM = FileMode.BLOB_EXECUTABLE

pygit2.settings.owner_validation = False  # imported katas belong to whoever they belonged to
pygit2.settings.enable_fsync_gitdir(True)  # noqa: FBT003 - its only argument
for _level in (ConfigLevel.SYSTEM, ConfigLevel.GLOBAL, ConfigLevel.XDG):
    pygit2.settings.search_path[_level] = ""  # a kata's history depends on no one's ~/.gitconfig


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
        """Make an empty repository in `folder` and open it."""
        repository = pygit2.init_repository(str(folder), initial_head=BRANCH)
        repository.config["core.logallrefupdates"] = False
        repository.config["user.name"] = f"{avatar}_{kata_id}"
        repository.config["user.email"] = f"{avatar}@cyber-dojo.org"
        (folder / GIT / "info" / "exclude").write_text(EXCLUDED)
        (folder / GIT).chmod(0o700)
        return cls(folder, kata_id, avatar)

    @property
    def repository(self) -> pygit2.Repository:
        """The repository itself, to read from."""
        return self._repository

    def has(self, number: int) -> bool:
        """Say whether light `number` is there."""
        return self._repository.references.get(_tag(number)) is not None

    def record(self, recorded: Light, submission: Submission) -> bytes:
        """Add a light after the one before it. When this returns, it is on disk.

        Returns what its light.json holds, for the working tree to have it too: git compares
        the two when somebody asks for the status of a kata that was downloaded.
        """
        repository = self._repository
        branch = repository.lookup_reference("HEAD").target
        self._remove_locks("index", str(branch), _tag(recorded.number))
        parents = [] if recorded.number == 0 else [self._commit(recorded.number - 1).id]
        described = _describe(recorded, submission)
        tree = self._write_tree(described, submission.files)
        author = pygit2.Signature(
            f"{self._avatar}_{self._kata_id}",
            f"{self._avatar}@cyber-dojo.org",
            int(recorded.time.timestamp()),
            0,
        )
        message = f"{recorded.number} {recorded.colour}".strip()
        commit = repository.create_commit(None, author, author, message, tree, parents)
        # A branch that is ahead of the tags is a light that nobody was told of: a process died
        # between these two lines. The next light starts from its tag, so nothing is wrong.
        repository.references.create(str(branch), commit, force=True)
        # What old katas tagged beyond the end of their increments.json is no light, and gives way.
        repository.references.create(_tag(recorded.number), commit, force=True)
        self._write_index(tree)
        return described

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
        """Return the git tree with the visible files of light `number`."""
        return self._tree_in(self._root(number), number)

    def verify(self, numbers: Iterable[int]) -> None:
        """Read every object of these lights.

        Raises KataDamaged, naming the file, when one is missing or not what its name says.
        """
        seen: set[pygit2.Oid] = set()
        for number in numbers:
            self._verify(self._commit(number), seen)

    def _verify(self, found: pygit2.Commit, seen: set[pygit2.Oid]) -> None:
        waiting = [found.id]
        while waiting:
            name = waiting.pop()
            if name in seen:
                continue
            seen.add(name)
            with self._reading(self._object_path(name)):
                each = self._repository[name]
                each.read_raw()
            if isinstance(each, pygit2.Commit):
                waiting += [each.tree_id, *each.parent_ids]
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

    def _commit(self, number: int) -> pygit2.Commit:
        with self._reading(_tag(number)):
            return self._repository.references[_tag(number)].peel(pygit2.Commit)

    def _root(self, number: int) -> pygit2.Tree:
        commit = self._commit(number)
        with self._reading(_tag(number)):
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
            return found

    def _json_in(self, root: pygit2.Tree, number: int, name: str) -> dict[str, Any]:
        with self._reading(f"{_tag(number)}:{name}"):
            found = root[name]
            if not isinstance(found, pygit2.Blob):
                raise Unreadable("is not a file")
            value: dict[str, Any] = json_files.loads(found.data, dict)
            return value

    def _blobs(self, tree: pygit2.Tree, prefix: str = "") -> Iterator[tuple[str, bytes]]:
        for entry in tree:
            name = prefix + json_files.from_bytes(entry.raw_name or b"")
            if isinstance(entry, pygit2.Tree):
                yield from self._blobs(entry, name + "/")
            elif isinstance(entry, pygit2.Blob):
                yield name, entry.data

    def _write_tree(self, described: bytes, files: dict[str, bytes]) -> pygit2.Oid:
        root = self._repository.TreeBuilder()
        root.insert(LIGHT_JSON, self._repository.create_blob(described), _FILE)
        root.insert(SANDBOX, write_files(self._repository, files), FileMode.TREE)
        return root.write()

    def _write_index(self, tree: pygit2.Oid) -> None:
        """Let a plain `git status` compare with the newest light."""
        index = self._repository.index
        index.read_tree(tree)
        index.write()

    def _remove_locks(self, *names: str) -> None:
        """Remove the locks of git's own that a process left which died in the middle.

        All who write hold the lock on the avatar's folder, so these are nobody's.
        """
        for name in names:
            (self._folder / f"{name}.lock").unlink(missing_ok=True)

    @contextmanager
    def _reading(self, what: str) -> Iterator[None]:
        try:
            yield
        except (pygit2.GitError, KeyError, ValueError, TypeError, OSError, Unreadable) as error:
            path = Path(self._avatar) / GIT / what
            raise KataDamaged(self._kata_id, path, str(error) or type(error).__name__) from error


def write_files(repository: pygit2.Repository, files: dict[str, bytes]) -> pygit2.Oid:
    """Write files, some in folders, as a tree; return its id."""
    folders: dict[str, dict[str, bytes]] = {}
    builder = repository.TreeBuilder()
    for name, content in files.items():
        folder, slash, rest = name.partition("/")
        if slash:
            folders.setdefault(folder, {})[rest] = content
        else:
            mode = _PROGRAM if visible_files.mode(name) & 0o100 else _FILE
            builder.insert(name, repository.create_blob(content), mode)
    for folder, inside in folders.items():
        builder.insert(folder, write_files(repository, inside), FileMode.TREE)
    return builder.write()


def _describe(recorded: Light, submission: Submission) -> bytes:
    """Return a light's light.json: the light with its output."""
    output = {
        "stdout": json_files.from_bytes(submission.stdout),
        "stderr": json_files.from_bytes(submission.stderr),
    }
    return json.dumps({**light.to_json(recorded), **output}, indent=1).encode("ascii")


def _tag(number: int) -> str:
    return f"refs/tags/{number}"
