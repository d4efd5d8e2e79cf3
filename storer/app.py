"""The storer's composition root: build all parts, start them, and serve."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import grpc.aio
from google.protobuf.descriptor import FileDescriptor

from cyberdojo.machines.v1 import machines_pb2, machines_pb2_grpc
from cyberdojo.startpoints.v1 import startpoints_pb2, startpoints_pb2_grpc
from cyberdojo.status.v1 import status_pb2
from cyberdojo.storer.v1 import storer_pb2, storer_pb2_grpc
from dojo import limits
from dojo.access import access
from dojo.access.access import Access
from dojo.access.audit import Audit
from dojo.engine.data_containers import DataContainers
from dojo.engine.monitor import EngineMonitor
from dojo.errors import ArchiveUnavailable
from dojo.processes import Processes
from dojo.service import serving, status_servicer
from dojo.service.call_threads import CallThreads
from dojo.service.forwarding import Forwarding
from dojo.service.memory import limit_bytes, return_freed_blocks
from dojo.service.settings import BadSettings
from dojo.service.status_servicer import StatusServicer
from dojo.shares import Memory
from storer import machines, metrics
from storer.api.comparisons import Comparisons
from storer.api.light_messages import LightMessages
from storer.api.machines_servicer import MachinesServicer
from storer.api.peers import Peers
from storer.api.servicer import StorerServicer
from storer.api.start_points_servicer import StartPointsServicer
from storer.api.status import StorerDescription
from storer.api.streaming import RECEIVER_THREADS, Streams
from storer.archive import location
from storer.backup.catalog import Catalog
from storer.cluster.installation import Installation
from storer.fs import block_groups
from storer.fs.checkpointer import Checkpointer
from storer.git import libgit2
from storer.katas.activity import ActiveCalls
from storer.katas.changes import Changes
from storer.katas.damaged_katas import DamagedKatas
from storer.katas.import_source import KatasDirectory, SaverKatas
from storer.katas.intake import Intake
from storer.katas.listing import Places
from storer.katas.old_ids import OldIds
from storer.katas.repository import Katas
from storer.katas.tombstones import Tombstones
from storer.katas.watch import Watches
from storer.saver.directory import SaverDirectory
from storer.settings import StorerSettings
from storer.start_points.start_points import StartPoints
from storer.verify.katas import Verifier
from storer.workers.archiver import Archiver, Policy
from storer.workers.damage_checker import DamageChecker
from storer.workers.drainer import Drainer
from storer.workers.replicator import Replicator
from storer.workers.sharer import Sharer
from storer.workers.source_remover import SourceRemover
from storer.workers.stale_remover import StaleRemover
from storer.workers.survey import Survey


@dataclass(frozen=True)
class Storer:
    """The parts of a storer that have to be started, stopped or served."""

    katas: Katas
    checkpointer: Checkpointer
    watches: Watches
    archiver: Archiver
    replicator: Replicator
    remover: SourceRemover
    survey: Survey
    damage_checker: DamageChecker
    stale_remover: StaleRemover
    sharer: Sharer
    drainer: Drainer
    machines: MachinesServicer
    installation: Installation
    forwarding: Forwarding | None
    processes: list[Processes]
    servicer: StorerServicer
    start_points: StartPointsServicer
    describe: Callable[[status_pb2.GetStatusResponse], None]


def main(take_over_seconds: float) -> None:
    """Serve until told to stop; wait so long for the address if another service has it."""
    run = partial(_run, take_over_seconds=take_over_seconds)
    serving.run("storer", StorerSettings, run)


def build(settings: StorerSettings, data_containers: DataContainers) -> Storer:
    """Build a storer without starting any part of it. Call this in its event loop.

    Raises ArchiveUnavailable, ArchiveOfAnother or BadSettings.
    """
    libgit2.configure()
    audit = _audit(settings)
    tombstones = Tombstones(data_containers)
    directory = KatasDirectory(
        settings.katas_directory,
        tombstones,
        removes=settings.katas_directory_mode == "rw",
    )
    active_calls, changes, checkpointer = ActiveCalls(), Changes(), Checkpointer()

    async def give_up(kata_id: str, node: str) -> bool:
        image = await threads.run(katas.idle_image, kata_id, watches.is_watched)
        if image is None or not await peers.has_image(joined.installation.machines(), node, image):
            return False
        return await threads.run(katas.give_up_idle, kata_id, watches.is_watched)

    joined = (
        machines.join(settings, changes.publish, give_up)
        if settings.etcd
        else machines.alone(settings)
    )
    archive = joined.archive
    with contextlib.suppress(ArchiveUnavailable):  # a store that is back later is claimed then
        archive.claim()
    saver = settings.saver_directory
    saver_katas = SaverKatas(SaverDirectory(saver) if saver else None, tombstones)
    old_ids = OldIds(data_containers, archive, saver_katas)
    places = Places(
        *(data_containers, archive, directory, saver_katas, old_ids), joined.installation
    )
    checking = Processes(limits.MAX_CHECKING_PROCESSES, "check katas")
    intake = Intake(checking)
    damaged = DamagedKatas(data_containers)
    katas = Katas(places, active_calls, changes, checkpointer, intake=intake, damaged=damaged)
    threads = CallThreads(limits.WORKING_CALLS, "domain")
    watches = Watches(lambda kata_id, with_edits: threads.run(katas.watched, kata_id, with_edits))
    policy = Policy(
        settings.archive_after_seconds,
        settings.max_data_containers,
        with_products=settings.archive_build_products == "keep",
    )
    archiver = Archiver(katas, data_containers, active_calls, watches.is_watched, policy)
    replicator = Replicator(katas, data_containers, joined.copy_seconds)
    loop = asyncio.get_running_loop()
    changes.subscribe(lambda kata_id: loop.call_soon_threadsafe(watches.changed, kata_id))
    changes.subscribe(replicator.changed)
    changes.subscribe(damaged.changed)
    metrics.ARCHIVE_COPY_LAG_SECONDS.set_function(lambda: replicator.lag()[1] or 0)
    if archive.is_configured:
        metrics.MAX_DATA_CONTAINERS.set(settings.max_data_containers)
    for state, doubtful in (("pending", False), ("doubtful", True)):
        count = partial(checkpointer.count, doubtful=doubtful)
        metrics.WRITE_AHEAD_LOGS.labels(state).set_function(count)
    metrics.DAMAGED_KATAS.labels("broken").set_function(damaged.broken_count)
    metrics.DAMAGED_KATAS.labels("set_aside").set_function(damaged.set_aside_count)
    disks = {"volumes": data_containers.volume_root}
    if (archive_directory := location.directory(settings.archive)) is not None:
        disks["archive"] = archive_directory
    catalog = Catalog(data_containers)
    start_points = StartPoints(settings.start_points)
    large = Processes(limits.MAX_LARGE_LIGHT_PROCESSES, "read or record large lights")
    verifier = partial(Verifier, data_containers, katas, checking, mend=False)
    remover = SourceRemover(
        katas, directory, data_containers, audit, intake=intake, verifier=verifier()
    )
    peers = Peers(joined.forwarding)
    describe = StorerDescription(
        settings.archive, data_containers, active_calls, archiver, replicator, catalog
    ).add_to
    servicer = StorerServicer(
        katas=katas,
        watches=watches,
        archiver=archiver,
        catalog=catalog,
        data_containers=data_containers,
        start_points=start_points,
        light_messages=LightMessages(),
        streams=Streams(threads, CallThreads(RECEIVER_THREADS, "receiver")),
        comparisons=Comparisons(threads),
        checking=checking,
        large=large,
        threads=threads,
        audit=audit,
        shortest_partial_id=settings.shortest_partial_id,
        peers=peers,
    )
    return Storer(
        katas=katas,
        checkpointer=checkpointer,
        watches=watches,
        archiver=archiver,
        replicator=replicator,
        remover=remover,
        survey=Survey(data_containers, checkpointer, catalog, damaged, disks),
        damage_checker=DamageChecker(damaged, verifier()),
        stale_remover=StaleRemover(katas, data_containers),
        sharer=Sharer(katas, data_containers),
        drainer=Drainer(katas, joined.installation),
        machines=MachinesServicer(joined.installation, peers, describe, audit),
        installation=joined.installation,
        forwarding=joined.forwarding,
        processes=[checking, large],
        servicer=servicer,
        start_points=StartPointsServicer(start_points, threads),
        describe=describe,
    )


def _run(settings: StorerSettings, *, take_over_seconds: float) -> None:
    return_freed_blocks()
    _require_writable_directory(settings)
    accessible = access.from_settings(settings, settings.listen)
    data_containers = serving.connect(settings)
    block_groups.spread_subfolders(data_containers.volume_root)
    asyncio.run(_serve(settings, data_containers, accessible, take_over_seconds))


def _audit(settings: StorerSettings) -> Audit:
    """Return the audit log. Raises BadSettings if its file can't be written."""
    try:
        return Audit(settings.audit_file)
    except OSError as error:
        reason = f"can't be written: {error.strerror}"
        raise BadSettings([f"CYBER_DOJO_AUDIT_FILE='{settings.audit_file}' {reason}"]) from error


def _require_writable_directory(settings: StorerSettings) -> None:
    """Raise BadSettings if katas shall be removed from a katas directory that can't be written."""
    directory = settings.katas_directory
    if settings.katas_directory_mode == "rw" and directory and not os.access(directory, os.W_OK):
        reason = f"requires that {directory} can be written: mount it writable, or set ro"
        raise BadSettings([f"CYBER_DOJO_KATAS_DIRECTORY_MODE='rw' {reason}"])


async def _serve(
    settings: StorerSettings,
    data_containers: DataContainers,
    accessible: Access,
    take_over_seconds: float,
) -> None:
    storer = build(settings, data_containers)

    def on_listening() -> None:
        storer.installation.start()
        if not storer.installation.is_shared:
            storer.katas.settle()
        storer.katas.sweep()
        storer.checkpointer.start()
        storer.archiver.start()
        storer.replicator.start()
        storer.remover.start()
        if storer.installation.is_shared:
            storer.stale_remover.start()
            storer.sharer.start()
            storer.drainer.start()
        if settings.metrics_listen is not None:
            storer.survey.start()
            storer.damage_checker.start()

    monitor = EngineMonitor(data_containers)
    disks = {"volumes": data_containers.volume_root}
    if (archive := location.directory(settings.archive)) is not None:
        disks["archive"] = archive
    status = StatusServicer(settings, monitor, disks, storer.describe)
    services: dict[str, Callable[[grpc.aio.Server], None]] = {
        _full_name(storer_pb2.DESCRIPTOR): partial(
            storer_pb2_grpc.add_StorerServiceServicer_to_server, storer.servicer
        ),
        _full_name(startpoints_pb2.DESCRIPTOR): partial(
            startpoints_pb2_grpc.add_StartPointsServiceServicer_to_server, storer.start_points
        ),
        _full_name(machines_pb2.DESCRIPTOR): partial(
            machines_pb2_grpc.add_MachinesServiceServicer_to_server, storer.machines
        ),
        status_servicer.SERVICE: status.add_to,
    }
    await serving.serve(
        settings.listen,
        services,
        monitor,
        accessible,
        on_listening=on_listening,
        on_stopping=[storer.watches.stop],
        take_over_seconds=take_over_seconds,
        memory=Memory(limit_bytes()),
        on_stop=[
            *(partial(asyncio.to_thread, each.stop) for each in storer.processes),
            *(
                partial(asyncio.to_thread, each.stop)
                for each in (
                    storer.survey,
                    storer.damage_checker,
                    storer.archiver,
                    storer.replicator,
                    storer.remover,
                    storer.stale_remover,
                    storer.sharer,
                    storer.drainer,
                    storer.checkpointer,
                    storer.installation,
                )
            ),
            *([] if storer.forwarding is None else [storer.forwarding.close]),
        ],
        metrics_listen=settings.metrics_listen,
        health_listen=settings.health_listen,
        unready=storer.installation.unready,
        logs_calls=settings.logs_calls,
        forwarding=storer.forwarding,
    )


def _full_name(file: FileDescriptor) -> str:
    """Return the full name of a proto's only service."""
    (service,) = file.services_by_name.values()
    return str(service.full_name)
