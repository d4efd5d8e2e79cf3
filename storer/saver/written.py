"""Writes an avatar as a kata of version 2 of a saver: a git repository, object by object.

What came from a saver has the very events that it came with. What a saver has no word for is in the
event under the key `storer`, which a saver keeps and shows to nobody, and an import takes back.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from storer.fs import json_files, json_times
from storer.git.object_writer import NewObjects
from storer.kata import edit, light
from storer.kata.edit import Edit
from storer.kata.light import Light, Submission
from storer.saver import kata
from storer.saver.events import KINDS, STORER
from storer.saver.repository import FILES, OPTIONS, RESULTS, TRUNCATIONS

BRANCH = "refs/heads/main"

_WORDS = {kind: word for word, kind in KINDS.items()}
# What an event says in a saver's own words.
_SAID = {"colour", "time", "number", "duration", "status", "predicted", "special", "writer",
         "stdout_truncated", "stderr_truncated", "added_lines", "deleted_lines", "source",
         "request_id", "request_digest"}  # fmt: skip


@dataclass
class SaverRepository:
    """The repository of a kata that is written; its files come as `pieces`."""

    old_id: str
    manifest: Mapping[str, Any]
    options: Mapping[str, Any]
    events: list[dict[str, Any]] = field(default_factory=list)
    references: dict[str, str] = field(default_factory=dict)
    tree: dict[str, bytes] = field(default_factory=dict)
    _known: set[str] = field(default_factory=set)

    def commit(
        self,
        event: dict[str, Any],
        time: datetime,
        submission: Submission,
        status: str | None,
        cut_off: tuple[bool, bool] = (False, False),
    ) -> Iterator[tuple[str, bytes]]:
        """Add an event; yield the new files of the repository, each with its path in `.git`.

        `cut_off` says whether stdout and stderr were.
        """
        index = len(self.events)
        self.events.append({**event, "index": index})
        self.tree = {
            "README.md": self._readme(),
            kata.MANIFEST: _pretty(self.manifest),
            OPTIONS: _pretty(self.options),
            kata.EVENTS: _pretty(self.events),
        }
        if index:
            self.tree |= {
                "stdout": submission.stdout,
                "stderr": submission.stderr,
                "status": (status or "0").encode(),
                TRUNCATIONS: _pretty(dict(zip(("stdout", "stderr"), cut_off, strict=True))),
            }
            if submission.test_results is not None:
                self.tree[RESULTS] = _pretty({"index": index, "results": submission.test_results})
        self.tree |= {f"{FILES}/{name}": each for name, each in submission.files.items()}
        new = NewObjects(self._known)
        parents = [self.references[BRANCH]] if BRANCH in self.references else []
        author = f"{self.old_id} <{self.old_id}@cyber-dojo.org>"
        message = f"{index} {_message(event)}"
        commit = new.commit(
            new.folder(self.tree), parents, author, json_times.seconds(time), message
        )
        self._known |= new.used
        self.references |= {BRANCH: commit, f"refs/tags/{index}": commit}
        for name, content in new.files.items():
            yield f"objects/{name[:2]}/{name[2:]}", content

    def ends(self) -> Iterator[tuple[str, bytes]]:
        """Yield the rest of the repository's files, each with its path in `.git`."""
        yield "HEAD", f"ref: {BRANCH}\n".encode()
        user = f"[user]\n\tname = {self.old_id}\n\temail = {self.old_id}@cyber-dojo.org\n"
        yield "config", f"[core]\n\trepositoryformatversion = 0\n\tbare = false\n{user}".encode()
        for name, target in self.references.items():
            yield name, f"{target}\n".encode()

    def _readme(self) -> bytes:
        name = self.manifest.get("exercise") or self.manifest.get("display_name")
        return f"# {name}\n\nA practice session: tag N is event N of events.json.\n".encode()


def event_of_light(
    recorded: Light, more: Mapping[str, Any], source: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the event that a light is.

    `more` is what its light.json has under the key `saver`, and `source` what says where its files
    come from.
    """
    kept = more.get("event")
    if isinstance(kept, dict):
        return dict(kept)
    if recorded.number == 0:
        return {"event": "created", "time": seven_parts(recorded.time)}
    facts = recorded.facts
    said: dict[str, Any] = {
        "colour": recorded.colour + ("_special" if facts.is_special else ""),
        "predicted": facts.predicted or "none",
        "time": seven_parts(recorded.time),
        **source,
    }
    said |= {"duration": recorded.duration} if recorded.duration is not None else {}
    said |= _counts(facts.added, facts.deleted, facts.writer)
    own = light.to_json(recorded)
    not_said = {key: each for key, each in own.items() if key not in _SAID}
    return {**said, STORER: not_said} if not_said else said


def event_of_edit(recorded: Edit, more: Mapping[str, Any]) -> dict[str, Any]:
    """Return the event that an edit is; `more` is as for a light."""
    kept = more.get("event")
    if isinstance(kept, dict):
        return dict(kept)
    if recorded.is_outage or not recorded.changes:
        return {"event": "outage", "time": seven_parts(recorded.time)}
    first = recorded.changes[0]  # a saver has one file in an event
    is_renamed = first.kind == edit.RENAMED
    names = {"old_filename": first.was, "new_filename": first.filename}
    said = {
        "colour": _WORDS[first.kind],
        "time": seven_parts(recorded.time),
        **(names if is_renamed else {"filename": first.filename}),
        **_counts(recorded.added, recorded.deleted, recorded.writer),
    }
    if len(recorded.changes) == 1:
        return said
    own = edit.to_json(recorded)
    keys = ("changes", "changes_truncated")
    return {**said, STORER: {key: own[key] for key in keys if key in own}}


def _counts(added: int | None, deleted: int | None, writer: str) -> dict[str, Any]:
    value = {"diff_added_count": added, "diff_deleted_count": deleted, "laptop_id": writer or None}
    return {key: each for key, each in value.items() if each is not None}


def _message(event: Mapping[str, Any]) -> str:
    """Return what a commit says of an event."""
    if event.get("event") == "created":
        return "kata creation"
    if "filename" in event or "new_filename" in event:
        name = event.get("filename", event.get("new_filename"))
        return f"{event.get('colour')} {json_files.to_text(name)}"
    return f"ran tests, predicted {event.get('predicted')}, got {event.get('colour')}"


def seven_parts(time: datetime) -> list[int]:
    """Return a time as a saver has it, with its microsecond also if that is 0."""
    return [*json_times.to_list(time), 0][:7]


def _pretty(value: object) -> bytes:
    return json.dumps(value, indent=2).encode()
