"""`python -m benchmarks.bare_stream`: gRPC that streams bytes from memory, and does nothing else.

What a Python service can't be faster than. Prints its port, and serves until it is ended.
"""

import asyncio
import os
from collections.abc import AsyncIterator

import grpc
import grpc.aio

from dojo.chunks import CHUNK_BYTES

METHOD = "/bare.Stream/Download"


async def serve() -> None:
    """Serve; a request says, in digits, how many chunks it wants."""
    chunk = os.urandom(CHUNK_BYTES)

    async def download(request: bytes, _: object) -> AsyncIterator[bytes]:
        for _ in range(int(request)):
            yield chunk

    server = grpc.aio.server()
    handler = grpc.unary_stream_rpc_method_handler(download)
    service, method = METHOD.strip("/").split("/")
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(service, {method: handler}),)
    )
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(serve())
