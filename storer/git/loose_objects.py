"""Reading loose git objects, each compared with its name.

libgit2 (1.9) reads one that is cut off for ever, and stops every thread of the process with it.
So whatever may be damaged is read here before libgit2 gets to see it.

The format is git's own: https://git-scm.com/book/en/v2/Git-Internals-Git-Objects.
"""

import hashlib
import os
import zlib
from pathlib import Path

_KINDS = {b"blob", b"tree", b"commit", b"tag"}


def read(git: Path, name: str) -> tuple[str, bytes] | None:
    """Return an object's kind and content; None if there is no such loose object.

    Raises ValueError, saying how, if it is damaged.
    """
    try:
        packed = content_of(f"{git}/objects/{name[:2]}/{name[2:]}")
    except FileNotFoundError:
        return None
    return unpacked(packed, name)


def content_of(path: str) -> bytes:
    """Return what is in a file of git's, in half the time that a path's own reading takes."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, os.fstat(descriptor).st_size)
    finally:
        os.close(descriptor)


def unpacked(packed: bytes, name: str) -> tuple[str, bytes]:
    """Return the kind and content of a loose object; raise ValueError if it is damaged."""
    inflating = zlib.decompressobj()
    try:
        whole = inflating.decompress(packed)
    except zlib.error as error:
        raise ValueError(f"it can't be unpacked: {error}") from None
    if not inflating.eof:
        raise ValueError("it is cut off" if packed else "it is empty")
    if hashlib.sha1(whole, usedforsecurity=False).hexdigest() != name:
        raise ValueError("it is not what its name says")
    header, _, content = whole.partition(b"\0")
    kind, _, size = header.partition(b" ")
    if kind not in _KINDS or size != str(len(content)).encode():
        raise ValueError("its header is malformed")
    return kind.decode(), content
