"""Katas of versions 0 and 1 of a saver: JSON files, beside a list that lines are appended to."""

import re
from typing import Any

from dojo import limits, waits
from dojo.budget import Budget
from storer.fs import json_files
from storer.fs.json_files import Unreadable
from storer.kata.light import MAX_NUMBER
from storer.saver import kata
from storer.saver.files import Damaged, Folder
from storer.saver.kata import EVENTS, MANIFEST, OPTIONS, Content, SaverKata

EVENT = "event.json"

_FOLDER = re.compile(r"0|[1-9][0-9]{0,6}")
_FILE = re.compile(r"(0|[1-9][0-9]{0,6})\.event\.json")
_CONTENT_KEYS = ("files", "stdout", "stderr", "status")
_MAX_OPTION_BYTES = 64 * 1024


class PlainKata(SaverKata):
    """A kata of version 0 or 1."""

    def __init__(self, folder: Folder, budget: Budget) -> None:
        """Read the list of events. Raises Damaged or BudgetExceeded."""
        super().__init__(folder.path, budget)
        self._folder = folder
        self._files: list[str] = []
        self.manifest = read_json(folder, MANIFEST, budget)
        names = folder.names()
        listed = read_events(folder, budget)
        if any(_FILE.fullmatch(name) for name in names):
            self._take_files(listed, names)
        else:
            self._take_folders(listed, names)
        self.options = {name: _option(folder, name, budget) for name in OPTIONS if name in names}

    def content(self, place: int) -> Content:
        """Return the content of an event."""
        name = self._files[place]
        value = self._read(name)
        path = f"{self.path}/{name}"
        files, truncated = kata.files_of(value.get("files"), f"{path}: files")
        outputs = {
            key: kata.file_of(value[key], f"{path}: {key}") if value.get(key) else (b"", False)
            for key in ("stdout", "stderr")
        }
        return Content(
            files,
            outputs["stdout"][0],
            outputs["stderr"][0],
            kata.status_of(value.get("status")),
            outputs["stdout"][1],
            outputs["stderr"][1],
            truncated,
        )

    def _take_files(self, listed: list[dict[str, Any]], names: list[str]) -> None:
        """Take the events of version 1: each has its index, and a file that repeats it.

        A file that the list does not have was written by a saver that died before it appended.
        Where the disk was full, not all of it is there: then there is no such event.
        """
        events: dict[int, dict[str, Any]] = {}
        for place, event in enumerate(listed):
            index = event.get("index", place)
            is_index = isinstance(index, int) and not isinstance(index, bool)
            if not is_index or not 0 <= index <= MAX_NUMBER or index in events:
                raise self.damage(EVENTS, f"{index!r:.40} can't be the index of event {place}")
            events[index] = event
        for match in filter(None, map(_FILE.fullmatch, names)):
            index = int(match[1])
            if index not in events and self._is_whole(match[0]):
                value = self._read(match[0])
                events[index] = {key: value[key] for key in value if key not in _CONTENT_KEYS}
        indexes = sorted(events)
        self.events = [{"index": index, **events[index]} for index in indexes]
        self._files = [f"{index}.{EVENT}" for index in indexes]

    def _take_folders(self, listed: list[dict[str, Any]], names: list[str]) -> None:
        """Take the events of version 0, which have no index: their folders are in their order.

        After an outage the numbers of folders have a gap. A folder behind the last event was made
        by a saver that died before it appended; one without a whole file is of no event, as the
        disk was full.
        """
        folders = sorted(int(name) for name in names if _FOLDER.fullmatch(name))
        if len(folders) > len(listed):
            folders = [each for each in folders if self._is_whole(f"{each}/{EVENT}")]
        if len(folders) < len(listed):
            raise self.damage(EVENTS, f"has {len(listed)} events, of {len(folders)} folders")
        events = listed + [{} for _ in folders[len(listed) :]]
        self.events = [
            {**event, "index": number} for number, event in zip(folders, events, strict=True)
        ]
        self._files = [f"{number}/{EVENT}" for number in folders]

    def _is_whole(self, name: str) -> bool:
        """Say whether the content of an event that the list may not have can be read."""
        try:
            self._read(name)
        except Damaged:
            return False
        return True

    def _read(self, name: str) -> dict[str, Any]:
        waits.check()
        inner, slash, last = name.rpartition("/")
        if not slash:
            return read_json(self._folder, name, self.budget)
        with self._folder.inside(inner) as folder:
            return read_json(folder, last, self.budget)


def read_json(
    folder: Folder, name: str, budget: Budget, max_bytes: int = limits.MAX_JSON_BYTES
) -> dict[str, Any]:
    """Return the object in a JSON file. Raises Damaged, BudgetExceeded or MemoryExhausted."""
    content = folder.read(name, budget, max_bytes)
    try:
        found: dict[str, Any] = json_files.loads(content, dict)
    except Unreadable as error:
        raise Damaged(f"{folder.path}/{name}", str(error)) from None
    return found


def parse_events(content: bytes, path: str) -> list[dict[str, Any]]:
    """Return the objects in the text of events.json, one to a line. Raises Damaged.

    Commas and brackets around them are optional: version 2 has a list, version 1 commas between
    the lines. A last line that is no JSON is left out: a saver died while it appended it.
    """
    try:
        return _objects(content, path)
    except Unreadable:
        lines = [line.strip().strip(b",") for line in content.splitlines()]
    lines = [line for line in lines if line]
    try:
        return _objects(b",".join(lines), path)
    except Unreadable:
        try:
            return _objects(b",".join(lines[:-1]), path)
        except Unreadable as error:
            raise Damaged(path, str(error)) from None


def _objects(content: bytes, path: str) -> list[dict[str, Any]]:
    text = content.strip()
    text = text if text.startswith(b"[") else b"[%s]" % text
    found: list[dict[str, Any]] = json_files.loads(text, list)
    for each in found:
        if not isinstance(each, dict):
            raise Damaged(path, f"{each!r:.40} is not an event")
    if not found:
        raise Damaged(path, "has no events")
    return found


def read_events(folder: Folder, budget: Budget) -> list[dict[str, Any]]:
    """Return the objects of events.json, as `parse_events` does. Raises BudgetExceeded, too."""
    content = folder.read(EVENTS, budget, limits.MAX_JSON_BYTES)
    return parse_events(content, f"{folder.path}/{EVENTS}")


def _option(folder: Folder, name: str, budget: Budget) -> str:
    """Return an option that is in a file: its last line."""
    lines = folder.read(name, budget, _MAX_OPTION_BYTES).decode("utf-8", "replace").splitlines()
    return lines[-1] if lines else ""
