"""`python -m benchmarks.bare_stream`: stream bytes from memory by gRPC, and do nothing else.

No Python service can stream faster than `Download`; and none that digests the bytes too, as the
storer has to, faster than `Digested`. Prints its port, and serves until it is killed.
"""

import asyncio
import hashlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager

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


@contextmanager
def started() -> Iterator[Callable[[str, int], int]]:
    """Start it in a process of its own; yield what streams so many chunks by one of its methods.

    That returns the number of bytes that came.
    """
    command = [sys.executable, "-m", "benchmarks.bare_stream"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        if server.stdout is None:
            raise RuntimeError("the bare stream has no pipe to read its port from")
        with grpc.insecure_channel(f"127.0.0.1:{server.stdout.readline().strip()}") as channel:

            def download(method: str, chunks: int) -> int:
                stream = channel.unary_stream(f"/{SERVICE}/{method}", None, None)
                return sum(len(each) for each in stream(b"%d" % chunks))

            yield download
        server.terminate()


if __name__ == "__main__":
    asyncio.run(serve())
