"""Channels to the services."""

import grpc

from dojo import limits

# A proxy is for the web. Where docker's config.json names one, compose sets `http_proxy` in every
# container, and gRPC would send it the calls to the service next door.
_OPTIONS = (
    ("grpc.max_receive_message_length", limits.MESSAGE_BYTES),
    ("grpc.enable_http_proxy", 0),
)


def open_channel(address: str, *options: tuple[str, int]) -> grpc.Channel:
    """Return a channel to the service at host:port, without any proxy; nothing is sent yet.

    `options` are gRPC's, beside those that every channel has.
    """
    return grpc.insecure_channel(address, [*_OPTIONS, *options])
