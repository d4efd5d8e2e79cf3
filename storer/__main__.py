"""Run the storer: `python -m storer`."""

import asyncio
from functools import partial

from google.protobuf.descriptor import FileDescriptor

from cyberdojo.startpoints.v1 import startpoints_pb2, startpoints_pb2_grpc
from cyberdojo.storer.v1 import storer_pb2, storer_pb2_grpc
from dojo import serving
from dojo.data_containers import DataContainers, HandleWatch
from storer.katas_directory import KatasDirectory
from storer.servicer import StorerServicer
from storer.settings import StorerSettings
from storer.start_points import StartPoints
from storer.start_points_servicer import StartPointsServicer


def main() -> None:
    """Serve until told to stop."""
    serving.run("storer", StorerSettings, _run)


def _run(settings: StorerSettings) -> None:
    data_containers = serving.connect(settings)
    asyncio.run(_serve(settings, data_containers))


async def _serve(settings: StorerSettings, data_containers: DataContainers) -> None:
    servicer = StorerServicer(data_containers, KatasDirectory(settings.katas_directory))
    await asyncio.to_thread(servicer.katas.sweep)
    start_points = StartPointsServicer(StartPoints(settings.start_points))
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
        HandleWatch(data_containers),
        on_stopping=[servicer.watches.stop],
    )


def _full_name(file: FileDescriptor) -> str:
    """Return the name of the one service that a proto has."""
    (service,) = file.services_by_name.values()
    return str(service.full_name)


if __name__ == "__main__":
    main()
