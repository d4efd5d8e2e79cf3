"""Run the storer: `python -m storer`."""

import asyncio
from functools import partial

from cyberdojo.storer.v1 import storer_pb2, storer_pb2_grpc
from dojo import serving
from dojo.data_containers import DataContainers, HandleWatch
from storer.katas_directory import KatasDirectory
from storer.servicer import StorerServicer
from storer.settings import StorerSettings


def main() -> None:
    """Serve until told to stop."""
    serving.run("storer", StorerSettings, _run)


def _run(settings: StorerSettings) -> None:
    data_containers = serving.connect(settings)
    asyncio.run(_serve(settings, data_containers))


async def _serve(settings: StorerSettings, data_containers: DataContainers) -> None:
    servicer = StorerServicer(data_containers, KatasDirectory(settings.katas_directory))
    await asyncio.to_thread(servicer.katas.sweep)
    name = storer_pb2.DESCRIPTOR.services_by_name["StorerService"].full_name
    add = partial(storer_pb2_grpc.add_StorerServiceServicer_to_server, servicer)
    await serving.serve(
        settings.listen,
        {name: add},
        HandleWatch(data_containers),
        on_stopping=[servicer.watches.stop],
    )


if __name__ == "__main__":
    main()
