"""Three machines that are one installation, and services that are alone on one of them.

A machine is a host in namespaces of its own, with an engine, a storer, a runner and a member of
etcd (`support.machines`). All of them share the processors and the disk of this machine: what is
measured is worse than on three.
"""

import contextlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import grpc

from benchmarks.storer_calls import FILES, OUTPUT
from cyberdojo.colour.v1 import colour_pb2
from cyberdojo.output.v1 import output_pb2
from cyberdojo.runner.v1 import runner_pb2_grpc
from cyberdojo.storer.v1 import storer_pb2, storer_pb2_grpc
from dojo import avatars
from dojo.service import settings_file
from support import test_run
from support.machines.fleet import Fleet
from support.machines.installation import Installation
from support.services import Service

# The machine that owns the measured katas, and another one.
OWNER, OTHER = "n1", "n2"

AVATAR = avatars.NAMES[0]

# Hexadecimal digits take about half of their size when they are compressed: 5 KB in etcd.
_RANDOM_BYTES = 4400
LIGHT = "a light of 5 KB"

# Where a storer and a runner listen that are alone.
_ALONE_PORTS = {"storer": 4677, "runner": 4697}

_OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.enable_http_proxy", 0)]


class Machines:
    """The machines n1, n2 and n3 behind a router; and clients of them."""

    def __init__(
        self, installation: Installation, folder: Path, stack: contextlib.ExitStack
    ) -> None:
        """Keep what services have that are alone in `folder`. `stack` ends them, and clients."""
        self.installation = installation
        self.folder = folder
        self._stack = stack

    def storer(self, address: str) -> storer_pb2_grpc.StorerServiceStub:
        """Return a client of the storer at an address."""
        return storer_pb2_grpc.StorerServiceStub(self._channel(address))

    def runner(self, address: str) -> runner_pb2_grpc.RunnerServiceStub:
        """Return a client of the runner at an address."""
        return runner_pb2_grpc.RunnerServiceStub(self._channel(address))

    def start_alone(self, module: str, **environ: str) -> Service:
        """Start a service on the owner's machine that knows nothing of etcd."""
        node = self.installation.nodes[OWNER]
        own = {
            f"CYBER_DOJO_{module.upper()}_LISTEN": f"{node.address}:{_ALONE_PORTS[module]}",
            "CYBER_DOJO_NAMESPACE": f"{test_run.name()}-alone",
        }
        service = node.service(module, **{**own, **environ})
        self._stack.callback(lambda: service.stop() if service.is_running else None)
        return service

    def start_alone_storer(self) -> Service:
        """Start a storer that is alone, and copies to an archive as the others do."""
        return self.start_alone(
            "storer",
            CYBER_DOJO_ARCHIVE=str(self.folder / "archive-alone"),
            CYBER_DOJO_ARCHIVE_COPY_SECONDS="2",
        )

    def _channel(self, address: str) -> grpc.Channel:
        return self._stack.enter_context(
            contextlib.closing(grpc.insecure_channel(address, _OPTIONS))
        )


@contextlib.contextmanager
def three_machines() -> Iterator[Machines]:
    """Yield three machines, and end them."""
    with fleet() as (hosts, folder), contextlib.ExitStack() as stack:
        installation = Installation(hosts, folder / "archive")
        stack.callback(installation.close)
        yield Machines(installation, folder, stack)


@contextlib.contextmanager
def fleet() -> Iterator[tuple[Fleet, Path]]:
    """Yield a network without hosts, and a folder; remove both."""
    test_run.begin()
    os.environ[settings_file.FILE] = os.devnull  # what is measured is not this installation
    folder = Path(tempfile.mkdtemp(prefix="several-"))
    try:
        with Fleet(folder / "hosts") as hosts:
            yield hosts, folder
    finally:
        shutil.rmtree(folder)


def new_kata(stub: storer_pb2_grpc.StorerServiceStub) -> str:
    """Make a kata in which an avatar has started; return its id."""
    manifest = storer_pb2.Manifest(
        display_name="Python, pytest",
        image_name="cyberdojofoundation/python_pytest",
        files=FILES,
    )
    made = stub.CreateKata(storer_pb2.CreateKataRequest(manifest=manifest))
    stub.StartAvatar(storer_pb2.StartAvatarRequest(kata_id=made.kata_id, avatars=[AVATAR]))
    return made.kata_id


def a_light(kata_id: str) -> storer_pb2.RecordTestRequest:
    """Return a test that no other one is like, whose light takes 5 KB in etcd."""
    return storer_pb2.RecordTestRequest(
        kata_id=kata_id,
        avatar=AVATAR,
        files={**FILES, "file1.py": secrets.token_hex(_RANDOM_BYTES).encode()},
        stdout=output_pb2.Output(content=OUTPUT),
        status=1,
        colour=colour_pb2.COLOUR_RED,
        request_id=secrets.token_hex(8),
    )
