"""What tests of hostile programs share: whom they may not harm, and what they may not leave."""

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

# What may be in a run's environment: ours, the engine's, the tests' image's and the shells'.
VARIABLES = {
    "HOME", "USER", "LOGNAME", "CYBER_DOJO_AVATAR_NAME", "CYBER_DOJO_ID", "CYBER_DOJO_IMAGE_NAME",
    "CYBER_DOJO_SANDBOX", "HOSTNAME", "PATH", "PYTHONDONTWRITEBYTECODE", "OLDPWD", "PWD",
    "SHLVL", "_", "LANG", "PYTHONUNBUFFERED",
}  # fmt: skip

_UIDS = range(avatars.FIRST_UID, avatars.FIRST_UID + len(avatars.NAMES))


def keep_secret(kata: Kata) -> None:
    """Put a file of the neighbour's, which is none of her visible ones, into her sandbox."""
    path = kata.sandbox(NEIGHBOUR) / "secret.txt"
    path.write_bytes(SECRET)
    os.chown(path, avatars.uid(NEIGHBOUR), avatars.uid(NEIGHBOUR))


def strays(engine: Engine, namespace: Namespace) -> set[str]:
    """Return what runs left: containers, and mounts and avatars' processes of no container.

    The engine may have other tests' containers too, and there may be other tests' engines:
    theirs are left out.
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
    """Return the processes of avatars, and the control groups that they are in.

    But only those that have a file system below `root`, which is where our engine makes them.
    """
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            is_avatars = folder.stat().st_uid in _UIDS
            if is_avatars and root in (folder / "mountinfo").read_text():
                found[int(folder.name)] = (folder / "cgroup").read_text()
    return found


def _layers(engine: Engine, containers: list[str]) -> set[str]:
    """Return where the engine mounts the file systems of containers."""
    layers: set[str] = set()
    for container in containers:
        with contextlib.suppress(docker.errors.NotFound):
            # The engine says None of one that is being removed.
            driver = engine.api.inspect_container(container)["GraphDriver"]["Data"] or {}
            layers.update(filter(None, [driver.get("MergedDir")]))
    return layers
