"""The real katas as they are in a katas directory, read without any of the product's code."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.storer.storing import git


@dataclass(frozen=True)
class RealKata:
    """A real kata: its one avatar, if any, and how its history was kept."""

    id: str
    avatar: str
    newest: int
    in_git: bool

    def folder(self, katas_directory: Path) -> Path:
        """Return its folder in a katas directory."""
        return katas_directory / self.id[:2] / self.id[2:]


REAL_KATAS = [
    RealKata("1F00C1BFC8", "turtle", 2, in_git=False),
    RealKata("420B05BA0A", "dolphin", 20, in_git=False),
    RealKata("420BD5D5BE", "hummingbird", 0, in_git=True),
    RealKata("420F2A2979", "snake", 0, in_git=False),
    RealKata("421AFD7EC5", "wolf", 1, in_git=True),
    RealKata("421F303E80", "buffalo", 36, in_git=True),
    RealKata("5A0F824303", "spider", 8, in_git=True),
    RealKata("9f8TeZMZAq", "gorilla", 84, in_git=False),
    RealKata("9fT2wMW0BM", "", 0, in_git=False),
]

SPIDER = next(kata for kata in REAL_KATAS if kata.avatar == "spider")
DOLPHIN = next(kata for kata in REAL_KATAS if kata.avatar == "dolphin")


def manifest(kata: RealKata, katas_directory: Path) -> dict[str, Any]:
    """Return what a kata's manifest.json holds."""
    found: dict[str, Any] = json.loads(
        (kata.folder(katas_directory) / "manifest.json").read_bytes()
    )
    return found


def increments(kata: RealKata, katas_directory: Path) -> list[dict[str, Any]]:
    """Return the lights as they were recorded."""
    path = kata.folder(katas_directory) / kata.avatar / "increments.json"
    found: list[dict[str, Any]] = json.loads(path.read_bytes())
    return found


def files(kata: RealKata, katas_directory: Path, number: int) -> dict[str, bytes]:
    """Return the visible files of a light, the old file `output` among them."""
    avatar = kata.folder(katas_directory) / kata.avatar
    if kata.in_git:
        text = git(avatar, "show", f"{number}:manifest.json")
    elif number == 0:
        return encoded(manifest(kata, katas_directory)["visible_files"])
    else:
        text = (avatar / str(number) / "manifest.json").read_bytes()
    return encoded(json.loads(text))


def encoded(value: dict[str, str]) -> dict[str, bytes]:
    """Return filename -> content as bytes."""
    return {name: content.encode("utf-8", "surrogateescape") for name, content in value.items()}
