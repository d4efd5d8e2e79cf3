"""Taking over an address: a new service gets ready while the former one still serves.

The new service waits until nobody listens on its address. The former one stops listening as soon as
it is told to stop, and then lets its calls end. So nobody is refused for longer than a bind takes.
"""

import asyncio
import errno
import socket
import time

import structlog

_POLL_SECONDS = 0.005

_log = structlog.get_logger()


async def wait_until_free(listen: str, seconds: float) -> None:
    """Wait until nobody listens on `listen` (host:port), but at most `seconds`.

    Whether it can be listened on at all is found out by who listens.
    """
    if not seconds or not _is_taken(listen):
        return
    _log.info("waiting for the address", listen=listen)
    deadline = time.monotonic() + seconds
    # Nobody tells when an address becomes free.
    while time.monotonic() < deadline and _is_taken(listen):  # noqa: ASYNC110 - as above
        await asyncio.sleep(_POLL_SECONDS)


def _is_taken(listen: str) -> bool:
    """Say whether somebody listens there; a port of 0 is nobody's."""
    host, _, port = listen.rpartition(":")
    try:
        found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    except OSError:
        return False
    for family, kind, protocol, _, address in found:
        with socket.socket(family, kind, protocol) as probe:
            # As gRPC does: connections that the former service still serves are no obstacle.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(address)  # without listening: nobody's connection ends here
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    return True
    return False
