"""Start points: languages, exercises and custom ones, read from a folder that the operator mounts.

The folder has `languages/`, `exercises/` and `custom/`, each with folders of start points and an
`index.json`, which has all that a menu needs. `storer.start_points.index` writes the index; a
folder without an index is not served. Replacing the start points has to replace the index too: the
cache of an index is good as long as its file is the same.
"""

import json
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import structlog

from dojo import image_names, limits, visible_files
from dojo.errors import InvalidArgument, StartPointDamaged, StartPointNotFound
from storer.fs import json_files
from storer.fs.json_files import Unreadable
from storer.kata import manifest
from storer.kata.manifest import Manifest
from storer.start_points import checks, start_point
from storer.start_points.checks import Findings
from storer.start_points.files import BroughtFiles, FolderFiles
from storer.start_points.folders import MANIFEST
from storer.start_points.start_point import CUSTOM, EXERCISES, LANGUAGES

_log = structlog.get_logger()

INDEX = "index.json"


@dataclass(frozen=True)
class IndexEntry:
    """An index's entry: a start point as a menu shows it. `folder` is inside the index's folder."""

    display_name: str
    folder: str
    image_name: str = ""
    instructions: bytes = b""


class StartPoints:
    """The start points in a folder, or none without a folder. Any thread may use them."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._known: dict[str, tuple[tuple[int, int, int], dict[str, IndexEntry]]] = {}

    def list_all(self, kind: str) -> list[IndexEntry]:
        """Return the start points of a kind, in the order of their display names.

        Raises StartPointDamaged.
        """
        return [found for _, found in sorted(self._index(kind).items())]

    def get(self, language: str, exercise: str) -> Manifest:
        """Return the manifest of a kata with this language and exercise, which may be empty.

        Raises StartPointNotFound, StartPointDamaged, and InvalidArgument if both have a file of the
        same name.
        """
        found = self._read(LANGUAGES, language)
        if not exercise:
            return found
        instructions = self._read(EXERCISES, exercise)
        for name in instructions.visible_files:
            if name in found.visible_files:
                reason = f"has a file {visible_files.shown(name)}, and so has the language"
                raise InvalidArgument("exercise", reason)
        merged = {**found.visible_files, **instructions.visible_files}
        return replace(found, exercise=exercise, visible_files=merged)

    def get_custom(self, display_name: str) -> Manifest:
        """Return the manifest of a kata from a custom start point.

        Raises StartPointNotFound and StartPointDamaged.
        """
        return self._with_rule(self._read(CUSTOM, display_name))

    def check(self, files: Mapping[str, bytes]) -> tuple[Findings, Manifest | None]:
        """Check the files of a custom start point that somebody brings.

        Returns what is wrong with it, and the manifest of a kata from it unless that is a problem.
        The number of the files, their names and their sizes have been checked.
        """
        brought = BroughtFiles(files)
        findings = checks.check(brought, CUSTOM)
        if findings.problems:
            return findings, None
        return findings, self._with_rule(start_point.read(brought, CUSTOM))

    def _with_rule(self, found: Manifest) -> Manifest:
        """Give a manifest without a colour rule that of the language that uses its image."""
        if found.colour_patterns is not None or found.ruby_lambda is not None:
            return found
        language = self.for_image(found.image_name, found.display_name)
        if language is None:
            return found
        with_rule = replace(
            found,
            colour_patterns=language.colour_patterns,
            ruby_lambda=language.ruby_lambda,
        )
        try:
            manifest.check(with_rule)
        except InvalidArgument:  # too large with it; a kata without a rule gets it all the same
            return found
        return with_rule

    def for_image(self, image_name: str, display_name: str) -> Manifest | None:
        """Return the language that uses this image, whatever its tag; None if no language does.

        Of several languages, the one of this display name is returned, or else the first. A damaged
        one is logged and None is returned: a kata is whole without its start point.
        """
        wanted = image_names.repository(image_name)
        if not wanted:
            return None
        try:
            found = [
                each.display_name
                for each in self.list_all(LANGUAGES)
                if image_names.repository(each.image_name) == wanted
            ]
            if not found:
                return None
            return self._read(LANGUAGES, display_name if display_name in found else found[0])
        except (StartPointDamaged, StartPointNotFound) as error:
            _log.warning("start point ignored", image=image_name, reason=str(error))
            return None

    def _read(self, kind: str, display_name: str) -> Manifest:
        listed = self._index(kind).get(display_name)
        if listed is None or self._path is None:
            words = "custom start points" if kind == CUSTOM else kind
            raise StartPointNotFound(words, display_name)
        folder = self._path / kind / listed.folder
        try:
            return start_point.read(FolderFiles(folder), kind)
        except Unreadable as error:
            raise StartPointDamaged(folder, str(error)) from error
        except RecursionError as error:
            raise StartPointDamaged(folder / MANIFEST, checks.TOO_DEEP) from error

    def _index(self, kind: str) -> dict[str, IndexEntry]:
        if self._path is None:
            return {}
        path = self._path / kind / INDEX
        try:
            status = path.stat()
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise StartPointDamaged(path, f"can't be read: {error.strerror}") from error
        signature = (status.st_ino, status.st_mtime_ns, status.st_size)
        with self._lock:
            known = self._known.get(kind)
        if known is not None and known[0] == signature:
            return known[1]
        try:
            lines = json_files.read(path, list, most_bytes=limits.MAX_INDEX_BYTES)
            found = {each.display_name: each for each in map(_entry, lines)}
        except OSError as error:
            raise StartPointDamaged(path, f"can't be read: {error.strerror}") from error
        except Unreadable as error:
            raise StartPointDamaged(path, f"is not an index of start points: {error}") from error
        with self._lock:
            self._known[kind] = (signature, found)
        return found


def _entry(line: object) -> IndexEntry:
    """Return an entry from the JSON of the index; raise Unreadable, naming the key."""
    if not isinstance(line, dict):
        raise Unreadable("an entry is not a JSON object")
    for key in ("display_name", "image_name"):
        if not json_files.is_text(line.get(key, "" if key == "image_name" else None)):
            raise Unreadable(f"{key}: is not text")
    instructions = line.get("instructions", "")
    if not isinstance(instructions, str):
        raise Unreadable("instructions: is not text")
    folder = line.get("folder")
    if not isinstance(folder, str) or not _is_inner(folder):
        shown = visible_files.shown(str(folder))
        raise Unreadable(f"folder: {shown} is not the name of a folder in this one")
    return IndexEntry(
        display_name=line["display_name"],
        folder=folder,
        image_name=line.get("image_name", ""),
        instructions=json_files.to_bytes(instructions),
    )


def _is_inner(folder: str) -> bool:
    """Return whether a name is that of a folder in another one, or in its folders.

    Such a name may have bytes that are not UTF-8, which are surrogates in JSON, but no others.
    """
    try:
        os.fsencode(folder)
    except UnicodeEncodeError:
        return False
    return "\0" not in folder and not {"", ".", ".."}.intersection(folder.split("/"))


def index_json(listed: list[IndexEntry]) -> bytes:
    """Return the content of index.json."""
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
