"""What a backup would send, without making one: nothing is changed, fetched or written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime

import pygit2

from dojo import waits
from dojo.errors import ArchiveDamaged, InvalidArgument, KataDamaged, KataNotFound, LockHeld
from storer.backup.backup import merge, without_deleted
from storer.backup.catalog import Catalog, Entry, State
from storer.kata.head import head_of
from storer.kata.kata import Kata
from storer.katas.repository import Katas


@dataclass(frozen=True)
class Planned:
    """What a backup would do with a kata.

    The backup before has all of the kata that is from before `lacks_since`; None if it is not known
    what it has. `reason` says why the kata can't be read.
    """

    kata_id: str
    state: State
    is_new: bool = False
    lacks_since: datetime | None = None
    reason: str = ""


def plan(katas: Katas, catalog: Catalog, prefix: str, since: str) -> Iterator[Planned]:
    """Yield what a backup since the one with the token `since` would do with each kata.

    Raises UnknownBackup, InvalidArgument or ArchiveUnavailable.
    """
    with ExitStack() as opened:
        entries: Iterator[Entry] = iter(())
        begun = None
        if since:
            before = opened.enter_context(catalog.open_finished(since))
            if before.prefix != prefix:
                reason = f"is of a backup with the prefix {before.prefix!r}"
                raise InvalidArgument("since_token", reason)
            begun, entries = before.begun, without_deleted(before.entries())
        for kata_id, previous, is_there in merge(katas.stored_ids(prefix, ""), entries):
            waits.check()
            waits.wait_longer()
            if is_there or katas.is_stored(kata_id):
                yield _planned(katas, kata_id, previous, begun)
            else:
                yield Planned(kata_id, State.DELETED)


def _planned(katas: Katas, kata_id: str, previous: Entry | None, begun: datetime | None) -> Planned:
    head = previous.head if previous is not None else ""
    # Of a kata that the backup before could not read, it has what an earlier one had.
    knows = previous is None or previous.state is not State.FAILED
    lacks_since = begun if knows else None
    try:
        try:
            with katas.reading(kata_id) as kata:
                if head and head_of(kata).digest == head:
                    return Planned(kata_id, State.UNCHANGED)
                if lacks_since is not None:
                    lacks_since = _oldest_after(kata, lacks_since)
        except KataNotFound:
            if katas.is_in_use(kata_id):
                return _planned_elsewhere(katas, kata_id, previous)
            archived = katas.archive.find(kata_id)
            if archived is None:
                return Planned(kata_id, State.FAILED, reason="it was just deleted")
            is_as_sent = previous is not None and previous.stamp == archived.stamp
            has_copies = bool(katas.archive.copies(kata_id))
            if is_as_sent or (head and not has_copies and katas.archive.head(kata_id) == head):
                return Planned(kata_id, State.UNCHANGED)
    except (KataNotFound, KataDamaged, ArchiveDamaged, LockHeld) as error:
        return Planned(kata_id, State.FAILED, reason=str(error))
    except (OSError, pygit2.GitError, KeyError, ValueError) as error:
        return Planned(kata_id, State.FAILED, reason=f"it can't be read: {error}")
    return Planned(kata_id, State.SENT, is_new=previous is None, lacks_since=lacks_since)


def _planned_elsewhere(katas: Katas, kata_id: str, previous: Entry | None) -> Planned:
    """Return what a backup would do with a kata that another machine owns."""
    with katas.copied(kata_id) as kata:
        if previous is not None and previous.head and head_of(kata).digest == previous.head:
            return Planned(kata_id, State.UNCHANGED)
    return Planned(kata_id, State.SENT, is_new=previous is None)


def _oldest_after(kata: Kata, begun: datetime) -> datetime:
    """Return when the oldest change after `begun` was made: that moment itself if none tells.

    What was changed after that has a later time, or an older one that its caller gave: then it came
    in after `begun` all the same.
    """
    lights, _ = kata.lights()
    times = [light.time for of_avatar in lights.values() for light in of_avatar]
    times.append(kata.read_created())
    return min((time for time in times if time > begun), default=begun)
