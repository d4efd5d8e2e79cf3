"""TLS, client certificates, and that files are replaced under load without a lost call."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from dojo.access import tokens
from dojo.access.roles import Role
from dojo.access.tokens import Entry
from dojo.service.settings import CommonSettings
from support.access import (
    Files,
    Served,
    bearer,
    channel_to,
    make_files,
    replace,
    served,
)

GET = "/cyberdojo.storer.v1.StorerService/GetKata"
DELETE = "/cyberdojo.storer.v1.StorerService/DeleteKata"
INVALID_ARGUMENT = grpc.StatusCode.INVALID_ARGUMENT  # as the request can't be parsed

CALLERS = 4
ROTATIONS = 12


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """Certificates, and tokens of every role."""
    return make_files(tmp_path)


def settings_of(files: Files, **more: Any) -> CommonSettings:
    return CommonSettings(**files.settings, **more)


async def call_while(files: Files, server: Served, change: Callable[[int], str]) -> set[Any]:
    """Call without pause, each call by a new connection or an old one; return the statuses.

    `change` changes the files, and returns the token to call with from then on.
    """
    codes: set[Any] = set()
    made = asyncio.Condition()
    count = 0
    token = change(0)
    is_over = False

    async def work() -> None:
        nonlocal count
        async with channel_to(server.address, files.ca.certificate) as old:
            while not is_over:
                async with channel_to(server.address, files.ca.certificate) as new:
                    for channel in (old, new):
                        codes.add(await server.call(channel, GET, bearer(token)))
                async with made:
                    count += 1
                    made.notify_all()

    async with asyncio.TaskGroup() as group:
        for _ in range(CALLERS):
            group.create_task(work())
        for number in range(1, ROTATIONS + 1):
            enough = count + CALLERS
            async with made:
                while count < enough:
                    await made.wait()
            token = change(number)
        is_over = True
    return codes


def test_certificates_are_replaced_under_load_without_a_lost_call(files: Files) -> None:
    def change(_: int) -> str:
        files.write_server()
        return files.tokens[Role.WEB]

    async def main() -> None:
        async with served(settings_of(files)) as server:
            assert await call_while(files, server, change) == {INVALID_ARGUMENT}

    asyncio.run(main())


def test_tokens_are_replaced_under_load_without_a_lost_call(files: Files) -> None:
    """A caller gets a new token; the one before it stays until the next change."""

    def change(number: int) -> str:
        new, old = f"token-{number}", f"token-{number - 1}"
        files.write_callers(
            Entry("web", Role.WEB, tokens.digest_of(each), None) for each in (old, new)
        )
        return new

    async def main() -> None:
        async with served(settings_of(files)) as server:
            assert await call_while(files, server, change) == {INVALID_ARGUMENT}
            metadata = bearer(f"token-{ROTATIONS - 2}")
            async with channel_to(server.address, files.ca.certificate) as channel:
                code = await server.call(channel, GET, metadata)
            assert code is grpc.StatusCode.UNAUTHENTICATED

    asyncio.run(main())


def test_a_new_certificate_is_served_at_the_next_connection(files: Files) -> None:
    def served_certificate(address: str) -> str:
        host, _, port = address.rpartition(":")
        return ssl.get_server_certificate((host, int(port)), timeout=10)

    async def main() -> None:
        async with served(settings_of(files)) as server:
            seen = set()
            for _ in range(3):
                files.write_server()
                seen.add(await asyncio.to_thread(served_certificate, server.address))
            assert len(seen) == 3
            certificate = (files.folder / "server.pem").read_text()
            assert certificate in seen

    asyncio.run(main())


@pytest.mark.parametrize("broken", ["server.pem", "server.key", "callers"])
def test_files_that_can_not_be_used_leave_those_before_them_in_force(
    files: Files, broken: str
) -> None:
    async def main() -> None:
        async with served(settings_of(files)) as server:
            replace(files.folder / broken, b"web web sha256:no\n")
            async with channel_to(server.address, files.ca.certificate) as channel:
                code = await server.call(channel, GET, bearer(files.tokens[Role.WEB]))
            assert code is INVALID_ARGUMENT

    asyncio.run(main())


def test_a_client_certificate_stands_for_its_caller(files: Files) -> None:
    (files.folder / "ca.pem").write_bytes(files.ca.certificate)
    files.write_callers(
        [
            *files.entries(),
            Entry("board", Role.READER, "", None),
            Entry("op", Role.OPERATOR, "", None),
        ]
    )
    settings = settings_of(files, tls_client_ca=files.folder / "ca.pem")
    expected = {
        "board": (INVALID_ARGUMENT, grpc.StatusCode.PERMISSION_DENIED),
        "op": (INVALID_ARGUMENT, INVALID_ARGUMENT),
        "stranger": (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.UNAUTHENTICATED),
    }

    async def main() -> None:
        async with served(settings) as server:
            for name, codes in expected.items():
                own = files.client(name)
                async with channel_to(server.address, files.ca.certificate, own) as channel:
                    assert await server.call(channel, GET) is codes[0]
                    assert await server.call(channel, DELETE) is codes[1]
            # A token counts before the certificate, and one that is no good is not made up for.
            own = files.client("op")
            async with channel_to(server.address, files.ca.certificate, own) as channel:
                metadata = bearer(files.tokens[Role.READER])
                code = await server.call(channel, DELETE, metadata)
                assert code is grpc.StatusCode.PERMISSION_DENIED
                code = await server.call(channel, DELETE, bearer("x"))
                assert code is grpc.StatusCode.UNAUTHENTICATED

    asyncio.run(main())


def test_nobody_connects_without_a_client_certificate_of_the_ca(
    files: Files, tmp_path: Path
) -> None:
    (files.folder / "ca.pem").write_bytes(files.ca.certificate)
    (tmp_path / "others").mkdir()
    others = make_files(tmp_path / "others")
    settings = settings_of(files, tls_client_ca=files.folder / "ca.pem")

    async def main() -> None:
        async with served(settings) as server:
            for own in (None, others.client("operator")):
                async with channel_to(server.address, files.ca.certificate, own) as channel:
                    metadata = bearer(files.tokens[Role.OPERATOR])
                    code = await server.call(channel, GET, metadata)
                    assert code is grpc.StatusCode.UNAVAILABLE

    asyncio.run(main())


@pytest.mark.parametrize(
    ("version", "is_served"),
    [
        (ssl.TLSVersion.TLSv1_1, False),
        (ssl.TLSVersion.TLSv1_2, True),
        (ssl.TLSVersion.TLSv1_3, True),
    ],
)
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
def test_tls_is_1_2_or_later(files: Files, version: ssl.TLSVersion, *, is_served: bool) -> None:
    context = ssl.create_default_context(cadata=files.ca.certificate.decode())
    context.minimum_version = context.maximum_version = version
    context.set_ciphers("DEFAULT@SECLEVEL=0")  # else the test's own library refuses old versions
    context.set_alpn_protocols(["h2"])

    def connects(address: str) -> bool:
        host, _, port = address.rpartition(":")
        with socket.create_connection((host, int(port)), timeout=10) as plain:
            try:
                with context.wrap_socket(plain, server_hostname=host):
                    return True
            except (ssl.SSLError, OSError):
                return False

    async def main() -> None:
        async with served(settings_of(files)) as server:
            assert await asyncio.to_thread(connects, server.address) == is_served

    asyncio.run(main())


def test_connections_that_say_nothing_and_slow_streams_keep_nobody_out(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dojo.limits.FAST_RECEIVE_SECONDS", 0.01)
    begins = [b"", b"\x16\x03\x01", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", b"GET / HTTP/1.1\r\n"]

    async def main() -> None:
        async with served(settings_of(files)) as server:
            with contextlib.ExitStack() as stack:
                host, _, port = server.address.rpartition(":")
                for number in range(200):
                    half_open = socket.create_connection((host, int(port)), timeout=10)
                    stack.enter_context(half_open)
                    half_open.sendall(begins[number % len(begins)])
                ca = files.ca.certificate
                async with (
                    channel_to(server.address, ca) as slow,
                    channel_to(server.address, ca) as ok,
                ):
                    web = bearer(files.tokens[Role.WEB])
                    streams = [
                        slow.stream_stream(GET, None, None)(None, metadata=[metadata])
                        for metadata in [web] * 20 + [bearer("x")] * 20
                    ]
                    # Without a valid token nobody is waited for.
                    for stream in streams[20:]:
                        assert await stream.code() is grpc.StatusCode.UNAUTHENTICATED
                    # On a busy machine a call can be slow too: then it is told to come again.
                    exhausted = grpc.StatusCode.RESOURCE_EXHAUSTED
                    while (code := await server.call(ok, GET, web)) is exhausted:
                        pass
                    assert code is INVALID_ARGUMENT
                    for stream in streams:
                        stream.cancel()

    asyncio.run(main())
