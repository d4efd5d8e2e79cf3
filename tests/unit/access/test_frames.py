"""What is no gRPC, on connections that anybody can open, keeps nobody out."""

import asyncio
from pathlib import Path

import grpc

from dojo.access.roles import Role
from dojo.service.settings import CommonSettings
from support import scanner
from support.access import bearer, channel_to, make_files, served

GET = "/cyberdojo.storer.v1.StorerService/GetKata"
CONNECTIONS = 300


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
            sent = map(scanner.frames, range(CONNECTIONS))
            connect = scanner.plain(server.address)
            attacking = asyncio.create_task(asyncio.to_thread(scanner.send_each, connect, sent))
            while not attacking.done():
                assert await server.call(earlier, GET, web) is refused
            await attacking
            async with channel_to(server.address) as later:
                assert await server.call(later, GET, web) is refused

    asyncio.run(main())
