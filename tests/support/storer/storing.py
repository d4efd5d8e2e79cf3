"""A storer's client for tests: katas with fixed times, and checks of refusals."""

import hashlib
import os
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from cyber_dojo_client import NoSuchKata
from cyber_dojo_client import refused as refused_part
from cyberdojo.colour.v1 import colour_pb2
from cyberdojo.output.v1 import output_pb2
from cyberdojo.storer.v1 import storer_pb2, storer_pb2_grpc
from dojo.chunks import rechunk
from support.refusals import bad_fields, check_reason

T = TypeVar("T")
R = TypeVar("R")

CREATED = datetime(2019, 1, 16, 12, 44, 55, tzinfo=UTC)
STARTED = CREATED + timedelta(minutes=1)

FILES = {
    "cyber-dojo.sh": b"make --always-make\n",
    "hiker.c": b"int answer(void)\n{\n    return 6 * 9;\n}\n",
    "readme.txt": b"Your task...\n",
}

RED, AMBER, GREEN = colour_pb2.COLOUR_RED, colour_pb2.COLOUR_AMBER, colour_pb2.COLOUR_GREEN
TIMED_OUT, FAULTY = colour_pb2.COLOUR_TIMED_OUT, colour_pb2.COLOUR_FAULTY

Stub = storer_pb2_grpc.StorerServiceStub


class Katas:
    """Katas behind a storer, created and used with fixed times."""

    def __init__(self, stub: Stub) -> None:
        self.stub = stub

    def create(
        self, files: Mapping[str, bytes] = FILES, *, request_id: str = "", **manifest: Any
    ) -> str:
        """Create a kata; return its id."""
        return self.stub.CreateKata(
            storer_pb2.CreateKataRequest(
                manifest=a_manifest(files, **manifest),
                created=timestamp(CREATED),
                request_id=request_id,
            )
        ).kata_id

    def start(self, kata_id: str, *order: str, request_id: str = "") -> str:
        """Start an avatar; return its name."""
        return self.stub.StartAvatar(
            storer_pb2.StartAvatarRequest(
                kata_id=kata_id, avatars=order, time=timestamp(STARTED), request_id=request_id
            )
        ).avatar

    def started(self, *names: str, files: Mapping[str, bytes] = FILES) -> str:
        """Create a kata and start these avatars; return the kata's id."""
        kata_id = self.create(files)
        for name in names:
            self.start(kata_id, name)
        return kata_id

    def record(
        self, kata_id: str, avatar: str, files: Mapping[str, bytes] = FILES, **fields: Any
    ) -> storer_pb2.Light:
        """Record a test; return its light."""
        return self.stub.RecordTest(a_test(kata_id, avatar, files, **fields)).light

    def get(self, kata_id: str) -> storer_pb2.GetKataResponse:
        """Read a kata."""
        return self.stub.GetKata(storer_pb2.GetKataRequest(kata_id=kata_id))

    def import_(self, kata_id: str, *, undelete: bool = False) -> storer_pb2.ImportKataResponse:
        """Import a kata."""
        request = storer_pb2.ImportKataRequest(kata_id=kata_id, undelete=undelete)
        return self.stub.ImportKata(request)

    def delete(self, kata_id: str) -> None:
        """Delete a kata."""
        self.stub.DeleteKata(storer_pb2.DeleteKataRequest(kata_id=kata_id))

    def lights(self, kata_id: str, avatar: str) -> list[storer_pb2.Light]:
        """Return all lights of an avatar, the start first."""
        request = storer_pb2.ListLightsRequest(kata_id=kata_id, avatar=avatar)
        (found,) = self.stub.ListLights(request).avatars
        return list(found.lights)

    def files(self, kata_id: str, avatar: str, number: int = -1) -> storer_pb2.GetFilesResponse:
        """Return the files of a light."""
        return self.stub.GetFiles(
            storer_pb2.GetFilesRequest(kata_id=kata_id, avatar=avatar, light_number=number)
        )

    def diff(self, kata_id: str, avatar: str, was: int, now: int) -> list[storer_pb2.FileDiff]:
        """Return the difference of two lights."""
        request = storer_pb2.DiffLightsRequest(
            kata_id=kata_id, avatar=avatar, was_number=was, now_number=now
        )
        return list(self.stub.DiffLights(request).files)

    def patch(self, kata_id: str, avatar: str, was: int, now: int) -> bytes:
        """Return the difference of two lights as a patch."""
        request = storer_pb2.DownloadPatchRequest(
            kata_id=kata_id, avatar=avatar, was_number=was, now_number=now
        )
        return b"".join(part.data for part in self.stub.DownloadPatch(request))

    def download(
        self, kata_id: str, compression: int = storer_pb2.COMPRESSION_NONE
    ) -> list[storer_pb2.DownloadKataResponse]:
        """Return all parts of a kata's tar."""
        request = storer_pb2.DownloadKataRequest(kata_id=kata_id)
        request.compression = compression  # type: ignore[assignment]  # an open enum is an int
        return list(self.stub.DownloadKata(request))

    def restore(self, tar: bytes, *, overwrite: bool = False) -> storer_pb2.RestoreKataResponse:
        """Restore a kata from its tar."""
        return self.stub.RestoreKata(restore_requests(tar, overwrite=overwrite))

    @contextmanager
    def watching(
        self, kata_id: str, seen: Mapping[str, int] | None = None, seconds: float = 60
    ) -> Iterator[Iterator[storer_pb2.WatchKataResponse]]:
        """Watch the lights of a kata; the call is cancelled in the end."""
        request = storer_pb2.WatchKataRequest(kata_id=kata_id, seen=seen)
        call: Any = self.stub.WatchKata(request, timeout=seconds)
        yield (each for each in call if not each.caught_up)
        call.cancel()

    @contextmanager
    def watching_beside(
        self, kata_id: str, seen: Mapping[str, int] | None = None, seconds: float = 60
    ) -> Iterator[Iterator[storer_pb2.WatchKataResponse]]:
        """Watch the lights of a kata by WatchKatas, beside one that there is not."""
        asked = {kata_id: seen, "NOSUCHKATA": {}}
        katas = [storer_pb2.WatchKataRequest(kata_id=each, seen=asked[each]) for each in asked]
        request = storer_pb2.WatchKatasRequest(katas=katas)
        call: Any = self.stub.WatchKatas(request, timeout=seconds)

        def happened() -> Iterator[storer_pb2.WatchKataResponse]:
            for part in call:
                if part.HasField("refusal"):
                    error = refused_part(part.refusal)
                    if part.kata_id == kata_id:
                        raise error
                    assert isinstance(error, NoSuchKata)
                elif not part.happened.caught_up:
                    assert part.kata_id == kata_id
                    yield part.happened

        yield happened()
        call.cancel()

    def tar(self, kata_id: str, compression: int = storer_pb2.COMPRESSION_NONE) -> bytes:
        """Return a kata's tar."""
        return b"".join(part.data for part in self.download(kata_id, compression))


def content_of(parts: Sequence[Any]) -> bytes:
    """Return the content of a stream; check that its parts are complete and match the digest."""
    kinds = [part.WhichOneof("part") for part in parts]
    assert kinds == ["header", *["data"] * (len(parts) - 2), "end"]
    assert parts[0].header.filename
    content = b"".join(part.data for part in parts[1:-1])
    assert parts[-1].end.size_bytes == len(content)
    assert parts[-1].end.sha256 == hashlib.sha256(content).digest()
    return content


def unpacked(tar: bytes, folder: Path, kata_id: str) -> Path:
    """Unpack a kata's tar with plain tar, as root would; return the kata's folder."""
    folder.mkdir(exist_ok=True)
    magics = {b"\x1f\x8b": ["--gzip"], b"\x28\xb5": ["--zstd"]}
    options = ["--numeric-owner", "--same-owner", "-p", *magics.get(tar[:2], [])]
    done = subprocess.run(
        ["tar", "-x", *options, "-C", folder], input=tar, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return folder / kata_id[:2] / kata_id[2:]


def a_manifest(files: Mapping[str, bytes] = FILES, **fields: Any) -> storer_pb2.Manifest:
    """Return a manifest that a kata can be created from."""
    given = {
        "display_name": "C (gcc), assert",
        "image_name": "cyberdojofoundation/gcc_assert",
        "files": files,
        **fields,
    }
    return storer_pb2.Manifest(**given)


def a_test(
    kata_id: str, avatar: str, files: Mapping[str, bytes] = FILES, **fields: Any
) -> storer_pb2.RecordTestRequest:
    """Return a valid request to record a test."""
    given = {"colour": RED, "time": timestamp(STARTED + timedelta(seconds=7)), **fields}
    for stream in {"stdout", "stderr"} & given.keys():
        if isinstance(given[stream], bytes):
            given[stream] = output_pb2.Output(content=given[stream])
    return storer_pb2.RecordTestRequest(kata_id=kata_id, avatar=avatar, files=files, **given)


def restore_requests(
    tar: bytes, *, overwrite: bool = False, request_id: str = ""
) -> Iterator[storer_pb2.RestoreKataRequest]:
    """Yield the requests by which RestoreKata gets a tar."""
    header = storer_pb2.RestoreKataHeader(overwrite=overwrite, request_id=request_id)
    yield storer_pb2.RestoreKataRequest(header=header)
    for data in rechunk([tar]):
        yield storer_pb2.RestoreKataRequest(data=data)
    end = storer_pb2.StreamEnd(size_bytes=len(tar), sha256=hashlib.sha256(tar).digest())
    yield storer_pb2.RestoreKataRequest(end=end)


def timestamp(time: datetime) -> Timestamp:
    """Return a time as a message."""
    message = Timestamp()
    message.FromDatetime(time)
    return message


@contextmanager
def refused(
    code: grpc.StatusCode, *, field: str | None = None, says: str = "", reason: str | None = None
) -> Iterator[None]:
    """Check that a call is refused with `code`, names `field`, and has `says` in its message.

    `reason` is the one that programs are told; without it, it may be any.
    """
    with pytest.raises(grpc.RpcError) as caught:
        yield
    error: Any = caught.value
    assert error.code() is code, error
    assert says in error.details()
    check_reason(error, reason)
    if field is not None:
        assert [each.field for each in bad_fields(error)] == [field], error.details()


def at_once(function: Callable[[T], R], arguments: Iterable[T]) -> list[R]:
    """Call the function with each of the arguments, all at the same time."""
    listed = list(arguments)
    with ThreadPoolExecutor(len(listed)) as threads:
        return list(threads.map(function, listed))


def wait_for_new(recorded: threading.Semaphore, writers: int) -> None:
    """Wait for a light whose recording begins after this call; writers release for each light."""
    while recorded.acquire(blocking=False):
        pass  # recorded before this call
    for _ in range(writers + 1):  # each writer may be recording a light that began before
        assert recorded.acquire(timeout=60)


def kibibytes(pid: int, name: str) -> int:
    """Return a figure of a process's memory from /proc, such as VmRSS."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(name))


def git(folder: Path, *arguments: str, text: bytes | None = None) -> bytes:
    """Run git without any configuration of the host; return its output."""
    quiet = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1", "LC_ALL": "C"}
    done = subprocess.run(
        ["git", "-c", "safe.directory=*", *arguments],
        cwd=folder,
        env={**os.environ, **quiet},
        input=text,
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return done.stdout
