"""A real etcd: one member on the loopback interface, which is all that most tests need.

`etcd_cluster` has several members, on hosts.
"""

import base64
import contextlib
import http.client
import itertools
import json
import os
import secrets
import shutil
import signal
import ssl
import subprocess
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any

from dojo.access.certificates import make_ca, make_client, make_member
from support import test_run
from support.paths import TOP
from support.services import STOP_SECONDS, Popen, freeze, wait_until

PROGRAM = TOP / "build/tools/etcd-server/etcd"  # scripts/test-tools.sh puts it there

# Below the ports that the kernel gives to outgoing connections, and not those of an etcd that may
# be on this machine.
CLIENT_PORT = 12379
PEER_PORT = 12380

_FILLING, _FILLING_BYTES = "filling/", 100_000

ANSWER_SECONDS = 10
HEALTHY_SECONDS = 30

# As in deploy/machine/etcd.yml, which says why.
_SETTINGS = (
    "--pre-vote",
    "--snapshot-count=5000",
    "--auto-compaction-mode=revision",
    "--auto-compaction-retention=2000",
)


class EtcdError(Exception):
    """An etcd refused a call. The message is its answer."""


class EtcdTls:
    """A folder with a CA, and certificates of it: of the members, and of their callers."""

    def __init__(self, folder: Path, hosts: Sequence[str]) -> None:
        """Make all, for members at these IP addresses."""
        folder.mkdir(parents=True, exist_ok=True)
        self.ca, self.member, self.client = (folder / each for each in ("ca", "member", "client"))
        ca = make_ca("tests", 1)
        pairs = {
            self.ca: ca,
            self.member: make_member(ca, [*hosts], 1),
            self.client: make_client(ca, "tests", 1),
        }
        for path, pair in pairs.items():
            path.with_suffix(".pem").write_bytes(pair.certificate)
            path.with_suffix(".key").write_bytes(pair.key)

    @property
    def settings(self) -> dict[str, str]:
        """The settings of a service that is let in."""
        return {
            "CYBER_DOJO_ETCD_CA": f"{self.ca}.pem",
            "CYBER_DOJO_ETCD_CERTIFICATE": f"{self.client}.pem",
            "CYBER_DOJO_ETCD_KEY": f"{self.client}.key",
        }

    @property
    def options(self) -> list[str]:
        """What a member is started with: it lets nobody in who has no certificate of the CA."""
        return [
            f"--{kind}{option}"
            for kind in ("", "peer-")
            for option in (
                f"cert-file={self.member}.pem",
                f"key-file={self.member}.key",
                f"trusted-ca-file={self.ca}.pem",
                "client-cert-auth",
            )
        ]

    def context(self) -> ssl.SSLContext:
        """Return what the tests call a member with."""
        context = ssl.create_default_context(cafile=f"{self.ca}.pem")
        context.load_cert_chain(f"{self.client}.pem", f"{self.client}.key")
        return context


class Etcd:
    """An etcd process that keeps its data in a folder. It can be killed and started again."""

    def __init__(
        self,
        folder: Path,
        name: str = "etcd",
        cluster: Mapping[str, str] | None = None,
        popen: Popen = subprocess.Popen,
        *,
        has_tls: bool = False,
        quota_bytes: int = 0,
    ) -> None:
        """Keep data and log in `folder`, which is made if it is missing. Nothing is started.

        `cluster` has the IP addresses of all members by their names, this one's too; by default
        there is this one only, on the loopback interface. `popen` starts the process, as
        subprocess.Popen does. With `quota_bytes` of data the etcd is full, else with 2 GiB.
        """
        self._quota_bytes = quota_bytes
        # Every address of 127.0.0.0/8 is this machine's. One at random has free ports, also when
        # the etcd is started again.
        self._cluster = cluster or {name: f"127.{_byte()}.{_byte()}.{_byte()}"}
        self.name = name
        self.host = self._cluster[name]
        self._folder = folder
        self._popen = popen
        self._process: subprocess.Popen[Any] | None = None
        self.tls = EtcdTls(folder / "tls", [self.host]) if has_tls else None

    @property
    def address(self) -> str:
        """Where clients connect: an IP address and a port."""
        return f"{self.host}:{CLIENT_PORT}"

    @property
    def is_running(self) -> bool:
        """Whether there is a process, frozen or not."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the process, with the data that is there, and wait until it takes writes."""
        self.begin()
        self.wait_until_healthy()

    def begin(self) -> None:
        """Start the process without waiting. The first members of a cluster wait for each other."""
        assert not self.is_running
        self._folder.mkdir(parents=True, exist_ok=True)
        with self._log_file.open("ab") as log:
            self._process = self._popen(
                [PROGRAM, *self._options()],
                env=_environ(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def wait_until_healthy(self) -> None:
        """Wait until the member takes writes, for which most members have to be there."""
        wait_until(self._is_healthy, HEALTHY_SECONDS)

    def stop(self) -> None:
        """Stop the process, and assert that it stopped cleanly."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Kill the process, as a crash would. The data stays."""
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """Freeze the process, until none of its threads runs: it neither answers nor refuses."""
        freeze(self._running())

    def thaw(self) -> None:
        """Let a frozen process continue."""
        self._running().send_signal(signal.SIGCONT)

    def remove(self) -> None:
        """Kill the process, if there is one, and remove data and log."""
        if self.is_running:
            self.kill()
        shutil.rmtree(self._folder)

    def leads(self, seconds: float | None = None) -> int | None:
        """Return the term in which this member leads, None if it does not. Raises as `put`."""
        found = self.call("maintenance/status", {}, seconds)
        leads = found.get("leader") == found["header"]["member_id"]
        return int(found["raftTerm"]) if leads else None

    def put(self, key: str, value: bytes) -> None:
        """Set a key. Raises EtcdError, or OSError if there is no answer."""
        self.call("kv/put", {"key": _encoded(key.encode()), "value": _encoded(value)})

    def get(self, key: str) -> bytes | None:
        """Return a key's value, None if it is not there. Raises as `put`."""
        found = self.call("kv/range", {"key": _encoded(key.encode())}).get("kvs")
        return base64.b64decode(found[0].get("value", "")) if found else None

    def count(self, prefix: str) -> int:
        """Return how many keys begin with `prefix`. Raises as `put`."""
        begin = prefix.encode()
        end = begin[:-1] + bytes([begin[-1] + 1])
        asked = {"key": _encoded(begin), "range_end": _encoded(end), "count_only": True}
        return int(self.call("kv/range", asked).get("count", 0))

    def size_bytes(self, prefix: str) -> int:
        """Return how many bytes the values have whose keys begin with `prefix`."""
        begin = prefix.encode()
        end = begin[:-1] + bytes([begin[-1] + 1])
        found = self.call("kv/range", {"key": _encoded(begin), "range_end": _encoded(end)})
        return sum(len(base64.b64decode(each.get("value", ""))) for each in found.get("kvs", []))

    def fill(self) -> None:
        """Write keys of our own until there is no room for more."""
        for number in itertools.count():
            try:
                self.put(f"{_FILLING}{number}", secrets.token_bytes(_FILLING_BYTES))
            except EtcdError as error:
                if "space exceeded" not in str(error):
                    raise
                return

    def empty(self) -> None:
        """Delete what `fill` wrote. Its room is not free yet."""
        begin, end = _encoded(_FILLING.encode()), _encoded(_FILLING.encode() + b"\xff")
        self.call("kv/deleterange", {"key": begin, "range_end": end})

    def enlarge(self) -> None:
        """Start again with room for 2 GiB, and take changes again."""
        self.stop()
        self._quota_bytes = 0
        self.begin()
        wait_until(self._answers, HEALTHY_SECONDS)  # it is not healthy before
        self.make_room()
        self.wait_until_healthy()

    def _answers(self) -> bool:
        try:
            self.call("maintenance/status", {})
        except (OSError, EtcdError, http.client.HTTPException):
            return False
        return True

    def make_room(self) -> None:
        """Give the room of what was deleted free again, as docs/many-machines.md tells operators.

        As `etcdctl compact`, `etcdctl defrag` and `etcdctl alarm disarm` do.
        """
        revision = self.call("maintenance/status", {})["header"]["revision"]
        self.call("kv/compaction", {"revision": revision, "physical": True})
        self.call("maintenance/defragment", {})
        for alarm in self.call("maintenance/alarm", {"action": "GET"}).get("alarms", []):
            self.call("maintenance/alarm", {"action": "DEACTIVATE", **alarm})

    def metrics(self) -> dict[str, float]:
        """Return etcd's metrics that have no labels. Raises as `put`."""
        with contextlib.closing(self._connection(ANSWER_SECONDS)) as connection:
            connection.request("GET", "/metrics")
            lines = connection.getresponse().read().decode().splitlines()
        pairs = (line.split() for line in lines if not line.startswith("#") and "{" not in line)
        return {name: float(value) for name, value in pairs}

    def written_bytes(self) -> int:
        """Return how much the process has written to the disk."""
        lines = Path(f"/proc/{self._running().pid}/io").read_text().splitlines()
        return int(dict(line.split(": ") for line in lines)["write_bytes"])

    def call(
        self, method: str, message: Mapping[str, Any], seconds: float | None = None
    ) -> dict[str, Any]:
        """Call etcd's gRPC gateway: `kv/put`, for example. Raises as `put`.

        `seconds` is how long an answer may take, by default ANSWER_SECONDS.
        """
        timeout = ANSWER_SECONDS if seconds is None else seconds
        connection = self._connection(timeout)
        try:
            connection.request("POST", f"/v3/{method}", json.dumps(message))
            answer = connection.getresponse()
            body = answer.read().decode()
        finally:
            connection.close()
        if answer.status != HTTPStatus.OK:
            raise EtcdError(body)
        found: dict[str, Any] = json.loads(body)
        return found

    @property
    def _log_file(self) -> Path:
        return self._folder / "log"

    def _options(self) -> list[str]:
        scheme = "http" if self.tls is None else "https"
        peers = {name: f"{scheme}://{host}:{PEER_PORT}" for name, host in self._cluster.items()}
        peer, client = peers[self.name], f"{scheme}://{self.address}"
        return [
            f"--name={self.name}",
            f"--data-dir={self._folder / 'data'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            "--initial-cluster=" + ",".join("=".join(each) for each in peers.items()),
            "--logger=zap",
            f"--quota-backend-bytes={self._quota_bytes}",
            *_SETTINGS,
            *([] if self.tls is None else self.tls.options),
        ]

    def _connection(self, timeout: float) -> http.client.HTTPConnection:
        if self.tls is None:
            return http.client.HTTPConnection(self.host, CLIENT_PORT, timeout=timeout)
        context = self.tls.context()
        return http.client.HTTPSConnection(self.host, CLIENT_PORT, timeout=timeout, context=context)

    def _is_healthy(self) -> bool:
        assert self.is_running, self._log_file.read_text()[-3000:]
        connection = self._connection(ANSWER_SECONDS)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == HTTPStatus.OK
        except OSError:
            return False
        finally:
            connection.close()

    def _running(self) -> subprocess.Popen[Any]:
        assert self._process is not None
        assert self._process.poll() is None, self._log_file.read_text()[-3000:]
        return self._process

    def _end(self, number: signal.Signals) -> None:
        process = self._running()
        process.send_signal(number)
        try:
            status = process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
        assert status == -number, self._log_file.read_text()[-3000:]


def _byte() -> int:
    return secrets.randbelow(254) + 1


def _encoded(text: bytes) -> str:
    return base64.b64encode(text).decode()


def _environ() -> dict[str, str]:
    """Return an environment without options of an etcd that is on this machine."""
    # Without the first, this version of etcd refuses to start on ARM.
    own = {"ETCD_UNSUPPORTED_ARCH": "arm64", test_run.VARIABLE: test_run.name()}
    return {**{key: each for key, each in os.environ.items() if not key.startswith("ETCD_")}, **own}
