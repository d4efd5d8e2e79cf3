"""Verify katas, one after another, while others use them.

Every finding is confirmed by the holder of the lock that guards it, before it is reported. No lock
is held for longer than the check of one avatar takes, and the lock on a kata's folder only shared,
as in every call. Mending loses nothing: it replaces only what contradicts git, and keeps the old
file beside the new one.
"""

import errno
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pygit2

from dojo import avatars, kata_ids, limits, locks, waits
from dojo.engine.data_containers import MANIFEST, DataContainers
from dojo.errors import (
    KataDamaged,
    KataNotFound,
    LockHeld,
    ProcessesExhausted,
    ProcessLost,
    ProcessTooLarge,
)
from dojo.processes import Processes
from storer.archive import index, store_kata
from storer.archive.index import IndexEntry
from storer.git.libgit2 import in_words
from storer.kata import details, options
from storer.kata.kata import STARTING, Kata
from storer.kata.options import OPTIONS
from storer.katas import publish
from storer.katas.create import UNFINISHED_SECONDS
from storer.katas.repository import Katas
from storer.verify import archived, avatar
from storer.verify.archived import ArchivedResult
from storer.verify.avatar import (
    AvatarCheck,
    AvatarResult,
    check_closed,
    check_passage,
    with_avatar_path,
)
from storer.verify.findings import DAMAGE, Finding, Kind

# What reading git's files raises for damage that no check expects: it must not end the check of all
# other katas.
_GIT_ERRORS = (pygit2.GitError, KeyError, ValueError, KataDamaged)

# Of what a restore takes: a kata whose histories have more is told as large.
_LARGE_SHARE = 0.75

# How often to check an avatar whose files are replaced meanwhile.
_ATTEMPTS = 3

_NOT_VERIFIED = (LockHeld, ProcessesExhausted, ProcessLost, ProcessTooLarge)

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT}


@dataclass(frozen=True, slots=True)
class KataFinding:
    """A finding, its kata, its avatar ("" for none), and whether it was mended."""

    kata_id: str
    avatar: str
    finding: Finding
    mended: bool


@dataclass(slots=True)
class Counts:
    """What was checked so far: katas, and how many of them are in the archive alone."""

    katas: int = 0
    archived: int = 0
    avatars: int = 0
    lights: int = 0
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Progress:
    """A part of the work is done; the caller may pause before it asks for the next."""

    kata_id: str


class Verifier:
    """The check of the katas of one namespace. Belongs to one thread at a time."""

    def __init__(
        self, containers: DataContainers, katas: Katas, processes: Processes, *, mend: bool
    ) -> None:
        """Check large avatars in `processes`, as the check holds Python's lock."""
        self._containers = containers
        self._katas = katas
        self._archive = katas.archive
        self._processes = processes
        self._mend = mend
        self._counted: set[str] = set()
        self.done_count = 0  # of the data-containers
        self._checked_seconds = 0.0  # in this process
        self.counts = Counts()

    def ids(self, prefix: str) -> list[str]:
        """Return the ids of all data-containers here, including those without a kata, in order."""
        return sorted(
            each
            for each in self._containers.kata_ids()
            if each.startswith(prefix) and not self._katas.is_elsewhere(each)
        )

    def katas(self, ids: list[str]) -> Iterator[KataFinding | Progress]:
        """Verify these katas, except those that are deleted before their turn.

        Raises EngineUnavailable.
        """
        for kata_id in ids:
            if not self._containers.folder(kata_id).exists() or self._katas.is_elsewhere(kata_id):
                continue
            is_kata = self._containers.exists(kata_id)
            try:
                for each in self._check_kata(kata_id):
                    is_kata = is_kata or isinstance(each, KataFinding)
                    yield each if isinstance(each, KataFinding) else Progress(kata_id)
            except (KataNotFound, FileNotFoundError):
                if self._containers.exists(kata_id):
                    raise
                is_kata = False  # it was deleted, or archived: then it is counted there
            except _NOT_VERIFIED as error:  # the other katas can be verified
                reason = error.reason if isinstance(error, LockHeld) else error
                busy = Finding("", Kind.HISTORY, f"not verified: {reason}")
                yield KataFinding(kata_id, "", busy, mended=False)
            if is_kata:
                self._count(kata_id)
            self.done_count += 1
            yield Progress(kata_id)

    def _count(self, kata_id: str) -> bool:
        """Count a kata, unless it was counted before; return whether it was counted now."""
        is_new = kata_id not in self._counted
        self._counted.add(kata_id)
        self.counts.katas += is_new
        return is_new

    def left_out(self, prefix: str, *, skips_archive: bool) -> int:
        """Return how many katas with a prefix exist and were not counted.

        They are in the katas directory alone; with `skips_archive` also those in the archive alone.
        Raises ArchiveUnavailable.
        """
        found = set(self._katas.ids_in_directory(prefix))
        if skips_archive:
            found.update(self._archive.ids(prefix))
        return sum(
            not (self._containers.exists(each) or self._katas.is_elsewhere(each))
            for each in found - self._counted
        )

    def damage_of(self, kata_id: str, *, everywhere: bool = False) -> str:
        """Return what is damaged of a kata, "" if nothing is: what only a backup can mend.

        A kata in a data-container is judged by that, with `everywhere` by the archive too; any
        other by the archive. Raises LockHeld, KataNotFound, ArchiveUnavailable, and what
        `Processes.call` raises.
        """
        found: list[Finding] = []
        is_contained = self._containers.folder(kata_id).exists()
        if is_contained:
            found = [each.finding for each in self._check_kata(kata_id) if each is not None]
        if everywhere or not is_contained:
            checked = archived.check(self._archive, kata_id)
            if checked is not None:
                found += checked.findings
            elif not is_contained:
                raise KataNotFound(kata_id)
        damage = [each for each in found if each.kind in DAMAGE]
        return f"{damage[0].path}: {damage[0].what}".removeprefix(": ") if damage else ""

    def archived(self, prefix: str, ids: list[str]) -> Iterator[KataFinding | Progress]:
        """Verify the archived katas with a prefix, or these ids; skip those not in the archive.

        A kata that is in a data-container too is verified in both. Raises ArchiveUnavailable.
        """
        for kata_id in ids or self._archive.ids(prefix):
            yield Progress(kata_id)
            checked = archived.check(self._archive, kata_id)
            if checked is None:
                continue
            self.counts.size_bytes += checked.size_bytes
            if not self._katas.is_elsewhere(kata_id):  # there it is counted
                self.counts.archived += self._count(kata_id)
            yield from (KataFinding(kata_id, "", each, mended=False) for each in checked.findings)
            if self._is_index_stale(kata_id, checked):
                found = list(self._check_index_again(kata_id))
                yield from (KataFinding(kata_id, "", each, mended) for each, mended in found)

    def _is_index_stale(self, kata_id: str, checked: ArchivedResult) -> bool:
        entry = checked.index_entry
        return entry is not None and archived.check_index(self._archive, kata_id, entry) is not None

    def _check_index_again(self, kata_id: str) -> Iterator[tuple[Finding, bool]]:
        """Yield what is wrong with a kata's index entry while nobody writes the kata there.

        Whoever does that writes the entry after the tar. The entry of a kata in use can tell of
        lights that its next copy brings.
        """
        folder = self._containers.folder(kata_id)
        with ExitStack() as held:
            with suppress(FileNotFoundError):  # it is in no data-container
                held.enter_context(locks.locked(folder, shared=True))
                held.enter_context(store_kata.copying(folder))
            checked = archived.check(self._archive, kata_id)
            if checked is None or checked.index_entry is None:
                return
            stale = archived.check_index(self._archive, kata_id, checked.index_entry)
            if stale and not self._tells_of_next_copy(folder, kata_id, checked.index_entry):
                yield from self._mend_all([stale])

    def _tells_of_next_copy(self, folder: Path, kata_id: str, entry: IndexEntry) -> bool:
        if not self._containers.exists(kata_id):
            return False
        live = details.read(folder, kata_id)
        return live is not None and index.tells_of_next_copy(self._archive, kata_id, entry, live)

    def _check_kata(self, kata_id: str) -> Iterator[KataFinding | None]:
        """Yield findings, and None after each part of the work."""
        waits.wait_longer()
        folder = self._containers.folder(kata_id)
        with locks.locked(folder, shared=True):
            if not self._containers.exists(kata_id):
                found = self._check_invisible(folder)
                names = []
            else:
                found = self._check_whole(folder, kata_id)
                names = Kata.detached(folder, kata_id).avatar_names()
        yield from (KataFinding(kata_id, "", each, mended) for each, mended in found)
        yield from (
            KataFinding(kata_id, "", *each) for each in self._check_interrupted(folder, kata_id)
        )
        size_bytes = object_count = 0
        for name in names:
            yield None
            checked = self._check_avatar(folder, kata_id, name)
            size_bytes += checked.size_bytes
            object_count += checked.object_count
            self.counts.avatars += 1
            self.counts.lights += checked.light_count
            self.counts.size_bytes += checked.size_bytes
            for finding, mended in checked.findings:
                yield KataFinding(kata_id, name, with_avatar_path(finding, name), mended)
        for finding in check_size(size_bytes, object_count):
            yield KataFinding(kata_id, "", finding, mended=False)

    def _check_avatar(self, folder: Path, kata_id: str, name: str) -> AvatarResult:
        waits.wait_longer()
        with locks.locked(folder, shared=True):
            if not self._containers.exists(kata_id):
                raise KataNotFound(kata_id)
            for _ in range(_ATTEMPTS):
                try:
                    # The checks below report what its write-ahead log can't mend.
                    with suppress(KataDamaged):
                        self._katas.recover(kata_id, name)
                    return self._checked(folder / name, kata_id)
                except FileNotFoundError as error:  # for a moment, unless the avatar is damaged
                    missing = error
                except (OSError, *_GIT_ERRORS) as error:
                    if isinstance(error, OSError) and error.errno in _NO_ROOM:
                        raise
                    return _unreadable(error)
            return _unreadable(missing)

    def _checked(self, folder: Path, kata_id: str) -> AvatarResult:
        """Check an avatar, in a process of its own unless that takes little time."""
        if self._checked_seconds < limits.SMALL_CHECKED_SECONDS and avatar.is_small(folder):
            begun = time.monotonic()
            try:
                return AvatarCheck(folder, kata_id).check(mend=self._mend)
            finally:
                self._checked_seconds += time.monotonic() - begun
        return self._processes.call(avatar.check, folder, kata_id, mend=self._mend)

    def _check_whole(self, folder: Path, kata_id: str) -> list[tuple[Finding, bool]]:
        """Return what is wrong with the kata as a whole. For the holder of its lock, shared."""
        found = list(self._mend_all(_check_manifest(folder, kata_id)))
        if not self._containers.has_handle(kata_id):
            handle = Finding("", Kind.HANDLE, "the data-container is gone")
            if self._mend:
                self._containers.forget_handle(self._containers.namespace.kata(kata_id))
                self._containers.ensure_handle(kata_id)
            found.append((handle, self._mend and self._containers.has_handle(kata_id)))
        found += self._check_options(folder)
        found += self._mend_all(check_passage(folder, "."))
        for path in sorted(folder.iterdir()):
            if not avatars.is_name(path.name) and not path.name.startswith("."):
                found += self._mend_all(check_closed(path, path.name))
        found += self._check_leftovers(folder)
        return found

    def _check_options(self, folder: Path) -> Iterator[tuple[Finding, bool]]:
        """Yield what is wrong with the kata's options. For the holder of its lock, shared."""
        if options.is_damaged(folder):
            with locks.locked(folder / MANIFEST):  # whoever sets options holds it
                if (fault := options.fault(folder)) is not None:
                    what = f"{fault}; the kata is used as if no options were set"
                    mend = partial(options.mend, folder)
                    yield from self._mend_all([Finding(OPTIONS, Kind.OPTIONS, what, mend)])

    def _check_leftovers(self, folder: Path) -> Iterator[tuple[Finding, bool]]:
        """Yield what dead processes left. For the holder of the kata's lock, shared."""
        reason = "a process that died left it"
        for incoming in sorted(folder.glob(f"{publish.INCOMING}*")):
            # A stager locks its folder while it holds the kata's lock: unlocked, it is abandoned.
            with suppress(FileNotFoundError), locks.locked_at_once(incoming) as held:
                if held:
                    yield from self._mend_all(
                        [_leftover(incoming, reason, partial(shutil.rmtree, incoming))]
                    )
        starting = folder / STARTING
        if starting.exists():
            with locks.locked_at_once(folder / MANIFEST) as held:
                if held and starting.exists():
                    yield from self._mend_all(
                        [_leftover(starting, reason, partial(shutil.rmtree, starting))]
                    )

    def _check_interrupted(self, folder: Path, kata_id: str) -> list[tuple[Finding, bool]]:
        """Return what an interrupted publish left; complete it or roll it back if mending.

        For a caller without the kata's lock. If another process holds the lock, it is publishing.
        """
        names = (publish.COMPLETE, publish.MOVING, publish.REPLACED)
        if not any((folder / name).exists() for name in names):
            return []
        with locks.locked_at_once(folder) as held:
            leftovers = [folder / name for name in names if held and (folder / name).exists()]
            if leftovers and self._mend:
                publish.recover(folder)
            reason = "a process died while it replaced the kata"
            return [
                (_leftover(path, reason, None), self._mend and not path.exists())
                for path in leftovers
            ]

    def _check_invisible(self, folder: Path) -> list[tuple[Finding, bool]]:
        """Return what is wrong with a folder that has no manifest.json: its kata is invisible."""
        if publish.is_interrupted(folder):
            return []  # it is being created, or _check_interrupted reports it
        if any(avatars.is_name(path.name) for path in folder.iterdir()):
            reason = "it is missing, so the kata is invisible, but it has avatars"
            return [(Finding(MANIFEST, Kind.MANIFEST, reason), False)]
        if time.time() - folder.stat().st_mtime < UNFINISHED_SECONDS:
            return []
        reason = "a volume that never got a kata; the storer removes it when it starts"
        return [(Finding(".", Kind.LEFTOVER, reason), False)]

    def _mend_all(self, findings: Iterable[Finding]) -> Iterator[tuple[Finding, bool]]:
        for each in findings:
            if self._mend and each.mend is not None:
                each.mend()
            yield each, self._mend and each.mend is not None


def check_size(size_bytes: int, object_count: int) -> Iterator[Finding]:
    """Yield what is wrong with the size of a kata's histories: soon it could not come back."""
    for found, most, of_what in (
        (size_bytes, limits.GIT_BYTES, "bytes"),
        (object_count, limits.GIT_OBJECTS, "git objects"),
    ):
        if found > most * _LARGE_SHARE:
            what = (
                f"its histories have {found} {of_what}; with more than {most}, no backup of it "
                "can come back"
            )
            yield Finding(".", Kind.LARGE, what)


def check_ids(containers: DataContainers, katas: Katas, ids: Iterable[str]) -> list[str]:
    """Return the ids in order, each once; raise KataNotFound for one that does not exist."""
    found = sorted({kata_ids.check(each, "kata_ids") for each in ids})
    for kata_id in found:
        is_here = containers.folder(kata_id).exists() or katas.is_elsewhere(kata_id)
        if not is_here and katas.archive.find(kata_id) is None:
            raise KataNotFound(kata_id, "neither a data-container nor the archive has this kata")
    return found


def _unreadable(error: Exception) -> AvatarResult:
    """Return the result for an avatar that can't be checked, for a reason that no check expects."""
    return AvatarResult(
        [(Finding("", Kind.HISTORY, f"can't be read: {in_words(error)}"), False)], 0, 0
    )


def _check_manifest(folder: Path, kata_id: str) -> Iterator[Finding]:
    kata = Kata.detached(folder, kata_id)
    try:
        stated_id = kata.read_manifest_json().get("id", kata_id)
        if stated_id != kata_id:
            yield Finding(MANIFEST, Kind.MANIFEST, f"its id is {stated_id!r}")
        kata.read_manifest()
        kata.read_created()
    except KataDamaged as error:
        yield Finding(str(error.path), Kind.MANIFEST, error.reason)


def _leftover(path: Path, reason: str, mend: partial[None] | None) -> Finding:
    return Finding(path.name, Kind.LEFTOVER, reason, mend)
