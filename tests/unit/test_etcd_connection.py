"""What the settings of etcd have to say."""

from pathlib import Path
from typing import Any

import pytest

from dojo.access.certificates import make_ca, make_client
from dojo.etcd.connection import connect
from dojo.service.settings import BadSettings, CommonSettings

LOOPBACK, ELSEWHERE = ("127.0.0.1:2379",), ("127.0.0.1:2379", "10.0.0.2:2379")


def problems(**settings: Any) -> list[str]:
    """Return why nobody connects with these settings; [] if somebody does."""
    try:
        connect(CommonSettings(**settings)).close()
    except BadSettings as error:
        return error.problems
    return []


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """A CA, and a client certificate of it, by the names of their settings."""
    ca = make_ca("tests", 1)
    client = make_client(ca, "tests", 1)
    made = {
        "etcd_ca": ca.certificate,
        "etcd_certificate": client.certificate,
        "etcd_key": client.key,
    }
    for name, content in made.items():
        (tmp_path / name).write_bytes(content)
    return {name: tmp_path / name for name in made}


def test_an_etcd_of_this_machine_may_be_called_without_tls() -> None:
    assert problems(etcd=LOOPBACK) == []


def test_an_etcd_of_another_machine_is_called_with_tls(files: dict[str, Path]) -> None:
    (problem,) = problems(etcd=ELSEWHERE)
    assert "10.0.0.2:2379 unencrypted" in problem
    assert "CYBER_DOJO_ETCD_CA" in problem
    assert problems(etcd=ELSEWHERE, unprotected="allow") == []
    assert problems(etcd=ELSEWHERE, etcd_ca=files["etcd_ca"]) == []
    assert problems(etcd=ELSEWHERE, **files) == []


@pytest.mark.parametrize("name", ["etcd_certificate", "etcd_key"])
def test_a_certificate_and_its_key_require_each_other(files: dict[str, Path], name: str) -> None:
    (problem,) = problems(etcd=LOOPBACK, etcd_ca=files["etcd_ca"], **{name: files[name]})
    assert problem == "CYBER_DOJO_ETCD_CERTIFICATE and CYBER_DOJO_ETCD_KEY require each other"


def test_a_certificate_requires_the_ca(files: dict[str, Path]) -> None:
    del files["etcd_ca"]
    assert problems(etcd=LOOPBACK, **files) == [
        "CYBER_DOJO_ETCD_CERTIFICATE requires CYBER_DOJO_ETCD_CA"
    ]


@pytest.mark.parametrize("name", ["etcd_ca", "etcd_certificate", "etcd_key"])
def test_a_file_that_is_not_what_it_should_be_is_named(files: dict[str, Path], name: str) -> None:
    files[name].write_text("nothing")
    (problem,) = problems(etcd=LOOPBACK, **files)
    assert f"CYBER_DOJO_{name.upper()}='{files[name]}' can't be used" in problem


def test_a_file_that_is_not_there_is_named(files: dict[str, Path]) -> None:
    files["etcd_ca"].unlink()
    (problem,) = problems(etcd=LOOPBACK, **files)
    assert "CYBER_DOJO_ETCD_CA" in problem
    assert "No such file" in problem
