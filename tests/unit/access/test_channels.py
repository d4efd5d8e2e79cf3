"""Channels have TLS, a token and a client certificate as the settings say."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

from cyberdojo.storer.v1 import storer_pb2, storer_pb2_grpc
from dojo.access.roles import Role
from dojo.access.tokens import Entry
from dojo.channels import open_channel
from dojo.service.settings import BadSettings, CallerSettings, CommonSettings, Secret
from support.access import Files, make_files, replace, served

Stub = storer_pb2_grpc.StorerServiceStub


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """Certificates, tokens, and the files that a caller is given."""
    files = make_files(tmp_path)
    (tmp_path / "ca.pem").write_bytes(files.ca.certificate)
    own = files.client("board")
    (tmp_path / "board.pem").write_bytes(own.certificate)
    (tmp_path / "board.key").write_bytes(own.key)
    (tmp_path / "token").write_text(files.tokens[Role.OPERATOR] + "\n")
    return files


def calling(settings: CommonSettings, calls: Callable[[str], None]) -> None:
    """Serve, and make calls in a thread, to the address that the function gets."""

    async def main() -> None:
        async with served(settings) as server:
            await asyncio.get_running_loop().run_in_executor(
                ThreadPoolExecutor(1), calls, server.address
            )

    asyncio.run(main())


def test_calls_of_every_kind_have_the_token_and_tls(files: Files) -> None:
    def calls(address: str) -> None:
        settings = CallerSettings(ca=files.folder / "ca.pem", token_file=files.folder / "token")
        with open_channel(address, settings) as channel:
            stub = Stub(channel)
            stub.DeleteKata(storer_pb2.DeleteKataRequest())
            stub.DeleteKata.future(storer_pb2.DeleteKataRequest(), timeout=60).result()
            assert list(stub.BackupKatas(storer_pb2.BackupKatasRequest()))
            stub.RestoreKata(iter([storer_pb2.RestoreKataRequest()]))
            assert list(stub.RestoreKatas(iter([storer_pb2.RestoreKatasRequest()])))

    calling(CommonSettings(**files.settings), calls)


def test_a_token_in_a_file_is_read_again(files: Files) -> None:
    def calls(address: str) -> None:
        settings = CallerSettings(token_file=files.folder / "token")
        with open_channel(address, settings) as channel:
            replace(files.folder / "token", files.tokens[Role.READER].encode())
            with pytest.raises(grpc.RpcError) as caught:
                Stub(channel).DeleteKata(storer_pb2.DeleteKataRequest())
            assert caught.value.details() == "reader has the role reader; DeleteKata takes operator"

    calling(CommonSettings(callers=files.callers), calls)


def test_a_service_that_listens_everywhere_is_called_on_loopback(files: Files) -> None:
    def calls(address: str) -> None:
        settings = CallerSettings(ca=files.folder / "ca.pem", token_file=files.folder / "token")
        with open_channel(address.replace("127.0.0.1", "0.0.0.0"), settings) as channel:
            Stub(channel).GetKata(storer_pb2.GetKataRequest())

    calling(CommonSettings(**files.settings), calls)


def test_a_client_certificate_is_shown(files: Files) -> None:
    files.write_callers([Entry("board", Role.READER, "", None)])

    def calls(address: str) -> None:
        settings = CallerSettings(
            ca=files.folder / "ca.pem",
            client_certificate=files.folder / "board.pem",
            client_key=files.folder / "board.key",
        )
        with open_channel(address, settings) as channel:
            Stub(channel).GetKata(storer_pb2.GetKataRequest())

    more: dict[str, Any] = {**files.settings, "tls_client_ca": files.folder / "ca.pem"}
    calling(CommonSettings(**more), calls)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"token": Secret("a"), "token_file": Path("/b")}, "exclude each other"),
        ({"client_key": Path("/a")}, "CYBER_DOJO_CLIENT_CERTIFICATE requires CYBER_DOJO_CA"),
        ({"ca": Path("/missing")}, "CYBER_DOJO_CA='/missing' can't be read: No such file"),
        ({"token_file": Path("/missing")}, "CYBER_DOJO_TOKEN_FILE='/missing' can't be read: No"),
        ({"ca": Path("/a"), "client_key": Path("/b")}, "CYBER_DOJO_CLIENT_KEY require each other"),
    ],
)
def test_settings_that_can_not_be_used_are_named(settings: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadSettings, match=reason):
        open_channel("127.0.0.1:1", CallerSettings(**settings))


def test_no_token_goes_over_a_network_unencrypted() -> None:
    settings = CallerSettings(token=Secret("a"))
    with pytest.raises(BadSettings, match=r"the token would go to 192\.0\.2\.1:1 unencrypted"):
        open_channel("192.0.2.1:1", settings)
    open_channel("127.0.0.1:1", settings).close()
    open_channel("192.0.2.1:1", CallerSettings(token=Secret("a"), unprotected="allow")).close()
