"""Several storers that are one installation. Each stands for a machine: it has its own namespace.

They are on one engine, which is enough for all that happens between storers, etcd and the archive.
What happens to whole machines is tested with `support.machines`.
"""

import contextlib
import secrets
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import docker.errors
import grpc

from dojo.engine.data_containers import DataContainers
from dojo.naming import Namespace
from support.machines.etcd import Etcd
from support.services import Service, free_ports
from support.storer.fixtures import defects, delete_all
from support.storer.storing import Katas, Stub


class Storers:
    """Storers n0, n1, ... of one installation, and their clients."""

    def __init__(
        self,
        etcd: Etcd,
        archive: str,
        data_containers: DataContainers,
        start: Callable[..., Service],
        **environ: str,
    ) -> None:
        """Start none yet. `start` starts a storer with these settings."""
        self._archive = archive
        self._environ = environ
        self._etcd = etcd
        self._start = start
        self.installation = f"test-{secrets.token_hex(4)}"
        self._of_tests = data_containers
        self._ports: list[str] = []
        self._runner_ports: list[str] = []
        self.runners: dict[int, Service] = {}
        self.services: list[Service] = []
        self.containers: list[DataContainers] = []
        self._channels: list[grpc.Channel] = []

    def add(self, **environ: str) -> int:
        """Start one more storer; return its number."""
        number = len(self.services)
        name = f"{self._of_tests.namespace.name}-{secrets.token_hex(3)}"
        of_tests = self._of_tests
        containers = DataContainers(of_tests.engine, Namespace(name), of_tests.volume_root)
        self.containers.append(containers)
        port, runner_port = free_ports(2)
        self._ports.append(port)
        self._runner_ports.append(runner_port)
        self.services.append(self._started(number, **environ))
        return number

    def start_again(self, number: int, **environ: str) -> None:
        """Start a storer that was stopped or killed."""
        assert not self.services[number].is_running
        self.services[number] = self._started(number, **environ)

    def add_runner(self, number: int, **environ: str) -> Service:
        """Start the runner beside a storer, with these settings; return it."""
        self.runners[number] = self._start(
            "runner",
            **{
                "CYBER_DOJO_RUNNER_LISTEN": self.runner_address(number),
                "CYBER_DOJO_STORER": self.address(number),
                **self._shared(number),
                **environ,
            },
        )
        return self.runners[number]

    def runner_address(self, number: int) -> str:
        """Return where the runner beside a storer listens."""
        return f"127.0.0.1:{self._runner_ports[number]}"

    def katas(self, number: int) -> Katas:
        """Return the katas as one of the storers answers them."""
        return Katas(Stub(self.channel(number)))

    def channel(self, number: int) -> grpc.Channel:
        """Return a channel to one of the storers."""
        # A storer that is back is called again at once.
        options = [("grpc.initial_reconnect_backoff_ms", 50), ("grpc.max_reconnect_backoff_ms", 50)]
        channel = grpc.insecure_channel(self.address(number), options)
        self._channels.append(channel)
        return channel

    def address(self, number: int) -> str:
        """Return where a storer listens."""
        return f"127.0.0.1:{self._ports[number]}"

    def owner(self, kata_id: str) -> int | None:
        """Return the number of the storer that owns a kata, as etcd has it; None if none does."""
        value = self._etcd.get(f"/{self.installation}/owner/{kata_id}")
        return int(value.decode().removeprefix("n")) if value else None

    def record_count(self, kata_id: str) -> int:
        """Return how many records etcd has of a kata."""
        return self._etcd.count(f"/{self.installation}/kata/{kata_id}/")

    def all_records(self) -> tuple[int, int]:
        """Return how many records etcd has of all katas, and their size in bytes."""
        prefix = f"/{self.installation}/kata/"
        return self._etcd.count(prefix), self._etcd.size_bytes(prefix)

    @contextmanager
    def frozen(self, number: int) -> Iterator[None]:
        """Freeze a storer during the block: it neither answers nor refuses."""
        self.services[number].send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.services[number].send_signal(signal.SIGCONT)

    def close(self) -> None:
        """Stop all storers; assert that they logged no defect, and left nothing."""
        for channel in self._channels:
            channel.close()
        for service in (*self.runners.values(), *self.services):
            if service.is_running:
                service.send_signal(signal.SIGCONT)  # of a test that failed while it was frozen
                service.stop()
        for containers in self.containers:
            delete_all(containers)
            with contextlib.suppress(docker.errors.ImageNotFound):
                containers.engine.api.remove_image(containers.namespace.kata_image)
        services = (*self.runners.values(), *self.services)
        found = [defect for service in services for defect in defects(service)]
        assert not found, "".join(found)

    def _started(self, number: int, **environ: str) -> Service:
        return self._start(
            "storer",
            **{
                "CYBER_DOJO_STORER_LISTEN": self.address(number),
                "CYBER_DOJO_NODE_RUNNER": self.runner_address(number),
                "CYBER_DOJO_ARCHIVE": self._archive,
                "CYBER_DOJO_ARCHIVE_COPY_SECONDS": "1",
                **self._shared(number),
                **self._environ,
                **environ,
            },
        )

    def _shared(self, number: int) -> dict[str, str]:
        """Return the settings of both services of a machine."""
        return {
            **(self._etcd.tls.settings if self._etcd.tls else {}),
            "CYBER_DOJO_ETCD": self._etcd.address,
            "CYBER_DOJO_INSTALLATION": self.installation,
            "CYBER_DOJO_NODE": f"n{number}",
            "CYBER_DOJO_NAMESPACE": self.containers[number].namespace.name,
        }
