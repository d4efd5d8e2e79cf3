"""The time of a full backup and of an incremental one, and the memory that they use."""

import json
import shutil
import statistics
import subprocess
import time
from collections.abc import Iterator

from benchmarks.figures import Figure, table
from benchmarks.places import Place, Storer, storer
from benchmarks.storer_download import started_kata
from cyberdojo.colour.v1 import colour_pb2
from cyberdojo.output.v1 import output_pb2
from cyberdojo.storer.v1 import storer_pb2

KATAS, FEW_KATAS = 2000, 200
CHANGED_PERCENT = 1
LIGHTS = 10
ROUNDS = 3
MIB = 1024**2

FILES = {f"file{number}.py": b"answer = 42\n" * 50 for number in range(9)}


def measure(place: Place, scale: float) -> Iterator[Figure]:
    """Print a table; yield the figures."""
    count = max(2 * FEW_KATAS, round(KATAS * scale))
    with storer(place) as serving:
        kata_id = _typical_kata(serving)
    ids = _copies(place, kata_id, count)
    try:
        with storer(place) as serving:
            _backup(serving, prefix="0")
            few_bytes = serving.peak_bytes
        with storer(place) as serving:
            token, size_bytes, full = _backup(serving)
            many_bytes = serving.peak_bytes
            times = []
            for number in range(ROUNDS):
                for each in ids[:: 100 // CHANGED_PERCENT]:
                    _press(serving, each, LIGHTS + 1 + number)
                token, more_bytes, seconds = _backup(serving, since_token=token)
                times.append(seconds)
            incremental = statistics.median(times)
    finally:
        for each in ids[:: 100 // CHANGED_PERCENT]:  # RecordTest gave these containers
            place.data_containers.delete(each)
        for each in ids:
            shutil.rmtree(place.data_containers.folder(each).parent, ignore_errors=True)
        place.engine.api.remove_volume(place.namespace.backups)
        place.clear()
    rows = [
        (f"all of {count} katas", full, size_bytes / MIB),
        (f"{CHANGED_PERCENT} % of them", incremental, more_bytes / MIB),
    ]
    print(table("Backups", ("", "seconds", "MiB"), rows), flush=True)
    yield Figure(f"storer backup of {count} katas", full, "s")
    yield Figure(
        f"storer backup of what changed ({CHANGED_PERCENT} %), against a full one's time",
        incremental / full,
        "",
        "<=",
        1 / 20,
    )
    yield Figure(
        f"storer peak memory of a backup of {count} katas, against {FEW_KATAS}",
        many_bytes / few_bytes,
        "",
        "<=",
        1.1,
    )


def _typical_kata(serving: Storer) -> str:
    kata_id = started_kata(serving)
    for number in range(1, LIGHTS + 1):
        _press(serving, kata_id, number)
    return kata_id


def _press(serving: Storer, kata_id: str, number: int) -> None:
    serving.stub.RecordTest(
        storer_pb2.RecordTestRequest(
            kata_id=kata_id,
            avatar="whale",
            files={**FILES, "file1.py": f"answer = {number}\n".encode() * 50},
            stdout=output_pb2.Output(content=b"F.....\n" * 70),
            colour=colour_pb2.COLOUR_RED,
        )
    )


def _copies(place: Place, kata_id: str, count: int) -> list[str]:
    """Make `count` copies of a kata; return their ids. FEW_KATAS of them begin with 0.

    A copy is a folder where a volume would be. The engine does not know it, and a backup does not
    ask the engine.
    """
    ids = [f"{'0' if number < FEW_KATAS else '1'}{number:09}" for number in range(count)]
    source = place.data_containers.folder(kata_id)
    manifest = json.loads((source / "manifest.json").read_bytes())
    for each in ids:
        folder = place.data_containers.folder(each)
        folder.parent.mkdir(mode=0o701)
        subprocess.run(["cp", "-a", source, folder], check=True)
        (folder / "manifest.json").write_text(json.dumps({**manifest, "id": each}))
    return ids


def _backup(serving: Storer, prefix: str = "", since_token: str = "") -> tuple[str, int, float]:
    """Make a backup; return its token, its size in bytes, and its seconds."""
    begun = time.perf_counter()
    token, size_bytes, is_ended = "", 0, False
    request = storer_pb2.BackupKatasRequest(prefix=prefix, since_token=since_token)
    for part in serving.stub.BackupKatas(request):
        token = token or part.header.token
        size_bytes += len(part.data)
        is_ended = part.HasField("end")
    if not is_ended:
        raise RuntimeError("the backup broke")
    return token, size_bytes, time.perf_counter() - begun
