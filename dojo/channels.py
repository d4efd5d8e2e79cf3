"""Channels between the services: the client's, with the pings of both ends."""

from typing import Any

import grpc

import cyber_dojo_client
from cyber_dojo_client import Access

# A connection with calls on which nothing comes for so long is pinged, and given up if no answer
# comes: each end does so, and the other may be dead.
KEEPALIVE_SECONDS = 20
KEEPALIVE_TIMEOUT_SECONDS = 10


def keepalive_options(seconds: float = KEEPALIVE_SECONDS) -> list[tuple[str, int]]:
    """Return gRPC's options, of a server or of a channel, for pings after that many seconds."""
    timeout = round(min(seconds, KEEPALIVE_TIMEOUT_SECONDS) * 1000)
    return [
        ("grpc.keepalive_time_ms", round(seconds * 1000)),
        ("grpc.keepalive_timeout_ms", timeout),
        # gRPC waits a minute for the answer to a ping, whatever the timeout above says.
        ("grpc.http2.ping_timeout_ms", timeout),
        # Else a watch without news would be pinged twice, and then no more.
        ("grpc.http2.max_pings_without_data", 0),
    ]


def open_channel(
    address: str, *options: tuple[str, Any], keepalive_seconds: float = KEEPALIVE_SECONDS
) -> grpc.Channel:
    """Return a channel to the service at host:port; nothing is sent yet.

    Its calls have the deadlines and the retries of the caller, and not those of the service config:
    an operator waits for a large kata, and a replay has patience of its own. `options` are gRPC's,
    and win over the client's.
    """
    no_config = ("grpc.service_config", "{}")
    every = (*keepalive_options(keepalive_seconds), no_config, *options)
    return cyber_dojo_client.open_channel(address, Access(), *every)
