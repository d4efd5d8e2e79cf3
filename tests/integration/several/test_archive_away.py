"""The archive does not answer for a while: recording goes on, and etcd keeps what it lacks."""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from support.commands import CommandLine
from support.histories import checker
from support.machines.etcd import Etcd
from support.machines.practice import Practice
from support.services import code_of, wait_until
from support.storer.s3 import S3Server
from support.storer.several import Storers
from support.storer.stalling_proxy import stalling_proxy
from support.storer.storing import FILES, a_test, refused

WAIT_SECONDS = 120
NOBODY = "127.0.0.1:1"  # refuses connections
LIGHTS = 10

# How long an avatar may wait, the archive or not.
GAP_SECONDS = 30
# In the long form.
AWAY_SECONDS = 600
# A copy that was begun before is given up after a minute, and then made again.
CATCH_UP_SECONDS = 120


@pytest.fixture
def storers(make_storers: Callable[..., Storers], etcd: Etcd, s3: S3Server) -> Storers:
    """Three storers whose archive is in an S3-compatible store."""
    made = make_storers(etcd, "s3://katas/class", **s3.environ)
    for _ in range(3):
        made.add()
    return made


def test_recording_goes_on_without_the_archive_and_etcd_is_empty_again_when_it_is_back(
    storers: Storers, s3: S3Server, tmp_path: Path, *, is_long: bool
) -> None:
    avatars = 10 if is_long else 3
    addresses = [*map(storers.address, range(3))]
    with Practice(addresses, katas=4, avatars=avatars, is_long=is_long) as practice:
        practice.wait_for(1, WAIT_SECONDS)
        s3.freeze()
        end = time.monotonic() + AWAY_SECONDS
        practice.wait_for(LIGHTS, WAIT_SECONDS)
        if is_long:
            wait_until(lambda: time.monotonic() > end, AWAY_SECONDS)
            practice.wait_for(LIGHTS, WAIT_SECONDS)
        count, size_bytes = storers.all_records()
        assert count > 4 * avatars * LIGHTS
        assert size_bytes > count * 1000
        shown = CommandLine(storers.address(0), tmp_path).run("cluster", "status")
        assert "lacks lights of" in shown.text
        s3.thaw()
        practice.wait_for(LIGHTS, WAIT_SECONDS)
        practice.stop()
        wait_until(lambda: storers.all_records() == (0, 0), CATCH_UP_SECONDS)
        # Each machine that is not an owner has the katas from the archive alone.
        owners = {kata_id: storers.owner(kata_id) for kata_id in practice.kata_ids}
        for number in {owner for owner in owners.values() if owner is not None and owner != 2}:
            storers.services[number].kill()
        final = practice.read(storers.address(2))
        checker.check(tmp_path / "history.jsonl", practice.recorder.attempts(), final)
        practice.check_longest_gap(GAP_SECONDS)


def test_recording_goes_on_when_etcd_did_not_answer_while_the_archive_is_away(
    make_storers: Callable[..., Storers], own_etcd: Etcd, s3: S3Server
) -> None:
    address = s3.url.removeprefix("http://")
    with stalling_proxy(address, sys.maxsize) as proxy:
        by_proxy = {**s3.environ, "AWS_ENDPOINT_URL_S3": f"http://{proxy.address}"}
        storers = make_storers(own_etcd, "s3://katas/class", **by_proxy)
        storers.add()
        katas = storers.katas(0)
        kata_id = katas.started("whale")
        wait_until(lambda: storers.all_records()[0] == 0)
        proxy.switch_to(NOBODY)
        asked = a_test(kata_id, "whale", FILES, request_id="request-one")
        own_etcd.freeze()
        with refused(grpc.StatusCode.UNAVAILABLE, reason="ETCD_UNAVAILABLE"):
            katas.stub.RecordTest(asked)
        own_etcd.thaw()
        wait_until(lambda: code_of(lambda: katas.stub.RecordTest(asked)) is grpc.StatusCode.OK)
        assert len(katas.lights(kata_id, "whale")) == 2
        proxy.switch_to(address)
        wait_until(lambda: storers.all_records()[0] == 0, CATCH_UP_SECONDS)
