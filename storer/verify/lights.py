"""Verify that the files that repeat an avatar's lights agree with git.

git is the truth: tag N is light N. The branch, increments.json, manifest.json, light.json and the
index repeat what git has. light.json and the index are updated only when the kata is downloaded, so
each may be missing, or that of an earlier light. Legacy lights, which have no light.json, are
described by increments.json alone.

For the holder of the lock on the avatar's folder. Without the lock, a finding may be a light that
is being recorded.
"""

import filecmp
import hashlib
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from functools import cached_property, partial
from itertools import groupby
from pathlib import Path
from typing import Any

import pygit2

from dojo.errors import KataDamaged
from storer.fs import durable, json_files
from storer.fs.json_files import Unreadable
from storer.kata import edit, light
from storer.kata.history import GIT, LIGHT_JSON, MANIFEST_JSON
from storer.kata.light import Light
from storer.kata.lights import INCREMENTS, parse
from storer.kata.manifest import OUTPUT
from storer.kata.recorder import Recorder
from storer.verify.findings import Finding, Kind

_TAGS = "refs/tags/"


class LightsCheck:
    """The check of the lights in an avatar's folder. Belongs to one thread."""

    def __init__(self, folder: Path, kata_id: str, avatar: str) -> None:
        """Open the repository; raise KataDamaged if there is none."""
        self._folder = folder
        self._history = Recorder(folder, kata_id, avatar)
        self._repository = self._history.open_repository()
        self._commits = self._read_tags()

    @property
    def count(self) -> int:
        """The number of lights that git has, without number 0."""
        return sum(number > 0 for number in self._commits)

    def newest_files(self) -> dict[str, bytes]:
        """Return the visible files of the newest light."""
        return self._history.submission(self._newest).files

    def findings(self) -> Iterator[Finding]:
        """Yield everything that is wrong. Raises KataDamaged if a commit can't be read."""
        yield from self._check_increments()
        yield from self._check_tags()
        yield from self._check_edits()
        newest = self._newest
        if newest in self._commits:
            yield from self._check_branch(newest)
            yield from self._check_manifest(newest)
            yield from self._check_light_json()
            yield from self._check_index()

    def _read_tags(self) -> dict[int, pygit2.Commit]:
        found = {}
        for name in self._repository.listall_references():
            number = name.removeprefix(_TAGS)
            if name.startswith(_TAGS) and number.isascii() and number.isdigit():
                try:
                    found[int(number)] = self._repository.references[name].peel(pygit2.Commit)
                except (pygit2.GitError, KeyError):
                    continue  # ObjectsCheck reports it
        return dict(sorted(found.items()))

    @cached_property
    def _lights(self) -> dict[int, Light]:
        """The lights that git describes, without number 0."""
        found = {number: self._history.light(number) for number in self._commits if number > 0}
        return {number: each for number, each in found.items() if each is not None}

    @cached_property
    def _listed(self) -> dict[int, dict[str, Any]]:
        """The objects in increments.json, by the light's number. Raises Unreadable."""
        value = json_files.read(self._folder / INCREMENTS, list)
        return dict(zip((each.number for each in _parse_all(value)), value, strict=True))

    @property
    def _newest(self) -> int:
        """The newest light's number. Tags of legacy katas beyond their list are no lights."""
        try:
            listed = list(self._listed)
        except Unreadable:
            listed = []
        return max([0, *self._lights, *listed])

    def _check_increments(self) -> Iterator[Finding]:
        path = self._folder / INCREMENTS
        try:
            listed = self._listed
        except Unreadable as error:
            described = all(number in self._lights for number in self._commits if number > 0)
            mend = partial(self._replace, path, _increments_json(list(self._lights.values())))
            yield Finding(INCREMENTS, Kind.STALE, str(error), mend if described else None)
            return
        wrong = [
            number
            for number, each in self._lights.items()
            if number not in listed or light.from_json(listed[number]) != each
        ]
        if wrong:
            merged = {**{number: listed[number] for number in listed}, **self._merged(wrong)}
            content = _increments_json([merged[number] for number in sorted(merged)])
            yield Finding(
                INCREMENTS,
                Kind.STALE,
                f"{_lights_are(wrong)} not as git has it",
                partial(self._replace, path, content),
            )

    def _merged(self, wrong: list[int]) -> dict[int, dict[str, Any]]:
        """Return what increments.json should have for these lights; unknown keys are kept."""
        return {
            number: {**self._listed.get(number, {}), **light.to_json(self._lights[number])}
            for number in wrong
        }

    def _check_edits(self) -> Iterator[Finding]:
        for number, minor in self._history.edit_numbers():
            tag = edit.tag_of(number, minor)
            try:
                self._history.edit(number, minor)
                self._history.file_names(number, minor)
                before = edit.tag_of(number, minor - 1) if minor > 1 else f"{_TAGS}{number}"
                parents = [str(each) for each in self._commit_of(tag).parent_ids]
                if parents != [str(self._commit_of(before).id)]:
                    what = f"edit {number}.{minor} does not follow {before.removeprefix(_TAGS)}"
                    yield Finding(f"{GIT}/{tag}", Kind.LIGHTS, what)
            except KataDamaged as error:
                yield Finding(f"{GIT}/{tag}", Kind.HISTORY, str(error))
            except (pygit2.GitError, KeyError):
                what = f"edit {number}.{minor} or what it follows is missing"
                yield Finding(f"{GIT}/{tag}", Kind.LIGHTS, what)

    def _commit_of(self, tag: str) -> pygit2.Commit:
        return self._repository.references[tag].peel(pygit2.Commit)

    def _check_tags(self) -> Iterator[Finding]:
        try:
            listed = set(self._listed)
        except Unreadable:
            listed = set()
        newest = self._newest
        lost = [number for number in range(newest + 1) if number not in self._commits]
        for first, last in _runs(lost):
            yield from self._lost_tags(first, last, listed)
        for number in range(1, newest + 1):
            if number in self._commits and number - 1 in self._commits:
                parents = [str(each) for each in self._commits[number].parent_ids]
                if parents != [str(self._commits[number - 1].id)]:
                    what = f"the commit of light {number} does not follow light {number - 1}'s"
                    yield Finding(f"{GIT}/{_TAGS}{number}", Kind.LIGHTS, what)
        if 0 in self._commits and self._commits[0].parent_ids:
            yield Finding(f"{GIT}/{_TAGS}0", Kind.LIGHTS, "the commit of light 0 has a parent")

    def _lost_tags(self, first: int, last: int, listed: Collection[int]) -> Iterator[Finding]:
        """Yield one finding for the lights `first` to `last`, all of which have no tag."""
        commits = self._lost_commits(first, last)
        is_legacy = last + 1 in self._commits and last + 1 not in self._lights
        is_known = first == 0 or any(number in listed for number in range(first, last + 1))
        if is_legacy and not (commits or is_known):
            return

        def write_tags() -> None:
            for number, commit in commits.items():
                self._write_reference(f"{_TAGS}{number}", commit)

        is_one = first == last
        what = f"light {first} has no tag" if is_one else f"lights {first} to {last} have no tags"
        path = f"{GIT}/{_TAGS}{first if is_one else ''}".rstrip("/")
        yield Finding(path, Kind.LIGHTS, what, write_tags if commits else None)

    def _lost_commits(self, first: int, last: int) -> dict[int, str]:
        """Return the commits that the lost tags of lights must have named; none if not certain.

        Each commit's light.json has the light's number, and the commits before and after them are
        those of the neighbours, or the branch's and the first.
        """
        following = self._commits.get(last + 1)
        found: object = self._branch_commit() if following is None else self._parent(following)
        commits: dict[int, str] = {}
        for number in range(last, first - 1, -1):
            if not isinstance(found, pygit2.Commit):
                return {}
            stated = self._stated_number(found)
            if stated != number and not (number == 0 and stated is None):
                return {}
            commits[number] = str(found.id)
            before, found = found, self._parent(found)
            if number == 0:
                return {} if before.parent_ids else commits
        neighbour = self._commits.get(first - 1)
        if neighbour is None or not isinstance(found, pygit2.Commit):
            return {}
        return commits if found.id == neighbour.id else {}

    def _parent(self, commit: pygit2.Commit) -> pygit2.Object | None:
        """Return the commit's parent, if it has one and no other, and it can be read."""
        if len(commit.parent_ids) != 1:
            return None
        found: pygit2.Object | None = self._repository.get(commit.parent_ids[0])
        return found

    def _stated_number(self, commit: pygit2.Commit) -> object:
        """Return the number in the commit's light.json; None if there is none."""
        try:
            stated = json_files.loads(commit.tree[LIGHT_JSON].read_raw(), dict)
        except (KeyError, pygit2.GitError, Unreadable):
            return None
        return stated.get("number")

    def _branch_commit(self) -> pygit2.Commit | None:
        try:
            return self._repository.head.peel(pygit2.Commit)
        except (pygit2.GitError, KeyError):
            return None

    def _branch_name(self) -> str | None:
        try:
            named = self._repository.lookup_reference("HEAD").target
        except (pygit2.GitError, KeyError):
            return None
        return named if isinstance(named, str) and named.startswith("refs/heads/") else None

    def _check_branch(self, newest: int) -> Iterator[Finding]:
        expected = self._commits[newest]
        branch = self._branch_name()
        if branch is None:
            yield Finding(f"{GIT}/HEAD", Kind.LIGHTS, "it names no branch")
            return
        found = self._branch_commit()
        if found is not None and found.id == expected.id:
            return
        path = f"{GIT}/{branch}"
        mend = partial(self._write_reference, branch, str(expected.id))
        if found is None:
            yield Finding(path, Kind.STALE, "it can't be read", mend)
        elif any(found.id == each.id for each in self._commits.values()):
            yield Finding(path, Kind.STALE, f"it is not at light {newest}", mend)
        elif list(found.parent_ids) == [expected.id]:
            what = f"it is ahead of light {newest}: a process died before it recorded the light"
            yield Finding(path, Kind.DANGLING, what)
        else:
            yield Finding(path, Kind.LIGHTS, f"it is neither light {newest} nor one before it")

    def _check_manifest(self, newest: int) -> Iterator[Finding]:
        path = self._folder / MANIFEST_JSON
        files = self._history.submission(newest).files
        if _has_content(path, json_files.dump_files(files)):
            return
        try:
            found = json_files.read_files(json_files.read(path, dict))
        except Unreadable as error:
            what = str(error)
        else:
            # Legacy katas have the output among the files.
            if files in (found, {name: found[name] for name in found if name != OUTPUT}):
                return
            what = f"it differs from light {newest}"

        def mend() -> None:
            self._replace(path, json_files.dump_files(self._history.submission(newest).files))

        yield Finding(MANIFEST_JSON, Kind.STALE, what, mend)

    def _check_light_json(self) -> Iterator[Finding]:
        path = self._folder / LIGHT_JSON
        try:
            found = path.read_bytes()
        except FileNotFoundError:
            return
        if any(found == self._history.light_json(number) for number in self._described_numbers()):
            return
        yield Finding(LIGHT_JSON, Kind.STALE, "it is not of any light", self._check_out_newest())

    def _check_index(self) -> Iterator[Finding]:
        path = self._folder / GIT / "index"
        if not path.exists():
            return
        try:
            index = self._repository.index
            for number in reversed(self._commits):
                if not any(self._commits[number].tree.diff_to_index(index).deltas):
                    return
            what = "it is not of any light"
        except pygit2.GitError as error:
            what = str(error)
        yield Finding(f"{GIT}/index", Kind.STALE, what, self._check_out_newest())

    def _described_numbers(self) -> list[int]:
        """Return the lights with a light.json, the newest first, as it is the likeliest."""
        start = [0] if 0 in self._commits and not self._history.is_legacy(0) else []
        return [*reversed(self._lights), *start]

    def _check_out_newest(self) -> Callable[[], None] | None:
        """Return what updates light.json and the index to the newest light, if it is described."""
        newest = self._newest
        if newest not in self._described_numbers():
            return None

        def check_out() -> None:
            self._history.check_out(newest)
            self._replace(self._folder / LIGHT_JSON, self._history.light_json(newest))

        return check_out

    def _write_reference(self, name: str, commit: str) -> None:
        path = self._folder / GIT / name
        path.parent.mkdir(parents=True, exist_ok=True)
        durable.write(path, f"{commit}\n".encode())

    def _replace(self, path: Path, content: bytes | Iterator[bytes]) -> None:
        """Replace a file; keep its old content beside it, under a name that no tar includes."""
        kept = _keep(path)
        durable.write(path, content)
        if kept is not None and filecmp.cmp(kept, path, shallow=False):
            kept.unlink()


def _keep(path: Path) -> Path | None:
    """Give the content of a file a second name, which is returned; None if there is no content."""
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()[:8]
    except FileNotFoundError:
        return None
    if path.stat().st_size == 0:
        return None
    kept = path.with_name(f".{path.name}.was-{digest}")
    kept.unlink(missing_ok=True)
    kept.hardlink_to(path)
    durable.sync_folder(path.parent)
    return kept


def _has_content(path: Path, content: bytes | Iterator[bytes]) -> bool:
    """Return whether a file exists and has this content."""
    with suppress(FileNotFoundError, IsADirectoryError), path.open("rb") as file:
        pieces = (content,) if isinstance(content, bytes) else content
        return all(file.read(len(piece)) == piece for piece in pieces) and not file.read(1)
    return False


def _parse_all(value: list[object]) -> list[Light]:
    """Return the lights in increments.json, number 0 included if it is there."""
    parse(value)
    return [light.from_json(each) for each in value]


def _increments_json(lights: list[Any]) -> bytes:
    values = (light.to_json(each) if isinstance(each, Light) else each for each in lights)
    return b"[" + b",\n".join(json_files.dumps(each) for each in values) + b"]\n"


def _runs(numbers: list[int]) -> Iterator[tuple[int, int]]:
    """Yield the first and the last number of each run of consecutive numbers."""
    for _, run in groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0]):
        found = [number for _, number in run]
        yield found[0], found[-1]


def _lights_are(numbers: list[int]) -> str:
    shown = ", ".join(str(number) for number in numbers[:5])
    if len(numbers) == 1:
        return f"light {shown} is"
    return f"lights {shown}{' and more' if len(numbers) > 5 else ''} are"
