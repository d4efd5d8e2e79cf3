"""What the clients' packages say of themselves is so."""

import re
import tomllib
from typing import Any

import pytest

from support.paths import TOP


def project(folder: str) -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads((TOP / folder / "pyproject.toml").read_text())["project"]
    return found


def floors() -> dict[str, str]:
    """Return the oldest version of each package that the Python client says it takes."""
    return dict(
        re.findall(r"([\w-]+)>=([\d.]+)", " ".join(project("clients/python")["dependencies"]))
    )


def test_the_python_client_has_the_version_and_the_python_of_the_services() -> None:
    ours, theirs = project("clients/python"), project(".")
    for key in ("version", "requires-python", "license"):
        assert ours[key] == theirs[key]


@pytest.mark.parametrize(
    ("package", "file", "pattern"),
    [
        ("grpcio", "storer_pb2_grpc.py", r"GRPC_GENERATED_VERSION = '([\d.]+)'"),
        ("protobuf", "storer_pb2.py", r"# Protobuf Python Version: ([\d.]+)"),
    ],
)
def test_the_python_client_asks_for_what_the_generated_code_takes(
    package: str, file: str, pattern: str
) -> None:
    text = (TOP / "cyberdojo/storer/v1" / file).read_text()
    (generated,) = re.findall(pattern, text)
    assert floors()[package] == generated
