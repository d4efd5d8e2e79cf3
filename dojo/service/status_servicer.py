"""The RPCs GetStatus and GetVersion, which both services serve: how and what the service is."""

import asyncio
import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib import resources
from importlib.metadata import version
from pathlib import Path
from typing import Any

import grpc.aio

from cyberdojo.status.v1 import status_pb2, status_pb2_grpc
from dojo import free_space
from dojo.engine.monitor import EngineMonitor
from dojo.service import settings_file
from dojo.service.settings import CommonSettings, Origin, in_force

SERVICE: str = status_pb2.DESCRIPTOR.services_by_name["StatusService"].full_name

_ORIGINS = {
    Origin.DEFAULT: status_pb2.SETTING_ORIGIN_DEFAULT,
    Origin.ENVIRONMENT: status_pb2.SETTING_ORIGIN_ENVIRONMENT,
    Origin.FILE: status_pb2.SETTING_ORIGIN_FILE,
}


class StatusServicer(status_pb2_grpc.StatusServiceServicer):
    """cyberdojo.status.v1.StatusService; status.proto says what its RPCs do."""

    def __init__(
        self,
        settings: CommonSettings,
        monitor: EngineMonitor,
        disks: Mapping[str, Path],
        describe: Callable[[status_pb2.GetStatusResponse], None],
    ) -> None:
        """Tell of these settings, and of these disks: what is there, and a folder on each.

        `describe` adds what the service alone has to tell; any thread may call it.
        """
        self._monitor = monitor
        self._disks = disks
        self._describe = describe
        set_by_file = settings_file.names_set_by_file(os.environ)
        self._fixed = status_pb2.GetStatusResponse(
            version=version("cyber-dojo"),
            settings=(
                status_pb2.SettingInForce(
                    name=each.name,
                    value=each.text,
                    origin=_ORIGINS[each.origin],
                    secret=each.is_secret,
                )
                for each in in_force(settings, os.environ, set_by_file)
            ),
        )
        self._fixed.started.FromDatetime(datetime.now(UTC))
        config = resources.files("cyberdojo").joinpath("service_config.json").read_text()
        self._version = status_pb2.GetVersionResponse(
            version=self._fixed.version, service_config=config
        )

    def add_to(self, server: grpc.aio.Server) -> None:
        """Add this to a server."""
        status_pb2_grpc.add_StatusServiceServicer_to_server(self, server)

    async def GetStatus(
        self,
        request: status_pb2.GetStatusRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> status_pb2.GetStatusResponse:
        """Tell how the service is."""
        return await asyncio.to_thread(self._status)

    async def GetVersion(
        self,
        request: status_pb2.GetVersionRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> status_pb2.GetVersionResponse:
        """Tell what the service is."""
        return self._version

    def _status(self) -> status_pb2.GetStatusResponse:
        status = status_pb2.GetStatusResponse(engine_answers=self._monitor.is_up)
        status.MergeFrom(self._fixed)
        for what, folder in self._disks.items():
            try:
                free, size = free_space.free_bytes(folder), free_space.size_bytes(folder)
            except OSError:  # it is not mounted now; the others are worth telling
                continue
            status.disks.add(what=what, path=str(folder), free_bytes=free, size_bytes=size)
        self._describe(status)
        return status
