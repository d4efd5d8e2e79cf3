"""How fast a kata is downloaded, against a plain tar of the same folder."""

import os
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from benchmarks import bare_stream
from benchmarks.figures import Figure, table
from benchmarks.places import Place, Storer, storer
from cyberdojo.storer.v1 import storer_pb2
from dojo.chunks import CHUNK_BYTES

ROUNDS = 9
FILES, FILE_BYTES = 4, 50 * 1024**2
MIB = 1024**2


def measure(place: Place, scale: float) -> Iterator[Figure]:
    """Print a table; yield the figures."""
    with storer(place) as serving:
        kata_id = started_kata(serving)
        folder = place.data_containers.folder(kata_id)
        for number in range(FILES):
            (folder / "whale/sandbox" / f"built-{number}").write_bytes(os.urandom(FILE_BYTES))
        seconds: dict[str, list[float]] = {}
        with bare_stream.started() as bare:
            ways: dict[str, Callable[[], None]] = {
                "tar c, into a pipe": lambda: _tar(folder),
                "gRPC alone": partial(_stream, bare, bare_stream.DOWNLOAD),
                "gRPC and SHA-256": partial(_stream, bare, bare_stream.DIGESTED),
                "DownloadKata": lambda: _download(serving, kata_id),
            }
            for _ in range(max(3, round(ROUNDS * scale))):
                for name, way in ways.items():
                    seconds.setdefault(name, []).append(_seconds(way))
    place.clear()
    speeds = {
        name: FILES * FILE_BYTES / MIB / statistics.median(each) for name, each in seconds.items()
    }
    print(table("Downloading a kata of 200 MiB", ("", "MiB/s"), list(speeds.items())), flush=True)
    ratio = speeds["DownloadKata"] / speeds["tar c, into a pipe"]
    yield Figure("storer DownloadKata", speeds["DownloadKata"], "MiB/s")
    yield Figure("storer DownloadKata's speed, against tar c", ratio, "", ">=", 0.8)
    for name in ("gRPC alone", "gRPC and SHA-256"):
        ratio = speeds["DownloadKata"] / speeds[name]
        yield Figure(f"storer DownloadKata's speed, against {name}", ratio, "")


def started_kata(serving: Storer) -> str:
    """Make a kata in which the avatar whale has started; return its id."""
    manifest = storer_pb2.Manifest(
        display_name="C (gcc), assert",
        image_name="cyberdojofoundation/gcc_assert",
        files={"cyber-dojo.sh": b"make --always-make\n"},
    )
    kata_id = serving.stub.CreateKata(storer_pb2.CreateKataRequest(manifest=manifest)).kata_id
    serving.stub.StartAvatar(storer_pb2.StartAvatarRequest(kata_id=kata_id, avatars=["whale"]))
    return kata_id


def _download(serving: Storer, kata_id: str) -> None:
    ended = False
    for part in serving.stub.DownloadKata(storer_pb2.DownloadKataRequest(kata_id=kata_id)):
        ended = part.HasField("end")
    if not ended:
        raise RuntimeError("the download broke")


def _stream(bare: Callable[[str, int], int], method: str) -> None:
    if bare(method, FILES * FILE_BYTES // CHUNK_BYTES) != FILES * FILE_BYTES:
        raise RuntimeError("the stream broke")


def _tar(folder: Path) -> None:
    # Through a pipe, because GNU tar reads no file if its output is /dev/null.
    with subprocess.Popen(["tar", "-c", "."], cwd=folder, stdout=subprocess.PIPE) as tar:
        subprocess.run(["cat"], stdin=tar.stdout, stdout=subprocess.DEVNULL, check=True)


def _seconds(call: Callable[[], None]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun
