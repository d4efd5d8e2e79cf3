"""Channels to the services: the client's."""

from typing import Any

import grpc

import cyber_dojo_client
from cyber_dojo_client import Access


def open_channel(address: str, *options: tuple[str, Any]) -> grpc.Channel:
    """Return a channel to the service at host:port; nothing is sent yet.

    `options` are gRPC's, and win over the client's.
    """
    return cyber_dojo_client.open_channel(address, Access(), *options)
