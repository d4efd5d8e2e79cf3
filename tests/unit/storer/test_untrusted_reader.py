"""Untrusted tars are read member by member, and never written outside of their folder."""

import contextvars
import gzip
import hashlib
import io
import os
import shutil
import tarfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path, PurePosixPath

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from dojo import limits, shares
from dojo.errors import DiskFull, InvalidArgument, MemoryExhausted
from dojo.shares import Holding, Memory
from storer.tar import untrusted_reader
from storer.tar.untrusted_reader import InvalidKata, Tar, translate_tar_errors

BLOCK = tarfile.BLOCKSIZE
MIB = 1024**2
COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "none": bytes,
    "gzip": gzip.compress,
    "zstd": zstandard.ZstdCompressor().compress,
}

each_compression = pytest.mark.parametrize("compression", COMPRESSIONS)


def header(name: str, kind: bytes = tarfile.REGTYPE, **fields: object) -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    found.type = kind
    for field, value in fields.items():
        setattr(found, field, value)
    return found


def packed(*members: tuple[tarfile.TarInfo, bytes], tar_format: int = tarfile.PAX_FORMAT) -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w", format=tar_format) as tar:
        for member, content in members:
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return written.getvalue()


def in_pieces(content: bytes, size: int) -> Iterator[bytes]:
    return (content[at : at + size] for at in range(0, len(content), size))


def unpacked(content: bytes, folder: Path, size: int = 10_000) -> list[str]:
    """Unpack a tar to its end; return the names of its members."""
    return unpacked_from(in_pieces(content, size), folder)


def unpacked_from(pieces: Iterator[bytes], folder: Path) -> list[str]:
    """Do as `unpacked` does, for the pieces of a tar."""
    names = []
    with translate_tar_errors():
        tar = Tar(pieces)
        while tar.member is not None:
            names.append(tar.member.name)
            tar.unpack(folder, PurePosixPath(*tar.parts()))
            tar.advance()
        tar.finish()
    return names


FILES = {"manifest.json": b"{}", "whale/sandbox/a.c": b"int a;\n" * 999, "whale/sandbox/empty": b""}
WHOLE = packed(*((header(name, mtime=1.5), content) for name, content in FILES.items()))


@each_compression
@pytest.mark.parametrize("size", [1, 511, 10**6])
def test_a_plain_tar_is_unpacked_from_pieces_of_any_size(
    tmp_path: Path, compression: str, size: int
) -> None:
    assert unpacked(COMPRESSIONS[compression](WHOLE), tmp_path, size) == list(FILES)
    for name, content in FILES.items():
        assert (tmp_path / name).read_bytes() == content
        assert (tmp_path / name).stat().st_mtime_ns == 1_500_000_000


@each_compression
def test_a_tar_that_is_cut_off_anywhere_is_refused(tmp_path: Path, compression: str) -> None:
    whole = COMPRESSIONS[compression](WHOLE)
    # Two blocks of zeros end the tar; tarfile pads it with more of them.
    end = (
        len(WHOLE.rstrip(b"\0")) // BLOCK * BLOCK + 2 * BLOCK
        if compression == "none"
        else len(whole)
    )
    step = 97 if compression == "none" else 7
    for number, length in enumerate(range(0, end, step)):
        (tmp_path / str(number)).mkdir()
        with pytest.raises(InvalidArgument, match="data"):
            unpacked(whole[:length], tmp_path / str(number))


@settings(max_examples=300)
@given(st.integers(0, len(WHOLE.rstrip(b"\0")) - 1), st.integers(1, 255))
def test_a_tar_with_any_byte_changed_is_refused_or_stays_inside(
    tmp_path_factory: pytest.TempPathFactory, place: int, bits: int
) -> None:
    changed = bytearray(WHOLE)
    changed[place] ^= bits
    top = tmp_path_factory.mktemp("changed")
    (top / "inside").mkdir()
    with suppress(InvalidArgument):
        unpacked(bytes(changed), top / "inside")
    assert [path.name for path in top.iterdir()] == ["inside"]


def test_a_tar_with_something_behind_its_end_is_refused(tmp_path: Path) -> None:
    for number, more in enumerate((b"x", bytes(17 * 1024**2))):
        (tmp_path / str(number)).mkdir()
        with pytest.raises(InvalidArgument, match="after its end"):
            unpacked(WHOLE + more, tmp_path / str(number))


def links(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return header(name, tarfile.SYMTYPE, linkname=target), b""


HARMFUL: dict[str, tuple[list[tuple[tarfile.TarInfo, bytes]], str]] = {
    "an absolute name": ([(header("/etc/x"), b"")], "leads out"),
    "a name that goes up": ([(header("whale/../../x"), b"")], "leads out"),
    "a device": ([(header("whale/sandbox/x", tarfile.CHRTYPE), b"")], "neither a file"),
    "a pipe": ([(header("whale/sandbox/x", tarfile.FIFOTYPE), b"")], "neither a file"),
    "a hard link": (
        [(header("whale/sandbox/x", tarfile.LNKTYPE, linkname="/etc/passwd"), b"")],
        "neither a file",
    ),
    "an absolute link outside of a sandbox": ([links("whale/x", "/etc")], "is a link to '/etc'"),
    "a link outside of a sandbox": ([links("whale/x", "y")], "is a link"),
    "something behind a link": (
        [links("whale/sandbox/x", "y"), (header("whale/sandbox/x/z"), b"")],
        "behind a link",
    ),
    "a folder for a link": (
        [links("whale/sandbox/x", "y"), (header("whale/sandbox/x", tarfile.DIRTYPE), b"")],
        "is there twice",
    ),
    "a file that is there twice": ([(header("a"), b"1"), (header("a"), b"2")], "is there twice"),
    "a file that is a folder": ([(header("a"), b"1"), (header("a/b"), b"2")], "is there twice"),
    "a name that begins with a dot": ([(header(".incoming/x"), b"")], "has no place"),
    "a folder too deep": ([(header("a/" * 200 + "b"), b"")], "is too deep"),
    "a name too long": ([(header("a" * 300), b"")], "File name too long"),
    "a time that is none": ([(header("a", pax_headers={"mtime": "x"}), b"")], "no proper time"),
    "an endless time": ([(header("a", pax_headers={"mtime": "inf"}), b"")], "no proper time"),
    "a time too long to write down": (
        [(header("a", pax_headers={"mtime": "1e999999999"}), b"")],
        "no proper time",
    ),
    "a link to a zero byte": (
        [(header("whale/sandbox/x", tarfile.SYMTYPE, pax_headers={"linkpath": "a\0b"}), b"")],
        r"is a link to 'a\\x00b'",
    ),
    "a zero byte in a name": ([(header("x", pax_headers={"path": "a\0b"}), b"")], "a zero byte"),
    "a name outside of a sandbox that is no UTF-8": ([(header("\udcff"), b"")], "not UTF-8"),
    "a size that is no number": (
        [(header("a", pax_headers={"size": "x"}), b"")],
        "its size is no number",
    ),
    "a size below zero": ([(header("a", pax_headers={"size": "-1"}), b"")], "size is -1"),
    "a user without end": ([(header("a", pax_headers={"uid": "9" * 19}), b"")], "uid is 9+, not"),
    "an extension that fills the memory": (
        [(header("a", pax_headers={"comment": "x" * 2**21}), b"")],
        "a header has",
    ),
}


@pytest.mark.parametrize("harm", HARMFUL)
def test_a_harmful_member_is_refused(tmp_path: Path, harm: str) -> None:
    members, says = HARMFUL[harm]
    (tmp_path / "inside").mkdir()
    with pytest.raises(InvalidArgument, match=says):
        unpacked(packed(*members), tmp_path / "inside")
    assert [path.name for path in tmp_path.iterdir()] == ["inside"]


def patched(tar: bytes, place: slice, field: bytes) -> bytes:
    """Return a tar with a field of its first header changed, and the header's sum with it."""
    changed = bytearray(tar)
    changed[place] = field
    changed[148:156] = b" " * 8
    changed[148:156] = b"%06o\0 " % sum(changed[:BLOCK])
    return bytes(changed)


MODE, UID, GID, SIZE, MTIME = (
    *(slice(100, 108), slice(108, 116), slice(116, 124)),
    *(slice(124, 136), slice(136, 148)),
)


def base_256(value: int, size: int) -> bytes:
    return bytes([0o200 if value >= 0 else 0o377]) + value.to_bytes(size, "big", signed=True)[1:]


@pytest.mark.parametrize(
    ("place", "value", "says"),
    [
        (MODE, -1, "mode is -1"),
        (MODE, 2**50, "mode is"),
        (UID, -2, "uid is -2"),
        (UID, 2**40, "uid is"),
        (GID, -2, "gid is -2"),
        (SIZE, -1, "size is -1"),
        (SIZE, 2**80, "size is"),
        (MTIME, 2**80, "time is"),
    ],
)
def test_a_number_that_is_out_of_its_range_is_refused_by_its_name(
    tmp_path: Path, place: slice, value: int, says: str
) -> None:
    plain = packed((header("a"), b""), tar_format=tarfile.USTAR_FORMAT)
    tar = patched(plain, place, base_256(value, place.stop - place.start))
    with pytest.raises(InvalidArgument, match=says):
        unpacked(tar, tmp_path)


def test_a_time_before_1970_is_kept(tmp_path: Path) -> None:
    unpacked(packed((header("a", pax_headers={"mtime": "-1.5"}), b"")), tmp_path)
    assert (tmp_path / "a").stat().st_mtime_ns == -1_500_000_000


@each_compression
@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.XHDTYPE, b"L", b"g", b"S", b"?"])
@pytest.mark.parametrize("size", [8 * 1024**3, 2**60])
def test_nothing_is_skipped_that_was_not_sent(compression: str, kind: bytes, size: int) -> None:
    """To skip 2**60 bytes, even of nothing, would take for ever."""
    start = packed((header("a", kind), b""), tar_format=tarfile.GNU_FORMAT)[:BLOCK]
    tar = patched(start, SIZE, base_256(size, 12)) + bytes(2 * BLOCK)
    with pytest.raises(InvalidArgument), translate_tar_errors():
        Tar(iter([COMPRESSIONS[compression](tar)])).advance()


def test_the_extended_headers_of_a_member_are_bounded_together() -> None:
    long_name = packed((header("a" * 200_000), b""), tar_format=tarfile.GNU_FORMAT)
    extended = long_name[: extent(long_name, 0, 200_001)]
    with pytest.raises(InvalidArgument, match="a header has 200001 bytes"), translate_tar_errors():
        Tar(iter([extended * 6]))


def test_the_records_of_a_member_are_bounded_together() -> None:
    keys = {f"x{number}": "" for number in range(limits.MAX_TAR_RECORDS // 2 + 1)}
    whole = packed((header("a", pax_headers=keys), b""))
    Tar(iter([whole]))
    extended = whole[: whole.rindex(b"ustar") - 257]
    with pytest.raises(InvalidArgument, match="more than 1024 records"), translate_tar_errors():
        Tar(iter([extended + whole]))


def test_the_extended_headers_of_a_member_count_as_records() -> None:
    empty = packed((header("a", pax_headers={"x": ""}), b""))[: 2 * BLOCK]
    with pytest.raises(InvalidArgument, match="more than 1024 records"), translate_tar_errors():
        Tar(iter([empty * (limits.MAX_TAR_RECORDS + 1)]))


class Paced:
    """Stands for the pace of all tars: counts what is taken, while nobody has a turn."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.members = 0
        monkeypatch.setattr(untrusted_reader, "_PACE", self)
        monkeypatch.setattr(untrusted_reader, "_PACED_MEMBERS", 1)

    def take(self, members: int) -> None:
        assert not untrusted_reader._TURNS._is_taken
        self.members += members


def test_what_takes_long_is_paced_as_so_many_members(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pieces = b"800\n" + b"".join(b"%d\n1\n" % (2 * number) for number in range(800))
    empty = packed((header("a", pax_headers={"x": ""}), b""))[: 2 * BLOCK]
    lines = packed((header("a"), b"line\n" * 800))
    paced = Paced(monkeypatch)
    cases = {
        packed(*((header(name), b"") for name in "abc")): 4,  # and the end
        packed((header("whale/sandbox/a", pax_headers={"comment": "x" * 100 * BLOCK}), b"")): 102,
        empty * 100 + packed((header("a"), b"")): 101,
        sparse(pieces, b"x" * 800, 1600): 202,  # the map, and what is written
    }
    for number, (tar, members) in enumerate(cases.items()):
        paced.members = 0
        (tmp_path / str(number)).mkdir()
        unpacked(tar, tmp_path / str(number))
        assert paced.members == members, number
    read = Tar(iter([lines]))
    paced.members = 0
    assert len(list(read.in_turns(iter(read.content())))) == 800
    assert paced.members == 101


def test_an_extended_header_without_a_member_is_refused() -> None:
    whole = packed((header("a", pax_headers={"unknown": "x"}), b""))
    with pytest.raises(InvalidArgument, match="a member is missing"), translate_tar_errors():
        Tar(iter([whole[: 2 * BLOCK] + bytes(2 * BLOCK)]))


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_what_a_tar_expands_to_is_bounded(
    monkeypatch: pytest.MonkeyPatch, compression: str
) -> None:
    monkeypatch.setattr(limits, "MAX_KATA_BYTES", 1024**2)
    bomb = COMPRESSIONS[compression](packed((header("a"), bytes(4 * 1024**2))))
    with pytest.raises(InvalidArgument, match="more than 2097152 bytes"), translate_tar_errors():
        Tar(iter([bomb])).advance()


def test_the_members_of_a_tar_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_KATA_MEMBERS", 2)
    with translate_tar_errors():
        tar = Tar(iter([packed(*((header(name), b"") for name in "abcdef"))]))
        tar.advance()
        tar.renew_budget()
        for _ in range(4):
            tar.advance()
    with pytest.raises(InvalidArgument, match="more than 4 entries"), translate_tar_errors():
        tar.advance()


def test_a_sparse_file_is_refused_before_its_holes_are_read(tmp_path: Path) -> None:
    for keys in (
        {"GNU.sparse.size": "10", "GNU.sparse.map": "0,1"},
        {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "a"},
    ):
        with pytest.raises(InvalidArgument, match="sparse"):
            unpacked(packed((header("a", pax_headers=keys), b"x")), tmp_path)


def sparse(sparse_map: bytes, data: bytes, size: int, name: str = "whale/sandbox/a") -> bytes:
    headers = {
        "GNU.sparse.major": "1",
        "GNU.sparse.minor": "0",
        "GNU.sparse.name": name,
        "GNU.sparse.realsize": str(size),
    }
    content = sparse_map + bytes(-len(sparse_map) % BLOCK) + data
    return packed((header("GNUSparseFile.0/a", pax_headers=headers), content))


def test_a_sparse_file_keeps_its_holes(tmp_path: Path) -> None:
    unpacked(sparse(b"2\n1048576\n4\n9000000\n0\n", b"data", 9_000_000), tmp_path)
    found = tmp_path / "whale/sandbox/a"
    assert found.read_bytes() == bytes(1048576) + b"data" + bytes(9_000_000 - 1048580)
    assert found.stat().st_blocks * 512 < MIB


@pytest.mark.parametrize(
    ("tar", "says"),
    [
        (sparse(b"1\n0\n4\n", b"data", 9, name="whale/manifest.json"), "outside of a sandbox"),
        (sparse(b"1\n0\n4\n", b"data", 2**60), "realsize is"),
        (sparse(b"1\n0\n4\n", b"data", -1), "realsize is"),
        (sparse(b"65537\n", b"", 9), "has 65537 pieces"),
        (sparse(b"1\n6\n4\n", b"data", 9), "out of its place"),
        (sparse(b"2\n4\n2\n3\n2\n", b"data", 9), "out of its place"),
        (sparse(b"1\n0\n5\n", b"data", 9), "not as large as its pieces"),
        (sparse(b"1\n0\n3\n", b"data", 9), "not as large as its pieces"),
        (sparse(b"1\n-1\n4\n", b"data", 9), "map of a sparse file is broken"),
        (sparse(b"9\n0\n4\n", b"data", 9), "map of a sparse file is broken"),
        (sparse(b"1" * 4000, b"data", 9), "map of a sparse file is broken"),
    ],
)
def test_a_sparse_file_that_is_not_valid_is_refused(tmp_path: Path, tar: bytes, says: str) -> None:
    with pytest.raises(InvalidArgument, match=says):
        unpacked(tar, tmp_path)


def test_stray_files_are_skipped(tmp_path: Path) -> None:
    strays = ["._manifest.json", "f.lock", "whale/.DS_Store", "whale/._x/y"]
    tar = packed(*((header(name), b"") for name in ["manifest.json", *strays]))
    unpacked(tar, tmp_path)
    assert [path.name for path in tmp_path.rglob("*")] == ["manifest.json"]


def test_modes_lose_setuid_and_setgid(tmp_path: Path) -> None:
    unpacked(packed((header("a", mode=0o6755), b"")), tmp_path)
    assert (tmp_path / "a").stat().st_mode & 0o7777 == 0o755


@pytest.mark.parametrize("tar_format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_and_odd_names_are_unpacked_unchanged(tmp_path: Path, tar_format: int) -> None:
    inside = ["x" * 120 + "/" + "y" * 120, "ü/名", "a b", "back\\slash", "new\nline", "\udcff"]
    names = [f"whale/sandbox/{name}" for name in inside]
    tar = packed(*((header(name), b"") for name in names), tar_format=tar_format)
    assert unpacked(tar, tmp_path) == names
    assert all((tmp_path / name).exists() for name in names)


def test_a_digest_covers_the_bytes_between_two_members() -> None:
    tar = Tar(iter([WHOLE]))
    starts = [0]
    for content in FILES.values():
        starts.append(starts[-1] + extent(WHOLE, starts[-1], len(content)))
    assert tar.digest_before() == hashlib.sha256().hexdigest()
    tar.restart_digest()
    tar.advance()
    tar.advance()
    assert tar.digest_before() == hashlib.sha256(WHOLE[starts[1] : starts[2]]).hexdigest()


def extent(tar: bytes, at: int, size: int) -> int:
    """Return the size of a member in bytes: its extended header, its header and its content."""
    blocks = 3 if tar[at + 156 : at + 157] == b"x" else 1
    return (blocks + -(-size // BLOCK)) * BLOCK


def test_reading_a_member_does_not_wait_for_the_next() -> None:
    """The sender of a kata may wait for the answer about the kata before."""
    sent: list[int] = []

    def sending() -> Iterator[bytes]:
        for number, piece in enumerate(in_pieces(WHOLE, BLOCK)):
            sent.append(number)
            yield piece

    tar = Tar(sending())
    before = len(sent)
    assert before * BLOCK <= extent(WHOLE, 0, 0)
    tar.advance()
    assert len(sent) > before


def test_a_stream_that_is_no_tar_is_refused() -> None:
    for content in (b"", b"x", b"nonsense" * 1000, b"\x1f\x8b", b"\x28\xb5\x2f\xfd" + bytes(600)):
        with pytest.raises(InvalidArgument), translate_tar_errors():
            Tar(iter([content])).finish()


def test_an_invalid_kata_names_the_field_data() -> None:
    assert InvalidKata("reason").field == "data"


@pytest.mark.parametrize(("window_log", "fits"), [(27, False), (20, True)])
def test_what_decompressing_takes_comes_from_the_memory_of_all_calls(
    window_log: int, *, fits: bool
) -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=window_log)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    tar = compressor.compress(WHOLE) + compressor.flush()
    memory = Memory(256 * 1024**2)  # a quarter of it is for calls

    def read() -> None:
        shares.use(memory)
        with Holding() as holding:
            Tar(iter([tar]), holding)

    context = contextvars.copy_context()
    if fits:
        context.run(read)
    else:
        with pytest.raises(MemoryExhausted):
            context.run(read)
    memory.calls.take(64 * 1024**2)  # all of it came back


def test_some_of_the_disk_stays_free_for_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
    free = shutil.disk_usage(tmp_path).free
    tar = packed((header("whale/sandbox/a", size=5), b"hello"))
    monkeypatch.setattr(limits, "FREE_DISK_PERCENT", 100)
    monkeypatch.setattr(limits, "FREE_DISK_BYTES", free // 2)
    assert unpacked(tar, tmp_path / "a") == ["whale/sandbox/a"]
    monkeypatch.setattr(limits, "FREE_DISK_BYTES", 2 * free)
    with pytest.raises(DiskFull, match="for other calls"):
        unpacked(tar, tmp_path / "b")
    assert not any((tmp_path / "b").iterdir())


@each_compression
def test_who_sends_slowly_keeps_no_other_tar_from_being_read(
    tmp_path: Path, compression: str
) -> None:
    (tmp_path / "other").mkdir()
    is_read, may_go_on = threading.Event(), threading.Event()
    slow = COMPRESSIONS[compression](packed((header("whale/sandbox/a"), os.urandom(4 * MIB))))

    def pieces() -> Iterator[bytes]:
        yield slow[:MIB]
        is_read.set()
        assert may_go_on.wait(10)
        yield slow[MIB:]

    with ThreadPoolExecutor(2) as threads:
        slowly = threads.submit(unpacked_from, pieces(), tmp_path)
        assert is_read.wait(10)
        try:
            other = threads.submit(unpacked, WHOLE, tmp_path / "other")
            assert other.result(10) == list(FILES)
            assert not slowly.done()
        finally:
            may_go_on.set()
        slowly.result(10)
    assert (tmp_path / "whale/sandbox/a").stat().st_size == 4 * MIB


def test_a_few_bytes_that_are_gigabytes_keep_no_other_tar_from_being_read(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    zeros = zstandard.ZstdCompressor().compress(bytes(64 * MIB))
    large = header("whale/sandbox/large", size=2**30)
    begin = zstandard.ZstdCompressor().compress(large.tobuf(tarfile.PAX_FORMAT))
    is_reading = threading.Event()

    def pieces() -> Iterator[bytes]:
        yield begin
        is_reading.set()
        yield zeros * 16

    def skip() -> None:
        tar = Tar(pieces())
        with pytest.raises(tarfile.ReadError):  # the end is missing
            tar.advance()

    with ThreadPoolExecutor(2) as threads:
        skipping = threads.submit(skip)
        assert is_reading.wait(10)
        other = threads.submit(unpacked, WHOLE, tmp_path / "other")
        assert other.result(10) == list(FILES)
        assert not skipping.done()
        skipping.result(60)
