"""One input beyond each bound, and what takes long in small parts: as large as it has to be."""

import struct
from collections.abc import Callable, Mapping
from typing import Any

import zstandard

from cyberdojo.storer.v1 import storer_pb2
from dojo import limits, visible_files
from support.fuzz import git_objects, katas, strengths, tars
from support.fuzz.cases import Case
from support.fuzz.katas import FILE_MODE, FOLDER_MODE, Avatar
from support.fuzz.tars import Member
from support.storer.storing import RED

MIB = 1024**2

_NEWEST = len(katas.LIGHTS) - 1


def _restored(tar: bytes) -> Case:
    return Case("restore", {"tar": tar, "overwrite": True, "many": False})


def _bomb(what: str, packer: str) -> Case:
    return _restored(tars.bomb(katas.PREFIX, what, strengths.EXPANDED_BYTES, packer))


def _kata(avatar: Avatar, changed: Mapping[str, bytes] | None = None) -> Case:
    """Return the restore of a kata in which some files are others."""
    files = {**katas.files_of({"whale": avatar}), **(changed or {})}
    return _restored(zstandard.ZstdCompressor().compress(katas.tar(files)))


def _file(name: str, content: bytes) -> Case:
    return _kata(katas.avatar(), {name: content})


def _object(kind: str, content: bytes) -> Case:
    """Return the restore of a kata in whose newest light an object stands for the files."""
    made = katas.avatar()
    name = made.repository.add(kind, content)
    if kind == "blob":
        name = made.repository.tree([(FILE_MODE, b"large", name)])
    if kind == "commit":
        made.repository.reference("refs/heads/large", name)
    else:
        katas.point(made.repository, _NEWEST, name)
    return _kata(made)


def _wide_tree() -> bytes:
    one = b"\1" * 20
    count = limits.GIT_TREE_BYTES // len(b"100644 0000000\0" + one) + 1
    return b"".join(b"100644 %07d\0%s" % (number, one) for number in range(count))


def _many_files() -> Case:
    """Return a light whose few trees stand for more files than a light may have."""
    made = katas.avatar()
    inner = katas.sandbox(made.repository, {f"{number}": b"" for number in range(100)})
    for _ in range(3):
        inner = made.repository.tree(
            [(FOLDER_MODE, b"%02d" % number, inner) for number in range(100)]
        )
    katas.point(made.repository, _NEWEST, inner)
    return _kata(made)


def _packed(deltas: list[tuple[bytes, bytes]], base: bytes) -> Case:
    """Return a kata with a pack in which each delta is made from the one before, or from `base`.

    `deltas` are pairs of a base, if it is another, and a delta.
    """
    made = katas.avatar()
    first = made.repository.add("blob", base)
    named = {
        struct.pack(">5I", *[number] * 5): (other or first, delta)
        for number, (other, delta) in enumerate(deltas)
    }
    git = made.repository.packed(named)
    files = katas.files_of({"whale": made})
    files = {path: each for path, each in files.items() if "/objects/" not in path}
    files |= {f"whale/.git/{path}": content for path, content in git.items()}
    return _restored(zstandard.ZstdCompressor().compress(katas.tar(files)))


def _commands() -> Case:
    """Return a pack whose deltas make little, byte by byte: each of their commands takes time."""
    size = limits.GIT_BLOB_BYTES // 4
    delta = git_objects.delta(1, size, b"\1a" * size)
    return _packed([(b"", delta)] * 16, b"x")


def _objects() -> Case:
    made = katas.avatar()
    for number in range(limits.GIT_OBJECTS):
        made.repository.add("blob", b"%d" % number)
    files = katas.files_of({"whale": made}, packed=True)
    return _restored(katas.tar(files))


def _folder_light() -> Case:
    """Return a legacy kata with a light, in a folder, that has more than a light may have."""
    files = katas.folders()
    text = b'{"cyber-dojo.sh": "", "large": "' + b"x" * (visible_files.MAX_TOTAL_BYTES + 1) + b'"}'
    packed = zstandard.ZstdCompressor().compress(
        katas.tar({**files, "whale/1/manifest.json": text})
    )
    return _restored(packed)


def _shared_legacy_light() -> Case:
    """Return a kata with many legacy lights that have their files from one large blob."""
    made = katas.avatar([katas.LIGHTS[0]])
    count = 200
    text = b'{"cyber-dojo.sh": "' + b"\\u00ff" * (4 * MIB) + b'"}'
    blob = made.repository.add("blob", text)
    root = made.repository.tree([(FILE_MODE, b"manifest.json", blob)])
    commit = made.repository.commit(root)
    for number in range(1, count):
        made.repository.reference(f"refs/tags/{number}", commit)
    made.files["increments.json"] = katas.increments(count)
    return _kata(made)


def _sparse(real_size: int, numbers: list[int], data: bytes) -> Case:
    """Return a kata with a sparse file, which has a map of these numbers."""
    members = tars.of_files(katas.files_of({"whale": katas.avatar()}), katas.PREFIX)
    sparse = tars.sparse(f"{katas.PREFIX}whale/sandbox/sparse", real_size, numbers, data)
    return _restored(tars.tar_of([*members, sparse]))


def _extents() -> Case:
    count = limits.MAX_EXTENTS + 1
    numbers = [count, *(each for number in range(count) for each in (2 * number, 1))]
    return _sparse(2 * count, numbers, b"x" * count)


def _claimed() -> Case:
    size = tars.base_256(limits.MAX_KATA_BYTES + 1, 12)
    members = tars.of_files(katas.files_of({"whale": katas.avatar()}), katas.PREFIX)
    member = Member(f"{katas.PREFIX}whale/sandbox/x", fields={"size": size})
    return _restored(tars.tar_of([*members, member]))


def _lines(count: int) -> Case:
    return Case("diff", {"was": {"a": b"\n" * count}, "now": {"a": b"\n" * (count - 1) + b"x"}})


def _renames() -> Case:
    count = strengths.COMPARED_FILES
    was, now = (
        {f"{name} {number}": b"line\n" * 9 + b"%d\n" % (first + number) for number in range(count)}
        for name, first in (("was", 0), ("now", count))
    )
    return Case("diff", {"was": was, "now": now})


def _recorded(size: int) -> Case:
    """Return a test with so many bytes of files, of which JSON makes six times as many."""
    most = visible_files.MAX_FILE_BYTES
    files = {f"{at}": b"\xff" * min(most, size - at) for at in range(0, size, most)}
    request = storer_pb2.RecordTestRequest(
        kata_id=katas.KATA, avatar="whale", files={"cyber-dojo.sh": b"", **files}, colour=RED
    )
    method = f"{storer_pb2.DESCRIPTOR.package}.StorerService.RecordTest"
    given: dict[str, Any] = {"method": method, "is_open": False}
    return Case("call", {**given, "messages": [request.SerializeToString()]})


INPUTS: dict[str, Callable[[], Case]] = {
    "a file of zeros": lambda: _bomb("file", "zstd"),
    "a header of zeros": lambda: _bomb("pax", "gzip"),
    "zeros behind the end": lambda: _bomb("padding", "zstd"),
    "a file that claims more bytes than a kata may have": _claimed,
    "a sparse file that is too large": lambda: _sparse(
        limits.MAX_SPARSE_FILE_BYTES + 1, [1, 0, 1], b"x"
    ),
    "a sparse file of the largest size": lambda: _sparse(
        limits.MAX_SPARSE_FILE_BYTES, [1, 0, 1], b"x"
    ),
    "a sparse file with too many pieces": _extents,
    "a blob": lambda: _object("blob", bytes(strengths.EXPANDED_BYTES)),
    "a tree": lambda: _object("tree", _wide_tree()),
    "a tree that is a number": lambda: _object("tree", b"7" * limits.GIT_TREE_BYTES),
    "a tree of modes": lambda: _object("tree", b"7 " * (limits.GIT_TREE_BYTES // 2)),
    "a commit": lambda: _object("commit", b"x" * (limits.GIT_OTHER_BYTES + 1)),
    "more objects than a kata may have": _objects,
    "more files than a light may have": _many_files,
    "packed references": lambda: _file("whale/.git/packed-refs", bytes(1024 * MIB)),
    "deltas of many commands": _commands,
    "lights that share a large file": _shared_legacy_light,
    "a light in a folder": _folder_light,
    "JSON with too many values": lambda: _file(
        "whale/increments.json", b"[" + b"[]," * (strengths.JSON_BYTES // 3) + b"[]]"
    ),
    "JSON with too many bytes": lambda: _file(
        "manifest.json", b'{"a":"' + b"a" * limits.MAX_JSON_BYTES + b'"}'
    ),
    "JSON of quotes": lambda: _file(
        "manifest.json", b"{" + b"," * limits.MAX_JSON_VALUES + b'"' + b'\\"' * (10 * MIB)
    ),
    "a file of empty lines": lambda: _lines(strengths.COMPARED_LINES),
    "as many lines as are compared": lambda: _lines(limits.MAX_COMPARED_LINES // 2),
    "files that are all renamed": _renames,
    "a test of the largest size": lambda: _recorded(visible_files.MAX_TOTAL_BYTES - 1),
    "a request that is too large": lambda: _recorded(strengths.RECORDED_BYTES),
}

# What takes minutes to make and to read: for `make fuzz` alone.
SLOW = {"more objects than a kata may have"}
