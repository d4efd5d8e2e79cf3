"""Channels to the services: gRPC's options, TLS, and what goes with every call.

A call's metadata has the caller's token, and the id of the kata that it is about, by which a proxy
can find that kata's storer. A failed call raises one of the types in `errors`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from importlib import resources
from typing import Any, NamedTuple

import grpc
import grpc.aio

from cyber_dojo_client.errors import translated

MESSAGE_BYTES = 64 * 1024 * 1024
_OPTIONS = (
    ("grpc.max_receive_message_length", MESSAGE_BYTES),
    ("grpc.max_send_message_length", MESSAGE_BYTES),
    # Back within a second when a service is back; gRPC's own pause grows to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # A dead peer is noticed within 20 seconds, on idle watches too.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # gRPC waits a minute for the answer to a ping, whatever the timeout above says.
    ("grpc.http2.ping_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    # A proxy is for the web. Where docker's config.json names one, compose sets `http_proxy` in
    # every container, and gRPC would send it the calls to the service next door.
    ("grpc.enable_http_proxy", 0),
)


@dataclass(frozen=True)
class Tls:
    """How a connection is encrypted, each in PEM: by default with the system's certificates.

    `certificate` and `key` are the client's own, where the service asks for one.
    """

    root_certificates: bytes | None = None
    certificate: bytes | None = None
    key: bytes | None = None


@dataclass(frozen=True)
class Access:
    """How to get in. A `token` is sent with every call; a function is asked for it each time.

    `participant` names whom a web tier makes a call for: guesses of ids are bounded for each.
    """

    token: str | Callable[[], str] = ""
    tls: Tls | None = None
    participant: Callable[[], str] | None = None

    def _metadata(self, request: Any) -> list[tuple[str, str]]:
        found = []
        if token := self.token() if callable(self.token) else self.token:
            found.append(("authorization", f"Bearer {token}"))
        if self.participant is not None and (participant := self.participant()):
            found.append(("cyber-dojo-participant", participant))
        about = getattr(request, "run", request)  # RunStream has a Run's request inside
        kata_id = getattr(about, "kata_id", "")
        # Metadata takes ASCII only. What can't be an id is refused by the service.
        if kata_id and kata_id.isascii() and kata_id.isalnum():
            found.append(("kata-id", kata_id))
        return found

    def _credentials(self) -> grpc.ChannelCredentials | None:
        if self.tls is None:
            return None
        return grpc.ssl_channel_credentials(
            self.tls.root_certificates, self.tls.key, self.tls.certificate
        )


NO_ACCESS = Access()


def open_channel(
    address: str, access: Access = NO_ACCESS, *options: tuple[str, Any]
) -> grpc.Channel:
    """Return a channel to the service at host:port; nothing is sent yet.

    `options` are gRPC's, and win over those that every channel has.
    """
    every = _all_options(options)
    credentials = access._credentials()  # noqa: SLF001 - Access hides it from users, not from here
    channel = (
        grpc.secure_channel(address, credentials, every)
        if credentials
        else grpc.insecure_channel(address, every)
    )
    return grpc.intercept_channel(channel, _Interceptor(access))


def open_aio_channel(
    address: str, access: Access = NO_ACCESS, *options: tuple[str, Any]
) -> grpc.aio.Channel:
    """Return the same for asyncio."""
    interceptors: Any = [
        each(access) for each in (_AioUnary, _AioStream, _AioSendStream, _AioBothStreams)
    ]
    return _aio_channel(address, access, options, interceptors)


def open_plain_aio_channel(
    address: str, access: Access, *options: tuple[str, Any]
) -> tuple[grpc.aio.Channel, Callable[[Any], list[tuple[str, str]]]]:
    """Return the same without what this package adds to calls, and the metadata that calls need.

    For programs that pass on calls and errors as they are.
    """
    return _aio_channel(address, access, options, []), access._metadata  # noqa: SLF001


def _aio_channel(
    address: str, access: Access, options: tuple[tuple[str, Any], ...], interceptors: Any
) -> grpc.aio.Channel:
    every = _all_options(options)
    credentials = access._credentials()  # noqa: SLF001
    if credentials:
        return grpc.aio.secure_channel(address, credentials, every, interceptors=interceptors)
    return grpc.aio.insecure_channel(address, every, interceptors=interceptors)


def _all_options(options: tuple[tuple[str, Any], ...]) -> list[tuple[str, Any]]:
    config = resources.files("cyberdojo").joinpath("service_config.json").read_text()
    return list({**dict(_OPTIONS), "grpc.service_config": config, **dict(options)}.items())


class _Details(NamedTuple):
    """grpc.ClientCallDetails, which has no constructor of its own."""

    method: Any
    timeout: Any
    metadata: Any
    credentials: Any
    wait_for_ready: Any
    compression: Any


def _with_metadata(access: Access, details: Any, request: Any) -> Any:
    metadata = [*(details.metadata or ()), *access._metadata(request)]  # noqa: SLF001
    return _Details(
        details.method,
        details.timeout,
        metadata,
        details.credentials,
        details.wait_for_ready,
        getattr(details, "compression", None),
    )


# Generic for the type checker, and not when they run.
class _Interceptor(
    grpc.UnaryUnaryClientInterceptor,  # type: ignore[type-arg]
    grpc.UnaryStreamClientInterceptor,  # type: ignore[type-arg]
    grpc.StreamUnaryClientInterceptor,  # type: ignore[type-arg]
    grpc.StreamStreamClientInterceptor,  # type: ignore[type-arg]
):
    """Adds metadata to each call, and translates its error."""

    def __init__(self, access: Access) -> None:
        self._access = access

    def _intercept(self, continuation: Any, details: Any, request: Any) -> Any:
        return _Translated(continuation(_with_metadata(self._access, details, request), request))

    intercept_unary_unary: Any = _intercept
    intercept_unary_stream: Any = _intercept
    intercept_stream_unary: Any = _intercept
    intercept_stream_stream: Any = _intercept


class _Translated:
    """A call or a future that raises errors of this package, and is the same otherwise."""

    def __init__(self, call: Any) -> None:
        self._call = call

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)

    def result(self, timeout: float | None = None) -> Any:
        try:
            return self._call.result(timeout)
        except grpc.RpcError as error:
            raise translated(error) from None

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        try:
            return next(self._call)
        except grpc.RpcError as error:
            raise translated(error) from None


class _Aio:
    def __init__(self, access: Access) -> None:
        self._access = access

    async def _one(self, continuation: Any, details: Any, request: Any) -> Any:
        call = await continuation(_with_metadata(self._access, details, request), request)
        try:
            await call
        except grpc.RpcError as error:
            raise translated(error) from None
        return call

    async def _many(self, continuation: Any, details: Any, request: Any) -> Any:
        return _parts(await continuation(_with_metadata(self._access, details, request), request))


async def _parts(call: Any) -> AsyncIterator[Any]:
    try:
        async for part in call:
            yield part
    except grpc.RpcError as error:
        raise translated(error) from None
    finally:
        call.cancel()


class _AioUnary(_Aio, grpc.aio.UnaryUnaryClientInterceptor):  # type: ignore[type-arg]
    intercept_unary_unary: Any = _Aio._one  # noqa: SLF001 - its base


class _AioStream(_Aio, grpc.aio.UnaryStreamClientInterceptor):  # type: ignore[type-arg]
    intercept_unary_stream: Any = _Aio._many  # noqa: SLF001


class _AioSendStream(_Aio, grpc.aio.StreamUnaryClientInterceptor):  # type: ignore[type-arg]
    intercept_stream_unary: Any = _Aio._one  # noqa: SLF001


class _AioBothStreams(_Aio, grpc.aio.StreamStreamClientInterceptor):  # type: ignore[type-arg]
    intercept_stream_stream: Any = _Aio._many  # noqa: SLF001
