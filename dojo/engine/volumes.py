"""The engine's volumes: making one, and checking that their files can be reached by path."""

import contextlib
import secrets
from pathlib import Path

from dojo.engine.client import Engine, translating_errors
from dojo.errors import DiskFull, DiskReadOnly, DojoError
from dojo.naming import Namespace


class VolumesOutOfSight(Exception):
    """The files of the engine's volumes can't be reached from where this process runs."""


def create(engine: Engine, volume_root: Path, name: str, labels: dict[str, str]) -> None:
    """Create a volume; raise DojoError if the engine can't."""
    try:
        with translating_errors():
            engine.api.create_volume(name, labels=labels)
    except DojoError:
        # An engine without room for the volume's own folder leaves the folder around it, and does
        # not know of it.
        with contextlib.suppress(OSError):
            (volume_root / name).rmdir()
        raise


def require_in_sight(engine: Engine, namespace: Namespace, volume_root: Path) -> None:
    """Raise VolumesOutOfSight unless the files of volumes can be reached in `volume_root`.

    Creates a volume to look for, and removes it: the folder could be that of another engine.
    On a disk that is full or read-only, looks for the namespace's own volumes instead.
    """
    name = f"{namespace.name}-sight-{secrets.token_hex(8)}"
    try:
        create(engine, volume_root, name, namespace.labels("sight"))
    except (DiskFull, DiskReadOnly):
        with translating_errors():
            found = engine.api.volumes()["Volumes"] or []
        names = [str(volume["Name"]) for volume in found]
        ours = [each for each in names if each.startswith(f"{namespace.name}-")]
        if not ours:
            raise
        is_in_sight = any(_is_in_sight(volume_root, each) for each in ours)
    else:
        try:
            is_in_sight = _is_in_sight(volume_root, name)
        finally:
            with translating_errors():
                engine.api.remove_volume(name)
    if not is_in_sight:
        raise VolumesOutOfSight(
            f"the engine's volumes can't be seen in {volume_root}: mount the engine's "
            "volume folder there, or say in CYBER_DOJO_VOLUME_ROOT where it is"
        )


def _is_in_sight(volume_root: Path, name: str) -> bool:
    return (volume_root / name / "_data").is_dir()
