"""Where a replay works: a namespace of its own, which is empty before and after.

Its name is that of the installation followed by `-replay`, so a replay can't remove anybody's
kata. A volume marks the namespace as a replay's. The replay at work holds the lock on that
volume's folder; the kernel releases the lock when its holder ends.
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
    """Lock the namespace, and empty it at the beginning and the end.

    Yields an empty folder for the replay's files, which is removed too. Raises ReplayStopped if
    another replay is at work in the namespace, or if it holds something that no replay made.
    """
    name = data_containers.namespace.name
    marker = f"{name}-at-work"
    api = data_containers.engine.api
    with translating_errors():
        held = {each["Name"] for each in _volumes(data_containers)}
        if marker not in held and (held or _containers(data_containers)):
            raise ReplayStopped(
                f"the namespace {name} holds containers or volumes that no replay made: remove "
                "them, or set CYBER_DOJO_NAMESPACE to use another namespace"
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
    """Remove everything in the namespace except the marker."""
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
        raise ReplayStopped(f"{busy}, or has just ended") from None
    try:
        try:
            flock(descriptor, LOCK_EX | LOCK_NB)
        except BlockingIOError:
            raise ReplayStopped(busy) from None
        if not folder.exists():
            raise ReplayStopped(f"{busy}, or has just ended")
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
