"""The content of a file that a setting names."""

from __future__ import annotations

from pathlib import Path

from dojo.access.watched_files import content_of
from dojo.service.settings import BadSettings


def read(setting: str, path: Path | None) -> bytes | None:
    """Return what is in the file that `setting` names, None if it names none.

    Raises BadSettings.
    """
    if path is None:
        return None
    try:
        return content_of(path)
    except OSError as error:
        raise BadSettings([f"{setting}='{path}' can't be read: {error.strerror}"]) from error
