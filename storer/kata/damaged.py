"""An avatar that came in damaged: what came is kept beside a file that says what is wrong.

    whale/damaged.json    which file is damaged, why, and the digest of what is in `damaged`
    whale/damaged/        what came; of a git repository, its objects and references
    whale/sandbox/        the sandbox, if one came

No program of ours reads what is in `damaged` or changes it. It goes with the kata wherever the kata
goes: into downloads, backups and the archive, and back.
"""

import os
import stat
from contextlib import closing
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from dojo import waits
from dojo.chunks import CHUNK_BYTES
from dojo.errors import KataDamaged
from dojo.naming import DAMAGED_JSON
from storer.fs import durable, json_files, tree
from storer.fs.json_files import Unreadable

DAMAGED = "damaged"

_MAX_BYTES = 64 * 1024  # of damaged.json, which a stranger may have written
_MAX_CHARACTERS = 500


@dataclass(frozen=True, slots=True)
class Damage:
    """What is wrong with an avatar.

    `path` is that of the damaged file, from the avatar's folder, or "" for the folder. `sha256` is
    the digest of what came.
    """

    path: str
    reason: str
    sha256: str


def read(folder: Path) -> Damage | None:
    """Return what is wrong with the avatar in `folder`; None if it did not come in damaged.

    Raises Unreadable if damaged.json can't be read.
    """
    try:
        status = os.lstat(f"{folder}/{DAMAGED_JSON}")
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not stat.S_ISREG(status.st_mode) or status.st_size > _MAX_BYTES:
        raise Unreadable(f"is not a file of at most {_MAX_BYTES} bytes")
    return parse(json_files.read(folder / DAMAGED_JSON, dict))


def parse(value: dict[str, Any]) -> Damage:
    """Return what is wrong, from the content of damaged.json. Raises Unreadable."""
    path, reason, digest = (value.get(key) for key in ("path", "reason", "sha256"))
    for text in (path, reason, digest):
        if not json_files.is_text(text) or len(str(text)) > _MAX_CHARACTERS:
            raise Unreadable("does not say which file is damaged, why, and what its digest is")
    return Damage(str(path), str(reason), str(digest))


def check(folder: Path, kata_id: str) -> None:
    """Raise KataDamaged if the avatar in `folder` came in damaged."""
    try:
        damage = read(folder)
    except Unreadable as error:
        raise KataDamaged(kata_id, f"{folder.name}/{DAMAGED_JSON}", str(error)) from error
    if damage is not None:
        raise KataDamaged(kata_id, f"{folder.name}/{damage.path}".rstrip("/"), damage.reason)


def write(folder: Path, path: str, reason: str) -> None:
    """Write what is wrong with the avatar in `folder`, once `damaged` has what came."""
    path, reason = (json_files.to_text(text)[:_MAX_CHARACTERS] for text in (path, reason))
    damage = Damage(path, reason, digest(folder / DAMAGED))
    durable.write(folder / DAMAGED_JSON, json_files.dumps(asdict(damage)) + b"\n")


def digest(top: Path) -> str:
    """Return the digest of the names and contents of all folders and files in `top`."""
    found = sha256()
    with closing(tree.walk(top)) as entries:
        for entry in entries:
            waits.check()
            is_file = stat.S_ISREG(entry.status.st_mode)
            size = entry.status.st_size if is_file else -1
            found.update(os.fsencode(f"{entry.path}\0{size}\0"))
            if is_file:
                with open(entry.open(), "rb", buffering=0) as file:
                    while piece := file.read(CHUNK_BYTES):
                        found.update(piece)
    return found.hexdigest()
