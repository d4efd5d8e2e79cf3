"""Files as scripts have them: text as text, and anything else as base64."""

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any

import re2

from cyber_dojo_client import text
from web.access.limits import Unreadable


def to_json(files: Mapping[str, bytes], hidden: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Return files, in their order: each has a `name`, and `text` or `base64`.

    Those are `hidden` in whose name one of the manifest's expressions is found.
    """
    patterns = [found for each in hidden if (found := _pattern(each)) is not None]
    return [
        {
            "name": name,
            **_content_to_json(content),
            **({"hidden": True} if any(each.search(name) for each in patterns) else {}),
        }
        for name, content in files.items()
    ]


def _content_to_json(content: bytes) -> dict[str, str]:
    as_text = text(content)
    if as_text is None:
        return {"base64": base64.b64encode(content).decode()}
    return {"text": as_text}


def _pattern(expression: str) -> Any:
    """Return an expression of Ruby's dialect; None if it has what a linear-time search can't do."""
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(expression, options)
    except re2.error:
        return None


def from_json(value: Any) -> dict[str, bytes]:
    """Return the files of a script. Raises Unreadable."""
    if not isinstance(value, list):
        raise Unreadable("files: it is no list")
    files: dict[str, bytes] = {}
    for each in value:
        name = each.get("name") if isinstance(each, dict) else None
        if not isinstance(name, str):
            raise Unreadable("files: one has no name")
        if name in files:
            raise Unreadable(f"files: there are two of the name {name!r}")
        files[name] = _content(each)
    return files


def _content(each: dict[str, Any]) -> bytes:
    if isinstance(as_text := each.get("text"), str):
        # A lone half of a pair of surrogates is no character: browsers can make such.
        return as_text.encode(errors="replace")
    if isinstance(encoded := each.get("base64"), str):
        try:
            return base64.b64decode(encoded, validate=True)
        except binascii.Error:
            pass
    raise Unreadable("files: one has neither text nor base64")
