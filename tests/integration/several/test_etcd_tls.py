"""Storers and runners call etcd with TLS, and by a certificate of their own."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import grpc
import pytest

from cyberdojo.runner.v1 import runner_pb2_grpc
from dojo.errors import EtcdUnavailable
from dojo.etcd.connection import connect as connect_to_etcd
from dojo.service.settings import CommonSettings, load
from support.machines.etcd import Etcd, EtcdTls
from support.runner.submissions import AVATAR, GREEN, a_run
from support.storer.several import Storers
from support.storer.storing import a_test


@pytest.fixture
def etcd_with_tls(tmp_path: Path) -> Iterator[Etcd]:
    """An etcd that lets in who has a certificate of its CA, and nobody else."""
    etcd = Etcd(tmp_path / "etcd", has_tls=True)
    etcd.start()
    yield etcd
    etcd.remove()


def test_machines_agree_in_an_etcd_with_tls(
    etcd_with_tls: Etcd,
    make_storers: Callable[[Etcd], Storers],
    connect: Callable[[str], grpc.Channel],
) -> None:
    machines = make_storers(etcd_with_tls)
    for number in range(2):
        machines.add()
        machines.add_runner(number)
    kata_id = machines.katas(0).started(AVATAR)
    runner = runner_pb2_grpc.RunnerServiceStub(connect(machines.runner_address(1)))
    assert runner.Run(a_run(kata_id), timeout=60).colour == GREEN
    assert machines.katas(1).stub.RecordTest(a_test(kata_id, AVATAR)).light.number == 1
    assert machines.owner(kata_id) == 0


LACKS = ["a certificate", "a certificate of etcd's CA", "etcd's CA"]


@pytest.mark.parametrize("lacks", LACKS)
def test_nobody_gets_in_without(etcd_with_tls: Etcd, tmp_path: Path, lacks: str) -> None:
    others = EtcdTls(tmp_path / "others", ["127.0.0.1"]).settings
    assert etcd_with_tls.tls is not None
    own = etcd_with_tls.tls.settings
    of_client = ("CYBER_DOJO_ETCD_CERTIFICATE", "CYBER_DOJO_ETCD_KEY")
    wrong = {
        "a certificate": dict.fromkeys(of_client, ""),
        "a certificate of etcd's CA": {name: others[name] for name in of_client},
        "etcd's CA": {"CYBER_DOJO_ETCD_CA": others["CYBER_DOJO_ETCD_CA"]},
    }
    environ = {"CYBER_DOJO_ETCD": etcd_with_tls.address, **own, **wrong[lacks]}
    with (
        closing(connect_to_etcd(load(CommonSettings, environ))) as etcd,
        pytest.raises(EtcdUnavailable),
    ):
        etcd.get(b"key")
