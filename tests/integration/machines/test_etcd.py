"""An etcd of one member, which tests stop, kill and freeze."""

from pathlib import Path

import pytest

from support.machines import etcd as etcd_module
from support.machines.etcd import Etcd, EtcdError


def test_an_etcd_keeps_what_was_written_when_it_is_killed(own_etcd: Etcd) -> None:
    own_etcd.put("a", b"1")
    own_etcd.kill()
    assert not own_etcd.is_running
    with pytest.raises(ConnectionRefusedError):
        own_etcd.get("a")
    own_etcd.start()
    assert own_etcd.get("a") == b"1"
    assert own_etcd.get("b") is None


def test_an_etcd_stops_cleanly_and_starts_again_at_its_address(own_etcd: Etcd) -> None:
    own_etcd.put("a", b"")
    address = own_etcd.address
    own_etcd.stop()
    own_etcd.start()
    assert own_etcd.address == address
    assert own_etcd.get("a") == b""


def test_a_frozen_etcd_answers_nothing_until_it_is_thawed(
    own_etcd: Etcd, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_etcd.put("a", b"1")
    own_etcd.freeze()
    with monkeypatch.context() as patched:
        patched.setattr(etcd_module, "ANSWER_SECONDS", 0.2)
        with pytest.raises(TimeoutError):
            own_etcd.get("a")
    own_etcd.thaw()
    assert own_etcd.get("a") == b"1"


def test_what_an_etcd_refuses_is_raised(etcd: Etcd) -> None:
    with pytest.raises(EtcdError, match="key is not provided"):
        etcd.put("", b"1")


def test_two_etcds_run_at_once_and_leave_nothing(etcd: Etcd, tmp_path: Path) -> None:
    other = Etcd(tmp_path / "other")
    other.start()
    etcd.put("of two", b"1")
    other.put("of two", b"2")
    assert etcd.get("of two") == b"1"
    other.remove()
    assert list(tmp_path.iterdir()) == []
