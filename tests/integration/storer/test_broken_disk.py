"""A disk that fails to write loses nothing that was acknowledged.

The kernel reports a failed write once and does not retry it. From then on the data in its memory
seems to be on disk, and is lost with the power, or when the memory is needed.
"""

import os
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from storer.fs.write_ahead_log import WriteAheadLog
from support.services import Service, wait_until
from support.storer.disks import MIB, a_losing_disk, mounted, storer_on
from support.storer.storing import FILES, Katas
from support.storer.verifying import verify

DISK_BYTES = 400 * MIB
KIND = "ext4"

# Random, so that MARK is on disk as it is: zlib can't compress it.
NOISE = os.urandom(24 * 1024)
MARK = NOISE[9000:9032]


@pytest.mark.parametrize("is_killed", [False, True])
def test_a_light_that_the_disk_could_not_write_is_written_again(
    short_folder: Path,
    start_service: Callable[..., Service],
    start_storer: Callable[..., Service],
    client: Callable[[Service], Katas],
    *,
    is_killed: bool,
) -> None:
    assert MARK in zlib.compress(b"blob %d\0" % len(NOISE) + NOISE, 1)
    own, again, image = short_folder / "own", short_folder / "again", short_folder / "cut"
    own.mkdir()
    files = {**FILES, "noise": NOISE}
    with (
        a_losing_disk(own / "data", DISK_BYTES, KIND) as disk,
        storer_on(own, start_service) as (engine, service),
    ):
        katas = client(service)
        kata_id = katas.started("whale")
        disk.break_(MARK)  # the write-ahead log has it; git's object can't be written
        assert katas.record(kata_id, "whale", files).number == 1
        (whale,) = (own / "data/volumes").glob(f"*-kata-{kata_id}/_data/whale")
        journal = WriteAheadLog(whale)
        service.wait_for_event(lambda event: event["event"] == "not synced")
        assert journal.read_position().used
        disk.mend()
        if is_killed:
            service.kill()
            assert journal.read_position().used
            katas = client(start_storer(DOCKER_HOST=engine.url))
        assert dict(katas.files(kata_id, "whale", 1).files) == files
        wait_until(lambda: not journal.read_position().used)
        disk.cut(1, image)
    with mounted(image, again / "data", KIND), storer_on(again, start_service) as (_, service):
        katas = client(service)
        assert dict(katas.files(kata_id, "whale", 1).files) == files
        assert katas.record(kata_id, "whale").number == 2
        verify(katas, mend=True)  # mends files that were being written at the power cut
        found = verify(katas)
        assert found.unmended() == [], found.findings
