"""An edit: what was changed between two lights, and its JSON in git.

Edit 3.1 is the first after light 3. In git it is a commit with the tag `3.1`, which holds
`sandbox/`, the visible files after it, and `edit.json`. Its parent is the commit of the edit
before, or of light 3. Lights follow each other as if there were no edits.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from dojo.visible_files import MAX_NAME_BYTES
from storer.fs import json_files, json_times
from storer.fs.json_files import Unreadable
from storer.kata import light_facts, request
from storer.kata.light import MAX_NUMBER, is_number
from storer.kata.light_facts import MAX_WRITER
from storer.kata.request import Request

EDIT_JSON = "edit.json"

CREATED, DELETED, RENAMED, CHANGED = KINDS = ("created", "deleted", "renamed", "changed")

# More changes of one edit are not listed: its files tell them.
MAX_CHANGES = 64

_TAG = re.compile(r"(?:refs/tags/)?(0|[1-9][0-9]{0,7})\.([1-9][0-9]{0,7})")


class At(NamedTuple):
    """A place in an avatar's history: a light, or with a `minor` an edit after it.

    -1 stands for the newest: as the number for the newest light, as `minor` for the newest edit
    after it, or for the light itself if it has none.
    """

    number: int
    minor: int = 0

    def __str__(self) -> str:
        return f"{self.number}.{self.minor}" if self.minor else str(self.number)


@dataclass(frozen=True, slots=True)
class Change:
    """What became of a file. `was` is its name before, if it was renamed."""

    kind: str
    filename: str
    was: str = ""


@dataclass(frozen=True, slots=True)
class Edit:
    """What was changed after light `number`: edit `minor` of that, beginning with 1.

    `changes` are the first MAX_CHANGES; `is_truncated` says that there were more. `writer` names
    the browser or tab. `added` and `deleted` are lines, None where that is not known. `is_outage`
    says that nobody knows what happened: another server could not record it. `request` is the one
    that recorded it, None if that had no id.
    """

    number: int
    minor: int
    time: datetime
    changes: tuple[Change, ...] = ()
    is_truncated: bool = False
    writer: str = ""
    added: int | None = None
    deleted: int | None = None
    is_outage: bool = False
    request: Request | None = None


def changes_between(was: Mapping[str, object], now: Mapping[str, object]) -> list[Change]:
    """Return what became of the files in `was`, by name.

    The values are contents, or what stands for them. A file that is gone, whose content another
    name has now, was renamed.
    """
    gone = {name: content for name, content in was.items() if name not in now}
    new = {name: content for name, content in now.items() if name not in was}
    places: dict[object, list[str]] = {}
    for name, content in gone.items():
        places.setdefault(content, []).append(name)
    found = []
    for name, content in new.items():
        if places.get(content):
            found.append(Change(RENAMED, name, places[content].pop(0)))
        else:
            found.append(Change(CREATED, name))
    found += [Change(DELETED, name) for names in places.values() for name in names]
    found += [
        Change(CHANGED, name) for name, content in now.items() if was.get(name, content) != content
    ]
    return found


def to_json(edit: Edit) -> dict[str, Any]:
    """Return an edit as the object in edit.json; what there is nothing to say of is left out."""
    value = {
        "number": edit.number,
        "minor": edit.minor,
        "time": json_times.to_list(edit.time),
        "changes": [
            {
                "kind": each.kind,
                "filename": each.filename,
                **({"was": each.was} if each.was else {}),
            }
            for each in edit.changes
        ],
        "changes_truncated": edit.is_truncated or None,
        "writer": edit.writer or None,
        "added_lines": edit.added,
        "deleted_lines": edit.deleted,
        "outage": edit.is_outage or None,
        **request.to_keys(edit.request),
    }
    return {key: each for key, each in value.items() if each is not None}


def from_json(value: Mapping[str, Any]) -> Edit:
    """Return the edit that the object in edit.json stands for; raise Unreadable for any other."""
    number, minor = value.get("number"), value.get("minor")
    if not (is_number(number, MAX_NUMBER) and is_number(minor, MAX_NUMBER) and minor > 0):
        raise Unreadable(f"{number!r:.40}.{minor!r:.40} is no edit")
    try:
        time = json_times.from_list(value.get("time"))
        changes = changes_from_json(value.get("changes"))
    except (ValueError, Unreadable) as error:
        raise Unreadable(f"edit {number}.{minor}: {error}") from None
    return Edit(
        number,
        minor,
        time,
        changes,
        is_truncated=value.get("changes_truncated") is True,
        writer=json_files.to_text(value.get("writer", ""))[:MAX_WRITER],
        added=light_facts.count(value.get("added_lines")),
        deleted=light_facts.count(value.get("deleted_lines")),
        is_outage=value.get("outage") is True,
        request=request.from_keys(value),
    )


def changes_from_json(value: object) -> tuple[Change, ...]:
    """Return the changes that a list in JSON has; raise Unreadable for anything else."""
    if not isinstance(value, list) or len(value) > MAX_CHANGES:
        raise Unreadable("its changes are no short list")
    return tuple(_change(each) for each in value)


def tag_of(number: int, minor: int) -> str:
    """Return the name of the reference that leads to an edit."""
    return f"refs/tags/{number}.{minor}"


def number_of(tag: str) -> tuple[int, int] | None:
    """Return an edit's light and its number after that, from its reference; None for another."""
    found = _TAG.fullmatch(tag)
    return None if found is None else (int(found[1]), int(found[2]))


def _change(value: object) -> Change:
    if not isinstance(value, Mapping) or value.get("kind") not in KINDS:
        raise Unreadable(f"{value!r:.80} is no change of a file")
    return Change(
        str(value["kind"]),
        # A kata from elsewhere can have names that no file has.
        json_files.to_text(value.get("filename", ""))[:MAX_NAME_BYTES],
        json_files.to_text(value.get("was", ""))[:MAX_NAME_BYTES],
    )
