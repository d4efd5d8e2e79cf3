"""The runner's composition root: builds all parts, hands them to each other, and serves."""

import asyncio
import os
import resource
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import structlog

from cyberdojo.runner.v1 import runner_pb2, runner_pb2_grpc
from cyberdojo.status.v1 import status_pb2
from dojo import limits, run_seconds
from dojo.access import access
from dojo.access.access import Access
from dojo.engine.client import Engine
from dojo.engine.monitor import EngineMonitor
from dojo.etcd.connection import connect
from dojo.machines.keys import Keys
from dojo.machines.view import View
from dojo.service import serving, status_servicer
from dojo.service.forwarding import Elsewhere, Forwarding
from dojo.service.memory import limit_bytes, return_freed_blocks
from dojo.service.serving import CannotListen
from dojo.service.settings import BadSettings
from dojo.service.status_servicer import StatusServicer
from dojo.shares import Memory
from runner import metrics
from runner.api.admission import Admission
from runner.api.servicer import RunnerServicer
from runner.colour.image_rules import ImageRules
from runner.colour.judge import Judge
from runner.colour.lambda_evaluator import LambdaEvaluator
from runner.colour.ruby_container import RubyContainer
from runner.engine import seccomp, seccomp_filter
from runner.engine.container_remover import ContainerRemover
from runner.engine.images import Images
from runner.engine.presence import Presence
from runner.engine.seccomp_filter import CannotFilter
from runner.launch.launcher import CannotLaunch, Launchers
from runner.run.pool import Pool, PoolLimits
from runner.run.service import RunService
from runner.run.starter import ContainerStarter
from runner.sandbox.quota import DiskLimits
from runner.sandbox.sandboxes import Sandboxes
from runner.settings import RunnerSettings
from runner.storer_client import StorerClient

_log = structlog.get_logger()

SERVICE = runner_pb2.DESCRIPTOR.services_by_name["RunnerService"].full_name


def main(take_over_seconds: float) -> None:
    """Serve until told to stop; wait so long for the address if another service has it."""
    run = partial(_run, take_over_seconds=take_over_seconds)
    serving.run("runner", RunnerSettings, run)


def _run(settings: RunnerSettings, *, take_over_seconds: float) -> None:
    _raise_open_files_limit()
    return_freed_blocks()
    accessible = access.from_settings(settings, settings.listen)
    view, forwarding = _machines(settings)
    storer = StorerClient(settings.storer, settings, view)
    data_containers = serving.connect(settings)
    engine, namespace = data_containers.engine, data_containers.namespace
    _require_runtime(engine, settings.runtime)
    _log_missing_ruby_image(engine, settings.ruby_image)
    presence = Presence(data_containers.volume_root, namespace)
    remover = ContainerRemover(engine, namespace, presence)

    def on_listening() -> None:
        if view is not None:
            view.start()
        presence.begin()
        for other in presence.others():
            _log.info("another runner serves this namespace", namespace=namespace.name, who=other)
        remover.remove_orphans()

    cores = os.cpu_count() or 1
    seccomp_profile = seccomp.profile()
    lambda_evaluator = LambdaEvaluator(
        partial(RubyContainer, engine, namespace, remover, settings, seccomp_profile),
        settings.ruby_image,
        max_containers=max(2, cores),  # a second one, as a lambda that hangs keeps others waiting
    )
    sandboxes = Sandboxes(data_containers)
    starter = ContainerStarter(
        data_containers,
        sandboxes,
        remover,
        settings,
        seccomp_profile=seccomp_profile,
        launchers=_launchers(settings),
    )
    pool = Pool(
        starter.start, starter.image_id, _pool_limits(settings), starters=max(1, cores // 2)
    )
    runs = RunService(
        sandboxes=sandboxes,
        pool=pool,
        starter=starter,
        remover=remover,
        judge=Judge(lambda_evaluator, ImageRules(engine, namespace, remover)),
        storer=storer,
        disk_limits=_disk_limits(settings),
    )
    admission = Admission(
        settings.max_concurrent_runs or 2 * cores, settings.max_waiting_runs, pool.paused
    )
    images = Images(engine, settings.registry)
    servicer = RunnerServicer(runs, pool, images, admission, view, machine=settings.machine)
    on_stop: list[Callable[[], Awaitable[None]]] = [
        servicer.finish,
        partial(asyncio.to_thread, pool.close),
        partial(asyncio.to_thread, lambda_evaluator.close),
        partial(asyncio.to_thread, presence.end),
    ]
    if view is not None and forwarding is not None:
        on_stop += [partial(asyncio.to_thread, view.stop), forwarding.close]
    metrics.WARM_CONTAINERS.set_function(pool.count)
    metrics.RUNS_WAITING.set_function(admission.count_waiting)
    metrics.MAX_RUNS.set(admission.max_running)
    monitor = EngineMonitor(data_containers, pool.images_changed)
    status = StatusServicer(
        settings,
        monitor,
        {"volumes": data_containers.volume_root},
        partial(_describe, admission, pool),
    )
    try:
        asyncio.run(
            _serve(
                settings,
                servicer,
                monitor,
                on_stop,
                on_listening,
                accessible=accessible,
                stopping=admission.stop,
                status=status,
                take_over_seconds=take_over_seconds,
                forwarding=forwarding,
            )
        )
    except CannotListen as error:
        others = "; ".join(presence.others()) or "none"
        raise CannotListen(
            f"{error}. Runners of the namespace {namespace.name}: {others}"
        ) from None


async def _serve(
    settings: RunnerSettings,
    servicer: RunnerServicer,
    monitor: EngineMonitor,
    on_stop: Sequence[Callable[[], Awaitable[None]]],
    on_listening: Callable[[], None],
    *,
    accessible: Access,
    stopping: Callable[[], None],
    status: StatusServicer,
    take_over_seconds: float,
    forwarding: Forwarding | None,
) -> None:
    add = partial(runner_pb2_grpc.add_RunnerServiceServicer_to_server, servicer)
    await serving.serve(
        settings.listen,
        {SERVICE: add, status_servicer.SERVICE: status.add_to},
        monitor,
        accessible,
        on_stopping=[stopping],
        on_stop=on_stop,
        # The longest run, and its end.
        grace_seconds=run_seconds.MAX_SECONDS + serving.GRACE_SECONDS,
        on_listening=on_listening,
        metrics_listen=settings.metrics_listen,
        health_listen=settings.health_listen,
        logs_calls=settings.logs_calls,
        take_over_seconds=take_over_seconds,
        memory=Memory(limit_bytes()),
        request_factor=limits.RUN_REQUEST_FACTOR,
        forwarding=forwarding,
    )


def _machines(settings: RunnerSettings) -> tuple[View | None, Forwarding | None]:
    """Return what the runner knows of other machines, and what sends calls on to them.

    Raises BadSettings.
    """
    if not settings.etcd:
        return None, None
    if settings.storer is None:
        raise BadSettings(["CYBER_DOJO_ETCD requires CYBER_DOJO_STORER, which fetches katas"])
    etcd, keys = connect(settings), Keys(settings.installation_name)

    def on_gone(name: str) -> None:
        forwarding.node_gone(name)

    view = View(etcd, keys, settings.node_name, on_gone)

    def elsewhere(kata_id: str) -> Elsewhere | None:
        found = view.elsewhere(kata_id)
        return Elsewhere(found.name, found.runner) if found is not None and found.runner else None

    forwarding = Forwarding(elsewhere, settings, own_name=settings.node_name)
    return view, forwarding


def _describe(admission: Admission, pool: Pool, status: status_pb2.GetStatusResponse) -> None:
    """Add what the runner is doing to its status."""
    status.runner.CopyFrom(
        status_pb2.RunnerStatus(
            running_count=admission.count_running(),
            max_running_count=admission.max_running,
            waiting_count=admission.count_waiting(),
            warm_container_count=pool.count(),
            starting_container_count=pool.count_starting(),
        )
    )


def _raise_open_files_limit() -> None:
    """Raise the limit to its maximum: walks hold a descriptor for each level of folders."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _require_runtime(engine: Engine, runtime: str) -> None:
    """Raise BadSettings if the engine does not have the runtime; "" is the engine's default."""
    runtimes = engine.runtimes()
    if runtime and runtime not in runtimes:
        reason = f"is none of the engine's runtimes: {', '.join(sorted(runtimes))}"
        raise BadSettings([f"CYBER_DOJO_RUN_RUNTIME={runtime!r} {reason}"])


def _launchers(settings: RunnerSettings) -> Launchers | None:
    """Return what starts runs in containers that run already; None if each has one of its own."""
    if settings.runs_of_container == 1:
        return None
    try:
        return Launchers(seccomp_filter.program(seccomp.profile()))
    except (CannotFilter, CannotLaunch) as error:
        _log.warning("each run has a container of its own", reason=str(error))
        return None


def _log_missing_ruby_image(engine: Engine, image_name: str) -> None:
    """Log if the image for Ruby lambdas is missing. Without it each lambda gives FAULTY."""
    if not engine.has_image(image_name):
        _log.info("no image for Ruby lambdas", image=image_name)


def _pool_limits(settings: RunnerSettings) -> PoolLimits:
    return PoolLimits(
        containers=settings.max_warm_containers,
        idle_seconds=settings.max_warm_seconds,
        min_available_bytes=settings.min_available_memory_bytes,
    )


def _disk_limits(settings: RunnerSettings) -> DiskLimits:
    return DiskLimits(
        size_bytes=settings.max_sandbox_bytes,
        files=settings.max_sandbox_files,
        min_free_bytes=settings.min_free_bytes,
    )
