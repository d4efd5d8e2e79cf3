"""RestoreKata: a kata from a tar, as a whole or not at all, and nothing that is not a kata."""

import bz2
import gzip
import hashlib
import json
import os
import random
import shutil
import stat
import struct
import subprocess
import tarfile
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, cast

import grpc
import pytest
import zstandard

from cyberdojo.storer.v1 import storer_pb2
from dojo import avatars
from dojo.engine.data_containers import DataContainers
from storer.katas import publish
from storer.katas.create import UNFINISHED_SECONDS
from storer.tar import snapshot
from support.services import Service, code_of, wait_until
from support.storer.katas_directories import SPIDER, LegacyKata, each_legacy_kata, packed
from support.storer.storing import (
    FILES,
    GREEN,
    Katas,
    at_once,
    git,
    kibibytes,
    refused,
    restore_requests,
    unpacked,
)

Member = tuple[tarfile.TarInfo, bytes]
Request = storer_pb2.RestoreKataRequest

COMPRESSIONS = {
    "none": storer_pb2.COMPRESSION_NONE,
    "gzip": storer_pb2.COMPRESSION_GZIP,
    "zstd": storer_pb2.COMPRESSION_ZSTD,
}
each_compression = pytest.mark.parametrize("compression", COMPRESSIONS)

ID = "493A06504A"
TOP = "49/3A06504A"


def member(name: str, content: bytes = b"", **fields: object) -> Member:
    header = tarfile.TarInfo(name)
    header.size = len(content)
    for field, value in fields.items():
        setattr(header, field, value)
    return header, content


def folder_member(name: str) -> Member:
    return member(name, type=tarfile.DIRTYPE, mode=0o755)


def link(name: str, target: str) -> Member:
    return member(name, type=tarfile.SYMTYPE, linkname=target)


def manifest_of(kata_id: str = ID) -> bytes:
    manifest = {
        "id": kata_id,
        "created": [2019, 1, 16, 12, 44, 55],
        "display_name": "C (gcc), assert",
        "visible_files": {name: text.decode() for name, text in FILES.items()},
    }
    return json.dumps(manifest).encode()


MANIFEST = member(f"{TOP}/manifest.json", manifest_of())
START = [
    MANIFEST,
    folder_member(f"{TOP}/whale"),
    member(f"{TOP}/whale/increments.json", b"[]"),
    folder_member(f"{TOP}/whale/sandbox"),
    member(f"{TOP}/whale/sandbox/hiker.c", b"int x;\n"),
]


def blocks_of(members: Iterable[Member], tar_format: int = tarfile.PAX_FORMAT) -> bytes:
    return b"".join(
        header.tobuf(cast("Any", tar_format)) + content + bytes(-len(content) % tarfile.BLOCKSIZE)
        for header, content in members
    )


def tar_of(members: Iterable[Member], tar_format: int = tarfile.PAX_FORMAT) -> bytes:
    return blocks_of(members, tar_format) + bytes(2 * tarfile.BLOCKSIZE)


SANDBOX = f"{TOP}/whale/sandbox"
WHOLE = tar_of(START)
LARGE = tar_of([*START, member(f"{SANDBOX}/large", bytes(1024**2))])


def listing(top: Path) -> dict[str, tuple[object, ...]]:
    """Return everything of a kata that a restored one must have too."""
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted(top.rglob("*")):
        status = path.lstat()
        inside = path.relative_to(top)
        if inside.name in {".journal", ".manifest.json.spare"}:  # not part of the kata
            continue
        in_sandbox = "sandbox" in inside.parts[1:2] and not path.is_dir()
        content: object = None
        if path.is_symlink():
            content = path.readlink()
        elif path.is_file():
            content = path.read_bytes()
        found[str(inside)] = (
            *(status.st_mode, status.st_uid, status.st_gid, content),
            status.st_mtime_ns if in_sandbox and not path.is_symlink() else None,
        )
    return found


def played(katas: Katas) -> str:
    """Create a kata with some lights; return its id."""
    kata_id = katas.started("bat", "whale")
    katas.record(kata_id, "whale", {**FILES, "sub/a b": b"\xff\0"}, stdout=b"\xfe", colour=GREEN)
    katas.record(kata_id, "whale", request_id="two")
    return kata_id


def fill_sandbox(sandbox: Path) -> None:
    """Create files in a sandbox such as runs leave."""
    (sandbox / "build").mkdir()
    for place, name in enumerate(("build/hiker.o", "new\nline", "ü", os.fsdecode(b"\xff"))):
        (sandbox / name).write_bytes(os.urandom(100))
        (sandbox / name).chmod(0o751)
        os.utime(sandbox / name, ns=(0, 1_600_000_000_000_000_001 + place))
    (sandbox / "link").symlink_to("build/hiker.o")
    for path in (sandbox, *sandbox.rglob("*")):
        os.chown(path, avatars.uid("whale"), avatars.uid("whale"), follow_symlinks=False)


@each_legacy_kata
def test_a_legacy_kata_is_the_same_when_restored_elsewhere(
    katas: Katas,
    data_containers: DataContainers,
    katas_elsewhere: Katas,
    elsewhere: DataContainers,
    kata: LegacyKata,
) -> None:
    restored = katas_elsewhere.restore(katas.tar(kata.id))
    assert restored.kata_id == kata.id
    assert list(restored.avatars) == ([kata.avatar] if kata.avatar else [])
    assert listing(elsewhere.folder(kata.id)) == listing(data_containers.folder(kata.id))
    assert katas_elsewhere.get(kata.id) == katas.get(kata.id)
    if kata.avatar:
        assert katas_elsewhere.lights(kata.id, kata.avatar) == katas.lights(kata.id, kata.avatar)


@each_compression
def test_a_kata_is_restored_from_a_tar_with_any_compression(
    katas: Katas,
    data_containers: DataContainers,
    katas_elsewhere: Katas,
    elsewhere: DataContainers,
    compression: str,
) -> None:
    kata_id = played(katas)
    fill_sandbox(data_containers.folder(kata_id) / "whale" / "sandbox")
    katas_elsewhere.restore(katas.tar(kata_id, COMPRESSIONS[compression]))
    here, there = data_containers.folder(kata_id), elsewhere.folder(kata_id)
    assert listing(there) == listing(here)
    assert stat.S_IMODE(there.stat().st_mode) == stat.S_IMODE(here.stat().st_mode)
    assert katas_elsewhere.lights(kata_id, "whale") == katas.lights(kata_id, "whale")
    assert katas_elsewhere.record(kata_id, "whale", request_id="two").number == 2
    assert katas_elsewhere.record(kata_id, "whale", {"a": b"new"}).number == 3
    assert katas_elsewhere.start(kata_id, "bat", "fox") == "fox"


@each_legacy_kata
def test_restoring_a_tar_of_a_katas_directory_equals_importing(
    katas: Katas, katas_elsewhere: Katas, katas_directory: Path, kata: LegacyKata
) -> None:
    katas_elsewhere.restore(packed(kata, katas_directory))
    assert katas_elsewhere.get(kata.id) == katas.get(kata.id)
    if kata.avatar:
        for number in {0, kata.newest}:
            assert katas_elsewhere.files(kata.id, kata.avatar, number) == katas.files(
                kata.id, kata.avatar, number
            )


@pytest.mark.parametrize("tar_format", ["gnu", "pax", "ustar"])
@pytest.mark.parametrize("top", ["49", "."])
def test_a_tar_that_plain_tar_made_is_restored(
    katas: Katas, folder: Callable[[str], Path], tmp_path: Path, tar_format: str, top: str
) -> None:
    katas.restore(WHOLE)
    unpacked(katas.tar(ID), tmp_path / "tree", ID)
    before = listing(folder(ID))
    plain_tar(tmp_path / "tree", f"--format={tar_format}", "-cf", "../kata.tar", top)
    katas.restore((tmp_path / "kata.tar").read_bytes(), overwrite=True)
    after = listing(folder(ID))
    if tar_format != "pax":  # the other formats have whole seconds only
        before, after = without_times(before), without_times(after)
    assert after == before


def without_times(listed: dict[str, tuple[object, ...]]) -> dict[str, tuple[object, ...]]:
    return {name: each[:-1] for name, each in listed.items()}


def plain_tar(folder: Path, *arguments: str) -> None:
    subprocess.run(["tar", *arguments], cwd=folder, check=True)


# --- Existing katas


def test_an_existing_kata_is_replaced_only_on_request(
    katas: Katas, folder: Callable[[str], Path]
) -> None:
    kata_id = played(katas)
    tar = katas.tar(kata_id)
    saved = listing(folder(kata_id))
    katas.start(kata_id, "zebra")
    katas.record(kata_id, "whale", {"later": b""})
    (folder(kata_id) / "whale/sandbox/later").touch()
    changed = listing(folder(kata_id))
    with refused(grpc.StatusCode.ALREADY_EXISTS, says=kata_id):
        katas.restore(tar)
    assert listing(folder(kata_id)) == changed
    katas.restore(tar, overwrite=True)
    assert listing(folder(kata_id)) == saved
    assert [light.number for light in katas.lights(kata_id, "whale")] == [0, 1, 2]


def test_a_kata_of_the_katas_directory_is_replaced_only_on_request(
    katas: Katas, data_containers: DataContainers
) -> None:
    katas.record(SPIDER.id, "spider")
    tar = katas.tar(SPIDER.id)
    data_containers.delete(SPIDER.id)
    with refused(grpc.StatusCode.ALREADY_EXISTS, says=SPIDER.id):
        katas.restore(tar)
    assert not data_containers.folder(SPIDER.id).exists()
    katas.restore(tar, overwrite=True)
    assert katas.lights(SPIDER.id, "spider")[-1].number == 9


def test_overwriting_is_allowed_without_an_existing_kata(katas: Katas) -> None:
    kata_id = played(katas)
    tar = katas.tar(kata_id)
    katas.delete(kata_id)
    assert list(katas.restore(tar, overwrite=True).avatars) == ["bat", "whale"]


class Slow:
    """A restore that has sent everything except the end, which it sends on request."""

    def __init__(self, katas: Katas, tar: bytes, *, overwrite: bool = False) -> None:
        self._messages = list(restore_requests(tar, overwrite=overwrite))
        self._going_on = threading.Event()
        self.call = katas.stub.RestoreKata.future(self._requests())

    def _requests(self) -> Iterator[Request]:
        yield from self._messages[:-1]
        self._going_on.wait(60)
        yield from self._messages[-1:]

    def finish(self) -> storer_pb2.RestoreKataResponse:
        self._going_on.set()
        return self.call.result(60)

    def vanish(self) -> None:
        self.call.cancel()
        self._going_on.set()


def begun(folder: Path) -> bool:
    """Say whether a restore has written something into a kata's folder."""
    return any(path.iterdir() for path in folder.glob(f"{publish.INCOMING}*"))


def test_a_new_kata_is_invisible_until_it_is_whole(
    katas: Katas, folder: Callable[[str], Path]
) -> None:
    slow = Slow(katas, LARGE)
    wait_until(lambda: begun(folder(ID)))
    for call in (katas.get, katas.delete, katas.start, katas.tar):
        with refused(grpc.StatusCode.NOT_FOUND, says=ID):
            call(ID)
    assert not katas.stub.ListKatas(storer_pb2.ListKatasRequest(prefix=ID)).katas
    slow.finish()
    assert list(katas.get(ID).avatars) == ["whale"]


def test_the_old_kata_is_used_until_the_new_one_is_whole(
    katas: Katas, folder: Callable[[str], Path]
) -> None:
    katas.restore(LARGE)
    saved = listing(folder(ID))
    slow = Slow(katas, LARGE, overwrite=True)
    wait_until(lambda: begun(folder(ID)))
    assert katas.record(ID, "whale").number == 1
    assert katas.start(ID, "zebra") == "zebra"
    slow.finish()
    assert listing(folder(ID)) == saved
    assert katas.record(ID, "whale").number == 1


def test_the_first_of_two_restores_to_end_creates_the_kata(
    katas: Katas, folder: Callable[[str], Path]
) -> None:
    slower = Slow(katas, LARGE)
    wait_until(lambda: begun(folder(ID)))
    katas.restore(WHOLE)
    with refused(grpc.StatusCode.ALREADY_EXISTS, says=ID):
        slower.finish()
    assert not (folder(ID) / "whale/sandbox/large").exists()


# --- Streams and tars that are refused


def bad_header(tar: bytes) -> bytes:
    """Break the checksum of the last member's header."""
    at = tar.rindex(b"ustar") - 257
    return tar[:at] + b"X" + tar[at + 1 :]


def with_size(size: int) -> Member:
    return member(f"{SANDBOX}/large", size=size)


def pax(name: str, content: bytes = b"", **headers: str) -> Member:
    return member(name, content, pax_headers=headers)


TARS: dict[str, tuple[bytes, str]] = {
    "an absolute name": (tar_of([*START, member("/etc/x")]), "leads out"),
    "an absolute name at the start": (tar_of([member(f"/{TOP}/manifest.json")]), "leads out"),
    "a name with ..": (tar_of([*START, member(f"{TOP}/whale/../../x")]), "leads out"),
    "a name in another kata": (tar_of([*START, member("49/3A06504B/x")]), "is outside of"),
    "a name beside the kata": (tar_of([*START, member("50/x")]), "is outside of"),
    "two katas": (
        tar_of([*START, member("50/3A06504A/manifest.json", manifest_of("503A06504A"))]),
        "is outside of",
    ),
    "two katas, one tar after the other": (
        tar_of(START) + tar_of([member("50/3A06504A/manifest.json", manifest_of("503A06504A"))]),
        "something comes after its end",
    ),
    "a link for a manifest": (tar_of([link(f"{TOP}/manifest.json", "/etc/passwd")]), "is a link"),
    "a link for a sandbox": (
        tar_of([*START[:3], link(f"{TOP}/whale/sandbox", "../bat/sandbox")]),
        "is a link to",
    ),
    "a file behind a link": (
        tar_of([*START, link(f"{SANDBOX}/l", "."), member(f"{SANDBOX}/l/x")]),
        "is behind a link",
    ),
    "a folder in a link's place": (
        tar_of([*START, link(f"{SANDBOX}/l", "."), folder_member(f"{SANDBOX}/l")]),
        "is there twice",
    ),
    "a file in a link's place": (
        tar_of([*START, link(f"{SANDBOX}/l", "hiker.c"), member(f"{SANDBOX}/l", b"x")]),
        "is there twice",
    ),
    "a hard link": (
        tar_of(
            [*START, member(f"{SANDBOX}/l", type=tarfile.LNKTYPE, linkname=f"{SANDBOX}/hiker.c")]
        ),
        "is neither a file nor a folder",
    ),
    "a device": (
        tar_of([*START, member(f"{SANDBOX}/d", type=tarfile.CHRTYPE, devmajor=1, devminor=3)]),
        "is neither a file nor a folder",
    ),
    "a FIFO": (
        tar_of([*START, member(f"{SANDBOX}/f", type=tarfile.FIFOTYPE)]),
        "is neither a file nor a folder",
    ),
    "a file with holes": (
        tar_of([*START, member(f"{SANDBOX}/s", bytes(512), type=tarfile.GNUTYPE_SPARSE)]),
        "sparse",
    ),
    "a file with holes, as pax has them": (
        tar_of(
            [
                *START,
                pax(
                    f"{SANDBOX}/s",
                    b"99999999999\n".ljust(512, b"\0"),
                    **{"GNU.sparse.major": "1", "GNU.sparse.minor": "0"},
                    **{"GNU.sparse.realsize": "9" * 18, "GNU.sparse.name": f"{SANDBOX}/s"},
                ),
            ]
        ),
        "sparse",
    ),
    "a file larger than all tars": (tar_of([*START, with_size(2**40)]), "holds more than"),
    "a file larger than all disks": (
        tar_of([*START, with_size(2**80)], tarfile.GNU_FORMAT),
        f"a header's size is {2**80}",
    ),
    "a file larger than all disks for a folder": (
        tar_of([member("49", size=2**80)], tarfile.GNU_FORMAT),
        f"a header's size is {2**80}",
    ),
    "a size without end, of which nothing is there": (
        blocks_of([*START, with_size(2**32)]) + bytes(1024),
        "is not a whole tar: it is cut off",
    ),
    "a link to a zero byte": (
        tar_of(
            [
                *START,
                member(f"{SANDBOX}/x", type=tarfile.SYMTYPE, pax_headers={"linkpath": "a\0b"}),
            ]
        ),
        "is a link to",
    ),
    "a file of no size": (tar_of([*START, pax(f"{SANDBOX}/x", size="-5")]), "data: "),
    "a header that has no end": (
        tar_of([*START, pax(f"{SANDBOX}/x", comment="x" * 2 * 1024**2)]),
        "a header has",
    ),
    "a time that is none": (tar_of([*START, pax(f"{SANDBOX}/x", mtime="nan")]), "no proper time"),
    "the same file twice": (
        tar_of([*START, member(f"{SANDBOX}/hiker.c", b"y")]),
        "is there twice",
    ),
    "a file that is a folder too": (
        tar_of([*START, member(f"{SANDBOX}/hiker.c/x")]),
        "is there twice",
    ),
    "a name that is too long": (tar_of([*START, member(f"{SANDBOX}/{'x' * 300}")]), "too long"),
    "a folder that is too deep": (
        tar_of([*START, member(f"{SANDBOX}/{'d/' * 200}x")]),
        "is too deep",
    ),
    "a folder of ours": (
        tar_of([*START, member(f"{TOP}/.complete/manifest.json")]),
        "has no place in a kata",
    ),
    "something else": (tar_of([member("readme.txt", b"x")]), "does not begin with a kata's folder"),
    "something else in folders": (tar_of([member("a/b/c", b"x")]), "does not begin with"),
    "folders alone": (tar_of([folder_member("49")]), "holds no kata"),
    "nothing": (tar_of([]), "data: "),
    "no tar": (b"PK\x03\x04" + bytes(range(256)) * 40, "is not a whole tar"),
    "zeros": (bytes(20 * 512), "data: "),
    "an unknown compression": (bz2.compress(tar_of(START)), "is not a whole tar"),
    "no bytes": (b"", "data: "),
    "a broken header": (bad_header(tar_of(START)), "is not a whole tar"),
    "a broken header of what is last and empty": (
        bad_header(tar_of([*START, member(f"{SANDBOX}/empty")])),
        "is not a whole tar",
    ),
    "a thousand headers for one file": (
        blocks_of(START)
        + cast("Any", tarfile.TarInfo)._create_pax_generic_header({"a": "b"}, b"x", "utf-8") * 2000
        + bytes(1024),
        "is not a whole tar",
    ),
    "garbage after it": (tar_of(START) + b"garbage", "something comes after its end"),
    "garbage and zeros after it": (
        tar_of(START) + b"garbage" + bytes(4096),
        "something comes after its end",
    ),
    "garbage after gzip": (gzip.compress(tar_of(START)) + b"garbage", "is not a whole tar"),
    "garbage after zstd": (zstandard.compress(tar_of(START)) + b"xy", "is not a whole tar"),
    "no end": (blocks_of(START), "is not a whole tar"),
    "half an end": (blocks_of(START) + bytes(512), "its end is missing"),
}


def test_a_tag_of_another_lights_commit_is_not_a_light(katas: Katas, tmp_path: Path) -> None:
    kata_id = katas.started("whale")
    katas.record(kata_id, "whale")
    whale = unpacked(katas.tar(kata_id), tmp_path, kata_id) / "whale"
    git(whale, "tag", "2", "1")
    git(whale, "tag", "3", "0")
    tar = tmp_path / "tar"
    plain_tar(tmp_path, "-cf", str(tar), kata_id[:2])
    katas.restore(tar.read_bytes(), overwrite=True)
    assert [light.number for light in katas.lights(kata_id, "whale")] == [0, 1]
    assert katas.record(kata_id, "whale", {**FILES, "new": b"new"}).number == 2
    assert "new" in katas.files(kata_id, "whale").files
    assert [light.number for light in katas.lights(kata_id, "whale")] == [0, 1, 2]


@pytest.fixture
def nothing_left(data_containers: DataContainers) -> Iterator[None]:
    """The test has to leave no kata, no container and no volume."""
    yield
    api = data_containers.engine.api
    assert not list(data_containers.kata_ids())
    name = {"name": f"^/?{data_containers.namespace.name}-kata-"}
    assert not api.containers(all=True, filters=name)
    assert not api.volumes(filters={"name": f"{data_containers.namespace.name}-kata-"})["Volumes"]


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("what", TARS)
def test_a_tar_that_is_not_of_a_kata_leaves_nothing(katas: Katas, what: str) -> None:
    tar, says = TARS[what]
    with refused(grpc.StatusCode.INVALID_ARGUMENT, field="data", says=says):
        katas.restore(tar)


def test_the_tar_that_the_refused_ones_derive_from_is_restored(katas: Katas) -> None:
    assert list(katas.restore(tar_of(START)).avatars) == ["whale"]


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize(
    ("damage", "named"),
    [
        ([member(f"{TOP}/manifest.json", b"{")], "manifest.json"),
        ([member(f"{TOP}/manifest.json", manifest_of("493A06504B"))], "manifest.json"),
    ],
)
def test_a_damaged_kata_is_refused_by_file_and_leaves_nothing(
    katas: Katas, damage: list[Member], named: str
) -> None:
    with refused(grpc.StatusCode.DATA_LOSS, says=f"kata {ID} is damaged: {named}"):
        katas.restore(tar_of(damage))


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (
            [MANIFEST, folder_member(f"{TOP}/whale"), folder_member(f"{TOP}/whale/1")],
            "whale/increments.json",
        ),
        ([MANIFEST, member(f"{TOP}/whale", b"x")], "whale"),
        ([*START, member(f"{TOP}/whale/.git/HEAD", b"x")], "whale/.git/objects"),
    ],
)
def test_a_damaged_avatar_is_named_by_file(katas: Katas, damage: list[Member], named: str) -> None:
    (found,) = katas.restore(tar_of(damage)).damaged
    assert (found.avatar, found.path) == ("whale", named)


@pytest.mark.usefixtures("nothing_left")
@each_compression
def test_a_tar_that_breaks_off_anywhere_leaves_nothing(katas: Katas, compression: str) -> None:
    kata_id = played(katas)
    tar = katas.tar(kata_id, COMPRESSIONS[compression])
    katas.delete(kata_id)
    numbers = random.Random(compression)  # noqa: S311 - the same each time
    offsets = [numbers.randrange(len(tar)) for _ in range(10)]
    near_the_end = [len(tar) - count for count in (1, 2, 3, 4, 5, 8, 9, 511, 512, 513)]
    blocks = [at - at % 512 for at in offsets[:4]]
    for at in [*offsets, *near_the_end, *blocks]:
        with refused(grpc.StatusCode.INVALID_ARGUMENT, field="data"):
            katas.restore(tar[:at])


def changed(tar: bytes, change: Callable[[list[Request]], object]) -> list[Request]:
    messages = list(restore_requests(tar))
    change(messages)
    return messages


def end(size_bytes: int, content: bytes) -> Request:
    digest = hashlib.sha256(content).digest()
    return Request(end=storer_pb2.StreamEnd(size_bytes=size_bytes, sha256=digest))


HEADER = Request(header=storer_pb2.RestoreKataHeader())

STREAMS: dict[str, tuple[list[Request], str]] = {
    "no message": ([], "header"),
    "an empty message": ([Request()], "header"),
    "no header": (changed(WHOLE, lambda all_: all_.pop(0)), "header"),
    "two headers": (changed(WHOLE, lambda all_: all_.insert(1, HEADER)), "header"),
    "a late header": (changed(WHOLE, lambda all_: all_.insert(2, HEADER)), "header"),
    "no end": (changed(WHOLE, lambda all_: all_.pop()), "end"),
    "another size": ([HEADER, Request(data=WHOLE), end(len(WHOLE) + 1, WHOLE)], "end.size_bytes"),
    "another digest": ([HEADER, Request(data=WHOLE), end(len(WHOLE), b"x")], "end.sha256"),
    "no digest": (
        [
            HEADER,
            Request(data=WHOLE),
            Request(end=storer_pb2.StreamEnd(size_bytes=len(WHOLE))),
        ],
        "end.sha256",
    ),
    "too much at once": ([HEADER, Request(data=bytes(1024**2 + 1))], "data"),
    "data after the end": (
        changed(WHOLE, lambda all_: all_.append(Request(data=b"x"))),
        "end",
    ),
}


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("what", STREAMS)
def test_a_stream_that_breaks_the_protocol_leaves_nothing(katas: Katas, what: str) -> None:
    messages, field = STREAMS[what]
    with refused(grpc.StatusCode.INVALID_ARGUMENT, field=field):
        katas.stub.RestoreKata(iter(messages))


@pytest.mark.parametrize(
    "tar", [WHOLE, gzip.compress(WHOLE), zstandard.compress(WHOLE)], ids=COMPRESSIONS
)
def test_data_can_be_sent_in_pieces_of_any_size(katas: Katas, tar: bytes) -> None:
    pieces = [*(tar[at : at + 1] for at in range(300)), b"", tar[300:]]
    messages = [HEADER, *(Request(data=piece) for piece in pieces), end(len(tar), tar)]
    assert katas.stub.RestoreKata(iter(messages)).kata_id == ID


def test_a_refused_tar_leaves_the_old_kata_as_it_was(
    katas: Katas, folder: Callable[[str], Path]
) -> None:
    katas.restore(WHOLE)
    before = listing(folder(ID))
    for tar in (tar_of([*START, member("/etc/x")]), WHOLE[:2000]):
        with refused(grpc.StatusCode.INVALID_ARGUMENT, field="data"):
            katas.restore(tar, overwrite=True)
    assert listing(folder(ID)) == before
    assert katas.record(ID, "whale").number == 1


def test_a_bomb_is_refused_before_it_fills_the_memory(
    katas: Katas, storer_service: Service
) -> None:
    holes = member(
        f"{SANDBOX}/s",
        b"99999999999\n" + b"0\n" * 25 * 1024**2,
        pax_headers={"GNU.sparse.major": "1", "GNU.sparse.minor": "0"},
    )
    Path(f"/proc/{storer_service.pid}/clear_refs").write_text("5")
    before = kibibytes(storer_service.pid, "VmRSS")
    with refused(grpc.StatusCode.INVALID_ARGUMENT, field="data", says="sparse"):
        katas.restore(zstandard.compress(tar_of([*START, holes])))
    assert kibibytes(storer_service.pid, "VmHWM") - before < 48 * 1024


# --- What git would run


def test_everything_that_git_would_run_or_follow_is_removed(
    katas: Katas, folder: Callable[[str], Path], tmp_path: Path
) -> None:
    kata_id = played(katas)
    kata = unpacked(katas.tar(kata_id), tmp_path, kata_id)
    katas.delete(kata_id)
    repository = kata / "whale" / ".git"
    ran = tmp_path / "ran"
    script = f"#!/bin/sh\ntouch {ran}\n"
    (repository / "hooks").mkdir(exist_ok=True)
    for hook in ("pre-commit", "post-checkout", ".hidden"):
        (repository / "hooks" / hook).write_text(script)
        (repository / "hooks" / hook).chmod(0o755)
    (tmp_path / "evil").write_text(script)
    (tmp_path / "evil").chmod(0o755)
    (tmp_path / "included").write_text("[core]\n\tpager = cat\n")
    with (repository / "config").open("a") as config:
        config.write(
            f"[core]\n\tfsmonitor = {tmp_path}/evil\n\thooksPath = {tmp_path}\n"
            f"\tsshCommand = {tmp_path}/evil\n\tworktree = /\n"
            f'[filter "x"]\n\tclean = {tmp_path}/evil\n\tsmudge = {tmp_path}/evil\n'
            f"[include]\n\tpath = {tmp_path}/included\n"
            f'[includeIf "gitdir:/"]\n\tpath = {tmp_path}/included\n'
            f"[alias]\n\tlog = !{tmp_path}/evil\n[diff]\n\texternal = {tmp_path}/evil\n"
            '[remote "origin"]\n\turl = ext::sh -c evil\n'
        )
    (repository / "info/attributes").write_text("* filter=x\n")
    (repository / "objects/info").mkdir(exist_ok=True)
    (repository / "objects/info/alternates").write_text("/etc\n")
    (repository / "commondir").write_text("/etc\n")
    made = tmp_path / "kata.tar"
    plain_tar(tmp_path, "-cf", str(made), kata_id[:2])
    katas.restore(made.read_bytes())

    whale = folder(kata_id) / "whale"
    kept = git(whale, "config", "--local", "--list", "--name-only").decode().split()
    assert {name.partition(".")[0] for name in kept} == {"core", "user"}
    assert not {"core.fsmonitor", "core.hookspath", "core.worktree", "core.sshcommand"} & set(kept)
    assert b"whale_" in git(whale, "config", "user.name")
    assert not (whale / ".git/hooks").exists()
    assert not (whale / ".git/objects/info/alternates").exists()
    assert not (whale / ".git/commondir").exists()
    git(whale, "status")
    git(whale, "log")
    git(whale, "diff", "1", "2")
    git(whale, "checkout", "--quiet", "--force", "1")
    assert not ran.exists()


def test_links_that_lead_out_of_their_sandbox_are_left_out_and_named(
    katas: Katas, folder: Callable[[str], Path]
) -> None:
    out = {"up": "../../..", "absolute": "/etc", "by\nway": "here/.."}
    links = [link(f"{SANDBOX}/{name}", target) for name, target in out.items()]
    restored = katas.restore(tar_of([*START, *links, link(f"{SANDBOX}/here", ".")]))
    assert restored.left_out.count == 3
    names = [f"{SANDBOX}/{name}" for name in ("up", "absolute", "by\\nway")]
    assert [name.strip("'") for name in restored.left_out.names] == names
    found = [path.name for path in (folder(ID) / "whale/sandbox").iterdir() if path.is_symlink()]
    assert found == ["here"]
    assert not katas.restore(WHOLE, overwrite=True).HasField("left_out")


@pytest.mark.parametrize("name", ["f.lock", "._a", ".DS_Store", "sub/._b"])
def test_a_file_of_any_name_that_is_visible_is_downloaded_and_restored(
    katas: Katas, tmp_path: Path, name: str
) -> None:
    kata_id = katas.started("whale", files={**FILES, name: b"mine"})
    tar = katas.tar(kata_id)
    downloaded = unpacked(tar, tmp_path / "downloaded", kata_id)
    assert git(downloaded / "whale", "status", "--porcelain") == b""
    katas.restore(tar, overwrite=True)
    restored = unpacked(katas.tar(kata_id), tmp_path / "restored", kata_id)
    assert (restored / "whale/sandbox" / name).read_bytes() == b"mine"


def test_setuid_bits_are_not_kept(katas: Katas, folder: Callable[[str], Path]) -> None:
    katas.restore(tar_of([*START, member(f"{SANDBOX}/su", b"x", mode=0o6777, uid=0, gid=0)]))
    status = (folder(ID) / "whale/sandbox/su").stat()
    assert stat.S_IMODE(status.st_mode) == 0o777
    assert (status.st_uid, status.st_gid) == (avatars.uid("whale"),) * 2


# --- Clients and storers that die


def test_a_client_that_disconnects_leaves_nothing(
    katas: Katas,
    data_containers: DataContainers,
) -> None:
    slow = Slow(katas, LARGE)
    wait_until(lambda: begun(data_containers.folder(ID)))
    slow.vanish()
    wait_until(lambda: not data_containers.folder(ID).exists())
    katas.restore(WHOLE)
    slow = Slow(katas, LARGE, overwrite=True)
    wait_until(lambda: begun(data_containers.folder(ID)))
    slow.vanish()
    wait_until(lambda: not begun(data_containers.folder(ID)))
    assert {path.name for path in data_containers.folder(ID).iterdir()} == {
        "manifest.json",
        "whale",
    }


def test_a_client_that_leaves_while_its_kata_is_checked_leaves_nothing(
    katas: Katas, data_containers: DataContainers
) -> None:
    kata_id = katas.started("whale")
    folder = data_containers.folder(kata_id)
    tar = katas.tar(kata_id).removesuffix(snapshot.END)
    katas.delete(kata_id)
    pack = pack_of_many(300_000)
    name = f"objects/pack/pack-{'a' * 40}.pack"
    git_folder = f"{kata_id[:2]}/{kata_id[2:]}/whale/.git"
    tar += tar_of([member(f"{git_folder}/{name}", pack)])
    call = katas.stub.RestoreKata.future(restore_requests(tar))

    def is_received() -> bool:
        found = folder.glob(f"{publish.INCOMING}*/whale/.git/{name}")
        return any(path.stat().st_size == len(pack) for path in found)

    wait_until(is_received)
    call.cancel()
    wait_until(lambda: not folder.exists())
    with refused(grpc.StatusCode.NOT_FOUND):
        katas.get(kata_id)


def pack_of_many(count: int) -> bytes:
    """Return a pack of many objects, which takes seconds to check."""
    entries = (b"\x34" + zlib.compress(struct.pack(">I", number), 0) for number in range(count))
    content = b"PACK" + struct.pack(">II", 2, count) + b"".join(entries)
    return content + hashlib.sha1(content, usedforsecurity=False).digest()


def test_a_storer_that_died_while_it_received_a_new_kata_leaves_nothing(
    elsewhere: DataContainers,
    start_storer: Callable[..., Service],
    client: Callable[[Service], Katas],
) -> None:
    named = {"CYBER_DOJO_NAMESPACE": elsewhere.namespace.name}
    dying = start_storer(**named)
    slow = Slow(client(dying), LARGE)
    wait_until(lambda: begun(elsewhere.folder(ID)))
    dying.kill()
    slow.vanish()
    long_ago = elsewhere.folder(ID).stat().st_mtime - 2 * UNFINISHED_SECONDS
    os.utime(elsewhere.folder(ID), (long_ago, long_ago))
    after = client(start_storer(**named))
    assert not elsewhere.folder(ID).exists()
    assert not elsewhere.engine.api.containers(
        all=True, filters={"name": elsewhere.namespace.kata(ID)}
    )
    assert after.restore(WHOLE).kata_id == ID


def test_a_storer_that_died_while_it_received_a_replacement_leaves_the_old_kata(
    elsewhere: DataContainers,
    start_storer: Callable[..., Service],
    client: Callable[[Service], Katas],
) -> None:
    named = {"CYBER_DOJO_NAMESPACE": elsewhere.namespace.name}
    dying = start_storer(**named)
    client(dying).restore(WHOLE)
    before = listing(elsewhere.folder(ID))
    slow = Slow(client(dying), LARGE, overwrite=True)
    wait_until(lambda: begun(elsewhere.folder(ID)))
    dying.kill()
    slow.vanish()
    after = client(start_storer(**named))
    assert listing(elsewhere.folder(ID)) == before
    assert after.record(ID, "whale").number == 1


OLD, NEW = ["whale"], ["bat", "zebra"]


def interrupted(folder: Path, renames: int) -> None:
    """Do the first `renames` steps of replacing a kata by the one in `.complete`."""
    (folder / publish.REPLACED).mkdir()
    steps: list[tuple[str, str]] = [
        ("manifest.json", f"{publish.REPLACED}/manifest.json"),
        ("whale", f"{publish.REPLACED}/whale"),
        (publish.COMPLETE, publish.MOVING),
        (f"{publish.MOVING}/zebra", "zebra"),
        (f"{publish.MOVING}/bat", "bat"),
        (f"{publish.MOVING}/manifest.json", "manifest.json"),
    ]
    for was, now in steps[:renames]:
        (folder / was).rename(folder / now)


@pytest.mark.parametrize("renames", range(7))
def test_a_storer_that_died_while_it_replaced_a_kata_leaves_the_old_or_the_new_one(
    katas: Katas,
    folder: Callable[[str], Path],
    start_storer: Callable[..., Service],
    client: Callable[[Service], Katas],
    *,
    tmp_path: Path,
    renames: int,
) -> None:
    katas.restore(WHOLE)
    new = katas.started(*NEW)
    kata = unpacked(katas.tar(new), tmp_path, new)
    manifest = json.loads((kata / "manifest.json").read_bytes())
    (kata / "manifest.json").write_text(json.dumps({**manifest, "id": ID}))
    shutil.copytree(kata, folder(ID) / publish.COMPLETE)
    interrupted(folder(ID), renames)
    after = client(start_storer())
    assert list(after.get(ID).avatars) == (OLD if renames == 0 else NEW)
    for name in OLD if renames == 0 else NEW:
        assert after.record(ID, name).number == 1
    katas.restore(WHOLE, overwrite=True)
    assert {path.name for path in folder(ID).iterdir()} == {"manifest.json", "whale"}


def test_simultaneous_restores_of_one_new_id_create_one_kata(
    katas: Katas, katas_elsewhere: Katas, elsewhere: DataContainers
) -> None:
    kata_id = katas.started("whale")
    tar = katas.tar(kata_id)
    requests = list(restore_requests(tar))
    for _ in range(4):
        codes = at_once(
            lambda _: code_of(lambda: katas_elsewhere.stub.RestoreKata(iter(requests))), range(8)
        )
        assert sorted(set(codes), key=str) == [grpc.StatusCode.ALREADY_EXISTS, grpc.StatusCode.OK]
        assert codes.count(grpc.StatusCode.OK) == 1
        assert list(katas_elsewhere.get(kata_id).avatars) == ["whale"]
        katas_elsewhere.delete(kata_id)
        assert not elsewhere.folder(kata_id).exists()


def test_simultaneous_restores_that_fail_leave_nothing_and_do_not_harm_one_that_succeeds(
    katas: Katas, katas_elsewhere: Katas, elsewhere: DataContainers
) -> None:
    kata_id = katas.started("whale")
    whole = list(restore_requests(katas.tar(kata_id)))
    broken = whole[:-1]  # without its end

    def restore(place: int) -> grpc.StatusCode:
        requests = whole if place == 0 else broken
        return code_of(lambda: katas_elsewhere.stub.RestoreKata(iter(requests)))

    for _ in range(4):
        codes = at_once(restore, range(8))
        assert codes == [grpc.StatusCode.OK] + [grpc.StatusCode.INVALID_ARGUMENT] * 7
        assert list(katas_elsewhere.get(kata_id).avatars) == ["whale"]
        katas_elsewhere.delete(kata_id)
    assert at_once(restore, [1, 2, 3]) == [grpc.StatusCode.INVALID_ARGUMENT] * 3
    assert not elsewhere.folder(kata_id).exists()
