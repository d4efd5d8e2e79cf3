"""The commands that make tokens and certificates."""

import ssl
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cli.main import command
from dojo.access import tokens
from dojo.access.roles import Role


def run(*arguments: str) -> Result:
    return CliRunner().invoke(command, arguments, prog_name="cyber-dojo")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file of callers that does not exist yet."""
    return tmp_path / "callers"


def test_a_token_is_shown_once_and_the_file_has_its_hash(file: Path) -> None:
    done = run("token", "make", "web", "--role", "web", "--callers", str(file), "--days", "2")
    assert done.exit_code == 0, done.output
    token = done.output.strip()
    assert token not in file.read_text()
    entry = tokens.read(file).with_token(token)
    assert entry is not None
    assert (entry.name, entry.role, entry.is_expired()) == ("web", Role.WEB, False)
    assert entry.expires is not None
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_token_in_a_file_is_for_its_owner_alone(file: Path, tmp_path: Path) -> None:
    output = tmp_path / "token"
    done = run("token", "make", "a", "--role", "reader", "--callers", str(file), "-o", str(output))
    assert (done.exit_code, done.output) == (0, "")
    assert output.stat().st_mode & 0o777 == 0o600
    assert tokens.read(file).with_token(output.read_text().strip()) is not None


def test_what_a_person_wrote_in_the_file_stays(file: Path) -> None:
    file.write_text("# our callers\nboard reader certificate")  # without an end of line
    file.chmod(0o640)
    assert run("token", "make", "w", "--role", "web", "--callers", str(file)).exit_code == 0
    assert run("token", "revoke", "w", "--callers", str(file)).exit_code == 0
    assert file.read_text() == "# our callers\nboard reader certificate\n"
    assert file.stat().st_mode & 0o777 == 0o640


def test_a_certificate_gets_a_role(file: Path) -> None:
    arguments = ("--role", "operator", "--callers", str(file), "--certificate")
    assert run("token", "make", "op", *arguments).output == ""
    assert file.read_text() == "op operator certificate\n"


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (("make", "a b", "--role", "web"), 2, "'a b' is no name"),
        (("make", "a", "--role", "root"), 2, "'root' is not one of"),
        (("make", "a", "--role", "web", "--expires", "soon"), 2, "'soon' is no date"),
        (("make", "a", "--role", "web", "--expires", "2100-01-31", "--days", "1"), 2, "exclude"),
        (("make", "a", "--role", "web"), 6, "line 1: it is not NAME ROLE HASH [EXPIRY]"),
        (("revoke", "a"), 6, "line 1: it is not NAME ROLE HASH [EXPIRY]"),
        (("list",), 6, "line 1: it is not NAME ROLE HASH [EXPIRY]"),
    ],
)
def test_a_mistake_is_named_and_changes_nothing(
    file: Path, arguments: tuple[str, ...], code: int, reason: str
) -> None:
    file.write_text("what\n")
    done = run("token", *arguments, "--callers", str(file))
    assert done.exit_code == code
    assert reason in done.output
    assert file.read_text() == "what\n"


def test_certificates_are_of_the_ca_beside_them_and_made_again_by_it(tmp_path: Path) -> None:
    folder = tmp_path / "tls"
    arguments = ("certificates", "make", str(folder), "--client", "board", "--host", "::1")
    assert run(*arguments).exit_code == 0
    first = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert run(*arguments).exit_code == 0
    again = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert {name for name in first if first[name] == again[name]} == {"ca.pem", "ca.key"}
    for name in ("server", "board"):
        context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
        context.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
        assert (folder / f"{name}.key").stat().st_mode & 0o777 == 0o600


def test_a_ca_whose_key_is_elsewhere_is_not_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "tls"
    arguments = ("certificates", "make", str(folder))
    assert run(*arguments).exit_code == 0
    (folder / "ca.key").unlink()
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    done = run(*arguments)
    assert done.exit_code == 3
    assert f"{folder}/ca.key: No such file or directory" in done.output
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_no_client_takes_the_files_of_the_ca(tmp_path: Path) -> None:
    for name in ("ca", "server", "../x"):
        done = run("certificates", "make", str(tmp_path / "tls"), "--client", name)
        assert done.exit_code == 2
        assert "--client" in done.output
    assert not (tmp_path / "tls").exists()
