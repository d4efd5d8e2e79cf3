"""What somebody sends to a port who has no business there."""

import contextlib
import random
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterable, Iterator

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])

Connect = Callable[[], socket.socket]

_SECONDS = 60  # on a busy machine
_TRICKLE_SECONDS = 0.2
_DATA, _HEADERS, _END_HEADERS = 0, 1, 4
# Closed like this, a connection ends at once, and does not keep its port for a minute.
_NO_LINGER = struct.pack("ii", 1, 0)


def plain(address: str) -> Connect:
    """Return what opens connections to an address."""
    host, _, port = address.rpartition(":")
    return lambda: socket.create_connection((host, int(port)), timeout=_SECONDS)


def with_tls(address: str, ca: bytes) -> Connect:
    """Return what opens connections with TLS for HTTP/2 to an address; they raise ssl.SSLError."""
    context = ssl.create_default_context(cadata=ca.decode())
    context.set_alpn_protocols(["h2"])
    host = address.rpartition(":")[0]
    return lambda: context.wrap_socket(plain(address)(), server_hostname=host)


def frames(number: int) -> bytes:
    """Return bytes that begin like HTTP/2, or not, and frames with anything in them.

    The same each time for a number.
    """
    chance = random.Random(number)  # noqa: S311 - this is no secret
    begin = chance.choice([PREFACE + SETTINGS] * 6 + [PREFACE, b"", chance.randbytes(50)])
    return begin + b"".join(_frame(chance) for _ in range(chance.randrange(30)))


def _frame(chance: random.Random) -> bytes:
    """Return a frame of HTTP/2 (RFC 9113, section 4.1) with anything in it."""
    payload = chance.randbytes(chance.choice([0, 1, 4, 5, 8, 40, 300]))
    # Most say how long they are; the others want more, or less, than there is.
    size = chance.choice([len(payload)] * 4 + [0, 2**14, 2**24 - 1])
    kind, flags = chance.randrange(12), chance.randrange(256)
    stream = chance.choice([0, 1, 3, 2, 2**31 - 1, chance.randrange(2**32)])
    return size.to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload


def send_each(connect: Connect, contents: Iterable[bytes]) -> None:
    """Send each of these by a connection of its own, one after the other, and read the answer."""
    for content in contents:
        # The other side may close the connection in the middle of it.
        with contextlib.suppress(OSError), connect() as connection:
            connection.sendall(content)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65_536):
                pass


@contextlib.contextmanager
def half_open(connect: Connect, begins: Iterable[bytes]) -> Iterator[list[socket.socket]]:
    """Open a connection for each of these, send that, and nothing more; close them in the end."""
    with contextlib.ExitStack() as stack:
        connections = []
        for begin in begins:
            connections.append(stack.enter_context(connect()))
            connections[-1].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
            with contextlib.suppress(ConnectionError):
                connections[-1].sendall(begin)
        yield connections


def slow_request(path: str, authorization: str) -> bytes:
    """Return the begin of a gRPC call, of whose message only the announced size has come."""
    headers = {
        ":method": "POST",
        ":scheme": "https",
        ":path": path,
        ":authority": "somebody",
        "te": "trailers",
        "content-type": "application/grpc",
        "authorization": authorization,
    }
    block = b"".join(
        b"\0" + b"".join(bytes([len(text)]) + text.encode() for text in pair)
        for pair in headers.items()
    )
    prefix = b"\0" + (1_000_000).to_bytes(4)
    return (
        PREFACE
        + SETTINGS
        + _on_stream(_HEADERS, _END_HEADERS, block)
        + _on_stream(_DATA, 0, prefix)
    )


def data_of_a_byte() -> bytes:
    """Return the next byte of the message of a slow request."""
    return _on_stream(_DATA, 0, b"\0")


def _on_stream(kind: int, flags: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3) + bytes([kind, flags]) + (1).to_bytes(4) + payload


@contextlib.contextmanager
def trickling(connect: Connect, count: int, begin: bytes, then: bytes) -> Iterator[None]:
    """Open connections and send `begin`, then `then` again and again, as long as they are open."""
    is_over = threading.Event()

    def trickle(connections: list[socket.socket]) -> None:
        while not is_over.wait(_TRICKLE_SECONDS):
            for connection in connections:
                with contextlib.suppress(OSError):  # the other side has closed it
                    connection.sendall(then)

    with half_open(connect, [begin] * count) as connections:
        thread = threading.Thread(target=trickle, args=[connections])
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()
