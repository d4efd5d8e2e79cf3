"""Reads loose git objects, and checks each against its name.

libgit2 (1.9) loops forever on a truncated object, and blocks every thread of the process. So an
object that may be damaged has to be read here before libgit2 reads it.

The format is git's own: https://git-scm.com/book/en/v2/Git-Internals-Git-Objects.
"""

import hashlib
import os
import zlib
from pathlib import Path

_KINDS = {b"blob", b"tree", b"commit", b"tag"}


def read(git: Path, name: str) -> tuple[str, bytes] | None:
    """Return an object's kind and content; None if there is no such loose object.

    Raises ValueError, saying how, if the object is damaged.
    """
    try:
        compressed = read_file(f"{git}/objects/{name[:2]}/{name[2:]}")
    except FileNotFoundError:
        return None
    return parse(compressed, name)


def read_file(path: str) -> bytes:
    """Return the content of a small file, in half the time that Path.read_bytes takes."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, os.fstat(descriptor).st_size)
    finally:
        os.close(descriptor)


def parse(compressed: bytes, name: str) -> tuple[str, bytes]:
    """Return the kind and content of a loose object; raise ValueError if it is damaged."""
    decompressor = zlib.decompressobj()
    try:
        whole = decompressor.decompress(compressed)
    except zlib.error as error:
        raise ValueError(f"it can't be decompressed: {error}") from None
    if not decompressor.eof:
        raise ValueError("it is cut off" if compressed else "it is empty")
    if hashlib.sha1(whole, usedforsecurity=False).hexdigest() != name:
        raise ValueError("its content does not match its name")
    header, _, content = whole.partition(b"\0")
    kind, _, size = header.partition(b" ")
    if kind not in _KINDS or size != str(len(content)).encode():
        raise ValueError("its header is malformed")
    return kind.decode(), content
