"""Callers who each do the slowest thing that is allowed, again and again until they are stopped."""

from __future__ import annotations

import gc
import hashlib
import io
import multiprocessing
import os
import random
import resource
import struct
import tarfile
import threading
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import grpc
import zstandard

from cyberdojo.colour.v1 import colour_pb2
from cyberdojo.runner.v1 import runner_pb2, runner_pb2_grpc
from cyberdojo.storer.v1 import storer_pb2, storer_pb2_grpc
from dojo import kata_ids, limits, process_main
from dojo.channels import open_channel
from dojo.chunks import rechunk
from dojo.service.settings import CallerSettings, load

MIB = 1024 * 1024
IMAGE = "cyberdojofoundation/python_pytest"
AVATAR = "whale"

# Almost as many bytes as the visible files of a light may have.
LARGE_FILES = {
    "cyber-dojo.sh": b"sleep 50\n",
    **{f"{number}.txt": bytes([65 + number]) * 15 * MIB for number in range(3)},
}

# Less than the storer waits for the next part of a stream. Whoever has sent so many bytes may then
# trickle for a quarter of an hour.
_TRICKLE_SECONDS = 20
_SENT_BYTES = 15 * 60 * limits.MIN_SENT_BYTES_PER_SECOND

# Almost as many members as a tar of a kata may have.
_MEMBERS = limits.MAX_KATA_MEMBERS * 9 // 10
_MEMBERS_AT_ONCE = 1000

_OPTIONS = [
    ("grpc.max_send_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),  # a connection for each caller
]

Files = Mapping[str, bytes]


@dataclass(frozen=True)
class Katas:
    """The katas that slow callers use; the caller of `prepare` holds the lock of `held`."""

    compared: str
    large: str
    held: str
    run: str
    run_stream: str
    tar: bytes
    tar_to_read: bytes


def prepare(stub: storer_pb2_grpc.StorerServiceStub, objects: int) -> Katas:
    """Make the katas; a tar has `objects` git objects, all of which have to be read."""
    chance = random.Random(11)  # noqa: S311 - no secret
    lines = limits.MAX_COMPARED_LINES // 2 - 1
    compared, large, held, run, run_stream = (_started(stub) for _ in range(5))
    _record(stub, held, {"a": chance.randbytes(_SENT_BYTES)})
    for _ in range(2):
        numbers = b"".join(b"%d\n" % chance.randrange(1000) for _ in range(lines))
        _record(stub, compared, {"a": numbers})
    _record(stub, large, LARGE_FILES)
    tar = b"".join(
        part.data for part in stub.DownloadKata(storer_pb2.DownloadKataRequest(kata_id=held))
    )
    tar_to_read = _with_pack(tar, held, objects)
    return Katas(compared, large, held, run, run_stream, tar, tar_to_read)


class Caller:
    """A caller in a thread and with a connection of its own.

    `rounds` counts how its calls ended, without those that were in progress when it was stopped.
    """

    def __init__(self, name: str, address: str, call: Callable[[Caller], object]) -> None:
        """`call` makes one call, and may raise RpcError."""
        self.name = name
        self.rounds: Counter[grpc.StatusCode] = Counter()
        self.errors: list[grpc.RpcError] = []
        self.has_begun = threading.Event()
        self.is_stopped = threading.Event()
        self.channel = open_channel(address, load(CallerSettings, os.environ), *_OPTIONS)
        self._call = call
        self._thread = threading.Thread(target=self._work, name=f"slow {name}")
        self._thread.start()

    @property
    def storer(self) -> storer_pb2_grpc.StorerServiceStub:
        """A client of the storer."""
        return storer_pb2_grpc.StorerServiceStub(self.channel)

    @property
    def runner(self) -> runner_pb2_grpc.RunnerServiceStub:
        """A client of the runner."""
        return runner_pb2_grpc.RunnerServiceStub(self.channel)

    def begun(self) -> None:
        """Note that a call is in progress."""
        self.has_begun.set()

    def stop(self) -> None:
        """Leave in the middle of a call, and make no more."""
        self.is_stopped.set()
        self.channel.close()

    def join(self) -> None:
        """Wait until the thread has ended."""
        self._thread.join()

    def _work(self) -> None:
        while not self.is_stopped.is_set():
            try:
                self._call(self)
            except grpc.RpcError as error:
                if not self.is_stopped.is_set():
                    self.rounds[error.code()] += 1
                    # Its traceback would keep the request, which can be large.
                    self.errors.append(error.with_traceback(None))
                    self.has_begun.set()
            except ValueError:  # the channel was closed before the call
                if not self.is_stopped.is_set():
                    raise
            else:
                if not self.is_stopped.is_set():
                    self.rounds[grpc.StatusCode.OK] += 1


# As many restores as have a share of the memory; one more is refused at once.
RESTORES = limits.MEMORY_BYTES * limits.RESTORES_MEMORY_PERCENT // 100 // limits.RESTORE_BYTES

# 64 callers: how many make which call. There are RESTORES of the three kinds of restores. Half of a
# runner's slots on two cores stay for others.
MIX = {
    "DiffLights": 6,
    "DownloadPatch": 6,
    "RestoreKata": 4,
    "RestoreKatas": 3,
    "RestoreKata, many objects": 1,
    "BackupKatas": 7,
    "DownloadKata": 8,
    "VerifyKatas": 4,
    "ForkKata": 2,
    "RecordTest": 3,
    "GetFiles": 3,
    "GetKata, held": 7,
    "WatchKata": 4,
    "Run": 1,
    "RunStream": 1,
    "Run, never sent": 4,
}

# Callers of one kind: 64, or as many as are not refused at once. As in MIX, half of the runner's
# slots stay for others.
SORTS = dict.fromkeys(MIX, 64)
SORTS |= dict.fromkeys(
    ("RestoreKata", "RestoreKatas", "RestoreKata, many objects", "RestoreKata, many members"),
    RESTORES,
)
SORTS |= dict.fromkeys(("Run", "RunStream"), MIX["Run"] + MIX["RunStream"])

# The calls that do not end before they are stopped: the caller is what they wait for.
ENDLESS = {"RestoreKata", "RestoreKatas", "BackupKatas", "DownloadKata", "WatchKata", "RunStream"}


@contextmanager
def slow_callers(
    storer: str, runner: str, katas: Katas, mix: Mapping[str, int]
) -> Iterator[list[Caller]]:
    """Have so many callers of each kind call the services at these addresses within the block."""
    callers = [
        Caller(name, runner if name.startswith("Run") else storer, partial(_CALLS[name], katas))
        for name, count in mix.items()
        for _ in range(count)
    ]
    try:
        yield callers
    finally:
        for caller in callers:
            caller.stop()
        for caller in callers:
            caller.join()


Rounds = Mapping[str, Counter[str]]


@contextmanager
def in_a_process(
    storer: str, runner: str, katas: Katas, mix: Mapping[str, int]
) -> Iterator[Rounds]:
    """Do as `slow_callers` does, in a process: what callers hold there keeps none of ours waiting.

    The block begins when all have begun. Afterwards what it was given says how many calls of each
    kind ended, by status.
    """
    spawned = multiprocessing.get_context("spawn")
    ours, theirs = spawned.Pipe()
    process = spawned.Process(target=_call, args=(theirs, storer, runner, katas, mix))
    process.start()
    theirs.close()  # so that we learn of the process's death
    rounds: dict[str, Counter[str]] = {}
    try:
        ours.recv()
        yield rounds
        ours.send(None)
        rounds.update(ours.recv())
    finally:
        process.terminate()  # if it has not ended
        process.join()


# Callers are on other machines than the services. Here they would take the same processors.
_CALLERS_NICENESS = 10
# 64 callers hold up to three times 45 MiB each. Without a limit, what they leave to be collected
# can fill the machine.
_CALLERS_BYTES = 12 * 1024**3


def _call(theirs: Any, storer: str, runner: str, katas: Katas, mix: Mapping[str, int]) -> None:
    os.nice(_CALLERS_NICENESS)
    process_main.leave_a_processor()
    resource.setrlimit(resource.RLIMIT_DATA, (_CALLERS_BYTES, _CALLERS_BYTES))
    gc.set_threshold(200, 2, 2)
    rounds: dict[str, Counter[str]] = {name: Counter() for name in mix}
    with slow_callers(storer, runner, katas, mix) as callers:
        for caller in callers:
            caller.has_begun.wait()
        theirs.send(None)
        theirs.recv()
    for caller in callers:
        rounds[caller.name].update({code.name: each for code, each in caller.rounds.items()})
    theirs.send(rounds)


def _compare(katas: Katas, caller: Caller) -> None:
    caller.begun()
    caller.storer.DiffLights(storer_pb2.DiffLightsRequest(**_two_lights(katas)))


def _patch(katas: Katas, caller: Caller) -> None:
    caller.begun()
    list(caller.storer.DownloadPatch(storer_pb2.DownloadPatchRequest(**_two_lights(katas))))


def _restore(katas: Katas, caller: Caller) -> None:
    """Restore a kata, and send nothing of it for as long as the storer waits, then a little."""
    caller.storer.RestoreKata(_trickled(katas.tar, katas.held, caller))


def _restore_many(katas: Katas, caller: Caller) -> None:
    requests: Any = _trickled(katas.tar, katas.held, caller)  # the fields are the same
    list(caller.storer.RestoreKatas(requests))


def _restore_objects(katas: Katas, caller: Caller) -> None:
    """Restore a kata of which as many git objects as a kata may have are to be read."""
    caller.begun()
    kata_id = kata_ids.new()
    tar = _renamed(katas.tar_to_read, katas.held, kata_id)
    caller.storer.RestoreKata(_restore_requests(tar))
    _delete(caller, kata_id)


def _restore_members(katas: Katas, caller: Caller) -> None:
    """Restore a kata with as many members as a tar may have, of which hardly any has a content."""
    caller.begun()
    kata_id = kata_ids.new()
    whole = _renamed(katas.tar, katas.held, kata_id)
    folder = tarfile.TarInfo(f"{kata_id[:2]}/{kata_id[2:]}/")
    folder.type = tarfile.DIRTYPE
    compress = zstandard.ZstdCompressor().compress
    members = compress(folder.tobuf(tarfile.PAX_FORMAT) * _MEMBERS_AT_ONCE)
    many = members * (_MEMBERS // _MEMBERS_AT_ONCE)
    end = bytes(2 * tarfile.BLOCKSIZE)
    caller.storer.RestoreKata(
        _restore_requests(compress(whole[: _end_of(whole)]) + many + compress(end))
    )
    _delete(caller, kata_id)


def _back_up(katas: Katas, caller: Caller) -> None:
    # Not of all: a backup of all waits for the kata that is held.
    request = storer_pb2.BackupKatasRequest(prefix=katas.large)
    _read_slowly(caller, caller.storer.BackupKatas(request))


def _download(katas: Katas, caller: Caller) -> None:
    request = storer_pb2.DownloadKataRequest(kata_id=katas.large)
    _read_slowly(caller, caller.storer.DownloadKata(request))


def _verify(katas: Katas, caller: Caller) -> None:
    caller.begun()
    ids = [katas.large, katas.compared]
    list(caller.storer.VerifyKatas(storer_pb2.VerifyKatasRequest(kata_ids=ids, share_percent=100)))


def _fork(katas: Katas, caller: Caller) -> None:
    caller.begun()
    request = storer_pb2.ForkKataRequest(kata_id=katas.large, avatar=AVATAR, light_number=-1)
    _delete(caller, caller.storer.ForkKata(request).kata_id)


def _record_large(katas: Katas, caller: Caller) -> None:
    caller.begun()
    record: Any = caller.channel.unary_unary(
        "/cyberdojo.storer.v1.StorerService/RecordTest", None, None
    )
    record(_large_test(katas.large))


def _read_files(katas: Katas, caller: Caller) -> None:
    caller.begun()
    request = storer_pb2.GetFilesRequest(kata_id=katas.large, avatar=AVATAR, light_number=-1)
    # Nobody looks at the answer, so it stays as it is sent.
    read: Any = caller.channel.unary_unary(
        "/cyberdojo.storer.v1.StorerService/GetFiles", None, None
    )
    read(request.SerializeToString())


def _get_held(katas: Katas, caller: Caller) -> None:
    """Wait for a kata that another call holds, as while it comes from a slow archive."""
    caller.begun()
    caller.storer.GetKata(storer_pb2.GetKataRequest(kata_id=katas.held))


def _watch(katas: Katas, caller: Caller) -> None:
    lights = caller.storer.WatchKata(storer_pb2.WatchKataRequest(kata_id=katas.large))
    for _ in lights:
        caller.begun()


def _run(katas: Katas, caller: Caller) -> None:
    caller.begun()
    run: Any = caller.channel.unary_unary("/cyberdojo.runner.v1.RunnerService/Run", None, None)
    run(_large_run(katas.run))


def _run_stream(katas: Katas, caller: Caller) -> None:
    """Run a program that writes as much as it can; read nothing of it."""
    files = {"cyber-dojo.sh": b"head -c 50000 /dev/zero; sleep 50\n"}
    request = runner_pb2.RunStreamRequest(run=_run_request(katas.run_stream, files))
    _read_slowly(caller, caller.runner.RunStream(request))


def _send_nothing(_: Katas, caller: Caller) -> None:
    """Call, and keep the request for as long as the runner waits."""

    def nothing() -> Iterator[bytes]:
        caller.begun()
        caller.is_stopped.wait()
        yield from ()

    channel: Any = caller.channel
    channel.stream_unary("/cyberdojo.runner.v1.RunnerService/Run")(nothing())


_CALLS: Mapping[str, Callable[[Katas, Caller], None]] = {
    "DiffLights": _compare,
    "DownloadPatch": _patch,
    "RestoreKata": _restore,
    "RestoreKatas": _restore_many,
    "RestoreKata, many objects": _restore_objects,
    "RestoreKata, many members": _restore_members,
    "BackupKatas": _back_up,
    "DownloadKata": _download,
    "VerifyKatas": _verify,
    "ForkKata": _fork,
    "RecordTest": _record_large,
    "GetFiles": _read_files,
    "GetKata, held": _get_held,
    "WatchKata": _watch,
    "Run": _run,
    "RunStream": _run_stream,
    "Run, never sent": _send_nothing,
}


def _started(stub: storer_pb2_grpc.StorerServiceStub) -> str:
    manifest = storer_pb2.Manifest(
        display_name="Python", image_name=IMAGE, files={"cyber-dojo.sh": b"true\n"}
    )
    kata_id = stub.CreateKata(storer_pb2.CreateKataRequest(manifest=manifest)).kata_id
    stub.StartAvatar(storer_pb2.StartAvatarRequest(kata_id=kata_id, avatars=[AVATAR]))
    return kata_id


def _record(stub: storer_pb2_grpc.StorerServiceStub, kata_id: str, files: Files) -> None:
    stub.RecordTest(_test(kata_id, files))


def _test(kata_id: str, files: Files) -> storer_pb2.RecordTestRequest:
    return storer_pb2.RecordTestRequest(
        kata_id=kata_id, avatar=AVATAR, files=files, colour=colour_pb2.COLOUR_RED
    )


@cache
def _large_test(kata_id: str) -> bytes:
    """Return a request of 45 MiB, serialized: all callers share it."""
    return _test(kata_id, LARGE_FILES).SerializeToString()


@cache
def _large_run(kata_id: str) -> bytes:
    """Do as `_large_test` does, for a run."""
    return _run_request(kata_id, LARGE_FILES).SerializeToString()


def _delete(caller: Caller, kata_id: str) -> None:
    caller.storer.DeleteKata(storer_pb2.DeleteKataRequest(kata_id=kata_id))


def _two_lights(katas: Katas) -> dict[str, Any]:
    return {"kata_id": katas.compared, "avatar": AVATAR, "was_number": 1, "now_number": 2}


def _run_request(kata_id: str, files: Files) -> runner_pb2.RunRequest:
    return runner_pb2.RunRequest(
        kata_id=kata_id, avatar=AVATAR, image_name=IMAGE, files=files, max_seconds=60
    )


def _read_slowly(caller: Caller, parts: Any) -> None:
    """Read the beginning of a stream, and then nothing more."""
    next(parts)
    caller.begun()
    caller.is_stopped.wait()
    parts.cancel()


def _trickled(tar: bytes, kata_id: str, caller: Caller) -> Iterator[storer_pb2.RestoreKataRequest]:
    """Send a kata but for its end, and of that a byte now and then."""
    new_tar = _renamed(tar, kata_id, kata_ids.new())
    end = len(new_tar.rstrip(b"\0"))
    yield from _beginning(new_tar[:end])
    caller.begun()
    while not caller.is_stopped.wait(_TRICKLE_SECONDS):
        yield storer_pb2.RestoreKataRequest(data=b"\0")


def _restore_requests(tar: bytes) -> Iterator[storer_pb2.RestoreKataRequest]:
    yield from _beginning(tar)
    end = storer_pb2.StreamEnd(size_bytes=len(tar), sha256=hashlib.sha256(tar).digest())
    yield storer_pb2.RestoreKataRequest(end=end)


def _beginning(content: bytes) -> Iterator[storer_pb2.RestoreKataRequest]:
    yield storer_pb2.RestoreKataRequest(header=storer_pb2.RestoreKataHeader())
    for data in rechunk([content]):
        yield storer_pb2.RestoreKataRequest(data=data)


def _end_of(tar: bytes) -> int:
    """Return where the blocks of zeros begin that end a tar."""
    used = len(tar.rstrip(b"\0"))
    return used + -used % tarfile.BLOCKSIZE


def _renamed(tar: bytes, old: str, new: str) -> bytes:
    """Return a kata's tar, uncompressed, as that of a kata with another id of the same length."""
    old_place, new_place = (f"{kata_id[:2]}/{kata_id[2:]}" for kata_id in (old, new))
    made = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(tar)) as source,
        tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as target,
    ):
        for member in source:
            content = source.extractfile(member) if member.isreg() else None
            member.name = member.name.replace(old_place, new_place)
            text = content.read() if content is not None else b""
            if member.name.count("/") == 2 and member.name.endswith("/manifest.json"):
                text = text.replace(old.encode(), new.encode())
            target.addfile(member, io.BytesIO(text))
    return made.getvalue()


def _with_pack(tar: bytes, kata_id: str, objects: int) -> bytes:
    """Return a kata's tar with so many more git objects, in one pack."""
    blob = bytes([3 << 4 | 4])  # four bytes
    pack = b"PACK" + struct.pack(">II", 2, objects)
    pack += b"".join(blob + zlib.compress(struct.pack(">I", each), 1) for each in range(objects))
    pack += hashlib.sha1(pack, usedforsecurity=False).digest()
    made = io.BytesIO(tar)
    with tarfile.open(fileobj=made, mode="a", format=tarfile.PAX_FORMAT) as target:
        name = f"{kata_id[:2]}/{kata_id[2:]}/{AVATAR}/.git/objects/pack/pack-{'0' * 40}.pack"
        member = tarfile.TarInfo(name)
        member.size = len(pack)
        target.addfile(member, io.BytesIO(pack))
    return made.getvalue()
