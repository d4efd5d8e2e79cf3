"""A kata of a saver: the events of one participant, in one of three layouts.

What is in a layout is in docs/decisions/0022-katas-of-a-saver.md. Whatever a layout says in a way
of its own becomes the same here: events as version 2 has them, and contents of files as bytes.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dojo.budget import Budget
from storer.fs import json_files
from storer.saver.files import Damaged

MANIFEST = "manifest.json"
EVENTS = "events.json"

# The options, as they are while nobody has set them.
OPTIONS = {
    "theme": "light",
    "colour": "on",
    "predict": "off",
    "revert_red": "off",
    "revert_amber": "off",
    "revert_green": "off",
}


@dataclass(frozen=True, slots=True)
class Content:
    """The files after an event, and what its run wrote.

    `status` is None where there is none. `truncated` are the names of files that were cut off.
    `test_results` are those of a storer that the kata was in before.
    """

    files: dict[str, bytes]
    stdout: bytes = b""
    stderr: bytes = b""
    status: str | None = None
    is_stdout_truncated: bool = False
    is_stderr_truncated: bool = False
    truncated: tuple[str, ...] = ()
    test_results: dict[str, Any] | None = None


@dataclass
class SaverKata(ABC):
    """A kata of a saver. Belongs to one thread.

    `events` are the objects of events.json, the first of which is the kata's creation. `options`
    are those that somebody has set. What is read is drawn on the `budget`.
    """

    path: str
    budget: Budget
    manifest: dict[str, Any] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)

    @abstractmethod
    def content(self, place: int) -> Content:
        """Return the content of the event at this place in `events`.

        Raises Damaged or BudgetExceeded.
        """

    def damage(self, name: str, reason: str) -> Damaged:
        """Return the error for one of the kata's files."""
        return Damaged(f"{self.path}/{name}", reason)


def files_of(value: object, path: str) -> tuple[dict[str, bytes], tuple[str, ...]]:
    """Return the contents of files by name, and the names of those that were cut off.

    `value` is the JSON of files in version 0, 1 or a manifest. Raises Damaged.
    """
    if not isinstance(value, Mapping):
        raise Damaged(path, "does not map filenames to files")
    files, truncated = {}, []
    for name, file in value.items():
        if not json_files.is_text(name):
            raise Damaged(path, "has a filename that is not UTF-8")
        files[name], is_truncated = file_of(file, f"{path}: {name!a:.80}")
        if is_truncated:
            truncated.append(name)
    return files, tuple(truncated)


def file_of(value: object, path: str) -> tuple[bytes, bool]:
    """Return the content of a file, and whether it was cut off. Raises Damaged.

    `value` is its JSON: an object with the content, or the content alone. In version 0 the content
    is a list of lines.
    """
    is_truncated = False
    if isinstance(value, Mapping):
        is_truncated = value.get("truncated") is True
        value = value.get("content")
    if isinstance(value, list) and all(isinstance(line, str) for line in value):
        value = "".join(value)
    if not isinstance(value, str):
        raise Damaged(path, "has no content")
    return json_files.to_bytes(value), is_truncated


def status_of(value: object) -> str | None:
    """Return a status, which some events have as a number and most as text; None if it is none."""
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return str(value) if is_number or isinstance(value, str) else None
