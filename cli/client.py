"""The connection to a storer."""

from __future__ import annotations

from dataclasses import dataclass

import grpc

from cyberdojo.storer.v1 import storer_pb2_grpc

MAX_MESSAGE_BYTES = 64 * 1024 * 1024

# How long a storer may take to start again, before somebody has to be told.
RETURN_SECONDS = 30.0


@dataclass(frozen=True)
class Client:
    """A storer, and where it is."""

    address: str
    channel: grpc.Channel
    stub: storer_pb2_grpc.StorerServiceStub


def connect(address: str) -> Client:
    """Return a client of the storer at host:port; nothing is sent yet."""
    options = [
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.enable_http_proxy", 0),  # an operator's proxy for the web leads elsewhere
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.max_reconnect_backoff_ms", 2000),
    ]
    channel = grpc.insecure_channel(address, options)
    return Client(address, channel, storer_pb2_grpc.StorerServiceStub(channel))


def wait_for_return(client: Client) -> bool:
    """Wait until a storer that went away is there again; say whether it came back in time."""
    try:
        grpc.channel_ready_future(client.channel).result(RETURN_SECONDS)
    except grpc.FutureTimeoutError:
        return False
    return True
