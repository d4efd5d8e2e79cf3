"""What is no gRPC, on connections that anybody can open, keeps nobody out."""

import asyncio
import contextlib
import random
import socket
from pathlib import Path

import grpc

from dojo.access.roles import Role
from dojo.service.settings import CommonSettings
from support.access import bearer, channel_to, make_files, served

GET = "/cyberdojo.storer.v1.StorerService/GetKata"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
CONNECTIONS = 300


def frame(chance: random.Random) -> bytes:
    """Return a frame of HTTP/2 (RFC 9113, section 4.1) with anything in it."""
    payload = chance.randbytes(chance.choice([0, 1, 4, 5, 8, 40, 300]))
    # Most say how long they are; the others want more, or less, than there is.
    size = chance.choice([len(payload)] * 4 + [0, 2**14, 2**24 - 1])
    kind, flags = chance.randrange(12), chance.randrange(256)
    stream = chance.choice([0, 1, 3, 2, 2**31 - 1, chance.randrange(2**32)])
    return size.to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload


def attack(address: str) -> None:
    """Open connections one after the other, and send what chance gives."""
    host, _, port = address.rpartition(":")
    for number in range(CONNECTIONS):
        chance = random.Random(number)  # noqa: S311 - the same frames each time
        begin = chance.choice([PREFACE + SETTINGS] * 6 + [PREFACE, b"", chance.randbytes(50)])
        sent = begin + b"".join(frame(chance) for _ in range(chance.randrange(30)))
        connection = socket.create_connection((host, int(port)), timeout=30)
        # The server may close the connection in the middle of it.
        with connection, contextlib.suppress(ConnectionError):
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65_536):
                pass


def test_frames_that_are_none_keep_nobody_out(tmp_path: Path) -> None:
    files = make_files(tmp_path)

    async def main() -> None:
        async with (
            served(CommonSettings(callers=files.callers)) as server,
            channel_to(server.address) as earlier,
        ):
            web = bearer(files.tokens[Role.WEB])
            refused = grpc.StatusCode.INVALID_ARGUMENT  # the request can't be parsed
            assert await server.call(earlier, GET, web) is refused
            attacking = asyncio.create_task(asyncio.to_thread(attack, server.address))
            while not attacking.done():
                assert await server.call(earlier, GET, web) is refused
            await attacking
            async with channel_to(server.address) as later:
                assert await server.call(later, GET, web) is refused

    asyncio.run(main())
