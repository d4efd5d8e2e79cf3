"""Channels to the services, with TLS, tokens and client certificates as the settings have it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from dojo import limits
from dojo.access.watched_files import WatchedFiles, content_of
from dojo.service.settings import BadSettings, CallerSettings, Secret, is_loopback

# A proxy is for the web. Where docker's config.json names one, compose sets `http_proxy` in every
# container, and gRPC would send it the calls to the service next door.
_OPTIONS = (
    ("grpc.max_receive_message_length", limits.MESSAGE_BYTES),
    ("grpc.enable_http_proxy", 0),
)

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
    *options: tuple[str, int],
    keepalive_seconds: float = KEEPALIVE_SECONDS,
) -> grpc.Channel:
    """Return a channel to the service at host:port, without any proxy; nothing is sent yet.

    `options` are gRPC's, beside those that every channel has. A service that listens on all
    addresses (0.0.0.0, ::) is called on loopback. Raises BadSettings.
    """
    address = _called(address)
    token = _token(address, settings)
    all_options = [*_OPTIONS, *keepalive_options(keepalive_seconds), *options]
    if settings.ca is None:
        if settings.client_certificate or settings.client_key:
            raise BadSettings(["CYBER_DOJO_CLIENT_CERTIFICATE requires CYBER_DOJO_CA"])
        channel = grpc.insecure_channel(address, all_options)
    else:
        channel = grpc.secure_channel(address, _credentials(settings), all_options)
    return channel if token is None else grpc.intercept_channel(channel, _Bearer(token))


def _called(address: str) -> str:
    host, _, port = address.rpartition(":")
    loopback = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}
    return f"{loopback.get(host, host)}:{port}"


def files_of(settings: CallerSettings) -> list[Path]:
    """Return the files that a channel keeps as they were when it was opened."""
    files = (settings.ca, settings.client_certificate, settings.client_key)
    return [each for each in files if each is not None]


def _credentials(settings: CallerSettings) -> grpc.ChannelCredentials:
    if bool(settings.client_certificate) != bool(settings.client_key):
        raise BadSettings(
            ["CYBER_DOJO_CLIENT_CERTIFICATE and CYBER_DOJO_CLIENT_KEY require each other"]
        )
    return grpc.ssl_channel_credentials(
        root_certificates=_read("CYBER_DOJO_CA", settings.ca),
        private_key=_read("CYBER_DOJO_CLIENT_KEY", settings.client_key),
        certificate_chain=_read("CYBER_DOJO_CLIENT_CERTIFICATE", settings.client_certificate),
    )


def _token(address: str, settings: CallerSettings) -> Callable[[], Secret] | None:
    """Return what gives the token of each call, if calls have one."""
    if settings.token is None and settings.token_file is None:
        return None
    if settings.token is not None and settings.token_file is not None:
        raise BadSettings(["CYBER_DOJO_TOKEN and CYBER_DOJO_TOKEN_FILE exclude each other"])
    if settings.ca is None and not is_loopback(address) and settings.unprotected != "allow":
        reason = (
            f"the token would go to {address} unencrypted: name the CA of the service's "
            "certificate in CYBER_DOJO_CA; CYBER_DOJO_UNPROTECTED=allow sends it as it is"
        )
        raise BadSettings([reason])
    if settings.token is not None:
        token = settings.token
        return lambda: token
    path = settings.token_file

    def read() -> Secret:
        text = (_read("CYBER_DOJO_TOKEN_FILE", path) or b"").decode("utf-8", "replace").strip()
        try:
            return Secret(text)
        except ValueError as error:
            raise BadSettings([f"CYBER_DOJO_TOKEN_FILE='{path}': its text {error}"]) from None

    return WatchedFiles([path] if path else [], read, BadSettings).get


def _read(setting: str, path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        return content_of(path)
    except OSError as error:
        raise BadSettings([f"{setting}='{path}' can't be read: {error.strerror}"]) from error


@dataclass(frozen=True)
class _Details(grpc.ClientCallDetails):
    """What grpc tells of a call."""

    method: Any
    timeout: Any
    metadata: Any
    credentials: Any
    wait_for_ready: Any
    compression: Any


class _Bearer(
    grpc.UnaryUnaryClientInterceptor,  # type: ignore[type-arg]
    grpc.UnaryStreamClientInterceptor,  # type: ignore[type-arg]
    grpc.StreamUnaryClientInterceptor,  # type: ignore[type-arg]
    grpc.StreamStreamClientInterceptor,  # type: ignore[type-arg]
):
    """Adds the token to each call."""

    def __init__(self, token: Callable[[], Secret]) -> None:
        self._token = token

    def _intercept(self, continuation: Any, details: Any, request: Any) -> Any:
        bearer = ("authorization", f"Bearer {self._token().reveal()}")
        metadata = [*(details.metadata or ()), bearer]
        return continuation(
            _Details(
                details.method,
                details.timeout,
                metadata,
                details.credentials,
                details.wait_for_ready,
                details.compression,
            ),
            request,
        )

    # grpc's stubs have other types for each kind of call.
    intercept_unary_unary = _intercept  # type: ignore[assignment]
    intercept_unary_stream = _intercept  # type: ignore[assignment]
    intercept_stream_unary = _intercept  # type: ignore[assignment]
    intercept_stream_stream = _intercept  # type: ignore[assignment]
