"""The storer's archive: completing an id beside a million archived katas, and there and back."""

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
from cyberdojo.storer.v1 import storer_pb2, storer_pb2_grpc
from dojo import kata_ids

COUNTS = (1_000, 100_000, 1_000_000)
ROUNDS = 200
# A kata of old, of 36 lights, as somebody played it.
TYPICAL, AVATAR = "421F303E80", "buffalo"

_COMPLETE_MS = 20.0
_MOVE_MS = 25.0


def measure(made: Place, scale: float) -> list[Figure]:
    """Measure completing, archiving and bringing back."""
    folder = Path(tempfile.mkdtemp(prefix="archive-"))
    try:
        return [*_completing(made, folder, scale), *_moving(made, folder, scale)]
    finally:
        shutil.rmtree(folder)


def _completing(made: Place, folder: Path, scale: float) -> list[Figure]:
    found, rows = [], []
    place = folder / "many"
    with storer(made, CYBER_DOJO_ARCHIVE=str(place)) as started:
        ids: list[str] = []
        for count in COUNTS:
            wanted = max(100, int(count * scale))
            ids += _simulate(place, wanted - len(ids))
            asked = random.sample(ids, min(len(ids), max(20, int(ROUNDS * scale))))
            times = [_milliseconds(lambda: _complete(started.stub, kata_id)) for kata_id in asked]  # noqa: B023
            p50, p95 = percentile(times, 50), percentile(times, 95)
            rows.append((f"{count:,}", p50, p95))
            name = f"storer completes an id, {count} archived katas, p50"
            found.append(Figure(name, p50, "ms", "<=", _COMPLETE_MS))
    print(figures.table("Completing an id", ("archived katas", "p50 ms", "p95 ms"), rows))
    return found


def _simulate(place: Path, count: int) -> list[str]:
    """Put the names of so many katas more into the archive; their ids are all that is looked at."""
    made = []
    for outer in range(256):
        (place / f"{outer:02x}").mkdir(exist_ok=True)
    for _ in range(count):
        kata_id = kata_ids.new()
        lower = kata_id.lower()
        path = f"{place}/{lower[:2]}/{lower}.{kata_id}.tar.zst"
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
        made.append(kata_id)
    return made


def _complete(stub: storer_pb2_grpc.StorerServiceStub, kata_id: str) -> None:
    request = storer_pb2.CompleteKataIdRequest(partial_id=kata_id[:6].lower())
    if kata_id not in stub.CompleteKataId(request).kata_ids:
        raise LookupError(kata_id)


def _moving(made: Place, folder: Path, scale: float) -> list[Figure]:
    shared = Path(os.environ.get("CYBER_DOJO_SHARED") or Path(__file__).parents[2] / "shared")
    old = folder / "katas"
    old.mkdir()
    subprocess.run(["tar", "-xzf", shared / "katas" / f"{TYPICAL}.tgz", "-C", old], check=True)
    away: list[float] = []
    back: list[float] = []
    makes: list[float] = []
    removes: list[float] = []
    environ = {
        "CYBER_DOJO_ARCHIVE": str(folder / "few"),
        "CYBER_DOJO_KATAS_DIRECTORY": str(old),
    }
    with storer(made, **environ) as started:
        stub = started.stub
        stub.ImportKata(storer_pb2.ImportKataRequest(kata_id=TYPICAL))
        for turn in range(max(3, int(40 * scale))):
            _record(stub, turn)
            kata_id = kata_ids.new()
            makes.append(_milliseconds(lambda: made.data_containers.create(kata_id)))  # noqa: B023
            removes.append(_milliseconds(lambda: made.data_containers.delete(kata_id)))  # noqa: B023
            request = storer_pb2.ArchiveKataRequest(kata_id=TYPICAL)
            away.append(_milliseconds(lambda: stub.ArchiveKata(request)))  # noqa: B023
            again = storer_pb2.ImportKataRequest(kata_id=TYPICAL)
            back.append(_milliseconds(lambda: stub.ImportKata(again)))  # noqa: B023
        stub.DeleteKata(storer_pb2.DeleteKataRequest(kata_id=TYPICAL))
    rows, found = [], []
    for ours, times, engines, floor in (
        (
            "storer archives a typical kata",
            away,
            "docker removes a container and a volume",
            removes,
        ),
        ("storer brings a typical kata back", back, "docker makes a container and a volume", makes),
    ):
        unit = percentile(floor, 50)
        for name, each in ((ours, times), (engines, floor)):
            p50 = percentile(each, 50)
            rows.append((name, p50, percentile(each, 95), p50 / unit))
        found += [
            Figure(f"{ours}, p50", percentile(times, 50), "ms", "<=", _MOVE_MS),
            Figure(f"{ours}, against docker's part of it, p50", percentile(times, 50) / unit, ""),
        ]
    columns = ("there and back", "p50 ms", "p95 ms", "of docker's part")
    print(figures.table("There and back", columns, rows))
    return found


def _record(stub: storer_pb2_grpc.StorerServiceStub, turn: int) -> None:
    found = stub.GetFiles(
        storer_pb2.GetFilesRequest(kata_id=TYPICAL, avatar=AVATAR, light_number=-1)
    )
    files = {**found.files, "notes.txt": b"%d\n" % turn}
    stub.RecordTest(
        storer_pb2.RecordTestRequest(
            kata_id=TYPICAL, avatar=AVATAR, files=files, colour=colour_pb2.COLOUR_RED
        )
    )


def _milliseconds(call: Callable[[], object]) -> float:
    begun = time.perf_counter()
    call()
    return (time.perf_counter() - begun) * 1000
