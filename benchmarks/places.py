"""Where benchmarks run: services, an engine, and katas in a namespace of their own."""

import contextlib
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import docker.errors

from benchmarks.memory_group import MemoryGroup
from cyberdojo.colour.v1 import colour_pb2
from cyberdojo.runner.v1 import runner_pb2, runner_pb2_grpc
from cyberdojo.storer.v1 import storer_pb2_grpc
from dojo import avatars, kata_ids, locks, naming
from dojo.channels import open_channel
from dojo.engine.client import Engine
from dojo.engine.data_containers import DataContainers
from dojo.naming import Namespace
from dojo.service import settings_file
from dojo.service.settings import CallerSettings, CommonSettings, load
from runner.engine import seccomp

STARTUP_SECONDS = 30

# Every measured run has to be green: any output, even none, matches.
COLOUR_RULE = colour_pb2.ColourRule(
    patterns=colour_pb2.ColourPatterns(
        patterns=[colour_pb2.ColourPattern(colour=colour_pb2.COLOUR_GREEN, pattern=".|^$")]
    )
)


class Place:
    """An engine, and a namespace that `clear` empties."""

    def __init__(self, engine: Engine, namespace: Namespace) -> None:
        settings = load(CommonSettings, os.environ)
        self.engine = engine
        self.namespace = namespace
        self.data_containers = DataContainers(
            engine, namespace, settings.volume_root or engine.volume_root()
        )

    def new_kata(self, started: int) -> str:
        """Make a kata in which that many avatars have started; return its id."""
        kata_id = kata_ids.new()
        folder = self.data_containers.create(kata_id)
        folder.chmod(0o711)
        (folder / "manifest.json").write_text(json.dumps({"id": kata_id}))
        for avatar in avatars.NAMES[:started]:
            sandbox = folder / avatar / "sandbox"
            sandbox.mkdir(parents=True)
            (folder / avatar).chmod(0o711)
            os.chown(sandbox, avatars.uid(avatar), avatars.uid(avatar))
        return kata_id

    def sandbox(self, kata_id: str, avatar: str) -> Path:
        """Return the path of an avatar's sandbox on this machine."""
        return self.data_containers.folder(kata_id) / avatar / "sandbox"

    def clear(self) -> None:
        """Remove everything in the namespace."""
        for kata_id in list(self.data_containers.kata_ids()):
            with locks.locked(self.data_containers.folder(kata_id)):
                self.data_containers.delete(kata_id)
        with contextlib.suppress(docker.errors.ImageNotFound):
            self.engine.api.remove_image(self.namespace.kata_image)
        with contextlib.suppress(docker.errors.NotFound):  # nothing was backed up
            self.engine.api.remove_volume(self.namespace.backups)


@contextlib.contextmanager
def temporary_place() -> Iterator[Place]:
    """Yield a place of this process's own, and clear it at the end."""
    engine = Engine(load(CommonSettings, os.environ).engine)
    place = Place(engine, Namespace(f"bench-{secrets.token_hex(4)}"))
    try:
        yield place
    finally:
        place.clear()
        engine.close()


def shim_private_bytes(place: Place, container: str) -> int:
    """Return the memory of the process that the engine has beside each container, its own part."""
    first = place.engine.api.inspect_container(container)["State"]["Pid"]
    shim = Path(f"/proc/{first}/stat").read_text().rpartition(")")[2].split()[1]
    lines = Path(f"/proc/{shim}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Private_"))


class Service:
    """A service, `runner` or `storer`, in a process of its own."""

    def __init__(
        self, name: str, place: Place, group: MemoryGroup | None, /, **environ: str
    ) -> None:
        """Start the service with these settings, in a control group if one is given."""
        own = {
            "CYBER_DOJO_NAMESPACE": place.namespace.name,
            f"CYBER_DOJO_{name.upper()}_LISTEN": "127.0.0.1:0",
            "DOCKER_HOST": place.engine.url,
            settings_file.FILE: os.devnull,  # what is measured is not this installation
        }
        serve = [sys.executable, "-m", name, "serve"]
        if group is not None:
            serve = ["sh", "-c", 'echo $$ > "$0" && exec "$@"', str(group.procs), *serve]
        self._process = subprocess.Popen(
            serve,
            env={**os.environ, **own, **environ},
            stderr=subprocess.PIPE,
            text=True,
        )
        if self._process.stderr is None:
            raise RuntimeError(f"the {name} has no log to read")
        self._log = self._process.stderr
        self.address = next(
            event["listen"]
            for event in map(json.loads, iter(self._log.readline, ""))
            if event["event"] == "serving"
        )
        # Without a reader of its log the service would block when the pipe is full.
        self._reader = subprocess.Popen(["cat"], stdin=self._log, stdout=subprocess.DEVNULL)
        self._channel = open_channel(self.address, load(CallerSettings, os.environ))

    @property
    def resident_bytes(self) -> int:
        """The memory that the service uses now."""
        return self._status("VmRSS")

    @property
    def processor_seconds(self) -> float:
        """The processor time that the service has used; of what it started, nothing."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # proc(5)

    @property
    def peak_bytes(self) -> int:
        """The most memory that the service has used."""
        return self._status("VmHWM")

    def stop(self) -> None:
        """Stop the service."""
        self._channel.close()
        self._process.terminate()
        self._process.wait()
        self._log.close()
        self._reader.wait()

    def _status(self, key: str) -> int:
        for line in Path(f"/proc/{self._process.pid}/status").read_text().splitlines():
            if line.startswith(f"{key}:"):
                return int(line.split()[1]) * 1024
        raise LookupError(key)


class Runner(Service):
    """A runner in a process of its own."""

    def __init__(self, place: Place, group: MemoryGroup | None = None, /, **environ: str) -> None:
        super().__init__("runner", place, group, **environ)
        self.stub = runner_pb2_grpc.RunnerServiceStub(self._channel)


class Storer(Service):
    """A storer in a process of its own."""

    def __init__(self, place: Place, group: MemoryGroup | None = None, /, **environ: str) -> None:
        super().__init__("storer", place, group, **environ)
        self.stub = storer_pb2_grpc.StorerServiceStub(self._channel)


@contextlib.contextmanager
def runner(place: Place, group: MemoryGroup | None = None, /, **environ: str) -> Iterator[Runner]:
    """Yield a runner with these settings, in a control group if one is given; stop it."""
    started = Runner(place, group, **environ)
    try:
        yield started
    finally:
        started.stop()


@contextlib.contextmanager
def storer(place: Place, group: MemoryGroup | None = None, /, **environ: str) -> Iterator[Storer]:
    """Yield a storer with these settings, in a control group if one is given; stop it."""
    started = Storer(place, group, **environ)
    try:
        yield started
    finally:
        started.stop()


def request(kata_id: str, avatar: str, job: "Job") -> runner_pb2.RunRequest:
    """Return a submission of a job."""
    return runner_pb2.RunRequest(
        kata_id=kata_id,
        avatar=avatar,
        image_name=job.image_name,
        files=job.files,
        max_seconds=60,
        colour_rule=COLOUR_RULE,
    )


class Job:
    """Something to run: visible files, in an image."""

    def __init__(self, name: str, image_name: str, files: dict[str, bytes]) -> None:
        self.name = name
        self.image_name = image_name
        self.files = files

    def write(self, sandbox: Path, avatar: str) -> None:
        """Write the job's files to an empty sandbox, as a run would."""
        Job("nothing", self.image_name, {}).replace(self, sandbox, avatar)

    def replace(self, job: "Job", sandbox: Path, avatar: str) -> None:
        """Write those files of another job to the sandbox that differ from this job's."""
        uid = avatars.uid(avatar)
        for name, content in job.files.items():
            if self.files.get(name) != content:
                (sandbox / name).write_bytes(content)
                os.chown(sandbox / name, uid, uid)


TRUE = Job("true", "cyberdojofoundation/python_pytest", {"cyber-dojo.sh": b"true\n"})
PYTEST = Job(
    "pytest",
    "cyberdojofoundation/python_pytest",
    {
        "cyber-dojo.sh": b"python3 -m pytest -q -p no:cacheprovider *test*.py\n",
        "hiker.py": b"def answer():\n    return 6 * 7\n",
        "test_hiker.py": b"import hiker\n\ndef test_it():\n    assert hiker.answer() == 42\n",
    },
)
_GCC = Path(__file__).parents[1] / "start_points" / "languages" / "gcc_assert"
C_BUILD = Job(
    "C build",
    "cyberdojofoundation/gcc_assert",
    {
        "cyber-dojo.sh": b"make --always-make\n",
        "makefile": (_GCC / "makefile").read_bytes(),
        "hiker.h": (_GCC / "hiker.h").read_bytes(),
        "hiker.tests.c": (_GCC / "hiker.tests.c").read_bytes(),
        "hiker.c": (_GCC / "hiker.c").read_bytes().replace(b"6 * 9", b"6 * 7"),
    },
)


def container_config(place: Place, kata_id: str, avatar: str, job: Job) -> dict[str, object]:
    """Return the configuration of a runner's container, but with `cyber-dojo.sh` run at once."""
    uid = avatars.uid(avatar)
    return {
        "Image": job.image_name,
        "Entrypoint": ["bash", "./cyber-dojo.sh"],
        "Cmd": [],
        "WorkingDir": str(naming.sandbox_path(kata_id, avatar)),
        "User": f"{uid}:{uid}",
        "Env": ["HOME=/tmp"],
        "NetworkDisabled": True,
        "AttachStdout": True,
        "AttachStderr": True,
        "HostConfig": {
            "VolumesFrom": [place.namespace.kata(kata_id)],
            "NetworkMode": "none",
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges", f"seccomp={seccomp.profile()}"],
            "ReadonlyRootfs": True,
            "Tmpfs": {"/tmp": "rw,exec,nosuid,nodev,mode=1777,size=134217728"},  # noqa: S108
            "Init": True,
            "Memory": 512 * 1024**2,
            "MemorySwap": 512 * 1024**2,
            "PidsLimit": 258,
            "LogConfig": {"Type": "none", "Config": {}},
        },
    }
