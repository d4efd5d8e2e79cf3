"""Katas that are written directly to disk, for tests without a storer."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dojo import avatars, kata_ids, visible_files
from dojo.engine.data_containers import DataContainers


@dataclass(frozen=True)
class Kata:
    """A kata, and its folder on the volume."""

    id: str
    folder: Path

    def avatar_folder(self, avatar: str) -> Path:
        """Return the avatar's folder."""
        return self.folder / avatar

    def sandbox(self, avatar: str) -> Path:
        """Return the path of the avatar's sandbox on this machine, outside of any container."""
        return self.folder / avatar / "sandbox"

    def start_avatar(self, avatar: str, files: Mapping[str, bytes] | None = None) -> None:
        """Start the avatar, with `files` in its sandbox."""
        files = files or {}
        folder = self.avatar_folder(avatar)
        folder.mkdir(mode=0o711)
        manifest = {name: content.decode() for name, content in files.items()}
        (folder / "manifest.json").write_text(json.dumps(manifest))
        sandbox = self.sandbox(avatar)
        sandbox.mkdir(mode=0o700)
        uid = avatars.uid(avatar)
        os.chown(sandbox, uid, uid)
        for name, content in files.items():
            path = sandbox / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            path.chmod(visible_files.mode(name))
            os.chown(path, uid, uid)


def make_kata(data_containers: DataContainers) -> Kata:
    """Make a kata without avatars."""
    kata_id = kata_ids.new()
    folder = data_containers.create(kata_id)
    folder.chmod(0o711)
    (folder / "manifest.json").write_text(json.dumps({"id": kata_id}))
    return Kata(kata_id, folder)
