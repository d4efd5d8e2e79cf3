"""Everything that callers can do with katas, in one class.

A kata is looked for in a data-container; then in the archive; then in the katas directory, and in a
saver's. From all but the first it is fetched into a data-container (`storer.katas.fetch`).
`storer.katas.create` creates and replaces katas, `storer.katas.delete` deletes and archives them.

Locks: every call that uses a kata holds the lock on its folder, shared, for the duration of the
call. Deleting, archiving and replacing hold it exclusively, so no call is using the kata. Creating
holds it exclusively from the moment that the folder exists until the kata is visible.
"""

from __future__ import annotations

import contextlib
import itertools
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

import structlog

from dojo import kata_ids, locks
from dojo.errors import (
    AlreadyExists,
    ArchiveDamaged,
    ArchiveUnavailable,
    EngineUnavailable,
    KataDamaged,
    KataMoved,
    KataNotFound,
)
from dojo.processes import Processes
from storer.archive import store_kata
from storer.cluster.installation import NOTE, Installation
from storer.fs import json_files
from storer.fs.checkpointer import Checkpointer
from storer.fs.json_files import DumpFiles
from storer.kata import manifest
from storer.kata.edit import At, Edit
from storer.kata.kata import DamagedAvatar, Kata
from storer.kata.light import Light, Submission
from storer.kata.light_facts import Source
from storer.kata.lights import LightsCache
from storer.kata.manifest import Manifest
from storer.kata.options import KataOptions, Options
from storer.kata.request import Request
from storer.katas import create, delete, fetch, fork, fork_avatar, hand_over, listing
from storer.katas.activity import ActiveCalls
from storer.katas.changes import Changes
from storer.katas.damaged_katas import DamagedKatas
from storer.katas.fork import Described
from storer.katas.fork_avatar import NewKata
from storer.katas.intake import Intake
from storer.katas.listing import ListedDetails, ListedKata, Places
from storer.katas.watch import Events, Watched, at_of

# How often to fetch a kata that another process archives again before it can be locked.
_ATTEMPTS = 10

# Copies of katas that other machines own, beside what the last backups held.
COPIES = ".copy-"

# Avatars whose lights the cache keeps for a scan of all katas: those of one kata.
_SCANNED_AVATARS = 64

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Avatars:
    """The names of a kata's avatars, and those of them whose lights can't be read."""

    names: list[str]
    damaged: list[DamagedAvatar]


def avatars_of(kata: Kata) -> Avatars:
    """Return a kata's avatars."""
    return Avatars(kata.avatar_names(), kata.lights()[1])


class Katas:
    """All katas of one namespace. Any thread may use it."""

    def __init__(
        self,
        places: Places,
        active_calls: ActiveCalls,
        changes: Changes,
        checkpointer: Checkpointer,
        *,
        intake: Intake,
        damaged: DamagedKatas,
    ) -> None:
        """Use the katas of these places; announce each change of a kata to `changes`.

        `intake` takes in those that come from elsewhere; `damaged` is told of each kata that is met
        damaged.
        """
        self._intake = intake
        self.archive = places.archive
        self._places = places
        self._containers = places.data_containers
        self._active_calls = active_calls
        self._changes = changes
        self._checkpointer = checkpointer
        self.damaged = damaged
        self._cache = LightsCache()
        # A scan of all katas returns to none of them, and must not evict those in use.
        self._scan_cache = LightsCache(_SCANNED_AVATARS)

    @contextmanager
    def using(
        self, kata_id: str, *, importing: bool = True, touching: bool = True
    ) -> Iterator[Kata]:
        """Give the kata for the duration of a call; fetch it first if `importing` is set.

        Without `touching` the call does not count as a use of the kata. Raises KataNotFound or
        KataDamaged; EngineUnavailable and ArchiveUnavailable only if the kata has to be fetched.
        """
        folder = self._containers.folder(kata_id)
        with contextlib.ExitStack() as stack:
            if touching:
                stack.enter_context(self._active_calls.counted())
            for _ in range(_ATTEMPTS):
                self._fetch(kata_id, importing=importing)
                with contextlib.ExitStack() as lock, contextlib.suppress(FileNotFoundError):
                    lock.enter_context(locks.locked(folder, shared=True))
                    if self._is_here(kata_id):
                        stack.push(lock.pop_all())
                        break
                # It was archived or deleted after it was fetched.
            else:
                raise KataNotFound(kata_id, "it is archived or deleted again and again; try later")
            # With the lock, so nobody deletes the volume that the handle would hold. This call
            # needs only the volume: while the engine is down, a later call makes the handle.
            with contextlib.suppress(EngineUnavailable):
                self._containers.ensure_handle(kata_id)
            if touching:
                self._containers.touch(kata_id)
            kata = Kata(
                *(folder, kata_id, self._cache, self._checkpointer, stack),
                on_damage=self.damaged.met,
                ledger=self._places.installation.ledger,
            )
            with self._telling_of_damage():
                yield kata

    def trim(
        self, kata_id: str, edition: str, newest: Mapping[str, At], options_sha256: str
    ) -> bool:
        """Keep nothing besides the archive that the archive has, as `Installation.trim` does."""
        return self._places.installation.trim(kata_id, edition, newest, options_sha256)

    def renew(self, kata: Kata) -> None:
        """Have a kata written to the archive in another edition, as `Installation.renew` does."""
        self._places.installation.renew(kata.kata_id, kata.folder)

    def remove_stale(self, kata_id: str) -> None:
        """Remove what is here of a kata that others have, as `delete.remove_stale` does."""
        delete.remove_stale(self._places, kata_id)

    @contextmanager
    def reading(self, kata_id: str) -> Iterator[Kata]:
        """Give a kata that is in a data-container, for a scan of many katas.

        Fetches nothing and makes no handle. Raises KataNotFound.
        """
        folder = self._containers.folder(kata_id)
        with contextlib.ExitStack() as lock:
            try:
                lock.enter_context(locks.locked(folder, shared=True))
            except FileNotFoundError:
                raise KataNotFound(kata_id) from None
            if not self._is_here(kata_id):
                raise KataNotFound(kata_id)
            cache, met = self._scan_cache, self.damaged.met
            kata = Kata(folder, kata_id, cache, self._checkpointer, lock, on_damage=met)
            with self._telling_of_damage():
                yield kata

    @property
    def installation(self) -> Installation:
        """The machines that the katas are on."""
        return self._places.installation

    def is_elsewhere(self, kata_id: str) -> bool:
        """Say whether another machine has a kata, as far as this one knows."""
        return self._places.installation.owner(kata_id) is not None

    def is_in_use(self, kata_id: str) -> bool:
        """Say whether a kata is in use on one of several machines, as far as this one knows."""
        return self._places.installation.is_in_use(kata_id)

    def is_unshared(self, kata_id: str) -> bool:
        """Say whether a kata is here that only this machine has, from before there were several."""
        has_note = (self._containers.folder(kata_id) / NOTE).exists()
        return self._containers.exists(kata_id) and not has_note

    def claim(self, kata_id: str) -> None:
        """Have other machines send calls for a kata here that only this machine has.

        Raises KataMoved if another machine owns it, or EtcdUnavailable.
        """
        if not self._places.installation.is_in_use(kata_id):
            self._places.installation.claim(kata_id, lambda: self.is_unshared(kata_id))

    def share(self, kata_id: str) -> None:
        """Make sure that other machines can take a kata over. Raises as `using`, or KataMoved."""
        if self.is_unshared(kata_id):
            self._fetch(kata_id, importing=False)

    def give_up(self, kata_id: str) -> None:
        """Give a kata up, unless a call is using it, as `hand_over.give_up` does; end its watches.

        A kata of which this process does not know yet is claimed first.
        """
        self._places.installation.claim(kata_id, lambda: False)
        self.share(kata_id)
        if hand_over.give_up(self._places, kata_id):
            self._changes.publish(kata_id)

    def idle_image(self, kata_id: str, is_watched: Callable[[str], bool]) -> str | None:
        """Return an idle kata's image, "" if it can't be read here; None if it is not idle."""
        if not hand_over.is_idle(self._places, kata_id, is_watched):
            return None
        return hand_over.image_of(self._places, kata_id)

    def give_up_idle(self, kata_id: str, is_watched: Callable[[str], bool]) -> bool:
        """Give a kata up that another machine wants, as `hand_over.give_up_idle` does."""
        self.share(kata_id)
        return hand_over.give_up_idle(self._places, kata_id, is_watched)

    @contextmanager
    def copied(self, kata_id: str) -> Iterator[Kata]:
        """Give a copy of a kata that is in use on any machine, as `fetch.copy` makes it.

        Other calls may have a copy of the same kata.
        """
        folder = self._containers.backups_folder
        with tempfile.TemporaryDirectory(prefix=COPIES, dir=folder) as copied:
            yield fetch.copy(self._places, kata_id, Path(copied))

    def stored_ids(self, prefix: str, after: str) -> Iterator[str]:
        """Yield, in order, the ids of the katas in data-containers and in the archive."""
        return listing.stored_ids(self._places, prefix, after)

    def ids_in_directory(self, prefix: str) -> Iterator[str]:
        """Yield the ids of the katas that can be imported, also if they are elsewhere too."""
        yield from self._places.katas_directory.kata_ids(prefix)
        yield from self._places.saver_katas.kata_ids(prefix)

    def is_stored(self, kata_id: str) -> bool:
        """Say whether a kata is in a data-container or in the archive."""
        return (
            self._containers.exists(kata_id)
            or self.is_in_use(kata_id)
            or self.archive.find(kata_id) is not None
        )

    def whole_id(self, kata_id: str) -> str:
        """Return the id of a kata of which an id, or an old one, is given.

        The old id of an avatar leads to the avatar's kata. Nothing says that there is such a kata.
        Raises ArchiveUnavailable.
        """
        if not kata_ids.is_old(kata_id):
            return kata_id
        of_group = kata_ids.of_old(kata_id)
        if listing.is_somewhere(self._places, of_group):
            return of_group
        return self._places.old_ids.find(kata_id) or of_group

    def of_old_id(self, old_id: str) -> str | None:
        """Return the kata that an old id leads to, None if there is none; as `whole_id` does."""
        found = self.whole_id(old_id)
        return found if listing.is_somewhere(self._places, found) else None

    def complete(self, partial_id: str) -> tuple[list[str], bool]:
        """Return the ids that begin with a partial id, and whether there are more of them."""
        return listing.complete(self._places, partial_id)

    def page(
        self, prefix: str, after: str, count: int, *, ignore_case: bool = False
    ) -> list[ListedKata]:
        """Return the first `count` katas whose ids begin with `prefix` and come after `after`."""
        return listing.page(self._places, prefix, after, count, ignore_case=ignore_case)

    def details(
        self,
        listed: Iterable[ListedKata],
        *,
        with_sizes: bool = False,
        checks_index: bool = False,
    ) -> dict[str, ListedDetails]:
        """Return the details of each kata, as `listing.details` does."""
        return listing.details(
            self._places, listed, with_sizes=with_sizes, checks_index=checks_index
        )

    def create(
        self,
        created_from: Manifest,
        created: datetime,
        request: Request | None,
        chosen: Options = Options(),  # noqa: B008 - it is immutable
    ) -> str:
        """Create a kata from a manifest, with the `chosen` options; return its id.

        If the request has created one before, return that one's id. Raises RequestIdReused if
        another request with this id has created one; and InvalidArgument.
        """
        manifest.check(created_from)
        return self._create(lambda: Described(created_from, chosen), created, request)

    def fork(
        self,
        kata_id: str,
        avatar: str,
        number: int,
        created: datetime,
        request: Request | None,
        *,
        processes: Processes,
    ) -> str:
        """Create a kata with the files of a light (-1: the newest), as `create` does.

        Large files are read in one of the `processes`.
        """
        with contextlib.ExitStack() as held:

            def describe() -> Described:
                with self.using(kata_id) as kata:
                    return fork.describe(kata, avatar, number, processes, held)

            return self._create(describe, created, request)

    def fork_avatar(
        self,
        kata_id: str,
        avatar: str,
        number: int,
        created: datetime,
        request: Request | None,
        *,
        processes: Processes,
    ) -> str:
        """Create a kata with an avatar as it was at a light (-1: the newest), as `create` does.

        It is put together in one of the `processes`. Raises HistoryTooLarge.
        """
        new_id, is_there = self._id_for(request)
        if not is_there:
            with self.using(kata_id) as kata:  # before there is anything to undo
                number = kata.avatar(avatar).light(number).number

        def fill(new_id: str, folder: Path) -> list[str]:
            new = NewKata(folder, new_id, created, request)
            with self.using(kata_id) as kata:
                return fork_avatar.write(kata, avatar, number, new, processes)

        def is_wanted(new_id: str, _: Path) -> bool:
            return not listing.is_somewhere(self._places, new_id)

        while not is_there:
            names = create.stage_and_publish(
                self._places, new_id, partial(fill, new_id), partial(is_wanted, new_id)
            )
            if names is not None:
                _log.info("kata created", kata=new_id)
                self._changes.publish(new_id)
                break
            # Another call has created it since: the same request or, by chance, another one.
            new_id, is_there = self._id_for(request)
        return new_id

    def start_avatar(
        self,
        kata_id: str,
        order: Sequence[str],
        time: datetime,
        request: Request | None,
        source: Source | None = None,
    ) -> tuple[str, dict[str, bytes]]:
        """Start the first free avatar of `order`; return its name and files.

        They are those of the source, if there is one. Raises KataNotFound, AvatarNotFound or
        LightNotFound for an unknown source, unless the request has started an avatar before.
        """
        files: dict[str, bytes] | None = None
        if source is not None:
            with self.using(kata_id) as kata:
                if request is not None and (before := kata.started_by(request)) is not None:
                    return before
            with self.using(source.kata_id) as other:
                files = other.avatar(source.avatar).submission(source.number)[1].files
        with self.using(kata_id) as kata:
            started = kata.start_avatar(order, time, request, source, files)
        self._changes.publish(kata_id)
        return started

    def set_options(
        self, kata_id: str, avatar: str, given: Options, unset: Collection[str]
    ) -> KataOptions:
        """Set options of a kata or an avatar, as `Kata.set_options` does; return all options."""
        with self.using(kata_id) as kata:
            found, is_changed = kata.set_options(avatar, given, unset)
        if is_changed:
            self._changes.publish(kata_id)
        return found

    def record(
        self,
        kata_id: str,
        avatar: str,
        light: Light,
        submission: Submission,
        expected: int | None,
        *,
        dump_files: DumpFiles = json_files.dump_files,
    ) -> Light:
        """Record a test, as `Avatar.record` does."""
        with self.using(kata_id) as kata:
            recorded = kata.avatar(avatar).record(light, submission, expected, dump_files)
        self._changes.publish(kata_id)
        _log.info("test recorded", light=recorded.number)
        return recorded

    def record_edit(
        self,
        kata_id: str,
        avatar: str,
        files: dict[str, bytes],
        time: datetime,
        *,
        after: int | None,
        writer: str,
        request: Request | None,
    ) -> Edit | None:
        """Record an edit, as `Avatar.record_edit` does."""
        with self.using(kata_id) as kata:
            recorded = kata.avatar(avatar).record_edit(
                files, time, after=after, writer=writer, request=request
            )
        if recorded is not None:
            self._changes.publish(kata_id)
        return recorded

    def watched(self, kata_id: str, with_edits: bool) -> Watched:  # noqa: FBT001 - Watches calls it
        """Return the lights of each avatar, except those whose lights can't be read, and options.

        The edits, if `with_edits`, are between the lights. Imports nothing: raises KataNotFound.
        Raises KataMoved if another machine may have the news, as this one is cut off.
        """
        if self._places.installation.is_cut_off():
            raise KataMoved(kata_id)
        with self.using(kata_id, importing=False) as kata:
            lights = kata.lights()[0]
            events: Events = lights
            if with_edits:
                events = {
                    name: tuple(sorted((*found, *kata.edits(name, found)), key=at_of))
                    for name, found in lights.items()
                }
            return Watched(events, kata.read_options())

    def import_(self, kata_id: str, *, undelete: bool = False) -> tuple[Avatars, bool]:
        """Fetch a kata; return its avatars, and whether it was in a data-container before.

        With `undelete` also from a directory if it was deleted.
        """
        if undelete:
            self._places.katas_directory.show(kata_id)
        before = self._containers.exists(kata_id)
        with self.using(kata_id) as kata:
            return avatars_of(kata), before

    def restore(
        self,
        kata_id: str,
        fill: Callable[[Path], None],
        *,
        overwrite: bool,
        request: Callable[[], Request | None] | None = None,
    ) -> Avatars:
        """Create a kata from what `fill` writes into the folder it is given; return its avatars.

        `fill` must raise if what it wrote is incomplete. `request` is called after it. If that
        request has restored the existing kata, nothing is changed. Raises AlreadyExists if the kata
        exists in a data-container, the archive or the katas directory, and `overwrite` is not set;
        KataDamaged if an avatar is damaged that is whole in the existing kata; and RequestIdReused
        if another request with this id has restored the existing kata.
        """
        restored = Avatars([], [])

        def is_wanted(incoming: Path) -> bool:
            nonlocal restored
            kata, existing = Kata.detached(incoming, kata_id), self._existing(kata_id)
            asked = request() if request is not None else None
            if asked is not None:
                if existing is not None and _was_restored_by(asked, existing):
                    restored = avatars_of(existing)
                    return False
                kata.write_restored(asked)
            refuse_existing()
            self._refuse_worse(kata, existing)
            restored = avatars_of(kata)
            return True

        def refuse_existing() -> None:
            if not overwrite and listing.is_somewhere(self._places, kata_id):
                raise AlreadyExists(kata_id)

        if request is not None:
            self._fetch_existing(kata_id)  # only there is it said which request restored it
        else:
            refuse_existing()
            if overwrite:
                with contextlib.suppress(ArchiveUnavailable):  # asked again if one is damaged
                    self._fetch_existing(kata_id)
        is_there = create.stage_and_publish(
            self._places, kata_id, partial(self._take_in, kata_id, fill), is_wanted
        )
        if is_there is not None:
            _log.info("kata restored", kata=kata_id, avatars=len(restored.names))
            self._finish_restoring(kata_id, overwrite=overwrite)
        return restored

    def restore_if_wanted(
        self,
        kata_id: str,
        fill: Callable[[Path], None],
        is_wanted: Callable[[Kata, Kata | None], bool],
        *,
        overwrite: bool,
    ) -> None:
        """Create a kata from what `fill` writes into a folder, as `restore` does, if it is wanted.

        `is_wanted` is called with the incoming kata and the existing one, or None; nobody else uses
        either then. With `overwrite` the kata also replaces what the archive has, even if another
        machine put it there. Raises KataDamaged as `restore` does.
        """

        def is_wanted_here(incoming: Path) -> bool:
            kata, existing = Kata.detached(incoming, kata_id), self._existing(kata_id)
            if not is_wanted(kata, existing):
                return False
            self._refuse_worse(kata, existing)
            return True

        self._fetch_existing(kata_id)
        names = create.stage_and_publish(
            self._places, kata_id, partial(self._take_in, kata_id, fill), is_wanted_here
        )
        if names is not None:
            _log.info("kata restored", kata=kata_id)
            self._finish_restoring(kata_id, overwrite=overwrite)

    def delete(self, kata_id: str) -> bool:
        """Delete a kata everywhere, as `storer.katas.delete.delete` does."""
        stays_in_directory = delete.delete(self._places, kata_id)
        self._changes.publish(kata_id)
        return stays_in_directory

    def archive_kata(
        self, kata_id: str, is_watched: Callable[[str], bool], *, with_products: bool
    ) -> None:
        """Put a kata into the archive, and remove its container and volume, unless only it has it.

        The archive gets what runs left in its sandboxes if `with_products`. Raises KataInUse if the
        kata is in use or `is_watched` returns true; KataNotFound, KataDamaged, ArchiveUnavailable,
        ArchiveConflict, DiskFull or ArchiveMissing; the kata then stays as it was.
        """
        kata = self._unchecked_kata(kata_id)
        with self._telling_of_damage():
            delete.archive(self._places, kata, is_watched, with_products=with_products)
        self._changes.publish(kata_id)

    def recover(self, kata_id: str, name: str) -> None:
        """Replay an avatar's write-ahead log if the machine went down, as any use of it does.

        For the holder of the kata's lock, shared. Raises KataDamaged.
        """
        avatar = self._unchecked_kata(kata_id).avatar(name)
        if self._checkpointer.is_foreign(avatar.folder):
            avatar.lights()

    def settle(self) -> None:
        """Keep what is here as the only machine's, after there were several.

        A kata that another machine had last is removed: the archive has it. Call this when a storer
        starts that is alone. Raises ArchiveUnavailable.
        """
        for kata_id in list(self._containers.kata_ids()):
            note = self._containers.folder(kata_id) / NOTE
            if note.exists():
                self.remove_stale(kata_id)
                note.unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove what processes that died left incomplete. Call this when a storer starts."""
        create.sweep(self._places)
        for kata_id in self._places.installation.unfinished_deletions():
            self.archive.delete(kata_id)
            self._places.installation.deleted(kata_id)
        self._places.katas_directory.sweep()

    def _unchecked_kata(self, kata_id: str) -> Kata:
        """Return a kata without checking that it exists. For the holder of its lock."""
        folder = self._containers.folder(kata_id)
        ledger = self._places.installation.ledger
        return Kata(folder, kata_id, self._cache, self._checkpointer, ledger=ledger)

    def _is_here(self, kata_id: str) -> bool:
        """Say whether a data-container has the kata as it is now."""
        return self._containers.exists(kata_id) and self._places.installation.is_here(kata_id)

    def _existing(self, kata_id: str) -> Kata | None:
        """Return the kata if a data-container has it. For the holder of its lock.

        A kata without its manifest.json is invisible, but its avatars are a participant's.
        """
        kata = self._unchecked_kata(kata_id)
        return kata if self._containers.exists(kata_id) or kata.avatar_names() else None

    def _fetch_existing(self, kata_id: str) -> None:
        """Fetch the kata that another is to replace, so that the two can be compared.

        An existing kata that can't be fetched is no reason to refuse the incoming one.
        """
        with contextlib.suppress(KataNotFound, KataDamaged, ArchiveDamaged):
            self._fetch(kata_id, importing=True)

    def _fetch(self, kata_id: str, *, importing: bool) -> None:
        """Fetch a kata, as `fetch.fetch` does; tell what is damaged of it."""
        try:
            if fetch.fetch(self._places, self._intake, kata_id, importing=importing):
                self.damaged.look(kata_id)
        except (KataDamaged, ArchiveDamaged):
            self.damaged.suspect(kata_id)
            raise

    def _take_in(self, kata_id: str, fill: Callable[[Path], None], folder: Path) -> list[str]:
        """Take in what `fill` writes into a folder; return the names of the kata's avatars."""
        fill(folder)
        return self._intake.take(folder, kata_id)

    def _refuse_worse(self, incoming: Kata, existing: Kata | None) -> None:
        """Raise KataDamaged if an avatar is damaged in `incoming`, and whole in `existing`.

        Raises ArchiveUnavailable if there may be such a kata in the archive.
        """
        damaged = incoming.lights()[1]
        if not damaged:
            return
        if existing is None:
            self.archive.find(incoming.kata_id)  # raises if it can't say that it has none
            return
        whole = existing.lights()[0]
        for each in damaged:
            if each.name in whole:
                reason = f"{each.reason}; the {each.name} that is here is whole, and stays"
                raise KataDamaged(incoming.kata_id, each.path, reason)

    def _finish_restoring(self, kata_id: str, *, overwrite: bool) -> None:
        """Tell of a kata that is published.

        With `overwrite`, the archive replaces its copy the next time the kata is archived.
        """
        self._places.old_ids.note(kata_id, self._containers.folder(kata_id))
        if overwrite:
            self._supersede(kata_id)
        self.damaged.look(kata_id)
        self._changes.publish(kata_id)

    @contextmanager
    def _telling_of_damage(self) -> Iterator[None]:
        """Tell `damaged` of the kata that the block meets damaged."""
        try:
            yield
        except KataDamaged as error:
            self.damaged.met(error.kata_id, error.path)
            raise

    def _supersede(self, kata_id: str) -> None:
        """Have the archive replace its copy of this kata the next time the kata is archived."""
        with contextlib.suppress(ArchiveUnavailable):  # then archiving compares the two
            if (archived := self.archive.find(kata_id)) is not None:
                store_kata.supersede(archived, self._containers.folder(kata_id))

    def _create(
        self, describe: Callable[[], Described], created: datetime, request: Request | None
    ) -> str:
        """Create the kata that `describe` describes, unless the request has created it before."""
        if request is None:
            described = describe()
            kata_id = create.create(
                self._places,
                lambda kata_id: manifest.dump(
                    described.manifest, kata_id, created, files=described.files
                ),
                described.options,
            )
        else:
            kata_id, is_new = self._create_once(describe, created, request)
            if not is_new:
                return kata_id
        _log.info("kata created", kata=kata_id)
        self._changes.publish(kata_id)
        return kata_id

    def _create_once(
        self, describe: Callable[[], Described], created: datetime, request: Request
    ) -> tuple[str, bool]:
        """Return the id of the kata of a request, and whether it was created now."""
        kata_id, is_there = self._created_by(request)
        if is_there:
            return kata_id, False
        described = describe()
        while not create.create_as(
            self._places,
            kata_id,
            lambda kata_id: manifest.dump(
                described.manifest, kata_id, created, request, described.files
            ),
            described.options,
        ):
            # Another call has created it since: the same request or, by chance, another one.
            kata_id, is_there = self._created_by(request)
            if is_there:
                return kata_id, False
        return kata_id, True

    def _id_for(self, request: Request | None) -> tuple[str, bool]:
        """Return the id of the kata that a call creates, and whether the kata is there."""
        if request is not None:
            return self._created_by(request)
        while listing.is_somewhere(self._places, kata_id := kata_ids.new()):
            pass
        return kata_id, False

    def _created_by(self, request: Request) -> tuple[str, bool]:
        """Return the id of the kata that a request creates, and whether the kata is there.

        Its id follows from the request's, so that any storer finds it, without any other memory. An
        id that another kata has by chance is passed over. Raises RequestIdReused.
        """
        for attempt in itertools.count():
            kata_id = kata_ids.of_request(request.id, attempt)
            try:
                with self.using(kata_id) as kata:
                    before = kata.read_request()
            except KataNotFound:
                return kata_id, False
            if before is not None and before.id == request.id:
                request.check_repeats(before)
                return kata_id, True
        raise AssertionError("the ids have no end")


def _was_restored_by(request: Request, existing: Kata) -> bool:
    """Say whether a request has restored a kata; raise RequestIdReused if it was another one."""
    before = existing.read_restored()
    if before is None or before.id != request.id:
        return False
    request.check_repeats(before)
    return True
