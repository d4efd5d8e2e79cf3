"""The journal of a replay: a line of JSON for each light that ran, so that it can go on.

An avatar is what it goes on with: its sandbox has to be made from its first light on. The line
that ends an avatar has a fingerprint of all that decides its colours (image, rule, lights); when
that is another now, the avatar runs anew.
"""

import json
import threading
from collections.abc import Iterator
from dataclasses import asdict
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path
from typing import Any

from replay.errors import ReplayStopped
from replay.outcomes import Outcome, Ran, Skipped

_KINDS = {"ran": Ran, "skipped": Skipped}


class Journal:
    """A journal's file, which is this replay's alone. Any thread may use it."""

    def __init__(self, path: Path, *, is_fresh: bool) -> None:
        """Open it, or begin it anew. Raises ReplayStopped where that is impossible."""
        self._path = path
        self._lock = threading.Lock()
        self._done: dict[tuple[str, str], tuple[str, list[Outcome]]] = {}
        try:
            self._file = path.open("a", encoding="utf-8")
        except OSError as error:
            raise ReplayStopped(f"the journal {path} can't be written: {error.strerror}") from None
        try:
            flock(self._file, LOCK_EX | LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise ReplayStopped(f"another replay writes the journal {path}") from None
        if is_fresh:
            self._file.truncate(0)
        self._load()

    def done(self, kata_id: str, avatar: str, fingerprint: str) -> list[Outcome] | None:
        """Return what came of an avatar's lights, without outputs, if all of them are done."""
        with self._lock:
            found = self._done.get((kata_id, avatar))
        return found[1] if found is not None and found[0] == fingerprint else None

    def begin(self, kata_id: str, avatar: str) -> None:
        """Begin an avatar, from its first light on."""
        self._write({"begin": [kata_id, avatar]})

    def add(self, outcome: Outcome) -> None:
        """Write what came of a light."""
        kind = "ran" if isinstance(outcome, Ran) else "skipped"
        self._write({kind: asdict(outcome)})

    def end(self, kata_id: str, avatar: str, fingerprint: str) -> None:
        """Write that all of an avatar's lights are done."""
        self._write({"end": [kata_id, avatar], "fingerprint": fingerprint})

    def find(self, kata_id: str, avatar: str, number: int) -> Ran | None:
        """Return a light as it last ran, with its outputs."""
        newest: Ran | None = None
        for line in self._lines():
            outcome = _outcome(line)
            if isinstance(outcome, Ran) and (kata_id, avatar, number) == (
                *(outcome.kata_id, outcome.avatar),
                outcome.number,
            ):
                newest = outcome
        return newest

    def close(self) -> None:
        """Let another replay have it."""
        self._file.close()

    def _write(self, line: dict[str, Any]) -> None:
        with self._lock:
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()

    def _load(self) -> None:
        going_on: dict[tuple[str, str], list[Outcome]] = {}
        for line in self._lines():
            if "begin" in line:
                going_on[_avatar(line["begin"])] = []
            elif "end" in line:
                avatar = _avatar(line["end"])
                self._done[avatar] = (str(line.get("fingerprint")), going_on.pop(avatar, []))
            elif (outcome := _outcome(line)) is not None:
                kept = outcome.without_outputs() if isinstance(outcome, Ran) else outcome
                going_on.setdefault((outcome.kata_id, outcome.avatar), []).append(kept)

    def _lines(self) -> Iterator[dict[str, Any]]:
        """Yield what was written; the line that was being written in a crash is none."""
        broken = False
        with self._path.open(encoding="utf-8", errors="replace") as file:
            for text in file:
                broken = not text.endswith("\n")
                try:
                    line = json.loads(text)
                except ValueError:
                    continue
                if isinstance(line, dict):
                    yield line
        if broken:
            self._file.write("\n")
            self._file.flush()


def _avatar(value: Any) -> tuple[str, str]:
    kata_id, avatar = value
    return str(kata_id), str(avatar)


def _outcome(line: dict[str, Any]) -> Outcome | None:
    for name, kind in _KINDS.items():
        if name in line:
            try:
                return kind(**line[name])  # type: ignore[no-any-return]
            except TypeError:  # another version's
                return None
    return None
