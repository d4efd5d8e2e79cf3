"""A server with every RPC of both services, which answers empty messages, and callers of it.

What lets callers in is the services' own. What the RPCs do is of no interest here.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from cyberdojo.machines.v1 import machines_pb2
from cyberdojo.runner.v1 import runner_pb2
from cyberdojo.startpoints.v1 import startpoints_pb2
from cyberdojo.status.v1 import status_pb2
from cyberdojo.storer.v1 import storer_pb2
from dojo import limits
from dojo.access import access, tokens
from dojo.access.access import Access
from dojo.access.certificates import Pair, make_ca, make_client, make_server
from dojo.access.roles import Role
from dojo.access.tokens import Entry
from dojo.service.interceptor import StatusInterceptor
from dojo.service.receiving import Receiving
from dojo.service.settings import CommonSettings

SERVICES = [
    service
    for module in (storer_pb2, startpoints_pb2, machines_pb2, status_pb2, runner_pb2)
    for service in module.DESCRIPTOR.services_by_name.values()
]
METHODS = [method for service in SERVICES for method in service.methods]


def path_of(method: MethodDescriptor) -> str:
    """Return an RPC's full name, as gRPC has it."""
    return f"/{method.containing_service.full_name}/{method.name}"


@dataclass(frozen=True)
class Files:
    """A folder with certificates, and a file of callers with a token for each role."""

    folder: Path
    ca: Pair
    tokens: dict[Role, str]

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of a service with TLS and callers."""
        return {
            "tls_certificate": self.folder / "server.pem",
            "tls_key": self.folder / "server.key",
            "callers": self.callers,
        }

    @property
    def callers(self) -> Path:
        """The file of callers."""
        return self.folder / "callers"

    def write_server(self, *, ca: Pair | None = None) -> None:
        """Make a new certificate for the server, the key first: then they do not match."""
        made = make_server(ca or self.ca, ["127.0.0.1"], 1)
        replace(self.folder / "server.key", made.key)
        replace(self.folder / "server.pem", made.certificate)

    def write_callers(self, entries: Iterable[Entry]) -> None:
        """Replace the file of callers."""
        lines = "".join(f"{entry.line()}\n" for entry in entries)
        replace(self.callers, lines.encode())

    def entries(self) -> list[Entry]:
        """Return the lines of the tokens."""
        return [
            Entry(role.value, role, tokens.digest_of(token), None)
            for role, token in self.tokens.items()
        ]

    def client(self, name: str) -> Pair:
        """Return a client certificate."""
        return make_client(self.ca, name, 1)


def make_files(folder: Path) -> Files:
    """Make all files."""
    files = Files(folder, make_ca("tests", 1), {role: tokens.new_token() for role in Role})
    files.write_server()
    files.write_callers(files.entries())
    return files


def replace(path: Path, content: bytes) -> None:
    """Replace a file whole."""
    part = path.with_name(f"{path.name}.part")
    part.write_bytes(content)
    part.replace(path)


async def _answer(method: MethodDescriptor, request: Any) -> Any:
    if method.client_streaming:
        async for _ in request:
            pass
    return GetMessageClass(method.output_type)()


def _handler(method: MethodDescriptor) -> grpc.RpcMethodHandler[Any, Any]:
    async def one(request: Any, _: object) -> Any:
        return await _answer(method, request)

    async def many(request: Any, _: object) -> AsyncIterator[Any]:
        yield await _answer(method, request)

    kinds: dict[tuple[bool, bool], Callable[..., grpc.RpcMethodHandler[Any, Any]]] = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }
    return kinds[method.client_streaming, method.server_streaming](
        many if method.server_streaming else one,
        request_deserializer=GetMessageClass(method.input_type).FromString,
        response_serializer=lambda message: message.SerializeToString(),
    )


@dataclass(frozen=True)
class Served:
    """A server that runs."""

    address: str
    access: Access

    async def call(self, channel: grpc.aio.Channel, method: str, *metadata: tuple[str, str]) -> Any:
        """Make a call with a request that can't be parsed; return the status it ends with."""
        try:
            async for _ in channel.unary_stream(method, None, None)(b"\xff", metadata=metadata):
                pass
        except grpc.aio.AioRpcError as error:
            return error.code()
        return grpc.StatusCode.OK


@contextlib.asynccontextmanager
async def served(settings: CommonSettings) -> AsyncIterator[Served]:
    """Serve on a free port, as the settings say who may call."""
    accessible = access.from_settings(settings, "127.0.0.1:0")
    receiving = Receiving(limits.MEMORY_BYTES)
    server = grpc.aio.server(
        interceptors=[
            accessible.gate,
            StatusInterceptor(receiving, guesses=accessible.guesses),
        ]
    )
    for service in SERVICES:
        handlers = {method.name: _handler(method) for method in service.methods}
        generic = grpc.method_handlers_generic_handler(service.full_name, handlers)
        server.add_generic_rpc_handlers((generic,))
    checks = health.aio.HealthServicer()  # type: ignore[attr-defined]  # missing in the stubs
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    reflection.enable_server_reflection([service.full_name for service in SERVICES], server)
    port = accessible.add_port(server, "127.0.0.1:0")
    await server.start()
    try:
        yield Served(f"127.0.0.1:{port}", accessible)
    finally:
        await server.stop(None)
        await asyncio.sleep(0)


def channel_to(
    address: str, ca: bytes | None = None, client: Pair | None = None
) -> grpc.aio.Channel:
    """Return a channel with a connection of its own."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    if ca is None:
        return grpc.aio.insecure_channel(address, options)
    own = (client.key, client.certificate) if client else (None, None)
    return grpc.aio.secure_channel(address, grpc.ssl_channel_credentials(ca, *own), options)


def bearer(token: str) -> tuple[str, str]:
    """Return the metadata of a token."""
    return "authorization", f"Bearer {token}"
