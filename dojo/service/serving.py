"""Serving: a gRPC server with health, reflection, orderly stopping, and our statuses."""

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import grpc.aio
import structlog
from google.protobuf import descriptor_pool
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from prometheus_client import make_wsgi_app

from dojo import channels, limits, metrics, traces
from dojo.access.access import Access
from dojo.engine import volumes
from dojo.engine.client import Engine
from dojo.engine.data_containers import DataContainers
from dojo.engine.monitor import EngineMonitor
from dojo.engine.volumes import VolumesOutOfSight
from dojo.errors import (
    ArchiveOfAnother,
    ArchiveUnavailable,
    EngineUnavailable,
    EtcdUnavailable,
)
from dojo.metrics import REGISTRY
from dojo.service import log, readiness, settings_file, take_over
from dojo.service.call_recorder import CallRecorder
from dojo.service.forwarding import Forwarding
from dojo.service.http_server import HttpServer
from dojo.service.interceptor import StatusInterceptor
from dojo.service.memory import limit_bytes
from dojo.service.readiness import Readiness
from dojo.service.receiving import Receiving
from dojo.service.settings import BadSettings, CommonSettings, load
from dojo.shares import Memory

_log = structlog.get_logger()

S = TypeVar("S", bound=CommonSettings)

MAX_PENDING = 20_000  # calls
MAX_CONNECTIONS = 16_000
HEALTH_SECONDS = 0.25

# A client may ping a connection this often, whether calls are in progress or not.
PING_SECONDS = 1
# A connection has this time to become one of HTTP/2, and of TLS where there is TLS.
HANDSHAKE_SECONDS = 20
GRACE_SECONDS = 10.0

# Threads that run domain calls. There are more than cores, because the calls wait for the engine,
# for the disk, and for each other's locks.
THREADS = 64


class CannotListen(Exception):
    """The address that the settings name can't be listened on."""


def connect(settings: CommonSettings) -> DataContainers:
    """Return the namespace's data-containers, after a check that their files can be reached.

    Raises EngineUnavailable or VolumesOutOfSight.
    """
    engine = Engine(settings.engine)
    volume_root = settings.volume_root or engine.volume_root()
    data_containers = DataContainers(engine, settings.namespace, volume_root)
    volumes.require_in_sight(engine, settings.namespace, volume_root)
    return data_containers


# How long a thread keeps Python's lock while others wait for it. A call needs the lock some ten
# times; with Python's own 5 ms it would wait as many times as long beside a thread that computes.
LOCK_SECONDS = 0.001


def server_options(
    keepalive_seconds: float = channels.KEEPALIVE_SECONDS,
) -> list[tuple[str, int]]:
    """Return gRPC's options for a server of ours."""
    return [
        ("grpc.max_receive_message_length", limits.MESSAGE_BYTES),
        ("grpc.max_send_message_length", -1),
        # Else gRPC reads megabytes of messages ahead that nobody has asked for yet.
        ("grpc.http2.bdp_probe", 0),
        ("grpc.so_reuseport", 0),  # else a second service could share our port, and our calls
        # Thousands of watchers call again when a service is restarted. gRPC's default is to cancel
        # calls beyond 1000 that wait to be accepted.
        ("grpc.server.max_pending_requests", MAX_PENDING),
        ("grpc.server.max_pending_requests_hard_limit", MAX_PENDING),
        # gRPC's default is a ping in five minutes while nothing is sent, as in an idle watch.
        ("grpc.http2.min_ping_interval_without_data_ms", PING_SECONDS * 1000),
        ("grpc.keepalive_permit_without_calls", 1),
        *channels.keepalive_options(keepalive_seconds),
        # More are closed at once. Half-open ones of TLS take some 50 KB each until they end.
        ("grpc.max_allowed_incoming_connections", MAX_CONNECTIONS),
        # gRPC's default is two minutes, in which a connection that says nothing is held open.
        ("grpc.server_handshake_timeout_ms", HANDSHAKE_SECONDS * 1000),
    ]


async def serve(
    listen: str,
    services: Mapping[str, Callable[[grpc.aio.Server], None]],
    monitor: EngineMonitor,
    access: Access,
    *,
    on_stopping: Sequence[Callable[[], None]] = (),
    on_stop: Sequence[Callable[[], Awaitable[None]]] = (),
    on_listening: Callable[[], None] = lambda: None,
    metrics_listen: str | None = None,
    logs_calls: bool = False,
    memory: Memory | None = None,
    request_factor: int = limits.REQUEST_FACTOR,
    grace_seconds: float = GRACE_SECONDS,
    take_over_seconds: float = 0.0,
    forwarding: Forwarding | None = None,
    health_listen: str | None = None,
    unready: Callable[[], Readiness | None] = lambda: None,
) -> None:
    """Serve until SIGTERM or SIGINT, then let the calls in progress end, for `grace_seconds`.

    `services` maps the full name of each service to a function that adds it to a server. Each is
    SERVING, for standard health checking, while the engine answers. `access` says who may call,
    and how the address is protected. `on_stopping` is called
    before the wait for those calls, to end calls that would not end by themselves. `on_stop` is
    awaited when no call is left. `on_listening` is called in a thread when the address is ours,
    before any call is served: a second service on the same address has changed nothing by then.
    Prometheus finds the metrics at `metrics_listen`; with `logs_calls` each call has a log line.
    All calls together take no more than their part of `memory`, of which each byte of a request
    takes `request_factor`. If another service has the address, waits `take_over_seconds` for it,
    with everything ready. With `forwarding`, other machines answer calls for what they have.
    Routers find at `health_listen` whether the service takes calls; `unready` says why not.
    Raises CannotListen.
    """
    sys.setswitchinterval(LOCK_SECONDS)
    asyncio.get_running_loop().set_default_executor(
        ThreadPoolExecutor(THREADS, thread_name_prefix="domain")
    )
    server = grpc.aio.server(
        interceptors=[
            CallRecorder(_methods(services), logs_calls=logs_calls),
            access.gate,
            StatusInterceptor(Receiving(limit_bytes()), memory, access.guesses, request_factor),
            *([] if forwarding is None else [forwarding]),
        ],
        options=server_options(),
    )
    for add in services.values():
        add(server)
    checks = health.aio.HealthServicer()  # type: ignore[attr-defined]  # missing in the stubs
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    names = [*services, health.SERVICE_NAME, reflection.SERVICE_NAME]
    reflection.enable_server_reflection(names, server)
    await take_over.wait_until_free(listen, take_over_seconds)
    try:
        port = access.add_port(server, listen)
    except RuntimeError:
        raise CannotListen(_not_free(listen)) from None
    metrics.ENGINE_UP.set_function(lambda: monitor.is_up)
    http_servers = []
    for at, application, name in (
        (metrics_listen, make_wsgi_app(REGISTRY), "metrics"),
        (health_listen, readiness.application(partial(_readiness, monitor, unready)), "health"),
    ):
        if at is not None:
            await take_over.wait_until_free(at, take_over_seconds)
            http_servers.append(_serve_http(at, application, name))
    await asyncio.to_thread(on_listening)
    monitor.start()
    # The objects so far live as long as the process: the garbage collector would only hold up
    # calls while it looks through them.
    gc.collect()
    gc.freeze()
    await server.start()
    host = listen.rpartition(":")[0]
    _log.info("serving", listen=f"{host}:{port}")

    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    reporting = asyncio.create_task(_report_health(checks, list(services), monitor))
    await stopping.wait()
    _log.info("stopping")
    reporting.cancel()
    for each in http_servers:  # first: a service that takes over needs all addresses
        await asyncio.to_thread(each.stop)
    for call in on_stopping:
        call()
    await checks.enter_graceful_shutdown()
    await server.stop(grace_seconds)
    monitor.stop()
    for finish in on_stop:
        await finish()
    _log.info("stopped")


def _not_free(listen: str) -> str:
    return f"can't listen on {listen}: another program does, or it is no address of this machine"


def _serve_http(listen: str, application: Any, name: str) -> HttpServer:
    try:
        server = HttpServer(listen, application, name)
    except OSError:
        raise CannotListen(_not_free(listen)) from None
    _log.info(f"serving {name}", listen=server.address)
    return server


def _readiness(monitor: EngineMonitor, unready: Callable[[], Readiness | None]) -> Readiness:
    """Return whether a service takes calls; `unready` says why not, besides the engine."""
    if not monitor.is_up:
        return readiness.not_ready("the docker engine does not answer")
    return unready() or readiness.READY


def _methods(services: Iterable[str]) -> list[str]:
    """Return the full names (/package.Service/Method) of the services' methods."""
    pool = descriptor_pool.Default()
    found = [pool.FindServiceByName(each) for each in services]
    return [f"/{service.full_name}/{each.name}" for service in found for each in service.methods]


async def _report_health(checks: Any, services: list[str], monitor: EngineMonitor) -> None:
    """Keep the health of the server (the empty name) and of each service up to date."""
    reported: bool | None = None
    while True:
        if monitor.is_up != reported:
            reported = monitor.is_up
            kinds = health_pb2.HealthCheckResponse
            status = kinds.SERVING if reported else kinds.NOT_SERVING
            for name in ("", *services):
                await checks.set(name, status)
        await asyncio.sleep(HEALTH_SECONDS)


def _configure_log(settings: CommonSettings) -> None:
    """Configure the log. Raises BadSettings if its file can't be written."""
    try:
        log.configure(settings.log_level, settings.log_file)
    except OSError as error:
        reason = f"can't be written: {error.strerror}"
        raise BadSettings([f"CYBER_DOJO_LOG_FILE='{settings.log_file}' {reason}"]) from error


@contextmanager
def _tracing(name: str, settings: CommonSettings) -> Iterator[None]:
    """Send traces during the block, if the settings say where to; raise BadSettings if we can't."""
    if not settings.traces:
        yield
        return
    try:
        stop = traces.configure(settings.traces, f"cyber-dojo-{name}")
    except ImportError as error:
        reason = f"requires packages that are not here: {error}; install cyber-dojo[traces]"
        raise BadSettings([f"CYBER_DOJO_TRACES={settings.traces!r} {reason}"]) from error
    try:
        yield
    finally:
        stop()


def run(name: str, kind: type[S], main: Callable[[S], None]) -> None:
    """Run a service's main with its settings, read from the environment and the settings' file.

    Prints what an operator has to mend, and exits: with 2 for bad settings, with 1 if something
    that the service needs is missing.
    """
    try:
        settings_file.apply(os.environ)
        settings = load(kind, os.environ)
        _configure_log(settings)
        with _tracing(name, settings):
            main(settings)
    except BadSettings as error:
        for problem in error.problems:
            print(f"{name}: {problem}", file=sys.stderr)
        sys.exit(2)
    except (
        ArchiveOfAnother,
        ArchiveUnavailable,
        EngineUnavailable,
        EtcdUnavailable,
        VolumesOutOfSight,
        CannotListen,
    ) as error:
        sys.exit(f"{name}: {error}")
