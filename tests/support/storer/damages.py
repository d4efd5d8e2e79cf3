"""Katas with a damaged avatar: the whale; the wolf and the bat are sound."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from support.storer import legacy_katas
from support.storer.storing import git

ID = "5C3D91A0F2"
CREATED = datetime(2015, 3, 4, 10, 0, 0, tzinfo=UTC)
FILES = {"cyber-dojo.sh": "make\n", "hiker.c": "int x;\n"}
SOUND = ["bat", "wolf"]  # a folder for each light, and a repository
LIGHTS = 3


def write_kata(directory: Path) -> Path:
    """Write a kata with the sound avatars into a katas directory; return its folder."""
    kata = legacy_katas.write_kata(
        directory, ID, CREATED, FILES, language="C", unit_test_framework="cassert"
    )
    legacy_katas.write_folders(kata, "bat", _lights())
    legacy_katas.write_repository(kata, "wolf", _lights())
    return kata


def _lights() -> list[legacy_katas.LegacyLight]:
    return legacy_katas.session("RAG", CREATED, FILES, lambda number: {"new": f"{number}\n"})


def in_folders(kata: Path) -> Path:
    """Write a sound whale with a folder for each light; return its folder."""
    legacy_katas.write_folders(kata, "whale", _lights())
    return kata / "whale"


def in_git(kata: Path) -> Path:
    """Write a sound whale with a repository; return its folder."""
    return legacy_katas.write_repository(kata, "whale", _lights())


@dataclass(frozen=True)
class Damage:
    """How the whale is written and damaged, and which file of it is then named."""

    write: Callable[[Path], Path]
    inflict: Callable[[Path], object]
    named: str


def _object(whale: Path, name: str) -> Path:
    found = git(whale, "rev-parse", name).decode().strip()
    return whale / ".git" / "objects" / found[:2] / found[2:]


def _overwrite(path: Path) -> None:
    path.chmod(0o600)
    path.write_bytes(b"\x78\x01garbage")


def _truncate(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def _change(whale: Path, place: int, **fields: Any) -> None:
    path = whale / "increments.json"
    lights = json.loads(path.read_bytes())
    lights[place].update(fields)
    path.write_text(json.dumps(lights))


def become_a_file(folder: Path) -> None:
    """Put a file in the place of a folder."""
    shutil.rmtree(folder)
    folder.write_bytes(b"a file")


def become_a_folder(file: Path) -> None:
    """Put a folder in the place of a file."""
    file.unlink()
    file.mkdir()


LIST = "increments.json"

DAMAGES = {
    "its list is a folder": Damage(in_folders, lambda whale: become_a_folder(whale / LIST), LIST),
    "it is a file": Damage(in_git, become_a_file, ""),
    "its list is no JSON": Damage(
        in_folders, lambda whale: (whale / LIST).write_bytes(b"{]"), LIST
    ),
    "its list is empty": Damage(in_git, lambda whale: (whale / LIST).write_bytes(b""), LIST),
    "its list is gone": Damage(in_git, lambda whale: (whale / LIST).unlink(), LIST),
    "its list of folders is gone": Damage(in_folders, lambda whale: (whale / LIST).unlink(), LIST),
    "its numbers go backwards": Damage(in_git, lambda whale: _change(whale, 2, number=1), LIST),
    "a number is too large": Damage(in_git, lambda whale: _change(whale, 2, number=2**40), LIST),
    "a colour is none": Damage(in_folders, lambda whale: _change(whale, 1, colour="purple"), LIST),
    "a time is none": Damage(in_git, lambda whale: _change(whale, 1, time=[2018, 13, 1]), LIST),
    "a light is truncated": Damage(
        in_folders, lambda whale: _truncate(whale / "2/manifest.json"), "2/manifest.json"
    ),
    "a light is missing": Damage(
        in_folders, lambda whale: shutil.rmtree(whale / "2"), "2/manifest.json"
    ),
    "an object is broken": Damage(
        in_git, lambda whale: _overwrite(_object(whale, "2:manifest.json")), ".git/objects/"
    ),
    "an object is missing": Damage(
        in_git, lambda whale: _object(whale, "2^{tree}").unlink(), ".git/objects/"
    ),
    "a commit is missing": Damage(
        in_git, lambda whale: _object(whale, "2^{commit}").unlink(), ".git/"
    ),
    "a tag is missing": Damage(
        in_git, lambda whale: (whale / ".git/refs/tags/2").unlink(), ".git/refs/tags/2"
    ),
    "HEAD is missing": Damage(in_git, lambda whale: (whale / ".git/HEAD").unlink(), ".git/HEAD"),
    "its sandbox is a file": Damage(
        in_git, lambda whale: become_a_file(whale / "sandbox"), "sandbox"
    ),
}
