"""The runner as a process: builds its parts, and serves."""

import asyncio
import resource
from functools import partial

from cyberdojo.runner.v1 import runner_pb2, runner_pb2_grpc
from dojo.engine.monitor import EngineMonitor
from dojo.service import serving
from dojo.service.settings import BadSettings
from runner.api.servicer import RunnerServicer
from runner.engine.images import Images
from runner.run.service import Runs
from runner.settings import RunnerSettings

SERVICE = runner_pb2.DESCRIPTOR.services_by_name["RunnerService"].full_name


def main() -> None:
    """Serve until told to stop."""
    serving.run("runner", RunnerSettings, _main)


def _main(told: RunnerSettings) -> None:
    # A walk through a sandbox holds a descriptor for each level of its folders.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    data_containers = serving.connect(told)
    runtimes = data_containers.engine.runtimes()
    if told.runtime and told.runtime not in runtimes:
        reason = f"is none of the engine's runtimes: {', '.join(sorted(runtimes))}"
        raise BadSettings([f"CYBER_DOJO_RUN_RUNTIME={told.runtime!r} {reason}"])
    runs = Runs(data_containers, told)
    runs.sweep()
    images = Images(data_containers.engine)
    servicer = RunnerServicer(runs, images, told.max_concurrent_runs, told.max_waiting_runs)
    watch = EngineMonitor(data_containers, runs.pool.images_changed)
    asyncio.run(_serve(told.listen, servicer, watch, runs))


async def _serve(listen: str, servicer: RunnerServicer, watch: EngineMonitor, runs: Runs) -> None:
    add = runner_pb2_grpc.add_RunnerServiceServicer_to_server
    services = {SERVICE: lambda server: add(servicer, server)}
    close = partial(asyncio.to_thread, runs.close)
    await serving.serve(listen, services, watch, on_stop=[servicer.finish, close])
