"""Start a replay's own services, and connect to them."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from cli.terminal.complaint import complain
from cyberdojo.runner.v1 import runner_pb2_grpc
from cyberdojo.startpoints.v1 import startpoints_pb2_grpc
from cyberdojo.storer.v1 import storer_pb2_grpc
from dojo.naming import Namespace
from dojo.service.settings import CallerSettings
from replay.calls import Calls, channel
from replay.services import start_points
from replay.services.process import PrivateService
from replay.sources.recorded import Storer
from replay.task import Pair


@dataclass(frozen=True)
class ServiceOptions:
    """The options of the private services."""

    namespace: Namespace
    start_points: Path | None
    jobs: int

    def environ(self) -> dict[str, str]:
        """Return the options as environment variables."""
        return {
            "CYBER_DOJO_NAMESPACE": self.namespace.name,
            "CYBER_DOJO_START_POINTS": str(self.start_points or ""),
            "CYBER_DOJO_LOG_LEVEL": "info",
            "CYBER_DOJO_RUNNER_MAX_CONCURRENT_RUNS": str(self.jobs),
            "CYBER_DOJO_RUNNER_MAX_WARM_CONTAINERS": str(2 * self.jobs),
        }


def start(
    options: ServiceOptions,
    directories: Sequence[Path],
    storer: str,
    settings: CallerSettings,
    stack: ExitStack,
) -> tuple[Pair, list[Storer]]:
    """Start the services; return the pair that runs lights, and the storers to read them from.

    The storers to read from are one for each katas directory, or the one at the address `storer`,
    which is called as `settings` say. All services stop when `stack` is closed. Raises
    ReplayStopped or BadSettings.
    """
    calls = Calls()
    # A storer reads one katas directory, and no saver's: what is there was not asked for.
    environ = {**options.environ(), "CYBER_DOJO_SAVER_DIRECTORY": ""}
    services = [
        _started("storer", {**environ, "CYBER_DOJO_KATAS_DIRECTORY": str(each)}, stack)
        for each in directories or ("",)
    ]
    services.append(_started("runner", options.environ(), stack))
    channels = [channel(service.address, CallerSettings()) for service in services]
    stubs = [storer_pb2_grpc.StorerServiceStub(each) for each in channels[:-1]]
    languages = startpoints_pb2_grpc.StartPointsServiceStub(channels[0])
    pair = Pair(
        calls,
        stubs[0],
        runner_pb2_grpc.RunnerServiceStub(channels[-1]),
        start_points.max_seconds(calls, languages),
    )
    if storer:
        channels.append(channel(storer, settings))
        stub = storer_pb2_grpc.StorerServiceStub(channels[-1])
        readers = [Storer(calls, stub, is_private=False)]
    else:
        readers = [Storer(calls, stub, is_private=True) for stub in stubs]
    for each in channels:
        stack.callback(each.close)
    return pair, readers


def _started(module: str, environ: dict[str, str], stack: ExitStack) -> PrivateService:
    service = PrivateService(module, environ)

    def stop() -> None:
        service.stop()
        if service.defects:
            reason = f"logged {service.defects} defects, the last of them: {service.last_defect}"
            complain(f"the {module} {reason}")

    stack.callback(stop)
    return service
