"""Where a replay works: a namespace of its own, empty before and after.

Its name is that of the installation with `-replay` behind it, so that whatever it removes can't
be anybody's kata. A volume marks it as a replay's; who holds the lock on that volume's folder is
at work there, and the lock goes with the process that held it.
"""

import contextlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path

import docker.errors

from dojo.engine.client import translating_errors
from dojo.engine.data_containers import DataContainers
from dojo.naming import LABEL, Namespace
from replay.errors import ReplayStopped

SUFFIX = "-replay"


def namespace(base: Namespace) -> Namespace:
    """Return the namespace of the replays beside an installation's own."""
    return Namespace(base.name[: 40 - len(SUFFIX)] + SUFFIX)


@contextmanager
def workplace(data_containers: DataContainers) -> Iterator[Path]:
    """Hold the namespace, which is made empty first and in the end.

    Gives an empty folder for the replay's files, which goes with the rest. Raises ReplayStopped
    if another replay is at work in it, or if it holds what no replay made.
    """
    name = data_containers.namespace.name
    marker = f"{name}-at-work"
    api = data_containers.engine.api
    with translating_errors():
        held = {each["Name"] for each in _volumes(data_containers)}
        if marker not in held and (held or _containers(data_containers)):
            raise ReplayStopped(
                f"the namespace {name} holds what no replay made; remove it, or set "
                "CYBER_DOJO_NAMESPACE so that another one is used"
            )
        api.create_volume(marker, labels=data_containers.namespace.labels("replay"))
    with _lock(data_containers, marker) as scratch:
        sweep(data_containers, marker)
        for left in scratch.iterdir():
            shutil.rmtree(left)
        try:
            yield scratch
        finally:
            sweep(data_containers, marker)
            with translating_errors(), contextlib.suppress(docker.errors.NotFound):
                api.remove_volume(marker)


def sweep(data_containers: DataContainers, marker: str) -> None:
    """Remove everything of the namespace but the marker."""
    api = data_containers.engine.api
    with translating_errors():
        for container in _containers(data_containers):
            with contextlib.suppress(docker.errors.NotFound):
                api.remove_container(container["Id"], force=True, v=True)
        for volume in _volumes(data_containers):
            if volume["Name"] != marker:
                with contextlib.suppress(docker.errors.NotFound):
                    api.remove_volume(volume["Name"])
        with contextlib.suppress(docker.errors.ImageNotFound):
            api.remove_image(data_containers.namespace.kata_image)


@contextmanager
def _lock(data_containers: DataContainers, marker: str) -> Iterator[Path]:
    folder = data_containers.volume_root / marker / "_data"
    busy = f"another replay is at work in the namespace {data_containers.namespace.name}"
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise ReplayStopped(f"{busy}, or was until now") from None
    try:
        try:
            flock(descriptor, LOCK_EX | LOCK_NB)
        except BlockingIOError:
            raise ReplayStopped(busy) from None
        if not folder.exists():
            raise ReplayStopped(f"{busy}, or was until now")
        yield folder
    finally:
        os.close(descriptor)


def _labelled(data_containers: DataContainers) -> dict[str, str]:
    return {"label": f"{LABEL}={data_containers.namespace.name}"}


def _containers(data_containers: DataContainers) -> list[dict[str, str]]:
    found: list[dict[str, str]] = data_containers.engine.api.containers(
        all=True, filters=_labelled(data_containers)
    )
    return found


def _volumes(data_containers: DataContainers) -> list[dict[str, str]]:
    found = data_containers.engine.api.volumes(filters=_labelled(data_containers))
    return list(found["Volumes"] or [])
