"""Data-containers: a docker container and a named volume for each kata.

The volume is the truth: a kata exists when its volume holds a manifest.json. The container
is only the volume's handle, for `--volumes-from`. It is never started, and it is created again
when somebody pruned it.

Two storers can't both create a kata: the engine creates one container of a name, and refuses the
second. The code that writes into a volume guards what is inside.
"""

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from pathlib import Path

import docker.errors
import structlog

from dojo.background_task import background_task
from dojo.engine import empty_image, volumes
from dojo.engine.client import ANSWER_SECONDS, Engine, translating_errors
from dojo.errors import DojoError, EngineUnavailable, KataNotFound
from dojo.kata_ids import LENGTH
from dojo.naming import Namespace, mount_path

MANIFEST = "manifest.json"

_TOUCH_SECONDS = 60

# Threads that remove the containers of a deleted kata: each of 64 avatars can have a warm one.
_REMOVERS = 8

_log = structlog.get_logger()


class NameTaken(Exception):
    """A container or a volume of this name exists already."""


class DataContainers:
    """The data-containers of one namespace on one engine. Any thread may use it.

    `folder(kata_id)` is where a kata's volume can be read and written, by path. A lock guards the
    set of known handles; `dojo.engine.monitor` removes those that the engine says are gone.
    """

    def __init__(self, engine: Engine, namespace: Namespace, volume_root: Path) -> None:
        self.engine = engine
        self.namespace = namespace
        self.volume_root = volume_root
        self._known_handles: set[str] = set()
        self._lock = threading.Lock()

    @cached_property
    def _engines_root(self) -> Path:
        return self.engine.volume_root()

    def folder(self, kata_id: str) -> Path:
        """Return the path of the kata's volume in this process, whether it exists or not."""
        return self.volume_root / self.namespace.kata(kata_id) / "_data"

    def mountpoint(self, kata_id: str) -> Path:
        """Return the path of the kata's volume on the engine's machine, for the engine's API."""
        return self._engines_root / self.namespace.kata(kata_id) / "_data"

    @property
    def backups_folder(self) -> Path:
        """The path, in this process, of the volume that records what the last backups held."""
        return self.volume_root / self.namespace.backups / "_data"

    @property
    def old_ids_folder(self) -> Path:
        """The path, in this process, of the volume that records old ids of avatars."""
        return self.volume_root / self.namespace.old_ids / "_data"

    def create_plain_volume(self, name: str, kind: str) -> None:
        """Create a volume of the namespace, not for a kata. Raises DiskFull, EngineUnavailable."""
        with translating_errors(self.volume_root):
            self.engine.api.create_volume(name, labels=self.namespace.labels(kind))

    def exists(self, kata_id: str) -> bool:
        """Say whether the kata exists: a volume with a manifest in it."""
        try:
            os.stat(f"{self._volume(kata_id)}/_data/{MANIFEST}")  # noqa: PTH116 - faster
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def kata_ids(self) -> Iterator[str]:
        """Yield the id of each kata that has a volume, complete or not, in any order."""
        prefix_length = len(self.namespace.kata("x" * LENGTH)) - LENGTH
        with os.scandir(self.volume_root) as entries:
            for entry in entries:
                kata_id = self.namespace.kata_id(entry.name)
                if kata_id is not None and len(entry.name) == prefix_length + LENGTH:
                    yield kata_id

    def create(self, kata_id: str) -> Path:
        """Create the container and its volume; return the volume's folder, which is empty.

        Raises NameTaken if a container or a volume of this id exists already.
        """
        if self.folder(kata_id).exists():
            raise NameTaken(kata_id)
        try:
            self._create_container(kata_id)
        except DojoError:
            # An engine that runs out of room half-way leaves the volume. It refuses to remove a
            # volume that a container holds, so this can't remove another's kata.
            with contextlib.suppress(docker.errors.APIError, DojoError), translating_errors():
                self.engine.api.remove_volume(self.namespace.kata(kata_id))
            raise
        return self.folder(kata_id)

    def ensure_volume(self, kata_id: str) -> None:
        """Create the kata's volume if there is none, without a container.

        Until the caller holds the lock on the volume's folder, the lock's holder can remove it.
        """
        name = self.namespace.kata(kata_id)
        if self.folder(kata_id).exists():
            return
        labels = self.namespace.labels("kata", kata=kata_id)
        volumes.create(self.engine, self.volume_root, name, labels)
        # The event that tells of an earlier container's removal may not have arrived yet.
        self.forget_handle(name)

    def ensure_handle(self, kata_id: str) -> None:
        """Create the kata's container if it is gone while the volume is there.

        Costs nothing while the container is known to be there. Raises KataNotFound if the kata
        does not exist and EngineUnavailable if the engine does not answer.
        """
        if not self.knows_handle(kata_id):
            if not self.exists(kata_id):
                raise KataNotFound(kata_id)
            if self.make_handle(kata_id):
                _log.info("handle created again", kata=kata_id)

    def make_handle(self, kata_id: str) -> bool:
        """Create the container if it is gone; say whether it was.

        Does not ask whether the volume holds a kata, so the caller has to hold the lock on the
        volume's folder: otherwise this could create the volume of a kata that was just deleted.
        """
        if self.knows_handle(kata_id):
            return False
        try:
            self._create_container(kata_id)
        except NameTaken:
            with self._lock:
                self._known_handles.add(self.namespace.kata(kata_id))
            return False
        return True

    def has_handle(self, kata_id: str) -> bool:
        """Ask the engine whether the kata's container exists and holds the kata's volume."""
        name = self.namespace.kata(kata_id)
        with translating_errors():
            try:
                found = self.engine.api.inspect_container(name)
            except docker.errors.NotFound:
                return False
        return any(mount.get("Name") == name for mount in found["Mounts"])

    def knows_handle(self, kata_id: str) -> bool:
        """Say whether the kata's container is known to be there, without asking the engine."""
        with self._lock:
            return self.namespace.kata(kata_id) in self._known_handles

    def forget_handle(self, name: str) -> None:
        """Record that the container of this name may be gone."""
        with self._lock:
            self._known_handles.discard(name)

    def forget_handles(self) -> None:
        """Record that any container may be gone."""
        with self._lock:
            self._known_handles.clear()

    def touch(self, kata_id: str) -> None:
        """Record that the kata is used now. Within a minute of the last time this costs a stat.

        The record is the modification time of the folder around the volume's content: it outlives
        this process, and is no part of the kata. A kata that is gone is passed over.
        """
        if time.time() - self.touched(kata_id) > _TOUCH_SECONDS:
            with contextlib.suppress(OSError):
                os.utime(self.folder(kata_id).parent)

    def touched(self, kata_id: str) -> float:
        """Return when the kata was last used, in seconds since 1970; 0 if it is gone."""
        with contextlib.suppress(FileNotFoundError):
            return os.stat(self._volume(kata_id)).st_mtime  # noqa: PTH116 - faster
        return 0

    def holders(self, kata_id: str) -> list[str]:
        """Return the names of the containers that hold the kata's volume, without its handle."""
        name = self.namespace.kata(kata_id)
        with translating_errors():
            found = self.engine.api.containers(all=True, filters={"volume": name})
        names = [each["Names"][0].removeprefix("/") for each in found if each["Names"]]
        return [each for each in names if each != name]

    def delete(self, kata_id: str, empty: Callable[[], None] = lambda: None) -> None:
        """Remove the container, the volume, and every container that holds the volume.

        `empty` is called while the engine removes the container. It should remove the volume's
        files: that takes as long, and the engine would do it afterwards.
        """
        name = self.namespace.kata(kata_id)
        self.forget_handle(name)
        api = self.engine.api
        deadline = time.monotonic() + ANSWER_SECONDS
        with translating_errors(self.volume_root):
            with background_task(partial(_remove_container, api, name)):
                empty()
            while True:
                # Ask for holders only after a refusal: the engine searches all containers.
                try:
                    api.remove_volume(name)
                except docker.errors.NotFound:
                    return
                except docker.errors.APIError as error:
                    # A runner may still be writing a submission into it.
                    is_written = "directory not empty" in str(error.explanation)
                    is_in_use = error.status_code == 409 or is_written
                    if not is_in_use or time.monotonic() > deadline:
                        raise
                else:
                    return
                holders = api.containers(all=True, quiet=True, filters={"volume": name})
                with ThreadPoolExecutor(_REMOVERS) as removers:
                    ids = [holder["Id"] for holder in holders]
                    # Without list() an error of a thread would not be raised here.
                    list(removers.map(partial(_remove_container, api), ids))

    def container_config(self, kata_id: str) -> dict[str, object]:
        """Return the configuration from which the engine creates the container and its volume."""
        labels = self.namespace.labels("kata", kata=kata_id)
        mount = {
            "Type": "volume",
            "Source": self.namespace.kata(kata_id),
            "Target": str(mount_path(kata_id)),
            "VolumeOptions": {"Labels": labels},
        }
        return {
            "Image": self.namespace.kata_image,
            "Cmd": ["a data-container is never started"],
            "Labels": labels,
            "HostConfig": {"Mounts": [mount], "NetworkMode": "none"},
        }

    def _volume(self, kata_id: str) -> str:
        """Return the path of the folder around a volume's content.

        Each call uses it several times, and a Path takes many times as long to make.
        """
        return f"{self.volume_root}/{self.namespace.kata(kata_id)}"

    def _create_container(self, kata_id: str) -> None:
        """Create the container, and with it the volume if there is none."""
        name, config = self.namespace.kata(kata_id), self.container_config(kata_id)
        with translating_errors(self.volume_root):
            try:
                try:
                    self.engine.api.create_container_from_config(config, name)
                except docker.errors.ImageNotFound:
                    empty_image.load(self.engine, self.namespace.kata_image)
                    self.engine.api.create_container_from_config(config, name)
            except docker.errors.ImageNotFound as error:
                raise EngineUnavailable(f"it keeps no image {config['Image']}") from error
            except docker.errors.APIError as error:
                if error.status_code == 409:
                    raise NameTaken(kata_id) from error
                raise
        with self._lock:
            self._known_handles.add(name)


def _remove_container(api: docker.APIClient, container: str) -> None:
    """Remove a container, running or not; wait if the engine is removing it already.

    Polls: the engine's own wait for a removal never returns if the removal ends just as the wait
    begins.
    """
    deadline = time.monotonic() + ANSWER_SECONDS
    while True:
        try:
            api.remove_container(container, force=True)
        except docker.errors.NotFound:
            return
        except docker.errors.APIError as error:
            if error.status_code != 409 or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return
