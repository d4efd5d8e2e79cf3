"""The files of a start point: those of a folder, or those that a call brings.

Both refuse a name that leads elsewhere, and say what is wrong in the same words.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from dojo import limits, regular_files, visible_files
from storer.fs import json_files
from storer.fs.json_files import Unreadable
from storer.start_points.folders import MANIFEST


class Files(Protocol):
    """What a start point is read from."""

    def manifest(self, *, unique_keys: bool = False) -> dict[str, Any]:
        """Return the object in manifest.json, as `json_files.read` does; raise Unreadable."""

    def read(self, name: str) -> bytes:
        """Return the content of a file; raise Unreadable, naming the file."""

    def names(self) -> list[str]:
        """Return the names of all files, and maybe of folders, for somebody who mistyped one."""


@dataclass(frozen=True)
class FolderFiles:
    """The files of a folder. A link that leads out of it is refused."""

    folder: Path

    def manifest(self, *, unique_keys: bool = False) -> dict[str, Any]:
        """Return the object in manifest.json; raise Unreadable without one."""
        try:
            found: dict[str, Any] = json_files.read(
                self.folder / MANIFEST,
                dict,
                unique_keys=unique_keys,
                most_bytes=limits.MAX_MANIFEST_BYTES,
            )
        except OSError as error:
            raise Unreadable(f"can't be read: {error.strerror}") from error
        return found

    def read(self, name: str) -> bytes:
        """Return the content of a file; raise Unreadable, naming the file."""
        shown = _shown(name)
        # Unlike Path.resolve, this raises nothing for a link to itself: opening that does.
        path = Path(os.path.realpath(self.folder / name))
        if not path.is_relative_to(os.path.realpath(self.folder)):
            raise Unreadable(f"{shown}: leads out of the start point")
        most = visible_files.MAX_FILE_BYTES
        try:
            with regular_files.open_to_read(path) as file:
                size = os.fstat(file.fileno()).st_size
                if size > most:
                    raise Unreadable(f"{shown}: {size} bytes are more than {most}")
                return file.read(size)
        except FileNotFoundError:
            raise Unreadable(f"{shown}: {NOT_THERE}") from None
        except OSError as error:
            raise Unreadable(f"{shown}: {error.strerror}") from None

    def names(self) -> list[str]:
        """Return the names of what is in the folder, and in its folders."""
        return sorted(
            path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*")
        )


@dataclass(frozen=True)
class BroughtFiles:
    """Files by name, as a call brings them. Their number, names and sizes have been checked."""

    files: Mapping[str, bytes]

    def manifest(self, *, unique_keys: bool = False) -> dict[str, Any]:
        """Return the object in manifest.json; raise Unreadable without one, or for a large one."""
        content = self.files.get(MANIFEST)
        if content is None:
            raise Unreadable("is missing")
        if len(content) > limits.MAX_MANIFEST_BYTES:
            raise Unreadable(f"has {len(content)} bytes, more than {limits.MAX_MANIFEST_BYTES}")
        found: dict[str, Any] = json_files.loads(content, dict, unique_keys=unique_keys)
        return found

    def read(self, name: str) -> bytes:
        """Return the content of a file; raise Unreadable, naming the file."""
        shown = _shown(name)
        content = self.files.get(name)
        if content is None:
            raise Unreadable(f"{shown}: {NOT_THERE}")
        return content

    def names(self) -> list[str]:
        """Return the names of the files."""
        return sorted(self.files)


NOT_THERE = f"there is no such file beside {MANIFEST}"


def _shown(name: str) -> str:
    """Return a name as a message shows it; raise Unreadable if no visible file may have it."""
    shown = visible_files.shown(name)
    if (fault := visible_files.name_fault(name)) is not None:
        raise Unreadable(f"{shown}: {fault}")
    return shown
