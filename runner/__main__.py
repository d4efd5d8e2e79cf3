"""`python -m runner` serves; `python -m runner replay ...` runs recorded lights again."""

import asyncio
import resource
import sys
from functools import partial

from cyberdojo.runner.v1 import runner_pb2, runner_pb2_grpc
from dojo import serving
from dojo.handle_watch import HandleWatch
from dojo.settings import BadSettings
from runner.images import Images
from runner.runs import Runs
from runner.servicer import RunnerServicer
from runner.settings import RunnerSettings

SERVICE = runner_pb2.DESCRIPTOR.services_by_name["RunnerService"].full_name

_USAGE = """usage: python -m runner                  serve; settings are environment variables
       python -m runner replay --help    run recorded lights again, and compare the colours"""


def main() -> None:
    """Serve until told to stop; or do what the arguments name."""
    match sys.argv[1:]:
        case []:
            serving.run("runner", RunnerSettings, _main)
        case ["replay", *arguments]:
            from runner.replay import command  # noqa: PLC0415 - it is no part of the service

            sys.exit(command.main(arguments))
        case _:
            print(_USAGE, file=sys.stderr)
            sys.exit(0 if sys.argv[1:] in (["-h"], ["--help"]) else 2)


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
    watch = HandleWatch(data_containers, runs.pool.images_changed)
    asyncio.run(_serve(told.listen, servicer, watch, runs))


async def _serve(listen: str, servicer: RunnerServicer, watch: HandleWatch, runs: Runs) -> None:
    add = runner_pb2_grpc.add_RunnerServiceServicer_to_server
    services = {SERVICE: lambda server: add(servicer, server)}
    close = partial(asyncio.to_thread, runs.close)
    await serving.serve(listen, services, watch, on_stop=[servicer.finish, close])


if __name__ == "__main__":
    main()
