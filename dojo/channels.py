"""Channels to the services, with TLS, tokens and client certificates as the settings have it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc

import cyber_dojo_client
from cyber_dojo_client import Access, Tls
from cyber_dojo_client.channels import open_plain_aio_channel
from dojo.access import named_file
from dojo.access.watched_files import WatchedFiles
from dojo.service.settings import BadSettings, CallerSettings, Secret, is_loopback

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
    address: str,
    settings: CallerSettings,
    *options: tuple[str, Any],
    keepalive_seconds: float = KEEPALIVE_SECONDS,
) -> grpc.Channel:
    """Return a channel to the service at host:port; nothing is sent yet.

    Its calls have the deadlines and the retries of the caller, and not those of the service config:
    an operator waits for a large kata, and a replay has patience of its own. `options` are gRPC's,
    and win over the client's. A service that listens on all addresses (0.0.0.0, ::) is called on
    loopback. Raises BadSettings.
    """
    no_config = ("grpc.service_config", "{}")
    every = (*keepalive_options(keepalive_seconds), no_config, *options)
    called = address_of(address)
    return cyber_dojo_client.open_channel(called, access_of(called, settings), *every)


def open_forwarding_channel(
    address: str, settings: CallerSettings
) -> tuple[grpc.aio.Channel, Callable[[Any], list[tuple[str, str]]]]:
    """Return a channel to the same service of another machine, and the metadata of its calls.

    It passes on requests, answers and errors as they are. Raises BadSettings.
    """
    no_retries = [("grpc.service_config", "{}"), ("grpc.enable_retries", 0)]
    unlimited = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    soon = [
        # A machine that is back is called again at once.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 1000),
        # One that is not reached is not there: by default, connecting may take 20 s.
        ("grpc.min_reconnect_backoff_ms", 2000),
    ]
    options = (*keepalive_options(), *no_retries, *unlimited, *soon)
    return open_plain_aio_channel(address, access_of(address, settings), *options)


def address_of(listen: str) -> str:
    """Return the address at which a service is called that listens at host:port."""
    host, _, port = listen.rpartition(":")
    loopback = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}
    return f"{loopback.get(host, host)}:{port}"


def access_of(address: str, settings: CallerSettings) -> Access:
    """Return how to get in at an address; raise BadSettings.

    A token in a file is read again when that changes. The other files are read once.
    """
    return Access(token=_token(address, settings), tls=_tls(settings))


def files_of(settings: CallerSettings) -> list[Path]:
    """Return the files that a channel keeps as they were when it was opened."""
    files = (settings.ca, settings.client_certificate, settings.client_key)
    return [each for each in files if each is not None]


def _tls(settings: CallerSettings) -> Tls | None:
    if settings.ca is None:
        if settings.client_certificate or settings.client_key:
            raise BadSettings(["CYBER_DOJO_CLIENT_CERTIFICATE requires CYBER_DOJO_CA"])
        return None
    if bool(settings.client_certificate) != bool(settings.client_key):
        raise BadSettings(
            ["CYBER_DOJO_CLIENT_CERTIFICATE and CYBER_DOJO_CLIENT_KEY require each other"]
        )
    return Tls(
        root_certificates=named_file.read("CYBER_DOJO_CA", settings.ca),
        certificate=named_file.read("CYBER_DOJO_CLIENT_CERTIFICATE", settings.client_certificate),
        key=named_file.read("CYBER_DOJO_CLIENT_KEY", settings.client_key),
    )


def _token(address: str, settings: CallerSettings) -> str | Callable[[], str]:
    """Return the token of each call, or what gives it; "" if calls have none."""
    if settings.token is None and settings.token_file is None:
        return ""
    if settings.token is not None and settings.token_file is not None:
        raise BadSettings(["CYBER_DOJO_TOKEN and CYBER_DOJO_TOKEN_FILE exclude each other"])
    if settings.ca is None and not is_loopback(address) and settings.unprotected != "allow":
        reason = (
            f"the token would go to {address} unencrypted: name the CA of the service's "
            "certificate in CYBER_DOJO_CA; CYBER_DOJO_UNPROTECTED=allow sends it as it is"
        )
        raise BadSettings([reason])
    if settings.token is not None:
        return settings.token.reveal
    path = settings.token_file

    def read() -> Secret:
        content = named_file.read("CYBER_DOJO_TOKEN_FILE", path) or b""
        text = content.decode("utf-8", "replace").strip()
        try:
            return Secret(text)
        except ValueError as error:
            raise BadSettings([f"CYBER_DOJO_TOKEN_FILE='{path}': its text {error}"]) from None

    watched = WatchedFiles([path] if path else [], read, BadSettings)
    return lambda: watched.get().reveal()
