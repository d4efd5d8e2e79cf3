"""An edit: what was changed between two lights, and its JSON in git.

Edit 3.1 is the first after light 3. In git it is a commit with the tag `3.1`, which holds
`sandbox/`, the visible files after it, and `edit.json`. Its parent is the commit of the edit
before, or of light 3. Lights follow each other as if there were no edits.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from storer.fs import json_files, json_times
from storer.fs.json_files import Unreadable

EDIT_JSON = "edit.json"

CREATED, DELETED, RENAMED, EDITED, OUTAGE = KINDS = (
    "created",
    "deleted",
    "renamed",
    "edited",
    "outage",  # nobody knows what happened meanwhile: another server could not record it
)

_TAG = re.compile(r"refs/tags/(0|[1-9][0-9]{0,7})\.([1-9][0-9]{0,7})")


@dataclass(frozen=True, slots=True)
class Edit:
    """What was changed after light `number`: edit `minor` of that, beginning with 1.

    `filename` is the file that was changed, and `was` its name before if it was renamed. `writer`
    names the browser or tab. `added` and `deleted` are lines, None where that is not known.
    """

    number: int
    minor: int
    kind: str
    time: datetime
    filename: str = ""
    was: str = ""
    writer: str = ""
    added: int | None = None
    deleted: int | None = None


def to_json(edit: Edit) -> dict[str, Any]:
    """Return an edit as the object in edit.json; what there is nothing to say of is left out."""
    value = {
        "number": edit.number,
        "minor": edit.minor,
        "kind": edit.kind,
        "time": json_times.to_list(edit.time),
        "filename": edit.filename or None,
        "was": edit.was or None,
        "writer": edit.writer or None,
        "added_lines": edit.added,
        "deleted_lines": edit.deleted,
    }
    return {key: each for key, each in value.items() if each is not None}


def from_json(value: Mapping[str, Any]) -> Edit:
    """Return the edit that the object in edit.json stands for; raise Unreadable for any other."""
    number, minor, kind = value.get("number"), value.get("minor"), value.get("kind")
    if not (_is_count(number) and _is_count(minor) and kind in KINDS):
        raise Unreadable(f"{number!r:.40}.{minor!r:.40} {kind!r:.40} is no edit")
    try:
        time = json_times.from_list(value.get("time"))
    except ValueError as error:
        raise Unreadable(str(error)) from None
    texts = {key: json_files.to_text(value.get(key, "")) for key in ("filename", "was", "writer")}
    added, deleted = value.get("added_lines"), value.get("deleted_lines")
    return Edit(
        number,  # type: ignore[arg-type]
        minor,  # type: ignore[arg-type]
        str(kind),
        time,
        **texts,
        added=added if _is_count(added) else None,
        deleted=deleted if _is_count(deleted) else None,
    )


def tag_of(edit: Edit) -> str:
    """Return the name of the reference that leads to an edit."""
    return f"refs/tags/{edit.number}.{edit.minor}"


def number_of(tag: str) -> tuple[int, int] | None:
    """Return an edit's light and its number after that, from its reference; None for another."""
    found = _TAG.fullmatch(tag)
    return None if found is None else (int(found[1]), int(found[2]))


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
