"""Helpers for tests of hostile programs: a neighbour to protect, and a search for leftovers."""

import contextlib
import os
from pathlib import Path

import docker.errors

from dojo import avatars
from dojo.engine.client import Engine
from dojo.naming import LABEL, Namespace
from support.kata_folders import Kata

NEIGHBOUR = "zebra"
SECRET = b"the zebra's own\n"

# The variables of a run that come from the runner, the engine, the image and the shells.
VARIABLES = {
    "HOME", "USER", "LOGNAME", "CYBER_DOJO_AVATAR_NAME", "CYBER_DOJO_ID", "CYBER_DOJO_IMAGE_NAME",
    "CYBER_DOJO_SANDBOX", "HOSTNAME", "PATH", "PYTHONDONTWRITEBYTECODE", "OLDPWD", "PWD",
    "SHLVL", "_", "LANG", "PYTHONUNBUFFERED",
}  # fmt: skip

# Where an attack takes place: which run of its container it is, or in a container of its own.
SECOND, TENTH, OWN = "second run", "tenth run", "container of its own"

_UIDS = range(avatars.FIRST_UID, avatars.FIRST_UID + len(avatars.NAMES))


def keep_secret(kata: Kata) -> None:
    """Write a secret file to the neighbour's sandbox. It is none of her visible files."""
    path = kata.sandbox(NEIGHBOUR) / "secret.txt"
    path.write_bytes(SECRET)
    os.chown(path, avatars.uid(NEIGHBOUR), avatars.uid(NEIGHBOUR))


def strays(engine: Engine, namespace: Namespace) -> set[str]:
    """Return what runs left: containers, and mounts and avatars' processes without a container.

    Containers of other tests, and engines of other tests, are left out.
    """
    root = f"{engine.volume_root().parent}/"
    found = engine.api.containers(all=True, filters={"label": f"{LABEL}={namespace.name}"})
    left = {f"container {each['Names'][0]}" for each in found if "-run-" in each["Names"][0]}
    processes = _processes(root)
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    known = [each["Id"] for each in engine.api.containers(all=True)]
    left |= {
        f"process {pid}"
        for pid, group in processes.items()
        if not any(container in group for container in known)
    }
    left |= {f"mount {line}" for line in mounts if namespace.name in line}
    layers = {line.split()[1] for line in mounts if line.startswith(f"overlay {root}")}
    return left | {f"mount {layer}" for layer in layers - _layers(engine, known)}


def _processes(root: str) -> dict[int, str]:
    """Return the processes of avatars, with their control groups.

    Only processes with a file system below `root` count: that is where this engine makes them.
    """
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # the process has just ended
            is_avatars = folder.stat().st_uid in _UIDS
            if is_avatars and root in (folder / "mountinfo").read_text():
                found[int(folder.name)] = (folder / "cgroup").read_text()
    return found


def _layers(engine: Engine, containers: list[str]) -> set[str]:
    """Return where the engine mounts the file systems of containers."""
    layers: set[str] = set()
    for container in containers:
        with contextlib.suppress(docker.errors.NotFound):
            # The data are None while a container is being removed.
            driver = engine.api.inspect_container(container)["GraphDriver"]["Data"] or {}
            layers.update(filter(None, [driver.get("MergedDir")]))
    return layers
