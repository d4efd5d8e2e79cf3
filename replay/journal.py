"""The journal of a replay: a line of JSON for each light that ran. A replay resumes from it.

A replay resumes with whole avatars, because a sandbox has to be built from the first light on. The
line that ends an avatar has a fingerprint of everything that decides the colours (image, rule,
lights). If the fingerprint has changed, the avatar's lights run again.
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
    """A journal's file, locked by this replay. Any thread may use it."""

    def __init__(self, path: Path, *, is_fresh: bool) -> None:
        """Open the journal, emptied if `is_fresh`. Raises ReplayStopped if that is impossible."""
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
            raise ReplayStopped(f"another replay is writing the journal {path}") from None
        if is_fresh:
            self._file.truncate(0)
        self._load()

    def done(self, kata_id: str, avatar: str, fingerprint: str) -> list[Outcome] | None:
        """Return the outcomes of an avatar's lights, without outputs, if all of them are done."""
        with self._lock:
            found = self._done.get((kata_id, avatar))
        return found[1] if found is not None and found[0] == fingerprint else None

    def begin(self, kata_id: str, avatar: str) -> None:
        """Write that an avatar begins, at its first light."""
        self._write({"begin": [kata_id, avatar]})

    def add(self, outcome: Outcome) -> None:
        """Write the outcome of a light."""
        kind = "ran" if isinstance(outcome, Ran) else "skipped"
        self._write({kind: asdict(outcome)})

    def end(self, kata_id: str, avatar: str, fingerprint: str) -> None:
        """Write that all of an avatar's lights are done."""
        self._write({"end": [kata_id, avatar], "fingerprint": fingerprint})

    def find(self, kata_id: str, avatar: str, number: int) -> Ran | None:
        """Return the last run of a light, with its outputs; None if there is none."""
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
        """Close the file, and so release the lock on it."""
        self._file.close()

    def _write(self, line: dict[str, Any]) -> None:
        with self._lock:
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()

    def _load(self) -> None:
        unfinished: dict[tuple[str, str], list[Outcome]] = {}
        for line in self._lines():
            if "begin" in line:
                unfinished[_avatar(line["begin"])] = []
            elif "end" in line:
                avatar = _avatar(line["end"])
                self._done[avatar] = (str(line.get("fingerprint")), unfinished.pop(avatar, []))
            elif (outcome := _outcome(line)) is not None:
                kept = outcome.without_outputs() if isinstance(outcome, Ran) else outcome
                unfinished.setdefault((outcome.kata_id, outcome.avatar), []).append(kept)

    def _lines(self) -> Iterator[dict[str, Any]]:
        """Yield the journal's lines, without one that a crash cut off."""
        is_cut = False
        with self._path.open(encoding="utf-8", errors="replace") as file:
            for text in file:
                is_cut = not text.endswith("\n")
                try:
                    line = json.loads(text)
                except ValueError:
                    continue
                if isinstance(line, dict):
                    yield line
        if is_cut:
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
            except TypeError:  # written by another version
                return None
    return None
