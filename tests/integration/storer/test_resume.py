"""An interrupted download resumes where it broke off, if the kata is unchanged."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from cyberdojo.storer.v1 import storer_pb2
from support.services import Service
from support.storer.storing import Katas, refused


@pytest.fixture
def kata_id(katas: Katas) -> str:
    """A kata with a light."""
    kata_id = katas.started("whale")
    katas.record(kata_id, "whale")
    return kata_id


def download(
    katas: Katas, kata_id: str, **fields: Any
) -> tuple[storer_pb2.StreamHeader, bytes, storer_pb2.StreamEnd]:
    """Return the header, the bytes and the end of a resumable download."""
    request = storer_pb2.DownloadKataRequest(kata_id=kata_id, resumable=True, **fields)
    first, *parts, last = katas.stub.DownloadKata(request)
    return first.header, b"".join(part.data for part in parts), last.end


@pytest.mark.parametrize("compression", storer_pb2.Compression.values())
def test_bytes_that_the_caller_has_are_not_sent_again(
    katas: Katas, kata_id: str, compression: int
) -> None:
    header, whole, end = download(katas, kata_id, compression=compression)
    assert header.offset == 0
    assert end.sha256 == hashlib.sha256(whole).digest()
    for offset in (0, 1, 1000, len(whole) - 1, len(whole)):
        again, rest, end = download(
            katas, kata_id, compression=compression, state=header.state, offset=offset
        )
        assert (again.state, again.offset) == (header.state, offset)
        assert rest == whole[offset:]
        assert end.sha256 == hashlib.sha256(whole).digest()
        assert end.size_bytes == len(whole)


def test_a_download_starts_again_after_any_change_or_with_another_compression(
    katas: Katas, kata_id: str, folder: Callable[[str], Path]
) -> None:
    sandbox = folder(kata_id) / "whale/sandbox"

    def rewrite_in_place() -> None:
        path = sandbox / "hiker.c"
        status = path.stat()
        path.write_bytes(path.read_bytes()[::-1])
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    state = download(katas, kata_id)[0].state
    for change in (
        lambda: katas.record(kata_id, "whale"),
        lambda: katas.start(kata_id, "zebra"),
        lambda: (sandbox / "new").write_bytes(b""),
        lambda: (sandbox / "new").chmod(0o600),
        rewrite_in_place,
    ):
        change()
        header, whole, _ = download(katas, kata_id, state=state, offset=10)
        assert header.offset == 0
        assert header.state != state
        assert whole == katas.tar(kata_id)
        state = header.state
    zstd = storer_pb2.COMPRESSION_ZSTD
    assert download(katas, kata_id, state=state, offset=10, compression=zstd)[0].offset == 0


def test_a_state_is_valid_after_a_restart(
    start_storer: Callable[..., Service], client: Callable[[Service], Katas]
) -> None:
    service = start_storer()
    kata_id = client(service).started("whale")
    client(service).record(kata_id, "whale")
    state = download(client(service), kata_id)[0].state
    service.stop()
    assert download(client(start_storer()), kata_id)[0].state == state


def test_an_invalid_offset_is_refused(katas: Katas, kata_id: str) -> None:
    with refused(grpc.StatusCode.INVALID_ARGUMENT, field="offset"):
        download(katas, kata_id, offset=-1)
