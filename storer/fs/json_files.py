"""JSON files, and file contents as JSON strings."""

import codecs
import errno
import json
import os
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from dojo import limits, regular_files, waits
from dojo.errors import MemoryExhausted

_PIECE_BYTES = 256 * 1024

# JSON takes ten times its bytes of memory while it is read. Whoever holds this waits for nothing.
_LARGE = threading.BoundedSemaphore(1)

# What a disk, or a file system that has digests, says of content that it has lost.
_BROKEN = {errno.EIO, errno.EUCLEAN, errno.EBADMSG, errno.ELOOP}

# Without a last quote, the rest is one string: no quote in it is tried as the beginning of another.
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)


class Unreadable(Exception):
    """A JSON file is missing or malformed; the message says how."""


def from_bytes(content: bytes) -> str:
    """Return a file's content as a JSON string; bytes that are not UTF-8 become lone surrogates."""
    return content.decode("utf-8", "surrogateescape")


def to_bytes(text: str) -> bytes:
    """Return the content that `from_bytes` turned into `text`."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # another program wrote a surrogate: only that becomes "?"
        return text.encode("utf-8", "replace")


def dumps(value: object) -> bytes:
    """Return a value as compact JSON in ASCII."""
    return json.dumps(value, separators=(",", ":")).encode("ascii")


def read(
    path: Path,
    kind: type[dict[str, Any]] | type[list[Any]],
    *,
    unique_keys: bool = False,
    most_bytes: int = limits.MAX_JSON_BYTES,
) -> Any:
    """Return the object or list, as `kind` says, in a JSON file; raise Unreadable without one.

    With `unique_keys`, an object that has a key twice is unreadable; else the last one counts.
    Of a file with more than `most_bytes`, nothing is read.
    Raises MemoryExhausted if others read large files for too long.
    """
    try:
        with regular_files.open_to_read(path) as file:
            size = os.fstat(file.fileno()).st_size
            _check_size(size, most_bytes)
            with _one_at_a_time(size):
                return _parse(file.read(), kind, unique_keys=unique_keys)
    except FileNotFoundError:
        raise Unreadable("is missing") from None
    except OSError as error:
        if error.errno in regular_files.NO_FILE:
            raise Unreadable("is not a file") from None
        if error.errno in _BROKEN:
            raise Unreadable(f"can't be read: {error.strerror}") from error
        raise


def loads(
    content: bytes, kind: type[dict[str, Any]] | type[list[Any]], *, unique_keys: bool = False
) -> Any:
    """Return the object or list in JSON text, as `read` does, with the same errors."""
    with _one_at_a_time(len(content)):
        return _parse(content, kind, unique_keys=unique_keys)


def _one_at_a_time(size: int) -> AbstractContextManager[None]:
    """Wait, for large JSON, until nobody else reads such. Raises MemoryExhausted."""
    if size <= limits.LARGE_JSON_BYTES:
        return nullcontext()
    return waits.one_of(_LARGE, MemoryExhausted("other calls read large JSON files"))


def _parse(
    content: bytes, kind: type[dict[str, Any]] | type[list[Any]], *, unique_keys: bool = False
) -> Any:
    _check_size(len(content), limits.MAX_JSON_BYTES)
    _check_values(content)
    try:
        value = json.loads(content, object_pairs_hook=_unique if unique_keys else None)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"is not JSON: {error}") from None
    if not isinstance(value, kind):
        raise Unreadable(f"is not a JSON {'object' if kind is dict else 'list'}")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        counts = Counter(key for key, _ in pairs)
        twice, times = next((key, times) for key, times in counts.items() if times > 1)
        raise Unreadable(f"{twice}: is there {times} times in one object")
    return found


def _check_size(size: int, most_bytes: int) -> None:
    if size > most_bytes:
        raise Unreadable(f"has {size} bytes, more than {most_bytes}")


def _check_values(content: bytes) -> None:
    """Raise Unreadable for more values than MAX_JSON_VALUES: each takes dozens of bytes."""
    most = limits.MAX_JSON_VALUES
    if len(content) <= most or _separators(content, 0, len(content)) <= most:
        return
    # Most of these characters may be in strings, as in a file of sources.
    found = at = 0
    for number, string in enumerate(_STRING.finditer(content)):
        found += _separators(content, at, string.start())
        at = string.end()
        if max(found, number // 2) > most:
            break
    found += _separators(content, at, len(content))
    if found > most:
        raise Unreadable(f"has more than {most} values")


def _separators(content: bytes, start: int, end: int) -> int:
    """Return the number of characters of which one precedes each value but the outermost."""
    return sum(content.count(each, start, end) for each in (b",", b"[", b"{"))


def is_text(value: object) -> bool:
    """Return whether a value is text that UTF-8 can encode: JSON allows a lone surrogate."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def to_text(value: object) -> str:
    """Return a value as text that UTF-8, and so a message, can encode; "?" for a surrogate."""
    return str(value).encode("utf-8", "replace").decode()


def read_files(value: object) -> dict[str, bytes]:
    """Return filename -> content from a JSON value; raise Unreadable for any other value."""
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise Unreadable("does not map filenames to contents")
    if not all(map(is_text, value)):
        raise Unreadable("has a filename that is not UTF-8")
    return {name: to_bytes(text) for name, text in value.items()}


def dump_files(files: Mapping[str, bytes]) -> bytes | Iterator[bytes]:
    """Return filename -> content as compact JSON in ASCII, in pieces if it is large.

    JSON makes six bytes of some bytes: whole, it would take many times as much memory as the files.
    """
    if sum(map(len, files.values())) <= _PIECE_BYTES:
        return dumps({name: from_bytes(content) for name, content in files.items()})
    return _large_pieces(files)


DumpFiles = Callable[[Mapping[str, bytes]], bytes | Iterator[bytes]]
"""What makes the JSON of files, as `dump_files` does."""


def file_pieces(files: Mapping[str, bytes]) -> Iterator[bytes]:
    """Yield what `dump_files` returns, in pieces."""
    found = dump_files(files)
    yield from (found,) if isinstance(found, bytes) else found


def _large_pieces(files: Mapping[str, bytes]) -> Iterator[bytes]:
    separator = b"{"
    for name, content in files.items():
        yield separator + dumps(name) + b':"'
        separator = b","
        # A character may lie across two pieces.
        decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        for at in range(0, len(content), _PIECE_BYTES):
            yield dumps(decoder.decode(content[at : at + _PIECE_BYTES]))[1:-1]
        yield dumps(decoder.decode(b"", final=True))[1:-1] + b'"'
    yield b"}"


def files_json(files: dict[str, bytes]) -> dict[str, str]:
    """Return filename -> content as a JSON object."""
    return {name: from_bytes(content) for name, content in files.items()}
