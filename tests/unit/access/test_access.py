"""What settings say about who may call, and which of them a service does not start with."""

from pathlib import Path

import pytest

from dojo.access import access
from dojo.service.settings import BadSettings, CommonSettings, Secret, is_loopback, load
from support.access import Files, make_files

LOCAL = "127.0.0.1:4577"
ELSEWHERE = "0.0.0.0:4577"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """Certificates and tokens. Tests must not change them."""
    return make_files(tmp_path_factory.mktemp("access"))


def problems(settings: CommonSettings, listen: str = LOCAL) -> list[str]:
    with pytest.raises(BadSettings) as caught:
        access.from_settings(settings, listen)
    return caught.value.problems


@pytest.mark.parametrize("listen", [LOCAL, "127.8.9.1:1", "[::1]:0", "localhost:4577"])
def test_on_loopback_nothing_is_required(listen: str) -> None:
    assert is_loopback(listen)
    access.from_settings(CommonSettings(), listen)


@pytest.mark.parametrize(
    "listen",
    [ELSEWHERE, "[::]:1", "192.0.2.1:1", "dojo.example:1", "[::ffff:127.0.0.1]:1", "unix:/run/x:1"],
)
def test_elsewhere_a_service_refuses_to_start_unprotected_and_says_what_to_do(listen: str) -> None:
    assert not is_loopback(listen)
    (problem,) = problems(CommonSettings(), listen)
    for part in (
        listen,
        "CYBER_DOJO_CALLERS",
        "CYBER_DOJO_TLS_KEY",
        "CYBER_DOJO_UNPROTECTED=allow",
    ):
        assert part in problem
    access.from_settings(CommonSettings(unprotected="allow"), listen)


def test_elsewhere_it_takes_both_callers_and_tls(files: Files) -> None:
    access.from_settings(CommonSettings(**files.settings), ELSEWHERE)
    (problem,) = problems(CommonSettings(callers=files.callers), ELSEWHERE)
    assert "without TLS" in problem
    settings = CommonSettings(**{**files.settings, "callers": None})
    (problem,) = problems(settings, ELSEWHERE)
    assert "without knowing its callers" in problem


def test_settings_that_require_others_name_them_all_at_once() -> None:
    found = problems(CommonSettings(tls_client_ca=Path("/ca"), tls_key=Path("/key")), ELSEWHERE)
    assert len(found) == 4
    assert found[0] == "CYBER_DOJO_TLS_CERTIFICATE and CYBER_DOJO_TLS_KEY require each other"


@pytest.mark.parametrize("broken", ["server.pem", "server.key", "callers"])
def test_a_file_that_can_not_be_used_is_named_with_its_setting(tmp_path: Path, broken: str) -> None:
    files = make_files(tmp_path)
    setting = "CYBER_DOJO_CALLERS" if broken == "callers" else "CYBER_DOJO_TLS_CERTIFICATE"
    (tmp_path / broken).write_bytes(b"web web secret\n")
    (problem,) = problems(CommonSettings(**files.settings))
    assert problem.startswith(f"{setting}='{tmp_path}/")
    assert "secret" not in problem
    (tmp_path / broken).unlink()
    (problem,) = problems(CommonSettings(**files.settings))
    assert problem.endswith(f"can't be read: {tmp_path / broken}: No such file or directory")


def test_a_key_of_another_certificate_is_refused(tmp_path: Path) -> None:
    files = make_files(tmp_path)
    (tmp_path / "server.key").write_bytes(files.ca.key)
    (problem,) = problems(CommonSettings(**files.settings))
    assert problem.endswith(f"{tmp_path}/server.key is not the key of {tmp_path}/server.pem")


def test_no_message_and_no_representation_shows_a_token() -> None:
    settings = load(CommonSettings, {"CYBER_DOJO_TOKEN": "dojo_x"})
    assert settings.token is not None
    assert settings.token.reveal() == "dojo_x"
    assert "dojo_x" not in repr(settings)
    with pytest.raises(ValueError, match="has blanks"):
        Secret("dojo_ü")
