"""The storer's archive: completing an id among a million archived katas; archiving and fetching."""

import os
import random
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import figures
from benchmarks.figures import Figure, percentile
from benchmarks.places import Place, storer
from cyberdojo.colour.v1 import colour_pb2
from cyberdojo.output.v1 import output_pb2
from cyberdojo.storer.v1 import storer_pb2, storer_pb2_grpc
from dojo import kata_ids

COUNTS = (1_000, 100_000, 1_000_000)
ROUNDS = 200
# A kata with as many lights as a participant makes in an hour or two, packed as legacy katas are.
AVATAR, LIGHTS = "buffalo", 36

_COMPLETE_MS = 20.0
_MOVE_MS = 25.0


def measure(place: Place, scale: float) -> list[Figure]:
    """Measure completing ids, archiving and fetching."""
    folder = Path(tempfile.mkdtemp(prefix="archive-"))
    try:
        return [*_completing(place, folder, scale), *_moving(place, folder, scale)]
    finally:
        shutil.rmtree(folder)


def _completing(place: Place, folder: Path, scale: float) -> list[Figure]:
    found, rows = [], []
    archive = folder / "many"
    with storer(place, CYBER_DOJO_ARCHIVE=str(archive)) as started:
        ids: list[str] = []
        for count in COUNTS:
            wanted = max(100, int(count * scale))
            ids += _simulate(archive, wanted - len(ids))
            asked = random.sample(ids, min(len(ids), max(20, int(ROUNDS * scale))))
            times = [_milliseconds(lambda: _complete(started.stub, kata_id)) for kata_id in asked]  # noqa: B023
            p50, p95 = percentile(times, 50), percentile(times, 95)
            rows.append((f"{count:,}", p50, p95))
            name = f"storer completes an id, {count} archived katas, p50"
            found.append(Figure(name, p50, "ms", "<=", _COMPLETE_MS))
    print(figures.table("Completing an id", ("archived katas", "p50 ms", "p95 ms"), rows))
    return found


def _simulate(archive: Path, count: int) -> list[str]:
    """Add `count` empty files to the archive: completing an id reads nothing but their names."""
    made = []
    for outer in range(256):
        (archive / f"{outer:02x}").mkdir(exist_ok=True)
    for _ in range(count):
        kata_id = kata_ids.new()
        lower = kata_id.lower()
        path = f"{archive}/{lower[:2]}/{lower}.{kata_id}.tar.zst"
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
        made.append(kata_id)
    return made


def _complete(stub: storer_pb2_grpc.StorerServiceStub, kata_id: str) -> None:
    request = storer_pb2.CompleteKataIdRequest(partial_id=kata_id[:6].lower())
    if kata_id not in stub.CompleteKataId(request).kata_ids:
        raise LookupError(kata_id)


def _moving(place: Place, folder: Path, scale: float) -> list[Figure]:
    archive_times: list[float] = []
    fetch_times: list[float] = []
    create_times: list[float] = []
    remove_times: list[float] = []
    katas = folder / "katas"
    environ = {
        "CYBER_DOJO_ARCHIVE": str(folder / "few"),
        "CYBER_DOJO_KATAS_DIRECTORY": str(katas),
    }
    with storer(place, **environ) as started:
        stub = started.stub
        typical = _play(stub)
        _pack(stub, typical, katas)
        for turn in range(max(3, int(40 * scale))):
            _record(stub, typical, LIGHTS + turn)
            kata_id = kata_ids.new()
            create_times.append(_milliseconds(lambda: place.data_containers.create(kata_id)))  # noqa: B023
            remove_times.append(_milliseconds(lambda: place.data_containers.delete(kata_id)))  # noqa: B023
            request = storer_pb2.ArchiveKataRequest(kata_id=typical)
            archive_times.append(_milliseconds(lambda: stub.ArchiveKata(request)))  # noqa: B023
            fetch = storer_pb2.ImportKataRequest(kata_id=typical)
            fetch_times.append(_milliseconds(lambda: stub.ImportKata(fetch)))  # noqa: B023
        stub.DeleteKata(storer_pb2.DeleteKataRequest(kata_id=typical))
    rows, found = [], []
    for ours, times, engines, floor in (
        (
            "storer archives a typical kata",
            archive_times,
            "docker removes a container and a volume",
            remove_times,
        ),
        (
            "storer brings a typical kata back",
            fetch_times,
            "docker makes a container and a volume",
            create_times,
        ),
    ):
        unit = percentile(floor, 50)
        for name, each in ((ours, times), (engines, floor)):
            p50 = percentile(each, 50)
            rows.append((name, p50, percentile(each, 95), p50 / unit))
        found += [
            Figure(f"{ours}, p50", percentile(times, 50), "ms", "<=", _MOVE_MS),
            Figure(f"{ours}, against docker's part of it, p50", percentile(times, 50) / unit, ""),
        ]
    columns = ("", "p50 ms", "p95 ms", "of docker's part")
    print(figures.table("Archiving and fetching", columns, rows))
    return found


def _play(stub: storer_pb2_grpc.StorerServiceStub) -> str:
    """Make a kata with a typical number of lights; return its id."""
    manifest = storer_pb2.Manifest(
        display_name="C (gcc), assert",
        image_name="cyberdojofoundation/gcc_assert",
        files=_files(0),
    )
    kata_id = stub.CreateKata(storer_pb2.CreateKataRequest(manifest=manifest)).kata_id
    stub.StartAvatar(storer_pb2.StartAvatarRequest(kata_id=kata_id, avatars=[AVATAR]))
    for number in range(LIGHTS):
        _record(stub, kata_id, number)
    return kata_id


def _pack(stub: storer_pb2_grpc.StorerServiceStub, kata_id: str, katas: Path) -> None:
    """Move a kata to the katas directory, pack its history there, and import it."""
    katas.mkdir()
    parts = stub.DownloadKata(storer_pb2.DownloadKataRequest(kata_id=kata_id))
    tar = b"".join(part.data for part in parts)
    subprocess.run(["tar", "-x", "-C", katas], input=tar, check=True)
    avatar = katas / kata_id[:2] / kata_id[2:] / AVATAR
    for command in (["repack", "-a", "-d", "--quiet"], ["pack-refs", "--all"]):
        subprocess.run(["git", "-c", "safe.directory=*", *command], cwd=avatar, check=True)
    stub.DeleteKata(storer_pb2.DeleteKataRequest(kata_id=kata_id))
    stub.ImportKata(storer_pb2.ImportKataRequest(kata_id=kata_id))


def _files(number: int) -> dict[str, bytes]:
    """Return the files of a light, about 5 KB of text."""
    lines = [b"    total += values[%d]; /* %d */\n" % (at, number % (at + 1)) for at in range(50)]
    return {
        "stats.c": b"int stats(int * values)\n{\n" + b"".join(lines) + b"}\n",
        "stats.h": b"int stats(int * values);\n",
        "stats.tests.c": b"".join(b"assert(stats(%d));\n" % at for at in range(number)),
        "makefile": b"test: stats.c stats.tests.c\n\tgcc -o test $^ && ./test\n",
        "cyber-dojo.sh": b"make\n",
        "instructions": b"Calculate some statistics of a sequence of numbers.\n" * 8,
    }


def _record(stub: storer_pb2_grpc.StorerServiceStub, kata_id: str, number: int) -> None:
    stub.RecordTest(
        storer_pb2.RecordTestRequest(
            kata_id=kata_id,
            avatar=AVATAR,
            files=_files(number),
            stdout=output_pb2.Output(
                content=b"stats.tests: stats.tests.c:%d: main: Assertion failed.\n" % number
            ),
            colour=colour_pb2.COLOUR_RED,
        )
    )


def _milliseconds(call: Callable[[], object]) -> float:
    begun = time.perf_counter()
    call()
    return (time.perf_counter() - begun) * 1000
