"""What the clients' packages say of themselves is so."""

import json
import re
import tomllib
from typing import Any

import pytest

from cyber_dojo_client import errors
from cyberdojo.refusal.v1 import refusal_pb2
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


def test_the_node_client_has_the_version_of_the_services() -> None:
    package = json.loads((TOP / "clients/node/package.json").read_text())
    assert (package["version"], package["license"]) == (
        project(".")["version"],
        project(".")["license"],
    )


def test_both_clients_have_the_same_types_for_reasons_that_the_services_give() -> None:
    text = (TOP / "clients/node/src/errors.ts").read_text()
    table = text.split("const OF_REASON")[1].split("};")[0]
    python = {reason: kind.__name__ for reason, kind in errors.OF_REASON.items()}
    assert dict(re.findall(r"(?m)^  ([A-Z_]+): (\w+),$", table)) == python
    reasons = refusal_pb2.Reason.DESCRIPTOR.values_by_name
    assert python.keys() <= {name.removeprefix("REASON_") for name in reasons}


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
