"""One start point: what a kata can be created from, read from its files.

`checks` says all that is wrong with one. This reads what is good enough to be served.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from dojo import ruby_lambdas, visible_files
from dojo.errors import InvalidArgument
from storer.fs import json_files
from storer.fs.json_files import Unreadable
from storer.kata import manifest
from storer.kata.manifest import Manifest
from storer.start_points.files import Files
from storer.start_points.folders import MANIFEST

LANGUAGES, EXERCISES, CUSTOM = "languages", "exercises", "custom"

KINDS = (LANGUAGES, EXERCISES, CUSTOM)
"""The kinds of start points, and the names of their folders.

A custom one is a whole kata that somebody prepared: it has all that a language has, and no exercise
is chosen with it.
"""

VISIBLE_FILENAMES = "visible_filenames"
REQUIRED = {
    LANGUAGES: ("display_name", "image_name", VISIBLE_FILENAMES),
    EXERCISES: ("display_name", VISIBLE_FILENAMES),
    CUSTOM: ("display_name", "image_name", VISIBLE_FILENAMES),
}
"""The keys that a manifest.json must have, by the kind of start point."""

LONGEST_NAME = 200
"""The characters of a display name by which a start point can be asked for."""

_INSTRUCTIONS = ("instructions", "readme")

# The keys of the Ruby rule: in a start point's manifest.json, which names a file, and in a kata's.
RAG_LAMBDA, RED_AMBER_GREEN = "rag_lambda", manifest.RED_AMBER_GREEN


def read(files: Files, kind: str) -> Manifest:
    """Return the manifest of a start point of this kind; that of an exercise has no image.

    Raises Unreadable, naming the file and the key.
    """
    try:
        found = _manifest(files, kind, files.manifest())
    except Unreadable as error:
        raise Unreadable(f"{MANIFEST}: {error}") from None
    return found


def instructions(found: Manifest, kind: str) -> bytes:
    """Return what a menu shows of a start point beside its name.

    Of an exercise that is its first file, of a custom one the file that is called like instructions.
    """
    if kind == EXERCISES:
        return next(iter(found.visible_files.values()))
    if kind == CUSTOM:
        for name, content in found.visible_files.items():
            if PurePosixPath(name).stem.lower() in _INSTRUCTIONS:
                return content
    return b""


def ruby_lambda(files: Files, name: str) -> str:
    """Return the Ruby lambda in a start point's file; raise Unreadable, naming the file."""
    source = json_files.from_bytes(files.read(name))
    if (fault := ruby_lambdas.fault(source)) is not None:
        raise Unreadable(f"{visible_files.shown(name)}: {fault}")
    return source


def _manifest(files: Files, kind: str, value: Mapping[str, Any]) -> Manifest:
    for key in REQUIRED[kind]:
        if not value.get(key):
            raise Unreadable(f"{key}: is required")
    names = value[VISIBLE_FILENAMES]
    if not isinstance(names, list) or not all(isinstance(each, str) for each in names):
        raise Unreadable(f"{VISIBLE_FILENAMES}: is not a list of filenames")
    known = {key: each for key, each in value.items() if key not in {VISIBLE_FILENAMES, RAG_LAMBDA}}
    found = manifest.from_json({**known, **_rule(files, value), "visible_files": {}})
    try:
        visible = _visible_files(files, names)
    except Unreadable as error:
        raise Unreadable(f"{VISIBLE_FILENAMES}: {error}") from None
    # An exercise has no image; a placeholder passes the check, and all else has to hold for both.
    image_name = found.image_name if kind != EXERCISES else ""
    found = replace(found, image_name=image_name, exercise="", visible_files=visible)
    _check(replace(found, image_name=image_name or "none"))
    return found


def _visible_files(files: Files, names: list[str]) -> dict[str, bytes]:
    """Read the visible files, and no more of them than a kata can have; raise Unreadable."""
    found: dict[str, bytes] = {}
    total_bytes = 0
    for name in dict.fromkeys(names):
        if len(found) == visible_files.MAX_FILES:
            raise Unreadable(f"has more than {visible_files.MAX_FILES} files")
        found[name] = files.read(name)
        total_bytes += len(found[name])
        if total_bytes > visible_files.MAX_TOTAL_BYTES:
            raise Unreadable(f"more than {visible_files.MAX_TOTAL_BYTES} bytes together")
    return found


def _rule(files: Files, value: Mapping[str, Any]) -> dict[str, str]:
    """Return the Ruby rule, from the file that the manifest names, under the key of a kata's."""
    name = value.get(RAG_LAMBDA)
    if name is None:
        return {}
    if not isinstance(name, str):
        raise Unreadable(f"{RAG_LAMBDA}: is not a filename")
    try:
        return {RED_AMBER_GREEN: ruby_lambda(files, name)}
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
