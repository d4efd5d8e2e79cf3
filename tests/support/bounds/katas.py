"""Katas in tars that are twice as large as a bound allows: RestoreKata refuses each by its name.

What a bound of one avatar's history does not allow, is set aside, and the bound is named as well.
"""

import hashlib
import json
import struct
import zlib
from collections.abc import Iterable, Sequence
from itertools import pairwise

import grpc
import zstandard

from cyberdojo.storer.v1 import storer_pb2
from dojo import limits
from support.bounds.pair import SECONDS, Case, Pair
from support.fuzz import git_objects, katas, tars
from support.fuzz.git_objects import Repository
from support.storer.storing import refused, restore_requests

MIB = 1024**2

_INVALID = grpc.StatusCode.INVALID_ARGUMENT
_NOT_USABLE = grpc.StatusCode.DATA_LOSS  # what is inside of a kata: the message has the file

_NEWEST = len(katas.LIGHTS) - 1

_COPIES = 1024  # of 65,535 bytes: an object that is almost as large as one may be


def _git_bytes(pair: Pair) -> None:
    made = katas.avatar()
    base, delta = _large_delta(made.repository)
    count = 2 * limits.GIT_BYTES // (_COPIES * 0xFFFF) + 1
    deltas = {number.to_bytes(20): (base, delta) for number in range(count)}
    _set_aside_repository(pair, made, made.repository.packed(deltas), f"{limits.GIT_BYTES} bytes")


def _git_objects(pair: Pair) -> None:
    made = katas.avatar()
    count = 2 * limits.GIT_OBJECTS
    blob = bytes([3 << 4 | 1]) + zlib.compress(b"x")
    pack = b"PACK" + struct.pack(">II", 2, count) + blob * count
    pack += hashlib.sha1(pack, usedforsecurity=False).digest()
    files = {**made.repository.files, f"objects/pack/pack-{'0' * 40}.pack": pack}
    _set_aside_repository(pair, made, files, f"{limits.GIT_OBJECTS} entries")


def _forked_objects(pair: Pair) -> None:
    made = katas.avatar()
    repository, most = made.repository, limits.GIT_TREE_FILES - len(katas.LIGHTS[0]) - 1
    blobs = [repository.add("blob", b"%d" % at) for at in range(2 * limits.FORKED_OBJECTS)]
    names = [(katas.FILE_MODE, b"%06d" % at, blob) for at, blob in enumerate(blobs)]
    _add_to_newest(
        made, [repository.tree(names[at : at + most]) for at in range(0, len(names), most)]
    )
    _fork(pair, made, repository.packed(), f"{limits.FORKED_OBJECTS} entries")


def _forked_bytes(pair: Pair) -> None:
    made = katas.avatar()
    size = limits.GIT_BLOB_BYTES - 10
    files, names = {}, []
    for number in range(2 * limits.FORKED_BYTES // size + 1):
        content = b"%09d" % number + bytes(size)
        name = git_objects.object_name("blob", content)
        path = f"objects/{name.hex()[:2]}/{name.hex()[2:]}"
        files[path] = zlib.compress(git_objects.framed("blob", content), 1)
        names.append((katas.FILE_MODE, b"%03d" % number, name))
    _add_to_newest(made, [made.repository.tree(names)])
    _fork(pair, made, {**made.repository.loose(), **files}, f"{limits.FORKED_BYTES} bytes")


def _git_blob(pair: Pair) -> None:
    made = katas.avatar()
    content = bytes(2 * limits.GIT_BLOB_BYTES)
    katas.point(made.repository, _NEWEST, katas.sandbox(made.repository, {"large": content}))
    _set_aside_repository(pair, made, made.repository.loose(), f"a blob has {len(content)} bytes")


def _git_tree(pair: Pair) -> None:
    made = katas.avatar()
    blob = made.repository.add("blob", b"x")
    name = b"%0100d"
    entry_bytes = len(b"100644 ") + 100 + 1 + 20
    count = 2 * limits.GIT_TREE_BYTES // entry_bytes + 1
    names = [name % number for number in range(count)]
    tree = made.repository.tree([(katas.FILE_MODE, each, blob) for each in names])
    katas.point(made.repository, _NEWEST, tree)
    says = f"a tree has {count * entry_bytes} bytes"
    _set_aside_repository(pair, made, made.repository.loose(), says)


def _git_other(pair: Pair) -> None:
    made = katas.avatar()
    tree = katas.sandbox(made.repository, katas.LIGHTS[0])
    commit = made.repository.commit(tree, message=b"x" * (2 * limits.GIT_OTHER_BYTES))
    made.repository.reference("refs/tags/2", commit)
    says = f"more than {limits.GIT_OTHER_BYTES}"
    _set_aside_repository(pair, made, made.repository.loose(), says)


def _git_held_deltas(pair: Pair) -> None:
    """Each object is the base of the next, and of one more, for which it has to be kept."""
    made = katas.avatar()
    base, delta = _large_delta(made.repository)
    size = _COPIES * 0xFFFF
    again, _ = git_objects.delta_of_copies(bytes(size), _COPIES)
    little, _ = git_objects.delta_of_copies(bytes(size), 1)
    names = [number.to_bytes(20) for number in range(2 * limits.GIT_HELD_DELTA_BYTES // size + 2)]
    deltas = {names[0]: (base, delta)}
    for before, name in pairwise(names):
        deltas[b"+" + name[1:]] = (before, little)
        deltas[name] = (before, again)
    says = f"deltas need more than {limits.GIT_HELD_DELTA_BYTES} bytes"
    _set_aside_repository(pair, made, made.repository.packed(deltas), says)


def _git_tree_files(pair: Pair) -> None:
    made = katas.avatar()
    repository = made.repository
    blob = repository.add("blob", b"x")
    names = [b"%03d" % number for number in range(200)]
    folder = repository.tree([(katas.FILE_MODE, name, blob) for name in names])
    assert len(names) ** 2 >= 2 * limits.GIT_TREE_FILES
    katas.point(
        repository, _NEWEST, repository.tree([(katas.FOLDER_MODE, name, folder) for name in names])
    )
    _set_aside_repository(
        pair, made, repository.loose(), f"files, more than {limits.GIT_TREE_FILES}"
    )


def _git_depth(pair: Pair) -> None:
    made = katas.avatar()
    tree = katas.sandbox(made.repository, katas.LIGHTS[0])
    for _ in range(2 * limits.GIT_DEPTH):
        tree = made.repository.tree([(katas.FOLDER_MODE, b"a", tree)])
    katas.point(made.repository, _NEWEST, tree)
    says = f"more than {limits.GIT_DEPTH} levels"
    _set_aside_repository(pair, made, made.repository.loose(), says)


def _kata_bytes(pair: Pair) -> None:
    size = tars.base_256(2 * limits.MAX_KATA_BYTES, 12)
    large = tars.Member(f"{katas.PREFIX}whale/sandbox/large", fields={"size": size})
    _refuse(pair, [_members(_good()), large.to_bytes()], f"{limits.MAX_KATA_BYTES} bytes")


def _kata_members(pair: Pair) -> None:
    folder = tars.Member(katas.PREFIX, kind=tars.FOLDER).to_bytes() * 1000
    count = 2 * limits.MAX_KATA_MEMBERS // 1000
    says = f"{limits.MAX_KATA_MEMBERS} entries"
    tar = [_members(_good()), *[folder] * count, bytes(2 * tars.BLOCK)]
    needed = limits.MAX_KATA_MEMBERS / limits.MEMBERS_PER_SECOND  # seconds
    _refuse(pair, tar, says, seconds=1.5 * needed)


def _tar_header(pair: Pair) -> None:
    comment = b"x" * (2 * limits.MAX_TAR_HEADER_BYTES)
    member = tars.Member(f"{katas.PREFIX}whale/", kind=tars.FOLDER, pax=[(b"comment", comment)])
    _refuse(pair, [member.to_bytes()], "a header has")


def _tar_records(pair: Pair) -> None:
    records = [(b"c", b"")] * (2 * limits.MAX_TAR_RECORDS)
    member = tars.Member(f"{katas.PREFIX}whale/", kind=tars.FOLDER, pax=records)
    _refuse(pair, [member.to_bytes()], f"more than {limits.MAX_TAR_RECORDS} records")


def _extents(pair: Pair) -> None:
    count = 2 * limits.MAX_EXTENTS
    numbers = [count, *(number for at in range(count) for number in (2 * at, 1))]
    sparse_map = b"".join(b"%d\n" % number for number in numbers)
    sparse_map += bytes(-len(sparse_map) % tars.BLOCK)
    member = _sparse(sparse_map + b"x" * count, 2 * count)
    _refuse(pair, [_members(_good()), member.to_bytes()], f"has {count} pieces")


def _sparse_size(pair: Pair) -> None:
    member = _sparse(b"0\n".ljust(tars.BLOCK, b"\0"), 2 * limits.MAX_SPARSE_FILE_BYTES)
    _refuse(pair, [_members(_good()), member.to_bytes()], str(limits.MAX_SPARSE_FILE_BYTES))


def _json_bytes(pair: Pair) -> None:
    size = 2 * limits.MAX_JSON_BYTES
    name = f"{katas.PREFIX}manifest.json"
    header = tars.Member(name, fields={"size": b"%011o" % size}).to_bytes()
    rest = _good()
    del rest["manifest.json"]
    tar = [header, *[b" " * MIB] * (size // MIB), _members(rest), bytes(2 * tars.BLOCK)]
    _refuse(pair, tar, f"has {size} bytes", _NOT_USABLE)


def _json_values(pair: Pair) -> None:
    manifest = b'{"other":[%s0]}' % (b"0," * (2 * limits.MAX_JSON_VALUES))
    files = {**_good(), "manifest.json": manifest}
    says = f"more than {limits.MAX_JSON_VALUES} values"
    _refuse(pair, [_members(files), bytes(2 * tars.BLOCK)], says, _NOT_USABLE)


def _options(pair: Pair) -> None:
    """Options that are too large keep nobody from the kata."""
    options = b'{"kata":{"predict":true},"more":"%s"}' % (b"x" * (2 * limits.MAX_OPTIONS_BYTES))
    tar = [_members({**_good(), "options.json": options}), bytes(2 * tars.BLOCK)]
    requests = restore_requests(_compressed(tar), overwrite=True)
    kata_id = pair.katas.stub.RestoreKata(requests, timeout=SECONDS).kata_id
    assert not pair.katas.get(kata_id).HasField("options")
    pair.katas.delete(kata_id)


def _git_references(pair: Pair) -> None:
    made = katas.avatar()
    files = {**made.repository.loose(), "packed-refs": bytes(2 * limits.GIT_REFERENCES_BYTES)}
    _set_aside_repository(pair, made, files, f"more than {limits.GIT_REFERENCES_BYTES}")


CASES: dict[str, Case] = {
    "GIT_REFERENCES_BYTES": _git_references,
    "GIT_BYTES": _git_bytes,
    "GIT_OBJECTS": _git_objects,
    "FORKED_OBJECTS": _forked_objects,
    "FORKED_BYTES": _forked_bytes,
    "GIT_BLOB_BYTES": _git_blob,
    "GIT_TREE_BYTES": _git_tree,
    "GIT_OTHER_BYTES": _git_other,
    "GIT_HELD_DELTA_BYTES": _git_held_deltas,
    "GIT_TREE_FILES": _git_tree_files,
    "GIT_DEPTH": _git_depth,
    "MAX_KATA_BYTES": _kata_bytes,
    "MAX_KATA_MEMBERS": _kata_members,
    "MAX_TAR_HEADER_BYTES": _tar_header,
    "MAX_TAR_RECORDS": _tar_records,
    "MAX_EXTENTS": _extents,
    "MAX_SPARSE_FILE_BYTES": _sparse_size,
    "MAX_JSON_BYTES": _json_bytes,
    "MAX_JSON_VALUES": _json_values,
    "MAX_OPTIONS_BYTES": _options,
}

# They take minutes, and gigabytes of the disk.
HEAVY = {_git_bytes, _git_objects, _kata_members, _json_bytes}


def _large_delta(repository: Repository) -> tuple[bytes, bytes]:
    """Return an object of the repository, and a delta that makes the largest blob of it."""
    content = bytes(0xFFFF)
    return repository.add("blob", content), git_objects.delta_of_copies(content, _COPIES)[0]


def _good() -> dict[str, bytes]:
    return katas.files_of({"whale": katas.avatar()})


def _members(files: katas.Files) -> bytes:
    return b"".join(member.to_bytes() for member in tars.of_files(files, katas.PREFIX))


def _sparse(content: bytes, size: int) -> tars.Member:
    records = [
        (b"GNU.sparse.major", b"1"),
        (b"GNU.sparse.minor", b"0"),
        (b"GNU.sparse.name", f"{katas.PREFIX}whale/sandbox/holes".encode()),
        (b"GNU.sparse.realsize", b"%d" % size),
    ]
    return tars.Member(f"{katas.PREFIX}whale/sandbox/holes", content, pax=records)


def _add_to_newest(made: katas.Avatar, folders: Sequence[bytes]) -> None:
    """Have the newest light follow commits that have these folders too, which nobody sees."""
    repository = made.repository
    sandbox = katas.sandbox(repository, katas.LIGHTS[_NEWEST])
    text = json.dumps({**katas.light(_NEWEST), "stdout": "", "stderr": ""}).encode()
    light_json = repository.add("blob", text)
    parents: list[bytes] = []
    for folder in folders:
        entries = [(katas.FILE_MODE, b"light.json", light_json)]
        entries += [(katas.FOLDER_MODE, b"more", folder), (katas.FOLDER_MODE, b"sandbox", sandbox)]
        parents = [repository.commit(repository.tree(entries), parents)]
    repository.reference(f"refs/tags/{_NEWEST}", parents[0])
    repository.reference("refs/heads/main", parents[0])


def _fork(pair: Pair, avatar: katas.Avatar, git: katas.Files, says: str) -> None:
    """Restore a kata whose whale has these files in its repository; assert why it has no fork."""
    tar = _with_repository(avatar, git)
    restored = pair.katas.stub.RestoreKata(restore_requests(tar, overwrite=True), timeout=SECONDS)
    assert not restored.damaged
    request = storer_pb2.ForkKataRequest(
        kata_id=restored.kata_id, avatar="whale", light_number=-1, with_avatar=True
    )
    with refused(grpc.StatusCode.RESOURCE_EXHAUSTED, says=says, reason="HISTORY_TOO_LARGE"):
        pair.katas.stub.ForkKata(request, timeout=SECONDS)
    request.with_avatar = False
    forked = pair.katas.stub.ForkKata(request, timeout=SECONDS)
    for kata_id in (forked.kata_id, restored.kata_id):
        pair.katas.delete(kata_id)


def _set_aside_repository(pair: Pair, avatar: katas.Avatar, git: katas.Files, says: str) -> None:
    """Restore a kata whose whale has these files in its repository; assert why it is set aside."""
    requests = restore_requests(_with_repository(avatar, git), overwrite=True)
    restored = pair.katas.stub.RestoreKata(requests, timeout=SECONDS)
    (damaged,) = restored.damaged
    assert damaged.avatar == "whale"
    assert says in damaged.reason
    pair.katas.stub.DeleteKata(storer_pb2.DeleteKataRequest(kata_id=restored.kata_id))


def _with_repository(avatar: katas.Avatar, git: katas.Files) -> bytes:
    """Return the tar of a kata whose whale has these files in its repository."""
    files = katas.files_of({"whale": avatar})
    files = {name: content for name, content in files.items() if "/.git/" not in name}
    files |= {f"whale/.git/{name}": content for name, content in git.items()}
    return _compressed([_members(files), bytes(2 * tars.BLOCK)])


def _refuse(
    pair: Pair,
    tar: Iterable[bytes],
    says: str,
    code: grpc.StatusCode = _INVALID,
    seconds: float = SECONDS,
) -> None:
    """Restore a kata from the pieces of a tar; assert that it is refused, and not there."""
    field = "data" if code is _INVALID else None
    requests = restore_requests(_compressed(tar), overwrite=True)
    with refused(code, field=field, says=says):
        pair.katas.stub.RestoreKata(requests, timeout=seconds)
    with refused(grpc.StatusCode.NOT_FOUND):
        pair.katas.get(katas.KATA)


def _compressed(tar: Iterable[bytes]) -> bytes:
    compressor = zstandard.ZstdCompressor().compressobj()
    return b"".join([*map(compressor.compress, tar), compressor.flush()])
