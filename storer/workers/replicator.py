"""A background thread that copies katas to the archive within seconds of a change.

A machine that is lost then loses only the last seconds. A kata's first copy is a tar of all of it,
as archiving writes one. Later copies add what is new: git's objects and tags of new lights and the
small files beside them, and the kata's options if they changed, but not the sandbox, whose visible
files are those of the newest light. All of it is written again after many copies, or if the archive
has another tar than their base.

A note in the kata's folder says what was copied, so a storer that starts copies what the previous
one did not. Copying holds the lock on the kata's folder, shared. Deleting waits for that lock, so a
deleted kata can't get back into the archive.
"""

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import PurePosixPath

import pygit2
import structlog
import zstandard

from dojo.engine.data_containers import DataContainers
from dojo.errors import ArchiveConflict, DojoError, KataDamaged, KataMoved, KataNotFound
from storer import metrics
from storer.archive import index, store_kata
from storer.archive.archive import Archive, Copy
from storer.fs import durable, json_files
from storer.fs.json_files import Unreadable
from storer.kata import edit
from storer.kata.avatar import MANIFEST, Avatar
from storer.kata.edit import At
from storer.kata.head import DAMAGED, Head, head_of
from storer.kata.history import GIT, LIGHT_JSON, tag_of
from storer.kata.kata import Kata
from storer.kata.lights import INCREMENTS
from storer.kata.options import UNREADABLE
from storer.kata.sandbox import SUBMISSION
from storer.katas.repository import Katas
from storer.tar import snapshot
from storer.tar.packing import pack_objects
from storer.tar.snapshot import Snapshot

_log = structlog.get_logger()

# Names in the kata's folder that are no part of the kata.
_NOTE = ".copied"

# Fetching a kata reads each of its copies.
_MAX_COPIES = 64
# Fetching a kata reads each file of its copies, while its first copy has packs.
_MAX_COPIED_FILES = 2000
_RETRY_SECONDS = 5

_NONE = ""

# Of each avatar the number of its newest light, and the commit that its tag names.
_Newest = dict[str, tuple[int, str]]


@dataclass(frozen=True)
class _Note:
    """What was copied: the base, the number of the last copy, and the kata's head at that time.

    `lights` has the number of each avatar's newest light, and the commit that its tag names;
    `edits` the number of the newest edit after that, and its commit. `options` is the digest of the
    kata's options. `edition` is that in which the base was written, and `files` how many files the
    copies since then have.
    """

    base: str
    number: int
    stamp: str
    head: str
    manifest: str
    lights: _Newest
    edits: _Newest = field(default_factory=dict)
    options: str = ""
    edition: str = ""
    files: int = 0


class Replicator:
    """Copies changed katas to the archive in a thread of its own.

    Any thread may call `changed`; a lock guards the katas that are due.
    """

    def __init__(self, katas: Katas, data_containers: DataContainers, seconds: float) -> None:
        """Copy each change to the archive within `seconds`; 0 copies nothing."""
        self._katas = katas
        self._containers = data_containers
        # The other half of the time is for the archive.
        self._delay_seconds = seconds / 2
        self._is_enabled = bool(seconds) and katas.archive.is_configured
        self._due: dict[str, float] = {}
        self._uncopied_since: dict[str, float] = {}
        self.problem = ""  # why the last attempt to copy failed
        self._woken = threading.Condition()
        self._is_stopped = False
        self._thread = threading.Thread(target=self._run, name="replicator", daemon=True)

    def start(self) -> None:
        """Start the thread; it first copies what was not copied before."""
        if self._is_enabled:
            self._thread.start()

    def changed(self, kata_id: str) -> None:
        """Copy a kata soon."""
        if self._is_enabled:
            now = time.monotonic()
            with self._woken:
                self._due.setdefault(kata_id, now + self._delay_seconds)
                self._uncopied_since.setdefault(kata_id, now)
                self._woken.notify()

    def lag(self) -> tuple[int, float | None]:
        """Return how many katas have changes that were not copied, and the oldest's age in seconds.

        None if there is none. Any thread may ask.
        """
        with self._woken:
            oldest = min(self._uncopied_since.values(), default=None)
            age = None if oldest is None else time.monotonic() - oldest
            return len(self._uncopied_since), age

    def stop(self) -> None:
        """Copy the katas that are due, and stop."""
        with self._woken:
            self._is_stopped = True
            self._woken.notify()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        for kata_id in list(self._containers.kata_ids()):
            self.changed(kata_id)
        while (kata_id := self._next()) != _NONE:
            begun = time.monotonic()
            try:
                if self.problem:
                    # Whoever waits for the kata's lock would wait for an archive that is away.
                    self._katas.archive.ask()
                with self._katas.using(kata_id, importing=False, touching=False) as kata:
                    self._copy(kata)
            except (KataNotFound, KataMoved):
                self._settle(kata_id, begun)
            except (ArchiveConflict, KataDamaged) as error:  # a retry would find the same
                self._failed(kata_id, str(error))
            except DojoError as error:
                self._failed(kata_id, str(error))
                self._retry(kata_id)
            except Exception as error:  # noqa: BLE001 - other katas can still be copied
                _log.error("defect", kata=kata_id, exc_info=error)
                self._retry(kata_id)

    def _copy(self, kata: Kata) -> None:
        """Copy a kata, later if files of it change or can't be read now."""
        begun = time.monotonic()
        self._katas.renew(kata)
        try:
            copied = copy(self._katas.archive, kata)
        except (OSError, KataNotFound) as error:  # runs and git may replace files meanwhile
            self._failed(kata.kata_id, str(error))
            self._retry(kata.kata_id)
        else:
            self._settle(kata.kata_id, begun)
            self.problem = ""
            if not self._katas.trim(
                kata.kata_id, copied.edition, copied.newest, copied.options_sha256
            ):
                self._retry(kata.kata_id)

    def _failed(self, kata_id: str, reason: str) -> None:
        metrics.ARCHIVE_FAILURES.labels(metrics.COPY).inc()
        _log.warning("not copied", kata=kata_id, reason=reason)
        self.problem = f"kata {kata_id}: {reason}"

    def _settle(self, kata_id: str, begun: float) -> None:
        """Note that nothing of a kata waits but what changed after its copy had begun."""
        with self._woken:
            self._uncopied_since.pop(kata_id, None)
            if kata_id in self._due:
                self._uncopied_since[kata_id] = begun

    def _next(self) -> str:
        """Wait for the next kata that is due and return its id; _NONE when there is no more."""
        with self._woken:
            while True:
                kata_id = min(self._due, key=self._due.__getitem__, default=_NONE)
                if kata_id == _NONE and self._is_stopped:
                    return _NONE
                wait_seconds = None
                if kata_id != _NONE:
                    wait_seconds = self._due[kata_id] - time.monotonic()
                    if wait_seconds <= 0 or self._is_stopped:
                        del self._due[kata_id]
                        return kata_id
                self._woken.wait(wait_seconds)

    def _retry(self, kata_id: str) -> None:
        with self._woken:
            if not self._is_stopped:
                self._due.setdefault(kata_id, time.monotonic() + _RETRY_SECONDS)


@dataclass(frozen=True)
class Copied:
    """What the archive has of a kata: each avatar's newest light or edit, and the options.

    Those of no damaged avatar. `edition` is that of which this machine is the owner.
    """

    edition: str
    newest: dict[str, At]
    options_sha256: str


def _copied(edition: str, head: Head, lights: _Newest) -> Copied:
    """Return what the archive has if it has the `lights` of a kata with this head."""
    edited = {name: minor for name, minor, _ in head.edits}
    newest = {
        name: At(number, edited.get(name, 0))
        for name, number, commit in head.lights
        if number != DAMAGED and lights.get(name) == (number, commit)
    }
    return Copied(edition, newest, head.options)


def copy(archive: Archive, kata: Kata) -> Copied:
    """Make sure that the archive has all lights of the kata. For the holder of its lock, shared.

    Return what it has now. Raises ArchiveConflict if another machine added lights to the kata that
    this one has not.
    """
    with store_kata.copying(kata.folder), ExitStack() as opened:
        note, edition = _read_note(kata), archive.edition(kata.kata_id)
        if note is not None and note.head == (head := head_of(kata)).digest:
            return _copied(edition, head, note.lights)
        found = archive.find(kata.kata_id)
        taken = Snapshot(kata, opened)
        lights = {name: (number, tag) for name, number, tag in taken.head.lights}
        if (
            note is None
            or found is None
            or note.edition != edition
            or not _can_add_copy(note, found.stamp, taken, lights)
        ):
            if not store_kata.is_wanted(archive, kata):
                return Copied(edition, {}, "")
            base, number, files = _copy_all(archive, taken, opened, edition), 0, 0
        else:
            base, number = note.base, note.number + 1
            paths, lights = _additions(taken, note, lights)
            files = note.files + sum(map(len, paths.values()))
            added = _compressed(_new_members(taken, note, paths))
            archive.put_copy(kata.kata_id, Copy(base, number, edition), added)
        written = archive.find(kata.kata_id)
        stamp = written.stamp if written is not None else ""
        if written is not None:
            store_kata.supersede(written, kata.folder)
            index.write(archive, kata)
        edits = {name: (minor, commit) for name, minor, commit in taken.head.edits}
        head = taken.head
        now = _Note(
            *(base, number, stamp, head.digest, head.manifest_sha256, lights, edits, head.options),
            edition=edition,
            files=files,
        )
        durable.replace(kata.folder / _NOTE, json_files.dumps(asdict(now)), sync=False)
    _log.debug("kata copied", kata=kata.kata_id, copy=number)
    return _copied(edition, head, lights)


def _can_add_copy(note: _Note, stamp: str, taken: Snapshot, lights: _Newest) -> bool:
    """Say whether a copy can be added: the kata continues what the archive has.

    An avatar that is damaged by now adds nothing, and the archive keeps what it has of it.
    """
    if note.stamp != stamp or note.manifest != taken.head.manifest_sha256:
        return False
    if note.options != taken.head.options and (
        note.options == UNREADABLE or not taken.head.options
    ):
        return False  # a copy takes nothing away, and has no file that was put aside
    if note.number >= _MAX_COPIES or note.files >= _MAX_COPIED_FILES:
        return False
    return all(
        name in lights
        and (lights[name][0] == DAMAGED or _continues(taken.avatars[name], note, lights[name]))
        for name in note.lights
    )


def _continues(avatar: Avatar, note: _Note, newest: tuple[int, str]) -> bool:
    """Say whether an avatar has the light and the edit that were its newest."""
    number, light = note.lights[avatar.name]
    if newest != (number, light) and not avatar.open_history().leads_to(tag_of(number), light):
        return False
    if avatar.name not in note.edits:
        return True
    minor, commit = note.edits[avatar.name]
    return avatar.open_history().leads_to(edit.tag_of(number, minor), commit)


def _additions(
    taken: Snapshot, note: _Note, lights: _Newest
) -> tuple[dict[str, list[PurePosixPath]], _Newest]:
    """Return the new files of each avatar that the note has, and the lights as copied.

    An avatar that is damaged adds nothing.
    """
    paths: dict[str, list[PurePosixPath]] = {}
    copied, before = dict(lights), note.lights
    edited = {name: minor for name, minor, _ in taken.head.edits}
    for name in before:
        was = At(before[name][0], note.edits.get(name, (0, ""))[0])
        now = At(lights[name][0], edited.get(name, 0))
        if now > was:
            try:
                found = _new_paths(taken, taken.avatars[name], was, now)
                paths[name] = list(found)
            except (KataDamaged, pygit2.GitError, KeyError) as error:
                _log.warning("avatar not copied", avatar=name, reason=str(error))
                copied[name] = before[name]
        elif lights[name][0] == DAMAGED:
            copied[name] = before[name]
    return paths, copied


def _copy_all(archive: Archive, taken: Snapshot, opened: ExitStack, edition: str) -> str:
    packed = opened.enter_context(pack_objects(taken.kata, taken.references))
    store_kata.refuse_worse(archive, taken.kata, taken.damaged | packed.damaged)
    pieces = store_kata.tar(taken, packed, lambda _: False)
    return Copy.base_of(archive.put(taken.kata.kata_id, pieces, edition))


def _new_members(
    taken: Snapshot, before: _Note, paths: dict[str, list[PurePosixPath]]
) -> Iterator[bytes]:
    """Yield a tar of avatars that are new since `before`, and of the new files of the others."""
    if taken.head.options not in {before.options, UNREADABLE}:
        yield from snapshot.selected_members(taken, [snapshot.OPTIONS_PATH])
    for name in taken.avatars:
        if name not in before.lights:
            yield from snapshot.members_without_sandbox(taken, name)
        else:
            yield from snapshot.selected_members(taken, paths.get(name, []))
    yield snapshot.END


def _new_paths(taken: Snapshot, avatar: Avatar, before: At, newest: At) -> Iterator[PurePosixPath]:
    """Yield the paths of the files that lights and edits after `before` added or replaced."""
    folder = PurePosixPath(avatar.name)
    git = folder / GIT
    history = avatar.open_history()
    edits = [At(*each) for each in history.edit_numbers() if before < each <= newest]
    tags = [*map(tag_of, range(before.number + 1, newest.number + 1))]
    tags += [edit.tag_of(*each) for each in edits]
    new = _new_objects(history.open_whole_repository(), tag_of(before.number), tags)
    for name in sorted(new):
        path = git / "objects" / name[:2] / name[2:]
        if (taken.kata.folder / path).exists():  # else it is older, and in a pack
            yield path
    for path in taken.references:
        if path.is_relative_to(git):
            inside = path.relative_to(git)
            is_old_tag = inside.parent.name == "tags" and str(inside) not in tags
            if not is_old_tag and inside.name != "packed-refs":
                yield path
    for name in (MANIFEST, INCREMENTS, LIGHT_JSON, SUBMISSION):
        if (taken.kata.folder / folder / name).exists():
            yield folder / name


def _new_objects(repository: pygit2.Repository, before: str, tags: Iterable[str]) -> set[str]:
    """Return the names of the objects that these tags added to what the tag `before` has."""
    old: set[str] = set()
    _collect_objects(repository, before, old, set())
    new: set[str] = set()
    for tag in tags:
        _collect_objects(repository, tag, new, old)
    return new


def _collect_objects(
    repository: pygit2.Repository, tag: str, found: set[str], known: set[str]
) -> None:
    """Add a light's objects to `found`, except those that are `known`."""
    commit = repository.references[tag].peel(pygit2.Commit)
    found.add(str(commit.id))
    trees = [commit.tree]
    while trees:
        tree = trees.pop()
        if str(tree.id) in known or str(tree.id) in found:
            continue
        found.add(str(tree.id))
        for entry in tree:
            if isinstance(entry, pygit2.Tree):
                trees.append(entry)
            elif str(entry.id) not in known:
                found.add(str(entry.id))


def _compressed(pieces: Iterator[bytes]) -> Iterator[bytes]:
    compressor = zstandard.ZstdCompressor().compressobj()
    for piece in pieces:
        yield compressor.compress(piece)
    yield compressor.flush()


def _read_note(kata: Kata) -> _Note | None:
    with suppress(Unreadable, TypeError, ValueError):  # without a note, all is copied
        note = _Note(**json_files.read(kata.folder / _NOTE, dict))
        lights = {name: (number, tag) for name, (number, tag) in note.lights.items()}
        edits = {name: (number, commit) for name, (number, commit) in note.edits.items()}
        return replace(note, lights=lights, edits=edits)  # JSON has no tuples
    return None
