"""Legacy katas in a katas directory, read without any of the product's code.

The tests build katas of each kind. If CYBER_DOJO_SHARED names a folder with real katas, as tars in
its folder `katas`, the tests that are marked `real_katas` run with each of those too.
"""

import json
import os
import subprocess
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from support.storer import legacy_katas
from support.storer.storing import git


@dataclass(frozen=True)
class LegacyKata:
    """A legacy kata: its one avatar, if any, and the layout of its history.

    `tar` is the file of a real kata.
    """

    id: str
    avatar: str = ""
    newest: int = 0
    in_git: bool = False
    tar: Path | None = None

    @property
    def path(self) -> str:
        """The kata's path in a katas directory."""
        return f"{self.id[:2]}/{self.id[2:]}"

    def folder(self, katas_directory: Path) -> Path:
        """Return the kata's folder in a katas directory."""
        return katas_directory / self.path


SPIDER = LegacyKata("7C4E19D2B6", "spider", 8, in_git=True)
BUFFALO = LegacyKata("60B2C95E04", "buffalo", 36, in_git=True)
WOLF = LegacyKata("603D5B7A98", "wolf", 1, in_git=True)
HUMMINGBIRD = LegacyKata("60E71A8C3D", "hummingbird", 0, in_git=True)
MOOSE = LegacyKata("5B1F7E93A4", "moose", 3, in_git=True)
DOLPHIN = LegacyKata("60D8A3F17E", "dolphin", 20)
TURTLE = LegacyKata("18A6F2C4E0", "turtle", 2)
GORILLA = LegacyKata("7hK2mQxW9d", "gorilla", 84)
SNAKE = LegacyKata("60F9D40B52", "snake")
LION = LegacyKata("3D90E6A15C", "lion", 3)
UNSTARTED = LegacyKata("7hR5vTcN3b")

BUILT = [
    *(SPIDER, BUFFALO, WOLF, HUMMINGBIRD, MOOSE),
    *(DOLPHIN, TURTLE, GORILLA, SNAKE, LION, UNSTARTED),
]


def _real() -> list[LegacyKata]:
    """Return the real katas in CYBER_DOJO_SHARED, if it is set."""
    shared = os.environ.get("CYBER_DOJO_SHARED")
    if not shared:
        return []
    tars = sorted((Path(shared) / "katas").glob("*.tgz"))
    if not tars:
        raise pytest.UsageError(f"CYBER_DOJO_SHARED={shared}: no katas/*.tgz is there")
    return [_inspect(path) for path in tars]


def _inspect(path: Path) -> LegacyKata:
    """Return the kata in a tar."""
    kata_id = path.name.removesuffix(".tgz")
    with tarfile.open(path) as tar:
        names = {name.removeprefix("./") for name in tar.getnames()}
        (lights_file,) = {name for name in names if name.endswith("/increments.json")} or {""}
        if not lights_file:
            return LegacyKata(kata_id, tar=path)
        folder = lights_file.removesuffix("/increments.json")
        file = tar.extractfile(next(each for each in tar if each.name.endswith(lights_file)))
        assert file is not None
        lights = json.loads(file.read())
    newest = lights[-1]["number"] if lights else 0
    return LegacyKata(kata_id, Path(folder).name, newest, f"{folder}/.git" in names, path)


REAL = _real()
ALL = [*BUILT, *REAL]


def params(wanted: Callable[[LegacyKata], object] = lambda _: True) -> list[Any]:
    """Return the parameters of a test that runs with each of the wanted katas."""
    return [
        pytest.param(kata, id=kata.id, marks=[pytest.mark.real_katas] if kata.tar else [])
        for kata in ALL
        if wanted(kata)
    ]


each_legacy_kata = pytest.mark.parametrize("kata", params())


def write_all(directory: Path) -> None:
    """Write all katas into a katas directory, with their owners and modes."""
    legacy_katas.build(directory)
    for tar in (kata.tar for kata in REAL if kata.tar is not None):
        subprocess.run(["tar", "--same-owner", "-xzf", tar, "-C", directory], check=True)


def packed(kata: LegacyKata, katas_directory: Path) -> bytes:
    """Return a kata as a compressed tar: the file of a real kata, or one that plain tar makes."""
    if kata.tar is not None:
        return kata.tar.read_bytes()
    command = ["tar", "-cz", "-C", str(katas_directory), kata.path]
    return subprocess.run(command, check=True, capture_output=True).stdout


def manifest(kata: LegacyKata, katas_directory: Path) -> dict[str, Any]:
    """Return the content of a kata's manifest.json."""
    found: dict[str, Any] = json.loads(
        (kata.folder(katas_directory) / "manifest.json").read_bytes()
    )
    return found


def increments(kata: LegacyKata, katas_directory: Path) -> list[dict[str, Any]]:
    """Return the recorded lights, without the start."""
    path = kata.folder(katas_directory) / kata.avatar / "increments.json"
    return [each for each in json.loads(path.read_bytes()) if each["number"] != 0]


def files(kata: LegacyKata, katas_directory: Path, number: int) -> dict[str, bytes]:
    """Return the visible files of a light, the legacy file `output` among them."""
    avatar = kata.folder(katas_directory) / kata.avatar
    lights_manifest = avatar / str(number) / "manifest.json"
    if kata.in_git:
        return encoded(json.loads(git(avatar, "show", f"{number}:manifest.json")))
    if number == 0 and not lights_manifest.exists():
        return encoded(manifest(kata, katas_directory)["visible_files"])
    return encoded(json.loads(lights_manifest.read_bytes()))


def encoded(value: dict[str, str]) -> dict[str, bytes]:
    """Return filename -> content as bytes."""
    return {name: content.encode("utf-8", "surrogateescape") for name, content in value.items()}
