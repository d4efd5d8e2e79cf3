"""What the events of a saver are here: lights, and edits between them.

A saver counts all events. Here, lights alone have numbers, as a web tier shows them there too, and
an edit is `number.minor`.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

from storer.fs import json_files, json_times
from storer.fs.json_files import Unreadable
from storer.kata import edit, light, light_facts
from storer.kata.edit import At, Change, Edit
from storer.kata.light import COLOURS, MAX_STATUS, Light
from storer.kata.light_facts import MAX_WRITER, NO_FACTS, PREDICTABLE, Facts, Source
from storer.saver.kata import Content

_FILE_EVENT = "file_"
KINDS = {
    "file_create": edit.CREATED,
    "file_delete": edit.DELETED,
    "file_rename": edit.RENAMED,
    "file_edit": edit.CHANGED,
}
_SPECIAL = "_special"
_MAX_FILENAME = 1000
_MAX_REASON = 1000
_OUTAGE = "outage"

# What a storer says of an event that a saver has no word for.
STORER = "storer"

FindSource = Callable[[str, int], Source | None]
"""Returns the light of an old id and an index, None if it is not here."""


def places(events: Sequence[Mapping[str, Any]]) -> list[At]:
    """Return what each event is: a light, or an edit. The first is the start, light 0."""
    found: list[At] = []
    for event in events:
        last = found[-1] if found else None
        if last is None:
            found.append(At(0))
        elif _is_edit(event):
            found.append(At(last.number, last.minor + 1))
        else:
            found.append(At(last.number + 1))
    return found


def index_of(event: Mapping[str, Any], place: int) -> int:
    """Return the index that other events name this one by."""
    index = event.get("index")
    return index if isinstance(index, int) and not isinstance(index, bool) else place


def time_of(event: Mapping[str, Any], before: datetime) -> datetime:
    """Return when an event was; if it has no time that is one, that of the event `before`."""
    try:
        return json_times.from_list(event.get("time"))
    except ValueError:
        return before


def light_of(
    event: Mapping[str, Any], number: int, time: datetime, content: Content, source: FindSource
) -> Light:
    """Return the light that an event is. Light 0 has no colour."""
    if number == 0:
        return Light(0, "", time)
    colour, reason, is_special = _colour(event.get("colour"))
    given = event.get(STORER)
    own: Mapping[str, Any] = given if isinstance(given, Mapping) else {}
    duration = event.get("duration")
    facts = Facts(
        predicted=_predicted(event),
        source=_source(event, source),
        writer=_writer(event),
        is_special=is_special,
        is_stdout_truncated=content.is_stdout_truncated,
        is_stderr_truncated=content.is_stderr_truncated,
        added=light_facts.count(event.get("diff_added_count")),
        deleted=light_facts.count(event.get("diff_deleted_count")),
        test_counts=light_facts.from_json(own).test_counts,
    )
    return Light(
        number=number,
        colour=colour,
        time=time,
        duration=duration if light.is_duration(duration) else None,
        status=_status(content.status),
        reason=reason or _text(own.get("reason"))[:_MAX_REASON],
        facts=NO_FACTS if facts == NO_FACTS else facts,
    )


def edit_of(event: Mapping[str, Any], place: At, time: datetime) -> Edit:
    """Return the edit that an event is."""
    is_outage = event.get("event") == _OUTAGE
    kind = KINDS.get(_text(event.get("colour")), edit.CHANGED)
    is_renamed = kind == edit.RENAMED
    given = event.get(STORER)
    own: Mapping[str, Any] = given if isinstance(given, Mapping) else {}
    changes: tuple[Change, ...] = ()
    with suppress(Unreadable):
        changes = edit.changes_from_json(own.get("changes"))
    change = Change(
        kind,
        _text(event.get("new_filename" if is_renamed else "filename"))[:_MAX_FILENAME],
        was=_text(event.get("old_filename"))[:_MAX_FILENAME] if is_renamed else "",
    )
    return Edit(
        place.number,
        place.minor,
        time,
        changes=() if is_outage else changes or (change,),
        is_truncated=own.get("changes_truncated") is True,
        is_outage=is_outage,
        writer=_writer(event),
        added=light_facts.count(event.get("diff_added_count")),
        deleted=light_facts.count(event.get("diff_deleted_count")),
    )


def _is_edit(event: Mapping[str, Any]) -> bool:
    colour = event.get("colour")
    is_file_event = isinstance(colour, str) and colour.startswith(_FILE_EVENT)
    return is_file_event or event.get("event") == _OUTAGE


def _colour(value: object) -> tuple[str, str, bool]:
    """Return the colour here, the reason where a saver had another one, and if it was special."""
    if isinstance(value, str):
        colour = value.removesuffix(_SPECIAL)
        if colour in COLOURS:
            return colour, "", colour != value
    if value == "create":
        return "faulty", "it has no colour: its files are those of the start, taken again", False
    return "faulty", f"the saver has no colour of ours for it: {value!a:.80}", False


def _status(given: str | None) -> int | None:
    """Return a status that a light can have; None for any other, which is kept beside it."""
    text = "" if given is None else given.strip()
    is_status = text.isascii() and text.isdecimal() and len(text) <= len(str(MAX_STATUS))
    return int(text) if is_status and int(text) <= MAX_STATUS else None


def _predicted(event: Mapping[str, Any]) -> str:
    predicted = event.get("predicted")
    return str(predicted) if predicted in PREDICTABLE else ""


def _source(event: Mapping[str, Any], find: FindSource) -> Source | None:
    """Return the light that a revert or a check-out took its files from."""
    revert, checkout = event.get("revert"), event.get("checkout")
    old_id: object = None
    index: object = None
    if isinstance(revert, list) and len(revert) == 2:
        old_id, index = revert
    elif isinstance(checkout, Mapping):
        old_id, index = checkout.get("id"), checkout.get("index")
    is_index = isinstance(index, int) and not isinstance(index, bool)
    if isinstance(old_id, str) and is_index:
        return find(old_id, index)  # type: ignore[arg-type]
    return None


def _writer(event: Mapping[str, Any]) -> str:
    return _text(event.get("laptop_id"))[:MAX_WRITER]


def _text(value: object) -> str:
    return json_files.to_text(value) if isinstance(value, str) else ""
