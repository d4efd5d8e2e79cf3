"""Plain values of what the messages hold: files, times, and free-form structures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC
from typing import Any

from google.protobuf import duration_pb2, struct_pb2, timestamp_pb2


def plain(value: Any) -> Any:
    """Return a well-known message as Python's own value, and anything else as it is.

    A Timestamp becomes an aware datetime, a Duration a timedelta, a Struct a dict, with whole
    numbers as int.
    """
    match value:
        case timestamp_pb2.Timestamp():
            return value.ToDatetime(UTC)
        case duration_pb2.Duration():
            return value.ToTimedelta()
        case struct_pb2.Struct():
            return {key: plain(each) for key, each in value.fields.items()}
        case struct_pb2.ListValue():
            return [plain(each) for each in value.values]
        case struct_pb2.Value():
            kind = value.WhichOneof("kind")
            return None if kind in (None, "null_value") else plain(getattr(value, kind))
        case float() if value.is_integer():
            return int(value)
    return value


def text(content: bytes) -> str | None:
    """Return a file's content as text; None if it is binary: no UTF-8, or with a NUL."""
    try:
        return None if b"\0" in content else content.decode()
    except UnicodeDecodeError:
        return None


def in_order(files: Mapping[str, bytes], first: Iterable[str] = ()) -> dict[str, bytes]:
    """Return files in the order of an editor's tabs.

    Those that `first` names come first, such as a manifest's `highlight_filenames`; the others
    follow by name, whatever their case.
    """
    named = [name for name in dict.fromkeys(first) if name in files]
    others = sorted(files.keys() - set(named), key=lambda name: (name.lower(), name))
    return {name: files[name] for name in [*named, *others]}


def checked(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the files. Raises TypeError if a content is text, which has to be encoded first."""
    for name, content in files.items():
        if not isinstance(content, bytes):
            raise TypeError(f"the content of {name!r} is {type(content).__name__}, not bytes")
    return dict(files)
