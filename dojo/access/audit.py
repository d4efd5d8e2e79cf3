"""The audit log: what operators did, when, to which kata, and what came of it.

A line of JSON for each, in a file of its own, or else in the log. The file is opened for each line,
so it may be moved away at any time.
"""

from __future__ import annotations

import asyncio
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import structlog

from dojo.access import caller

_log = structlog.get_logger()

_MAX_REASON_CHARACTERS = 500
_MODE = 0o640


class Audit:
    """Writes the audit log. Any thread may use it: a line is one write, at the file's end."""

    def __init__(self, file: Path | None) -> None:
        """Append to `file`, which is created; None: the lines are in the log.

        Raises OSError if the file can't be written.
        """
        self._file = file
        self._append(b"")

    def doing(self, action: str, **about: Any) -> Deed:
        """Return a context manager for something that is done: its end writes the line.

        `about` says what it is done to: `kata`, or whatever the request says.
        """
        return Deed(self, action, about)

    def record(self, action: str, outcome: str, **about: Any) -> None:
        """Write a line."""
        fields = {"action": action, "outcome": outcome, **about}
        if self._file is None:
            _log.info("audit", **fields)
            return
        who = caller.current()
        line = {
            "time": datetime.now(UTC).isoformat(),
            "caller": who.name if who else "storer",
            "address": who.address if who else "",
            **fields,
        }
        try:
            self._append(f"{json.dumps(line)}\n".encode())
        except OSError as error:
            _log.error("not audited", reason=error.strerror, **fields)

    def _append(self, line: bytes) -> None:
        if self._file is None:
            return
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        descriptor = os.open(self._file, flags, _MODE)
        try:
            os.write(descriptor, line)
        finally:
            os.close(descriptor)


class Deed:
    """Something that is done. What is put into `about` meanwhile is in the line too."""

    def __init__(self, audit: Audit, action: str, about: dict[str, Any]) -> None:
        self._audit = audit
        self._action = action
        self.about = about

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            self._audit.record(self._action, "done", **self.about)
        elif issubclass(kind, asyncio.CancelledError | GeneratorExit):
            self._audit.record(self._action, "interrupted", **self.about)
        else:
            reason = str(error)[:_MAX_REASON_CHARACTERS]
            self._audit.record(self._action, "failed", **self.about, reason=reason)
