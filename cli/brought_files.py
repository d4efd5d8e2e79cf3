"""The files of a folder that somebody brings to a storer: bounded, and none from outside it."""

from __future__ import annotations

import os
from pathlib import Path

from cli import exits
from cli.terminal.complaint import CommandFailed
from dojo import regular_files, visible_files

MANIFEST = "manifest.json"

_START_POINT = "start_point"  # the folder of a repository that is a start point


def start_point_in(folder: Path) -> Path:
    """Return the folder, or its folder `start_point` if that has the manifest.json."""
    inner = folder / _START_POINT
    return inner if not (folder / MANIFEST).exists() and (inner / MANIFEST).exists() else folder


def read(folder: Path) -> dict[str, bytes]:
    """Return filename -> content of the files in a folder and in its folders.

    Folders of programs, such as `.git`, are left out, and links to folders are not followed. Raises
    OSError, and CommandFailed for a file that no kata can have, and for too many.
    """
    found: dict[str, bytes] = {}
    inside = os.path.realpath(folder)
    left_bytes = visible_files.MAX_TOTAL_BYTES
    waiting = [""]
    while waiting:
        prefix = waiting.pop()
        with os.scandir(folder / prefix) as entries:
            for entry in entries:
                name = prefix + entry.name
                if entry.is_dir():
                    if not (entry.name.startswith(".") or entry.is_symlink()):
                        _check_name(folder, name)
                        waiting.append(f"{name}/")
                    continue
                _check_name(folder, name)
                if not Path(os.path.realpath(entry.path)).is_relative_to(inside):
                    raise _refused(folder, name, "is a link that leads out of the folder")
                if len(found) == visible_files.MAX_FILES:
                    reason = f"has more than {visible_files.MAX_FILES} files"
                    raise CommandFailed(f"{folder}: {reason}", exits.REFUSED)
                found[name] = _content(folder, name, left_bytes)
                left_bytes -= len(found[name])
    return found


def _content(folder: Path, name: str, left_bytes: int) -> bytes:
    try:
        with regular_files.open_to_read(folder / name) as file:
            content = file.read(visible_files.MAX_FILE_BYTES + 1)
    except OSError as error:
        if error.errno in regular_files.NO_FILE:
            raise _refused(folder, name, "is neither a file nor a folder") from None
        raise
    if len(content) > visible_files.MAX_FILE_BYTES:
        raise _refused(folder, name, f"has more than {visible_files.MAX_FILE_BYTES} bytes")
    if len(content) > left_bytes:
        reason = f"has files of more than {visible_files.MAX_TOTAL_BYTES} bytes together"
        raise CommandFailed(f"{folder}: {reason}", exits.REFUSED)
    return content


def _check_name(folder: Path, name: str) -> None:
    if (fault := visible_files.name_fault(name)) is not None:
        raise _refused(folder, visible_files.shown(name), fault)


def _refused(folder: Path, name: str, reason: str) -> CommandFailed:
    return CommandFailed(f"{folder}/{name}: {reason}", exits.REFUSED)
