"""The images and start points of several machines, compared."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from cli.client import connect
from cli.storer_command import Session
from cyber_dojo_client.work import pages
from cyberdojo.machines.v1 import machines_pb2, machines_pb2_grpc
from cyberdojo.runner.v1 import runner_pb2, runner_pb2_grpc
from cyberdojo.startpoints.v1 import startpoints_pb2, startpoints_pb2_grpc

_SECONDS = 10.0


@dataclass
class Found:
    """What the machines have. `ids` has, by image name and machine, which image it is."""

    machines: list[machines_pb2.Machine]
    ids: dict[str, dict[str, str]] = field(default_factory=dict)
    wanted: dict[str, set[str]] = field(default_factory=dict)  # of each machine, by start points

    def unequal(self) -> list[str]:
        """Return the names of images that some machines lack, or that differ."""
        count = len(self.machines)
        return sorted(
            name for name, ids in self.ids.items() if len(ids) < count or len(set(ids.values())) > 1
        )

    def nowhere(self) -> list[str]:
        """Return the names of images that start points name and no machine has."""
        return sorted(set().union(*self.wanted.values()) - self.ids.keys())

    def odd_start_points(self) -> list[str]:
        """Return the machines whose start points name other images than those of the first."""
        first, *others = [each.name for each in self.machines]
        return [name for name in others if self.wanted[name] != self.wanted[first]]


def machines_of(session: Session) -> list[machines_pb2.Machine]:
    """Return the machines of the installation; none if there is only one."""
    stub = machines_pb2_grpc.MachinesServiceStub(session.client.channel)
    found = stub.ListMachines(machines_pb2.ListMachinesRequest(), timeout=_SECONDS)
    return list(found.machines)


def look(session: Session, machines: list[machines_pb2.Machine]) -> Found:
    """Ask each machine. Raises grpc.RpcError if one does not answer."""
    found = Found(machines)
    for machine in machines:
        with closing(connect(machine.runner, session.settings).channel) as channel:
            runner = runner_pb2_grpc.RunnerServiceStub(channel)
            for page in _pages(runner.ListImages, runner_pb2.ListImagesRequest()):
                for image in page.images:
                    found.ids.setdefault(image.image_name, {})[machine.name] = image.id
        with closing(connect(machine.storer, session.settings).channel) as channel:
            found.wanted[machine.name] = _wanted(channel)
    return found


def _wanted(channel: Any) -> set[str]:
    stub = startpoints_pb2_grpc.StartPointsServiceStub(channel)
    languages = _pages(stub.ListLanguages, startpoints_pb2.ListLanguagesRequest())
    custom = _pages(stub.ListCustomStartPoints, startpoints_pb2.ListCustomStartPointsRequest())
    return {
        *(each.image_name for page in languages for each in page.languages),
        *(each.image_name for page in custom for each in page.custom_start_points),
    }


def _pages(rpc: Any, request: Any) -> Any:
    return pages(lambda each: rpc(each, timeout=_SECONDS), request)
