"""Start points: languages and exercises, read from a folder that somebody mounted.

The folder has `languages/` and `exercises/`, each with a folder for each start point and an
`index.json`, which is what a menu needs. `storer.start_points.index` makes it; a folder without
one is not served. Any thread may use this. Whoever replaces the start points replaces the
index: what was read from another is forgotten.
"""

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import structlog

from dojo import image_names, ruby_lambdas, visible_files
from dojo.errors import InvalidArgument, StartPointDamaged, StartPointNotFound
from storer.fs import json_files
from storer.kata import manifest
from storer.fs.json_files import Unreadable
from storer.kata.manifest import Manifest

_log = structlog.get_logger()

LANGUAGES, EXERCISES = "languages", "exercises"
INDEX = "index.json"
MANIFEST = "manifest.json"

# What a kata's manifest.json calls the rule that a start point keeps in a file.
RAG_LAMBDA, RED_AMBER_GREEN = "rag_lambda", manifest.RED_AMBER_GREEN


@dataclass(frozen=True)
class Listed:
    """A start point as a menu needs it. `folder` is where it is, beside the index."""

    display_name: str
    folder: str
    image_name: str = ""
    instructions: bytes = b""


class StartPoints:
    """The start points in a folder, or none at all where no folder was given."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._known: dict[str, tuple[tuple[int, int, int], dict[str, Listed]]] = {}

    def listed(self, kind: str) -> list[Listed]:
        """Return the languages or the exercises, in the order of their display names.

        Raises StartPointDamaged.
        """
        return [found for _, found in sorted(self._index(kind).items())]

    def get(self, language: str, exercise: str) -> Manifest:
        """Return what a kata is created from; an empty `exercise` is none.

        Raises StartPointNotFound, StartPointDamaged, and InvalidArgument for two that do not
        go together.
        """
        made = self._read(LANGUAGES, language)
        if not exercise:
            return made
        instructions = self._read(EXERCISES, exercise)
        for name in instructions.visible_files:
            if name in made.visible_files:
                reason = f"has a file {visible_files.shown(name)}, and so has the language"
                raise InvalidArgument("exercise", reason)
        together = {**made.visible_files, **instructions.visible_files}
        return replace(made, exercise=exercise, visible_files=together)

    def of_image(self, image_name: str, display_name: str) -> Manifest | None:
        """Return the language whose tests run in this image, whatever its tag; None if none do.

        Where several do, that of this display name comes first, else the first of them. One that
        is damaged is logged and left out: a kata is whole without it.
        """
        wanted = image_names.repository(image_name)
        if not wanted:
            return None
        try:
            found = [
                each.display_name
                for each in self.listed(LANGUAGES)
                if image_names.repository(each.image_name) == wanted
            ]
            if not found:
                return None
            return self._read(LANGUAGES, display_name if display_name in found else found[0])
        except (StartPointDamaged, StartPointNotFound) as error:
            _log.warning("start point left out", image=image_name, reason=str(error))
            return None

    def _read(self, kind: str, display_name: str) -> Manifest:
        listed = self._index(kind).get(display_name)
        if listed is None or self._path is None:
            raise StartPointNotFound(kind, display_name)
        folder = self._path / kind / listed.folder
        try:
            return read(folder, kind)
        except Unreadable as error:
            raise StartPointDamaged(folder, str(error)) from error

    def _index(self, kind: str) -> dict[str, Listed]:
        if self._path is None:
            return {}
        path = self._path / kind / INDEX
        try:
            status = path.stat()
        except FileNotFoundError:
            return {}
        signature = (status.st_ino, status.st_mtime_ns, status.st_size)
        with self._lock:
            known = self._known.get(kind)
        if known is not None and known[0] == signature:
            return known[1]
        try:
            found = {
                each["display_name"]: Listed(
                    display_name=each["display_name"],
                    folder=each["folder"],
                    image_name=each.get("image_name", ""),
                    instructions=json_files.to_bytes(each.get("instructions", "")),
                )
                for each in json_files.read(path, list)
            }
        except (Unreadable, KeyError, TypeError, AttributeError) as error:
            raise StartPointDamaged(path, f"is no index of start points: {error}") from error
        with self._lock:
            self._known[kind] = (signature, found)
        return found


def read(folder: Path, kind: str) -> Manifest:
    """Return a language, or an exercise (without an image), as a kata starts from it.

    Raises Unreadable, naming the file and the key.
    """
    try:
        value = json_files.read(folder / MANIFEST, dict)
        names = value.get("visible_filenames")
        if not isinstance(names, list) or not all(isinstance(each, str) for each in names):
            raise Unreadable("visible_filenames: is not a list of filenames")
        known = {key: each for key, each in value.items() if key not in _ABOUT_FILES}
        found = manifest.from_json({**known, **_rule(folder, value), "visible_files": {}})
    except Unreadable as error:
        raise Unreadable(f"{MANIFEST}: {error}") from None
    found = replace(found, visible_files={name: _file(folder, name) for name in names})
    _check(found, kind)
    return found


_ABOUT_FILES = {"visible_filenames", RAG_LAMBDA}


def _rule(folder: Path, value: Mapping[str, Any]) -> dict[str, str]:
    """Return the Ruby rule that a start point keeps in a file, where a kata has it."""
    name = value.get(RAG_LAMBDA)
    if name is None:
        return {}
    if not isinstance(name, str):
        raise Unreadable(f"{RAG_LAMBDA}: is not a filename")
    source = json_files.from_bytes(_file(folder, name))
    if (fault := ruby_lambdas.fault(source)) is not None:
        raise Unreadable(f"{RAG_LAMBDA}: {name}: {fault}")
    return {RED_AMBER_GREEN: source}


def _file(folder: Path, name: str) -> bytes:
    """Return a file of the start point; no link leads out of it."""
    if (fault := visible_files.name_fault(name)) is not None:
        raise Unreadable(f"{MANIFEST}: {visible_files.shown(name)}: {fault}")
    path = folder / name
    try:
        if not path.resolve().is_relative_to(folder.resolve()):
            raise Unreadable(f"{name}: leads out of the start point")
        return path.read_bytes()
    except OSError as error:
        raise Unreadable(f"{name}: {error.strerror}") from None


def _check(found: Manifest, kind: str) -> None:
    """Raise Unreadable unless a kata can be created from it."""
    # An exercise has no image of its own; all else holds for both.
    whole = found if kind == LANGUAGES else replace(found, image_name="none")
    try:
        manifest.check(whole)
    except InvalidArgument as error:
        field = error.field.removeprefix("manifest.")
        raise Unreadable(f"{MANIFEST}: {field}: {error.reason}") from None
    has_script = visible_files.CYBER_DOJO_SH in found.visible_files
    if has_script != (kind == LANGUAGES):
        reason = "is missing" if kind == LANGUAGES else "is the language's, not an exercise's"
        raise Unreadable(f"{MANIFEST}: visible_filenames: {visible_files.CYBER_DOJO_SH} {reason}")
    for name in found.highlight_filenames:
        if name not in found.visible_files:
            raise Unreadable(f"{MANIFEST}: highlight_filenames: {name!r} is not a visible file")


def index_json(listed: list[Listed]) -> bytes:
    """Return what index.json holds."""
    lines = [
        {
            "display_name": each.display_name,
            "folder": each.folder,
            "image_name": each.image_name,
            "instructions": json_files.from_bytes(each.instructions),
        }
        for each in listed
    ]
    return (json.dumps(lines, indent=1) + "\n").encode()
