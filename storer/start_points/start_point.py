"""One start point: what a kata can be created from, read from its folder.

`checks` says all that is wrong with one. This reads what is good enough to be served.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from dojo import ruby_lambdas, visible_files
from dojo.errors import InvalidArgument
from storer.fs import json_files
from storer.fs.json_files import Unreadable
from storer.kata import manifest
from storer.kata.manifest import Manifest
from storer.start_points.folders import MANIFEST

LANGUAGES, EXERCISES = "languages", "exercises"

VISIBLE_FILENAMES = "visible_filenames"
REQUIRED = {
    LANGUAGES: ("display_name", "image_name", VISIBLE_FILENAMES),
    EXERCISES: ("display_name", VISIBLE_FILENAMES),
}
"""The keys that a manifest.json must have, by the kind of start point."""

LONGEST_NAME = 200
"""The characters of a display name by which a start point can be asked for."""

# The keys of the Ruby rule: in a start point's manifest.json, which names a file, and in a kata's.
RAG_LAMBDA, RED_AMBER_GREEN = "rag_lambda", manifest.RED_AMBER_GREEN


def read(folder: Path, kind: str) -> Manifest:
    """Return the manifest of a language, or of an exercise, which has no image.

    Raises Unreadable, naming the file and the key.
    """
    try:
        value = json_files.read(folder / MANIFEST, dict)
        found = _manifest(folder, kind, value)
    except Unreadable as error:
        raise Unreadable(f"{MANIFEST}: {error}") from None
    return found


def file(folder: Path, name: str) -> bytes:
    """Return the content of a start point's file; refuse a link that leads out of its folder.

    Raises Unreadable, naming the file.
    """
    shown = visible_files.shown(name)
    if (fault := visible_files.name_fault(name)) is not None:
        raise Unreadable(f"{shown}: {fault}")
    path = folder / name
    try:
        if not path.resolve().is_relative_to(folder.resolve()):
            raise Unreadable(f"{shown}: leads out of the start point")
        return path.read_bytes()
    except FileNotFoundError:
        raise Unreadable(f"{shown}: there is no such file beside {MANIFEST}") from None
    except OSError as error:
        raise Unreadable(f"{shown}: {error.strerror}") from None


def ruby_lambda(folder: Path, name: str) -> str:
    """Return the Ruby lambda in a start point's file; raise Unreadable, naming the file."""
    source = json_files.from_bytes(file(folder, name))
    if (fault := ruby_lambdas.fault(source)) is not None:
        raise Unreadable(f"{visible_files.shown(name)}: {fault}")
    return source


def _manifest(folder: Path, kind: str, value: Mapping[str, Any]) -> Manifest:
    for key in REQUIRED[kind]:
        if not value.get(key):
            raise Unreadable(f"{key}: is required")
    names = value[VISIBLE_FILENAMES]
    if not isinstance(names, list) or not all(isinstance(each, str) for each in names):
        raise Unreadable(f"{VISIBLE_FILENAMES}: is not a list of filenames")
    known = {key: each for key, each in value.items() if key not in {VISIBLE_FILENAMES, RAG_LAMBDA}}
    found = manifest.from_json({**known, **_rule(folder, value), "visible_files": {}})
    try:
        files = {name: file(folder, name) for name in names}
    except Unreadable as error:
        raise Unreadable(f"{VISIBLE_FILENAMES}: {error}") from None
    # An exercise has no image; a placeholder passes the check, and all else has to hold for both.
    image_name = found.image_name if kind == LANGUAGES else ""
    found = replace(found, image_name=image_name, visible_files=files)
    _check(replace(found, image_name=image_name or "none"))
    return found


def _rule(folder: Path, value: Mapping[str, Any]) -> dict[str, str]:
    """Return the Ruby rule, from the file that the manifest names, under the key of a kata's."""
    name = value.get(RAG_LAMBDA)
    if name is None:
        return {}
    if not isinstance(name, str):
        raise Unreadable(f"{RAG_LAMBDA}: is not a filename")
    try:
        return {RED_AMBER_GREEN: ruby_lambda(folder, name)}
    except Unreadable as error:
        raise Unreadable(f"{RAG_LAMBDA}: {error}") from None


def _check(found: Manifest) -> None:
    """Raise Unreadable, naming the key, unless a kata can be created from the manifest."""
    try:
        manifest.check(found)
    except InvalidArgument as error:
        # As the message has them, the fields have other names than the keys.
        key = error.field.removeprefix("manifest.").replace("patterns.patterns", "patterns")
        key = key.replace("visible_files", VISIBLE_FILENAMES, 1)
        raise Unreadable(f"{key}: {error.reason}") from None
