"""Serving: the storer as a process."""

import asyncio
from functools import partial

from google.protobuf.descriptor import FileDescriptor

from cyberdojo.startpoints.v1 import startpoints_pb2, startpoints_pb2_grpc
from cyberdojo.storer.v1 import storer_pb2, storer_pb2_grpc
from dojo.engine.data_containers import DataContainers
from dojo.engine.monitor import EngineMonitor
from dojo.service import serving
from storer.api.servicer import StorerServicer
from storer.api.start_points_servicer import StartPointsServicer
from storer.archive.location import open_archive
from storer.fs import block_groups
from storer.katas.import_source import KatasDirectory
from storer.settings import StorerSettings
from storer.start_points.start_points import StartPoints
from storer.workers.archiver import Archiving, Policy
from storer.workers.replicator import Copying


def main() -> None:
    """Serve until told to stop."""
    serving.run("storer", StorerSettings, _run)


def _run(settings: StorerSettings) -> None:
    data_containers = serving.connect(settings)
    block_groups.spread(data_containers.volume_root)
    asyncio.run(_serve(settings, data_containers))


async def _serve(settings: StorerSettings, data_containers: DataContainers) -> None:
    mounted = StartPoints(settings.start_points)
    katas_directory = KatasDirectory(settings.katas_directory)
    archive = open_archive(settings.archive)
    with_products = settings.archive_build_products == "keep"
    servicer = StorerServicer(
        data_containers, katas_directory, mounted, archive, with_products=with_products
    )
    await asyncio.to_thread(servicer.katas.sweep)
    policy = Policy(settings.archive_after_seconds, settings.max_data_containers, with_products)
    archiving = Archiving(servicer.katas, data_containers, policy)
    archiving.start()
    copying = Copying(servicer.katas, data_containers, settings.archive_copy_seconds)
    servicer.on_change = copying.changed
    copying.start()
    start_points = StartPointsServicer(mounted)
    services = {
        _full_name(storer_pb2.DESCRIPTOR): partial(
            storer_pb2_grpc.add_StorerServiceServicer_to_server, servicer
        ),
        _full_name(startpoints_pb2.DESCRIPTOR): partial(
            startpoints_pb2_grpc.add_StartPointsServiceServicer_to_server, start_points
        ),
    }
    await serving.serve(
        settings.listen,
        services,
        EngineMonitor(data_containers),
        on_stopping=[servicer.watches.stop],
        on_stop=[
            partial(asyncio.to_thread, each)
            for each in (archiving.stop, copying.stop, servicer.katas.close)
        ],
    )


def _full_name(file: FileDescriptor) -> str:
    """Return the name of the one service that a proto has."""
    (service,) = file.services_by_name.values()
    return str(service.full_name)
