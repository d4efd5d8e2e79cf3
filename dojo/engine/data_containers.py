"""Data-containers: a docker container and a named volume for each kata.

The volume is the truth: a kata exists when its volume holds a manifest.json. The container
is only the volume's handle, for `--volumes-from`; it is never started, and when somebody
prunes it away it is made again.

Who may touch what: creating a container is the engine's own test-and-set on the name, so two
storers can't both create a kata. What is inside a volume is guarded by those who write it.
"""

import contextlib
import hashlib
import io
import json
import os
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from pathlib import Path

import docker.errors
import structlog

from dojo.background_task import background_task
from dojo.engine.client import ANSWER_SECONDS, Engine, translating_errors
from dojo.errors import DiskFull, DiskReadOnly, DojoError, EngineUnavailable, KataNotFound
from dojo.kata_ids import LENGTH
from dojo.naming import Namespace, mount_path

MANIFEST = "manifest.json"

_TOUCH_SECONDS = 60

# 64 avatars can have a container each that waits.
_REMOVERS = 8

_log = structlog.get_logger()


class NameTaken(Exception):
    """There is a container or a volume of this name already."""


class VolumesOutOfSight(Exception):
    """The engine's volumes can't be seen from where this process runs."""


class DataContainers:
    """The data-containers of one namespace on one engine. Any thread may use it.

    `folder(kata_id)` is where a kata's volume can be read and written, by path. The set of
    known handles is guarded by a lock; `dojo.engine.monitor` removes from it what the
    engine says is gone.
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

    def check_sight(self) -> None:
        """Raise VolumesOutOfSight unless a volume's files can be reached by path.

        Makes a volume of its own to be sure that the folder is this engine's and no other's. On
        a disk that is full, or read-only, the volumes that are there have to do.
        """
        name = f"{self.namespace.name}-sight-{os.urandom(8).hex()}"
        try:
            self._create_volume(name, self.namespace.labels("sight"))
        except (DiskFull, DiskReadOnly):
            with translating_errors():
                there = self.engine.api.volumes()["Volumes"] or []
            names = [str(each["Name"]) for each in there]
            ours = [each for each in names if each.startswith(f"{self.namespace.name}-")]
            if not ours:
                raise  # nothing here can tell, and nothing can be made
            seen = any(self._is_seen(each) for each in ours)
        else:
            try:
                seen = self._is_seen(name)
            finally:
                with translating_errors():
                    self.engine.api.remove_volume(name)
        if not seen:
            raise VolumesOutOfSight(
                f"the engine's volumes can't be seen in {self.volume_root}: mount the engine's "
                "volume folder there, or say in CYBER_DOJO_VOLUME_ROOT where it is"
            )

    def _is_seen(self, volume: str) -> bool:
        return (self.volume_root / volume / "_data").is_dir()

    def folder(self, kata_id: str) -> Path:
        """Return where the kata's volume is seen, whether it exists or not."""
        return self.volume_root / self.namespace.kata(kata_id) / "_data"

    def mountpoint(self, kata_id: str) -> Path:
        """Return where the kata's volume is on the engine's machine: what the engine calls it."""
        return self._engines_root / self.namespace.kata(kata_id) / "_data"

    @property
    def backups_folder(self) -> Path:
        """Where the volume is seen that keeps what the last backups held, if there is one."""
        return self.volume_root / self.namespace.backups / "_data"

    def exists(self, kata_id: str) -> bool:
        """Say whether there is such a kata: a volume with a manifest in it."""
        return (self.folder(kata_id) / MANIFEST).exists()

    def kata_ids(self) -> Iterator[str]:
        """Yield the id of every volume of a kata, complete or not, in no order."""
        prefix_length = len(self.namespace.kata("x" * LENGTH)) - LENGTH
        with os.scandir(self.volume_root) as entries:
            for entry in entries:
                kata_id = self.namespace.kata_id(entry.name)
                if kata_id is not None and len(entry.name) == prefix_length + LENGTH:
                    yield kata_id

    def create(self, kata_id: str) -> Path:
        """Create the container and its volume; return the volume's folder, which is empty.

        Raises NameTaken if there is a container or a volume of this id already.
        """
        if self.folder(kata_id).exists():
            raise NameTaken(kata_id)
        try:
            self._create_container(kata_id)
        except DojoError:
            # An engine that fails half-way, having no room, leaves the volume. It removes none
            # that somebody's container holds.
            with contextlib.suppress(docker.errors.APIError, DojoError), translating_errors():
                self.engine.api.remove_volume(self.namespace.kata(kata_id))
            raise
        return self.folder(kata_id)

    def ensure_volume(self, kata_id: str) -> None:
        """Make the kata's volume if there is none, without a container.

        It can be removed until its folder is locked, by who locked it before.
        """
        name = self.namespace.kata(kata_id)
        if self.folder(kata_id).exists():
            return
        self._create_volume(name, self.namespace.labels("kata", kata=kata_id))
        # The engine may have told of a container's end that was not heard yet.
        self.forget_handle(name)

    def ensure_handle(self, kata_id: str) -> None:
        """Make the kata's container if it is gone while the volume is there.

        Costs nothing while the container is known to be there. Raises KataNotFound if there is
        no such kata and EngineUnavailable if the engine does not answer.
        """
        if not self._is_known(kata_id):
            if not self.exists(kata_id):
                raise KataNotFound(kata_id)
            if self.make_handle(kata_id):
                _log.info("handle made again", kata=kata_id)

    def make_handle(self, kata_id: str) -> bool:
        """Make the container, be there a kata in the volume or not; say whether there was none.

        For the holder of the lock on the volume's folder.
        """
        if self._is_known(kata_id):
            return False
        try:
            self._create_container(kata_id)
        except NameTaken:
            with self._lock:
                self._known_handles.add(self.namespace.kata(kata_id))
            return False
        return True

    def has_handle(self, kata_id: str) -> bool:
        """Ask the engine whether the kata's container is there, and holds its volume."""
        name = self.namespace.kata(kata_id)
        with translating_errors():
            try:
                found = self.engine.api.inspect_container(name)
            except docker.errors.NotFound:
                return False
        return any(mount.get("Name") == name for mount in found["Mounts"])

    def forget_handle(self, name: str) -> None:
        """Take note that the container of this name is gone, or may be."""
        with self._lock:
            self._known_handles.discard(name)

    def forget_handles(self) -> None:
        """Take note that any container may be gone."""
        with self._lock:
            self._known_handles.clear()

    def touch(self, kata_id: str) -> None:
        """Take note that somebody uses the kata; who does so again within a minute costs a stat.

        It is the time of the volume's own folder, around what is in it: it outlives this process,
        and is no part of the kata. What can't be noted, as the kata is gone, does no harm.
        """
        if time.time() - self.touched(kata_id) > _TOUCH_SECONDS:
            with contextlib.suppress(OSError):
                os.utime(self.folder(kata_id).parent)

    def touched(self, kata_id: str) -> float:
        """Return when the kata was last used, in seconds since 1970; 0 if it is gone."""
        with contextlib.suppress(FileNotFoundError):
            return self.folder(kata_id).parent.stat().st_mtime
        return 0

    def holders(self, kata_id: str) -> list[str]:
        """Return the names of the containers that hold the kata's volume, but for its own."""
        name = self.namespace.kata(kata_id)
        with translating_errors():
            found = self.engine.api.containers(all=True, filters={"volume": name})
        names = [each["Names"][0].removeprefix("/") for each in found if each["Names"]]
        return [each for each in names if each != name]

    def delete(self, kata_id: str, empty: Callable[[], None] = lambda: None) -> None:
        """Remove the container, the volume, and every container that holds the volume.

        `empty` is called while the engine removes the container, which takes it as long as
        removing the files in a volume, which is next.
        """
        name = self.namespace.kata(kata_id)
        self.forget_handle(name)
        api = self.engine.api
        deadline = time.monotonic() + ANSWER_SECONDS
        with translating_errors():
            with background_task(partial(_remove_container, api, name)):
                empty()
            while True:
                # Who holds it is asked only if somebody does: the engine looks at all containers.
                try:
                    api.remove_volume(name)
                except docker.errors.NotFound:
                    return
                except docker.errors.APIError as error:
                    # A runner may be writing files into it still, for a run that will not be.
                    is_written = "directory not empty" in str(error.explanation)
                    is_in_use = error.status_code == 409 or is_written
                    if not is_in_use or time.monotonic() > deadline:
                        raise
                else:
                    return
                holders = api.containers(all=True, quiet=True, filters={"volume": name})
                with ThreadPoolExecutor(_REMOVERS) as removers:
                    # list: what one of them raises is raised here.
                    ids = [holder["Id"] for holder in holders]
                    list(removers.map(partial(_remove_container, api), ids))

    def container_config(self, kata_id: str) -> dict[str, object]:
        """Return what the engine is told to make the container of, and the volume with it."""
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

    def _create_volume(self, name: str, labels: dict[str, str]) -> None:
        try:
            with translating_errors():
                self.engine.api.create_volume(name, labels=labels)
        except DojoError:
            # One without a folder in it, for which there was no room, the engine does not know.
            with contextlib.suppress(OSError):
                (self.volume_root / name).rmdir()
            raise

    def _is_known(self, kata_id: str) -> bool:
        with self._lock:
            return self.namespace.kata(kata_id) in self._known_handles

    def _create_container(self, kata_id: str) -> None:
        """Create the container, and with it the volume if there is none."""
        name, config = self.namespace.kata(kata_id), self.container_config(kata_id)
        with translating_errors():
            try:
                try:
                    self.engine.api.create_container_from_config(config, name)
                except docker.errors.ImageNotFound:
                    self._make_empty_image()
                    self.engine.api.create_container_from_config(config, name)
            except docker.errors.ImageNotFound as error:
                raise EngineUnavailable(f"it keeps no image {config['Image']}") from error
            except docker.errors.APIError as error:
                if error.status_code == 409:
                    raise NameTaken(kata_id) from error
                raise
        with self._lock:
            self._known_handles.add(name)

    def _make_empty_image(self) -> None:
        """Load an image without any file: a container can't be created from nothing."""
        with translating_errors():
            architecture = self.engine.api.version()["Arch"]
            said = self.engine.api.load_image(_empty_image(self.namespace.kata_image, architecture))
            # An engine that has no room says so in what it answers, after having begun well.
            for each in said:
                if "error" in each:
                    raise docker.errors.APIError(each["error"], explanation=each["error"])


def _empty_image(name: str, architecture: str) -> bytes:
    """Return an image that has no layer, as `docker load` takes it.

    It is the same image whenever and by whomever it is made: several who miss it at the same
    time do not leave all but one of theirs behind, nameless. The format is that of
    https://github.com/moby/docker-image-spec/blob/main/spec.md.
    """
    config = json.dumps(
        {
            "architecture": architecture,
            "os": "linux",
            "config": {},
            "created": "1970-01-01T00:00:00Z",
            "rootfs": {"type": "layers", "diff_ids": []},
        }
    ).encode()
    config_name = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = json.dumps([{"Config": config_name, "RepoTags": [name], "Layers": []}]).encode()
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for filename, content in ((config_name, config), ("manifest.json", manifest)):
            header = tarfile.TarInfo(filename)
            header.size = len(content)
            tar.addfile(header, io.BytesIO(content))
    return archive.getvalue()


def _remove_container(api: docker.APIClient, container: str) -> None:
    """Remove a container, running or not, waiting where the engine is at it already.

    Asks again and again: the engine's own waiting for a removal misses one that ends as it
    begins to wait, and then has no end.
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
