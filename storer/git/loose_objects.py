"""Reads loose git objects, and checks each against its name.

libgit2 (1.9) loops forever on a truncated object, and blocks every thread of the process. So an
object that may be damaged has to be read here before libgit2 reads it.

The format is git's own: https://git-scm.com/book/en/v2/Git-Internals-Git-Objects.
"""

import hashlib
import os
import zlib
from collections.abc import Iterable
from pathlib import Path

from dojo.budget import Budget
from dojo.limits import GIT_BLOB_BYTES, GIT_OTHER_BYTES, GIT_TREE_BYTES

_KINDS = {b"blob", b"tree", b"commit", b"tag"}

MAX_BYTES = {"blob": GIT_BLOB_BYTES, "tree": GIT_TREE_BYTES}
"""How many bytes an object may have, by its kind; commits and tags have GIT_OTHER_BYTES."""

_HEAD_BYTES = 64 * 1024  # of a file: it has the object's header, and mostly all of the object
_MAX_HEADER_BYTES = 32  # of `commit 123`, the NUL byte, and some content
_MAX_EXPANDED_BYTES = GIT_BLOB_BYTES + _MAX_HEADER_BYTES
# What can't be compressed becomes larger by less than this share.
_MAX_COMPRESSED_BYTES = _MAX_EXPANDED_BYTES + _MAX_EXPANDED_BYTES // 1000 + 1024

_USUAL_BYTES = 4096  # almost all objects have less, and one read is enough for them


def read(git: Path, name: str, *budgets: Budget) -> tuple[str, bytes] | None:
    """Return an object's kind and content; None if there is no such loose object.

    Draws the object's size on the budgets; one that is not small is drawn before it is held, as its
    header says. Raises ValueError, saying how, if the object is damaged, or BudgetExceeded.
    """
    path = f"{git}/objects/{name[:2]}/{name[2:]}"
    try:
        compressed = read_file(path, _HEAD_BYTES if budgets else None)
        if not budgets:
            return parse(compressed, name)
        if (small := _parse_if_small(compressed, name)) is not None:
            for budget in budgets:
                budget.take_bytes(len(small[1]))
            return small
        most = _draw(compressed[:_HEAD_BYTES], name, budgets)
        if len(compressed) == _HEAD_BYTES:
            compressed = read_file(path)
    except FileNotFoundError:
        return None
    return parse(compressed, name, most)


def read_file(path: str, most: int | None = None) -> bytes:
    """Return the content of a small file, in half the time that Path.read_bytes takes.

    Returns no more than `most` bytes of it.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        wanted = _USUAL_BYTES if most is None else min(most, _USUAL_BYTES)
        content = os.read(descriptor, wanted)
        if len(content) < _USUAL_BYTES:
            return content
        size = os.fstat(descriptor).st_size
        if size > _MAX_COMPRESSED_BYTES:
            raise ValueError(f"the file has {size} bytes, more than any object")
        more = size if most is None else min(size, most)
        return content + os.read(descriptor, more - len(content))
    finally:
        os.close(descriptor)


class TooLarge(ValueError):
    """An object has more bytes than it may have."""


def check_size(kind: str, size: int) -> None:
    """Raise TooLarge if an object of this kind has more bytes than it may have."""
    most = MAX_BYTES.get(kind, GIT_OTHER_BYTES)
    if size > most:
        raise TooLarge(f"a {kind} has {size} bytes, more than {most}")


def parse_bounded(compressed: bytes, name: str, budget: Budget) -> tuple[str, bytes]:
    """Return what `parse` does; draw on the budget what the header says, before it is expanded."""
    most = _draw(compressed, name, (budget,))
    budget.hold(most)
    try:
        return parse(compressed, name, most)
    finally:
        budget.hold(-most)


def _draw(compressed: bytes, name: str, budgets: Iterable[Budget]) -> int:
    """Draw the size of an object, whose file begins with these bytes; return it with its header."""
    try:
        begin = zlib.decompressobj().decompress(compressed, _MAX_HEADER_BYTES)
    except zlib.error as error:
        raise ValueError(f"it can't be decompressed: {error}") from None
    header = begin.partition(b"\0")[0]
    kind, _, size = header.partition(b" ")
    if kind not in _KINDS or not size.isdigit():
        parse(compressed[:_MAX_HEADER_BYTES], name)  # it says what is wrong
        raise ValueError("its header is malformed")
    check_size(kind.decode(), int(size))
    for budget in budgets:
        budget.take_bytes(int(size))
    return len(header) + 1 + int(size)


def parse(compressed: bytes, name: str, most: int = _MAX_EXPANDED_BYTES) -> tuple[str, bytes]:
    """Return the kind and content of a loose object, which with its header has `most` bytes.

    Raises ValueError if it is damaged, or larger than an object may be.
    """
    decompressor = zlib.decompressobj()
    try:
        whole = decompressor.decompress(compressed, most)
        if not decompressor.eof and decompressor.decompress(decompressor.unconsumed_tail, 1):
            raise ValueError(f"it expands to more than {most} bytes")
    except zlib.error as error:
        raise ValueError(f"it can't be decompressed: {error}") from None
    if not decompressor.eof:
        raise ValueError("it is cut off" if compressed else "it is empty")
    return _checked(whole, name)


def _parse_if_small(compressed: bytes, name: str) -> tuple[str, bytes] | None:
    """Return what `parse` does for a small object; None for any other, and for most damage.

    To expand it once takes less time than to look at its header first.
    """
    decompressor = zlib.decompressobj()
    try:
        whole = decompressor.decompress(compressed, _USUAL_BYTES)
    except zlib.error:
        return None
    return _checked(whole, name) if decompressor.eof else None


def _checked(whole: bytes, name: str) -> tuple[str, bytes]:
    """Return the kind and content of an object that is expanded. Raises ValueError."""
    if hashlib.sha1(whole, usedforsecurity=False).hexdigest() != name:
        raise ValueError("its content does not match its name")
    header, _, content = whole.partition(b"\0")
    kind, _, size = header.partition(b" ")
    if kind not in _KINDS or size != str(len(content)).encode():
        raise ValueError("its header is malformed")
    if len(content) > GIT_OTHER_BYTES:
        check_size(kind.decode(), len(content))
    return kind.decode(), content
