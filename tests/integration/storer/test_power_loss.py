"""A machine whose power fails loses nothing that was acknowledged.

The disk loses a random part of what the kernel did not tell it to flush, as disks do. The file
system on it, the engine and the storer are real ones.
"""

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from support.services import Service
from support.storer.disks import MIB, a_losing_disk, mounted, storer_on
from support.storer.loads import Client, Shared
from support.storer.storing import Katas
from support.storer.verifying import verify

CLIENTS = 3
CUTS = 4
SEED = 20261
DISK_BYTES = 400 * MIB
MOST_SECONDS = 4  # the longest time between cuts: there are checkpoints within it
# Harmless findings that a power cut can leave.
HARMLESS = {"LEFTOVER", "HANDLE", "STALE", "DANGLING"}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_no_power_cut_loses_an_acknowledged_call(
    short_folder: Path,
    start_service: Callable[..., Service],
    client: Callable[[Service], Katas],
    kind: str,
) -> None:
    chance = random.Random(SEED)  # noqa: S311 - it has to be the same each time
    own, again = short_folder / "own", short_folder / "again"
    own.mkdir()
    cuts = []
    with a_losing_disk(own / "data", DISK_BYTES, kind) as disk:
        archive = {"CYBER_DOJO_ARCHIVE": str(own / "data/archive")}
        with storer_on(own, start_service, **archive) as (_, service):
            katas = client(service)
            shared = Shared(katas.started("whale"))
            clients = [Client(SEED + number, shared, {}) for number in range(CLIENTS)]
            stopped = threading.Event()
            with ThreadPoolExecutor(CLIENTS) as threads:
                playing = [threads.submit(each.play, katas, stopped) for each in clients]
                try:
                    for number in range(CUTS):
                        time.sleep(chance.uniform(0.5, MOST_SECONDS))
                        begin = time.monotonic()
                        image = short_folder / f"cut-{number}"
                        disk.cut(SEED + number, image)
                        cuts.append((image, begin, time.monotonic()))
                finally:
                    stopped.set()
                for played in playing:
                    played.result()
    for image, begin, end in cuts:
        with mounted(image, again / "data", kind):
            archive = {"CYBER_DOJO_ARCHIVE": str(again / "data/archive")}
            with storer_on(again, start_service, **archive) as (_, service):
                katas = client(service)
                shared.check(katas, begin)
                for each in clients:
                    each.check(katas, begin, end)
                found = verify(katas).kinds()
                assert {what for what, _, _ in found} <= HARMLESS, found
                assert katas.record(shared.kata_id, "whale").number
                verify(katas, mend=True)
                assert verify(katas).unmended() == []
