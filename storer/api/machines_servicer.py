"""The RPCs about the machines of an installation, told by one of them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import grpc.aio

from cyberdojo.machines.v1 import machines_pb2, machines_pb2_grpc
from cyberdojo.status.v1 import status_pb2
from dojo.access.audit import Audit
from dojo.errors import MachineNotFound, OnlyMachine
from dojo.machines.nodes import Node
from dojo.service.forwarding import caller_left
from storer.api.peers import Peers
from storer.cluster.installation import Installation

Context = grpc.aio.ServicerContext[Any, Any]

_DRAIN = "/cyberdojo.machines.v1.MachinesService/DrainMachine"
_STATUS = "/cyberdojo.status.v1.StatusService/GetStatus"


class MachinesServicer(machines_pb2_grpc.MachinesServiceServicer):
    """cyberdojo.machines.v1.MachinesService; machines.proto says what its RPCs do."""

    def __init__(
        self,
        installation: Installation,
        peers: Peers,
        describe: Callable[[status_pb2.GetStatusResponse], None],
        audit: Audit,
    ) -> None:
        """`describe` adds what this storer has to tell to its status; any thread may call it."""
        self._installation = installation
        self._peers = peers
        self._describe = describe
        self._audit = audit

    async def ListMachines(
        self, request: machines_pb2.ListMachinesRequest, context: Context
    ) -> machines_pb2.ListMachinesResponse:
        """List the machines that live."""
        owners = Counter(self._installation.owners_of_all())
        nodes = self._installation.machines()
        shared = asyncio.create_task(asyncio.to_thread(self._installation.problem))
        told = await asyncio.gather(*(self._told(node) for node in nodes))
        response = machines_pb2.ListMachinesResponse(
            free_kata_count=owners[""], problem=await shared
        )
        for node, (status, problem) in zip(nodes, told, strict=True):
            machine = response.machines.add(
                name=node.name,
                storer=node.storer,
                runner=node.runner,
                version=node.version if status is not None else "",
                draining=node.is_draining,
                kata_count=owners[node.name],
                problem=problem,
            )
            if status is not None:
                machine.uncopied_kata_count = status.storer.uncopied_kata_count
                machine.problem = _problem(status)
                if status.storer.HasField("archive_lag"):
                    machine.archive_lag.CopyFrom(status.storer.archive_lag)
        return response

    async def DrainMachine(
        self, request: machines_pb2.DrainMachineRequest, context: Context
    ) -> machines_pb2.DrainMachineResponse:
        """Have a machine give its katas up, or take some again."""
        found = {node.name: node for node in self._installation.machines()}
        if not found:
            raise OnlyMachine
        node = found.get(request.name)
        if node is None:
            raise MachineNotFound(request.name, list(found))
        with self._audit.doing("DrainMachine", machine=node.name, end=request.end):
            if self._is_own(node):
                self._installation.drain(end=request.end)
            else:
                await self._peers.call(node.name, node.storer, _DRAIN, request)
        return machines_pb2.DrainMachineResponse()

    async def AcceptEtcd(
        self, request: machines_pb2.AcceptEtcdRequest, context: Context
    ) -> machines_pb2.AcceptEtcdResponse:
        """Have katas used again after etcd lost its data."""
        with self._audit.doing("AcceptEtcd"):
            generation = await asyncio.to_thread(self._installation.accept_etcd)
        return machines_pb2.AcceptEtcdResponse(generation=generation)

    def _is_own(self, node: Node) -> bool:
        return node.name == self._installation.own_name

    async def _told(self, node: Node) -> tuple[status_pb2.GetStatusResponse | None, str]:
        """Return what a machine's storer tells of itself, or why it does not."""
        if self._is_own(node):
            status = status_pb2.GetStatusResponse(engine_answers=True)
            await asyncio.to_thread(self._describe, status)
            return status, ""
        try:
            content = await self._peers.call(
                node.name, node.storer, _STATUS, status_pb2.GetStatusRequest()
            )
        except (grpc.aio.AioRpcError, asyncio.CancelledError) as error:
            if caller_left():
                raise
            said = error.details() if isinstance(error, grpc.aio.AioRpcError) else "it is gone"
            return None, f"its storer does not answer: {said}"
        return status_pb2.GetStatusResponse.FromString(content), ""


def _problem(status: status_pb2.GetStatusResponse) -> str:
    if not status.engine_answers:
        return "its docker engine does not answer"
    return status.storer.archive_problem
