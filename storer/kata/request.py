"""Requests that may be sent again: each is remembered with what it made, wherever that goes.

A light has the request that recorded it, light 0 the one that started its avatar; manifest.json has
the request that created the kata, and restored.json the one that restored it. So a memory exists
exactly as long as what it is about: no process, no table and no time has to keep it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dojo.errors import RequestIdReused
from storer.fs import json_files


@dataclass(frozen=True, slots=True)
class Request:
    """A request's id, which the caller chose, and a digest of all that it asked for."""

    id: str
    digest: str

    def check_repeats(self, before: "Request") -> None:
        """Raise RequestIdReused unless `before`, which has the same id, asked for the same."""
        if before.digest and before.digest != self.digest:
            raise RequestIdReused(self.id)


def to_json(request: Request) -> dict[str, str]:
    """Return a request as a JSON object."""
    return {"id": request.id, "digest": request.digest}


def from_json(value: object) -> Request | None:
    """Return the request that a JSON value stands for, None if there is none."""
    found: Any = value if isinstance(value, dict) else {}
    given, digest = found.get("id"), found.get("digest")
    if not (given and isinstance(given, str) and isinstance(digest, str)):
        return None
    return Request(given, digest)


def to_keys(request: Request | None) -> dict[str, str]:
    """Return a request as keys of the JSON of a light or an edit; none if there is none."""
    if request is None:
        return {}
    return {"request_id": request.id, "request_digest": request.digest}


def from_keys(value: Mapping[str, Any]) -> Request | None:
    """Return the request in the JSON of a light or an edit, None if there is none."""
    given = json_files.to_text(value.get("request_id", ""))
    if not given:
        return None
    return Request(given, json_files.to_text(value.get("request_digest", "")))
