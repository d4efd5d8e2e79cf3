"""Digests by which what was read is compared with what was sent.

A history has one kind of digest for all its lights: of outputs, which are read quickly, or of all
that a light has. No two tests of a history should have the same one: then it says which is which.
"""

import hashlib
from collections.abc import Mapping
from enum import Enum

from cyberdojo.storer.v1 import storer_pb2

_DIGITS = 16


class Contents(Enum):
    """What of a light is its content."""

    OUTPUT = "standard output and standard error"
    ALL = "the visible files too"


def of_test(request: storer_pb2.RecordTestRequest, contents: Contents) -> str:
    """Return the digest of what a test is to be recorded with."""
    files = dict(request.files) if contents is Contents.ALL else {}
    return of_light(request.stdout.content, request.stderr.content, files)


def of_light(stdout: bytes, stderr: bytes, files: Mapping[str, bytes]) -> str:
    """Return the digest of a light; `files` are left out (empty) unless they are its content."""
    return _digest(stdout, stderr, *_flat(files))


def of_manifest(manifest: storer_pb2.Manifest) -> str:
    """Return the digest of what a kata is created from: its name, image and files."""
    names = [manifest.display_name.encode(), manifest.image_name.encode()]
    return _digest(*names, *_flat(manifest.files))


def _flat(files: Mapping[str, bytes]) -> list[bytes]:
    return [part for name in sorted(files) for part in (name.encode(), files[name])]


def _digest(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(b"%d " % len(part))
        digest.update(part)
    return digest.hexdigest()[:_DIGITS]
