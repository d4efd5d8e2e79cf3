"""Writes a repository's index, by which `git status` compares files with a light.

libgit2 writes indexes too. On a full disk it fails with whichever message it had before, so that
nobody can tell what is wrong.

The format is git's own: https://git-scm.com/docs/index-format.
"""

import hashlib
import stat
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

from dojo.limits import GIT_DEPTH, GIT_TREE_FILES
from storer.git import object_writer
from storer.git.reader import GitReader, TreeEntry

_HEADER = struct.Struct(">4sII")  # magic, version, entries
_MAGIC, _VERSION = b"DIRC", 2
# What a file's status was, which nobody knows here; mode; uid, gid, size; object; bytes of its name
_ENTRY = struct.Struct(">24xI12x20sH")
_MAX_STATED_NAME_BYTES = 0xFFF
_ALIGNMENT = 8

_MAX_FOLDERS = GIT_TREE_FILES * GIT_DEPTH  # each file can be in folders of its own


def encode(reader: GitReader, root: Mapping[bytes, TreeEntry]) -> bytes:
    """Return the content of an index with all files below a tree, given by its entries.

    Raises ValueError for more files or levels than a light can have, and what `reader` raises.
    """
    files = sorted(_files(reader, root))
    pieces = [_HEADER.pack(_MAGIC, _VERSION, len(files))]
    for path, entry in files:
        stated_bytes = min(len(path), _MAX_STATED_NAME_BYTES)
        packed = _ENTRY.pack(_mode(entry), bytes.fromhex(entry.object), stated_bytes) + path
        # At least one NUL ends the name.
        pieces.append(packed + bytes(_ALIGNMENT - len(packed) % _ALIGNMENT))
    content = b"".join(pieces)
    return content + hashlib.sha1(content, usedforsecurity=False).digest()


def write(git: Path, content: bytes) -> None:
    """Replace the index of the repository in `git`; its content is on disk when this returns."""
    object_writer.replace_locked(f"{git}/index", content, sync=True)


def _files(reader: GitReader, root: Mapping[bytes, TreeEntry]) -> Iterator[tuple[bytes, TreeEntry]]:
    """Yield the path and the entry of each file; a submodule counts as a file."""
    pending = [(b"", root)]
    files = folders = 0
    while pending:
        prefix, listed = pending.pop()
        for name, entry in listed.items():
            files, folders = files + (not entry.is_folder), folders + entry.is_folder
            if files > GIT_TREE_FILES or folders > _MAX_FOLDERS or prefix.count(b"/") > GIT_DEPTH:
                raise ValueError(f"more than {GIT_TREE_FILES} files or {GIT_DEPTH} levels")
            if not entry.is_folder:
                yield prefix + name, entry
                continue
            pending.append((prefix + name + b"/", reader.folder(entry.object)))


def _mode(entry: TreeEntry) -> int:
    """Return an entry's mode as git has it in an index."""
    if entry.is_submodule or stat.S_ISLNK(entry.mode):
        return stat.S_IFMT(entry.mode)
    return stat.S_IFREG | (0o755 if entry.mode & stat.S_IXUSR else 0o644)
