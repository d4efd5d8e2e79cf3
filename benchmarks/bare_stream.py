"""`python -m benchmarks.bare_stream`: stream bytes from memory by gRPC, and do nothing else.

No Python service can stream faster than `Download`; and none that digests the bytes too, as the
storer has to, faster than `Digested`. Prints its port, and serves until it is killed.
"""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator

import grpc
import grpc.aio

from dojo.chunks import CHUNK_BYTES

SERVICE = "bare.Stream"
DOWNLOAD, DIGESTED = "Download", "Digested"


async def serve() -> None:
    """Serve. A request is the number of chunks to stream, in digits."""
    chunk = os.urandom(CHUNK_BYTES)

    async def download(request: bytes, _: object) -> AsyncIterator[bytes]:
        for _ in range(int(request)):
            yield chunk

    async def digested(request: bytes, _: object) -> AsyncIterator[bytes]:
        digest = hashlib.sha256()
        loop = asyncio.get_running_loop()
        for _ in range(int(request)):
            digesting = loop.run_in_executor(None, digest.update, chunk)
            yield chunk
            await digesting

    server = grpc.aio.server()
    handlers = {
        name: grpc.unary_stream_rpc_method_handler(method)
        for name, method in ((DOWNLOAD, download), (DIGESTED, digested))
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(serve())
