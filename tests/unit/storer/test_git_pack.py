"""Packs of git objects that are made in memory."""

import hashlib
from pathlib import Path

import pytest

from storer.git import pack_writer
from support.storer.storing import git

# Where a size takes a byte more, and beside that.
SIZES = (0, 1, 15, 16, 17, 2047, 2048, 300_000)


def named(kind: str, content: bytes) -> str:
    """Return the name of an object."""
    return hashlib.sha1(b"%s %d\0%s" % (kind.encode(), len(content), content)).hexdigest()  # noqa: S324


@pytest.mark.parametrize("count", [1, len(SIZES)])
def test_git_reads_the_objects_of_a_pack_that_was_made_in_memory(
    tmp_path: Path, count: int
) -> None:
    blobs = [bytes(range(256)) * (size // 256) + b"x" * (size % 256) for size in SIZES[:count]]
    objects = {named("blob", each): ("blob", each) for each in blobs}
    tree = b"".join(
        b"100644 %d\0%s" % (place, bytes.fromhex(name)) for place, name in enumerate(objects)
    )
    who = b"whale <whale@cyber-dojo.org> 1500000000 +0000"
    commit = b"tree %s\nauthor %s\ncommitter %s\n\n1 red\n" % (
        named("tree", tree).encode(),
        who,
        who,
    )
    tag = b"object %s\ntype commit\ntag 1\ntagger %s\n\nred\n" % (
        named("commit", commit).encode(),
        who,
    )
    for kind, content in (("tree", tree), ("commit", commit), ("tag", tag)):
        objects[named(kind, content)] = (kind, content)
    name, pack, index = pack_writer.pack(objects)
    git(tmp_path, "init", "--quiet")
    folder = tmp_path / ".git/objects/pack"
    (folder / f"{name}.pack").write_bytes(pack)
    (folder / f"{name}.idx").write_bytes(index)
    git(tmp_path, "verify-pack", f".git/objects/pack/{name}.idx")
    git(tmp_path, "tag", "1", named("tag", tag))
    git(tmp_path, "fsck", "--full", "--strict")
    for each, (kind, content) in objects.items():
        assert git(tmp_path, "cat-file", kind, each) == content
