"""The clients do what clients/cases.json describes, in each language alike."""

import json
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest

from cyber_dojo_client import AsyncClient, Client
from support.clients import python_driver
from support.clients.node_driver import Drive, node_driver
from support.clients.scripted import serving
from support.paths import TOP
from support.services import free_ports, wait_until
from support.storer.stalling_proxy import stalling_proxy

KINDS: dict[str, type[Client] | type[AsyncClient]] = {"python": Client, "asyncio": AsyncClient}
CASES = json.loads((TOP / "clients/cases.json").read_text())


@dataclass(frozen=True)
class Certificate:
    """A certificate of 127.0.0.1 that stands for itself."""

    certificate: bytes
    key: bytes

    def credentials(self) -> grpc.ServerCredentials:
        return grpc.ssl_server_credentials([(self.key, self.certificate)])


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    folder = tmp_path_factory.mktemp("certificate")
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    names = ["-nodes", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "certificate.pem")]
    subprocess.run([*command, *names, *files], check=True, capture_output=True)
    return Certificate((folder / "certificate.pem").read_bytes(), (folder / "key.pem").read_bytes())


@pytest.fixture(scope="module")
def node() -> Iterator[Drive]:
    with node_driver() as drive:
        yield drive


@pytest.mark.parametrize("language", [*KINDS, "node"])
@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_a_client_does_as_described(
    language: str,
    case: dict[str, Any],
    certificate: Certificate,
    node: Drive,
    tmp_path: Path,
) -> None:
    do = case["do"]
    credentials = certificate.credentials() if do.get("tls") else None
    with serving(case["script"], credentials) as (scripted, address):
        if language == "node":
            given = {"folder": str(tmp_path), "certificate": certificate.certificate.decode()}
            comes = node({"task": do, "address": address, **given})
        else:
            kind = KINDS[language]
            comes = python_driver.drive(kind, do, address, tmp_path, certificate.certificate)
        assert scripted.left == {}
    if "folder" in case["comes"]:
        comes["folder"] = {path.name: path.read_text() for path in tmp_path.iterdir()}
    if "refused" in comes:  # in each language's own words
        assert case["comes"]["refused"] in comes["refused"]
    else:
        assert comes == case["comes"]
    if "asked" in case:
        assert _with_one_id(scripted.asked) == case["asked"]
    for name, value in case.get("metadata", {}).items():
        assert {metadata.get(name) for metadata in scripted.metadata} == {value}


# gRPC's own pauses between eight attempts add up to over 40 s.
ATTEMPTS = 8
ATTEMPTS_SECONDS = 25


@pytest.mark.parametrize("language", [*KINDS, "node"])
def test_a_client_connects_again_soon_to_a_service_that_was_away(
    language: str, node: Drive, tmp_path: Path
) -> None:
    task = {"retry": "storer.GetKata", "request": {}, "seconds": ATTEMPTS_SECONDS}
    (nowhere,) = free_ports(1)
    with (
        serving({"GetKata": [{"answer": {"kataId": "493A06504A"}}]}) as (_, address),
        stalling_proxy(f"127.0.0.1:{nowhere}", 2**62) as proxy,
        ThreadPoolExecutor(1) as threads,
    ):

        def come_back() -> None:
            wait_until(lambda: proxy.closed_count >= ATTEMPTS)
            proxy.switch_to(address)

        coming = threads.submit(come_back)
        if language == "node":
            comes = node({"task": task, "address": proxy.address, "folder": str(tmp_path)})
        else:
            comes = python_driver.drive(KINDS[language], task, proxy.address, tmp_path, b"")
        coming.result()
    assert comes == {"answer": {"kataId": "493A06504A"}}


def _with_one_id(asked: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Replace the request id, of which there has to be one, by ID."""
    ids = {each["request"].pop("requestId", None) for each in asked} - {None}
    assert len(ids) <= 1
    for each in asked:
        if ids and each["rpc"] == "RecordTest":
            each["request"]["requestId"] = "ID"
    return asked
