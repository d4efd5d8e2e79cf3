"""Logs: one JSON object a line, on standard error, and in a file that outlives the container."""

import logging
import sys
from collections.abc import MutableMapping
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

import structlog

# A file that is full becomes NAME.1, the older ones NAME.2 and so on.
FILE_BYTES = 10 * 1024**2
FORMER_FILES = 9


def configure(level: str, file: Path | None = None) -> None:
    """Write events of at least `level`, one of `settings.LOG_LEVELS`, as JSON lines.

    They are appended to `file` too, if it is given. Raises OSError if it can't be written.
    """
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            _add_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
            *([_Copy(file)] if file is not None else []),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            # To structlog, an event of the level `access` is one of `info`.
            logging.getLevelNamesMapping()["INFO" if level == "access" else level.upper()]
        ),
        # Writes a line in one call, so that another thread's output can't end up inside it.
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
    )


def _add_level(_: Any, method: str, event: MutableMapping[str, Any]) -> Any:
    """Add the level of an event that does not state one."""
    event.setdefault("level", method)
    return event


class _Copy:
    """Appends each line to a file, and passes it on. Any thread may use it."""

    def __init__(self, file: Path) -> None:
        self._handler = RotatingFileHandler(
            file, maxBytes=FILE_BYTES, backupCount=FORMER_FILES, encoding="utf-8"
        )

    def __call__(self, logger: Any, method: str, line: Any) -> str:
        self._handler.handle(logging.makeLogRecord({"msg": line}))
        return str(line)
