"""How a container of runs is configured: what it is for, and what it may do."""

import posixpath
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath, PurePosixPath
from typing import Any

from dojo import avatars, image_names, naming
from dojo.errors import ImageUnusable
from runner.launch import launcher
from runner.launch.launcher import Place
from runner.run import entrypoint
from runner.settings import RunnerSettings

_CPU_PERIOD_MICROSECONDS = 100_000
# The services have docker's default of 1,024.
_CPU_WEIGHT = 512
# The name, in the pipes' folder, of the file for /etc/hosts. The file is mounted when that folder
# is removed, so the container keeps it.
HOSTS = "hosts"
_TMP, _SHM = "/tmp", "/dev/shm"  # noqa: S108 - in the container
# Where each run has a mount, whatever its image declares there.
_MOUNTED = {_TMP, str(naming.SANDBOX_ELSEWHERE)}
_SHM_BYTES = 64 * 1024**2
VOLUMES = "it declares volumes, and "


@dataclass(frozen=True)
class RunKey:
    """What a container is for: runs of an avatar in an image."""

    kata_id: str
    avatar: str
    image_name: str

    @property
    def image(self) -> str:
        """The image's name with its tag."""
        return image_names.tagged(self.image_name)


@dataclass(frozen=True)
class Parts:
    """What a container is made of that the settings don't say.

    `volume` is the mountpoint of the kata's volume, and `pipes_folder` the name of the folder of
    the pipes in the avatar's folder. `covered_paths` are the image's volumes.
    """

    handle: str
    volume: PurePath
    pipes_folder: str
    hostname: str
    labels: Mapping[str, str]
    covered_paths: Sequence[str]
    seccomp_profile: str


def config(key: RunKey, parts: Parts, settings: RunnerSettings) -> dict[str, Any]:
    """Return the engine's configuration of a container."""
    uid = avatars.uid(key.avatar)
    pipes_path = PurePosixPath(key.avatar, parts.pipes_folder)
    return {
        "Image": key.image,
        "Entrypoint": entrypoint.entrypoint(str(naming.mount_path(key.kata_id) / pipes_path)),
        "Cmd": [],
        "WorkingDir": str(naming.sandbox_path(key.kata_id, key.avatar)),
        "User": f"{uid}:{uid}",
        "Env": entrypoint.environment(key.kata_id, key.avatar, key.image_name),
        "Hostname": parts.hostname,
        # Otherwise the engine takes twice as long, to set up a network with nothing in it. The
        # engine then makes no /etc/hosts, so we mount one.
        "NetworkDisabled": True,
        "Healthcheck": {"Test": ["NONE"]},
        "Labels": parts.labels,
        "HostConfig": {
            "VolumesFrom": [parts.handle],
            "Mounts": [
                _bind(parts.volume / pipes_path / HOSTS, "/etc/hosts", read_only=True),
                _bind(parts.volume / key.avatar / naming.SANDBOX, str(naming.SANDBOX_ELSEWHERE)),
                *map(_covering_mount, parts.covered_paths),
            ],
            "NetworkMode": "none",
            # The files of a sandbox have the avatar's user id, so a container has the
            # machine's own, also on an engine with userns-remap.
            "UsernsMode": "host",
            "Runtime": settings.runtime,
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges", f"seccomp={parts.seccomp_profile}"],
            "ReadonlyRootfs": True,
            "ShmSize": _SHM_BYTES,
            "Tmpfs": {_TMP: f"rw,exec,nosuid,nodev,mode=1777,size={_tmp_bytes(settings)}"},
            # An init process reaps orphaned processes, and can't be killed by the program.
            "Init": True,
            "Memory": settings.memory_bytes,
            "MemorySwap": settings.memory_bytes,  # memory and swap together
            "PidsLimit": settings.max_processes + _other_processes(settings),
            "CpuShares": _CPU_WEIGHT,
            "CpuPeriod": _CPU_PERIOD_MICROSECONDS,
            "CpuQuota": settings.cpu_percent * _CPU_PERIOD_MICROSECONDS // 100,
            "OomScoreAdj": 500,  # if the host runs out of memory, runs go before services
            "Ulimits": [
                _ulimit("fsize", settings.max_file_bytes),
                _ulimit("nofile", settings.max_open_files),
                _ulimit("stack", settings.max_stack_bytes),
                _ulimit("core", 0),
            ],
            # A program that reaches the container's own output must not fill the disk with it.
            "LogConfig": {"Type": "none", "Config": {}},
        },
    }


def place(key: RunKey, found: Mapping[str, Any], settings: RunnerSettings) -> Place:
    """Return what a launcher has to know of a container, which the engine describes as `found`."""
    return Place(
        container_id=found["Id"],
        process=found["State"]["Pid"],
        folder=str(naming.sandbox_path(key.kata_id, key.avatar)),
        tmp_bytes=_tmp_bytes(settings),
        shm_bytes=_SHM_BYTES,
        masked_paths=found["HostConfig"]["MaskedPaths"] or (),
        readonly_paths=found["HostConfig"]["ReadonlyPaths"] or (),
        command=entrypoint.command(),
    )


def _tmp_bytes(settings: RunnerSettings) -> int:
    """Return the size of a run's /tmp, in which our own files have room too."""
    return settings.tmp_bytes + entrypoint.HOME_BYTES


def paths_to_cover(image_name: str, volumes: Iterable[str]) -> list[str]:
    """Return the paths, of those that an image declares as volumes, that have to be covered.

    The engine would make writable volumes on the disk there. Raises ImageUnusable for what can't be
    covered. That is also what is in a sandbox: the engine would make folders in it, as root.
    """
    paths = set()
    for volume in volumes:
        path = posixpath.normpath("/" + volume.lstrip("/"))
        is_in_a_sandbox = any(
            folder in PurePosixPath(path).parents
            for folder in (naming.SANDBOX_ELSEWHERE, naming.KATAS_ROOT)
        )
        if not volume.startswith("/") or path == "/" or is_in_a_sandbox:
            raise ImageUnusable(image_name, f"{VOLUMES}a run can have none at {volume}")
        paths.add(path)
    return sorted(paths - _MOUNTED)


def hosts(hostname: str) -> bytes:
    """Return an /etc/hosts in which a program finds localhost and its own host."""
    return (
        f"127.0.0.1\tlocalhost {hostname}\n::1\tlocalhost ip6-localhost ip6-loopback\n"
    ).encode()


def _other_processes(settings: RunnerSettings) -> int:
    """Return how many processes of a container are no run's own.

    They are the init process, and the shell that waits.
    """
    return 2 + (launcher.PROCESSES if settings.runs_of_container > 1 else 0)


def _bind(path: PurePath, target: str, *, read_only: bool = False) -> dict[str, str | bool]:
    return {"Type": "bind", "Source": str(path), "Target": target, "ReadOnly": read_only}


def _covering_mount(path: str) -> dict[str, Any]:
    """Return a mount over what the image has there. Only shared memory can be written."""
    mount: dict[str, Any] = {"Type": "tmpfs", "Target": path}
    if path == _SHM:
        return {**mount, "TmpfsOptions": {"SizeBytes": _SHM_BYTES, "Mode": 0o1777}}
    return {**mount, "ReadOnly": True}


def _ulimit(name: str, limit: int) -> dict[str, str | int]:
    return {"Name": name, "Soft": limit, "Hard": limit}
