"""The connection to a storer."""

from __future__ import annotations

from dataclasses import dataclass

import grpc

from cyberdojo.storer.v1 import storer_pb2_grpc
from dojo.channels import open_channel
from dojo.service.settings import CallerSettings

# How long a storer may take to start again before the command fails.
RETURN_SECONDS = 30.0


@dataclass(frozen=True)
class Client:
    """A connection to a storer, and the storer's address."""

    address: str
    channel: grpc.Channel
    stub: storer_pb2_grpc.StorerServiceStub


def connect(address: str, settings: CallerSettings) -> Client:
    """Return a client of the storer at host:port; nothing is sent yet. Raises BadSettings."""
    channel = open_channel(address, settings)
    return Client(address, channel, storer_pb2_grpc.StorerServiceStub(channel))


def wait_for_return(client: Client) -> bool:
    """Wait until the storer answers again; return whether it did so within RETURN_SECONDS."""
    try:
        grpc.channel_ready_future(client.channel).result(RETURN_SECONDS)
    except grpc.FutureTimeoutError:
        return False
    return True
