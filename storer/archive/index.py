"""The index of the archive: what a list shows of an archived kata, without its tar being read.

Each archived kata has a small file of JSON, which is written behind its tar. It is never the truth:
a storer that dies between the two, or another machine, leaves one that is missing or old.
Verifying, which reads the tars, finds those and makes them again.
"""

import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime

import structlog

from dojo.errors import ArchiveUnavailable, DiskFull, KataDamaged, KataNotFound
from storer.archive.archive import Archive, ArchivedKata
from storer.kata import details
from storer.kata.details import Details
from storer.kata.kata import Kata

# A larger file is none of ours.
MAX_BYTES = 8 * 1024
_MAX_TEXT = 200  # characters of a name; a list shows fewer

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """What a list shows of an archived kata.

    `size_bytes` is the size of its tar, and `version` that of the tar and its copies.
    """

    details: Details
    size_bytes: int
    version: str


def write(archive: Archive, kata: Kata) -> None:
    """Write the entry of a kata that the archive has just got, unless it has this one.

    With it, note the old ids of the kata's avatars.

    For the holder of the kata's lock. An archive that does not answer keeps its kata all the same.
    """
    with suppress(KataNotFound):
        found = details.read(kata.folder, kata.kata_id)
        try:
            archived = archive.find(kata.kata_id)
            if found is None or archived is None:
                return
            entry = IndexEntry(found, archived.size_bytes, version(archive, archived))
            if not has(archive, kata.kata_id, entry):
                with suppress(KataDamaged):  # a list says what is damaged
                    archive.note_old_ids(kata.read_old_ids(), kata.kata_id)
                archive.write_index(kata.kata_id, dump(entry))
        except (ArchiveUnavailable, DiskFull) as error:
            _log.warning("index not written", kata=kata.kata_id, reason=str(error))


def read(archive: Archive, kata_ids: Iterable[str]) -> dict[str, IndexEntry]:
    """Return the entries of these katas, except those that are missing or can't be read.

    Raises ArchiveUnavailable.
    """
    found = archive.read_index(kata_ids, MAX_BYTES)
    entries = ((kata_id, _parse(content)) for kata_id, content in found.items())
    return {kata_id: entry for kata_id, entry in entries if entry is not None}


def version(archive: Archive, archived: ArchivedKata) -> str:
    """Return the version of an archived kata: it tells histories apart, and is read quickly.

    It is the same in another place, as after the archive was moved. Raises KataNotFound or
    ArchiveUnavailable.
    """
    copies = archive.copies(archived.kata_id)
    suffix = f"+{copies[-1].base}.{copies[-1].number}" if copies else ""
    return (archive.head(archived.kata_id) or str(archived.size_bytes)) + suffix


def is_current(archive: Archive, kata_id: str, entry: IndexEntry) -> bool:
    """Say whether an entry is of the tar that the archive has now. Raises ArchiveUnavailable."""
    with suppress(KataNotFound):
        archived = archive.find(kata_id)
        return archived is not None and version(archive, archived) == entry.version
    return False


def has(archive: Archive, kata_id: str, entry: IndexEntry) -> bool:
    """Say whether this is the kata's entry. Raises ArchiveUnavailable."""
    found = read(archive, [kata_id]).get(kata_id)
    return found is not None and dump(found) == dump(entry)


def tells_of_next_copy(archive: Archive, kata_id: str, entry: IndexEntry, live: Details) -> bool:
    """Say whether a kata's entry tells of what its archived copy has not yet, other than `entry`.

    It tells of the kata in use, whose details are `live`; or of other lights that came after those
    of the copy: an entry is of the moment when it was written, some time after the copy was begun.
    Since then lights may have been recorded, and restoring may have taken some away. The entry is
    written again with the next copy, or when the kata is archived. Raises ArchiveUnavailable.
    """
    found = read(archive, [kata_id]).get(kata_id)
    if found is None:
        return False
    copied, told, then = entry.details, found.details, live
    counts = told.avatar_count, told.light_count
    if (
        copied.avatar_count <= told.avatar_count
        and copied.light_count <= told.light_count
        and counts != (copied.avatar_count, copied.light_count)
    ):
        avatar_count, light_count = counts
        then = replace(live, avatar_count=avatar_count, light_count=light_count, newest=told.newest)
    return dump(found) == dump(replace(entry, details=then))


def dump(entry: IndexEntry) -> bytes:
    """Return an entry as the content of its file."""
    found = entry.details
    fields = {
        "display_name": found.display_name[:_MAX_TEXT],
        "exercise": found.exercise[:_MAX_TEXT],
        "created": None if found.created is None else found.created.isoformat(),
        "avatars": found.avatar_count,
        "lights": found.light_count,
        "newest": None if found.newest is None else found.newest.isoformat(),
        "problem": found.problem[:_MAX_TEXT],
        "size_bytes": entry.size_bytes,
        "version": entry.version,
    }
    return json.dumps(fields).encode() + b"\n"


def _parse(content: bytes) -> IndexEntry | None:
    try:
        fields = json.loads(content)
        found = Details(
            display_name=str(fields["display_name"])[:_MAX_TEXT],
            exercise=str(fields["exercise"])[:_MAX_TEXT],
            created=_time(fields["created"]),
            avatar_count=_count(fields["avatars"], 2**31),
            light_count=_count(fields["lights"], 2**31),
            newest=_time(fields["newest"]),
            problem=str(fields["problem"])[:_MAX_TEXT],
        )
        size_bytes = _count(fields["size_bytes"], 2**63)
        return IndexEntry(found, size_bytes, str(fields["version"]))
    except (ValueError, OverflowError, KeyError, TypeError, RecursionError):
        return None


def _time(text: str | None) -> datetime | None:
    if text is None:
        return None
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError("a time without its zone")
    return time


def _count(value: int, limit: int) -> int:
    if not 0 <= int(value) < limit:
        raise ValueError("a count that can't be")
    return int(value)
