"""A katas directory on the host, `49/3A06504A/...`, which the storer reads and never writes."""

import os
from collections.abc import Iterator
from pathlib import Path

from dojo import kata_ids


class KatasDirectory:
    """The katas in a folder; there are none if `path` is None."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def folder(self, kata_id: str) -> Path | None:
        """Return the kata's folder, or None if the directory has no such kata."""
        if self._path is None:
            return None
        folder = self._path / kata_ids.outer(kata_id) / kata_ids.inner(kata_id)
        return folder if folder.is_dir() else None

    def kata_ids(self, prefix: str = "", *, ignore_case: bool = False) -> Iterator[str]:
        """Yield the ids that begin with `prefix`, in order.

        Reads only those outer folders (`49`) that can hold such ids.
        """
        fold = str.lower if ignore_case else str
        wanted = fold(prefix)
        for outer in _names(self._path):
            if len(outer) != 2 or not fold(outer).startswith(wanted[:2]):
                continue
            for inner in _names(self._path, outer):
                kata_id = outer + inner
                if kata_ids.is_whole(kata_id) and fold(kata_id).startswith(wanted):
                    yield kata_id


def _names(path: Path | None, *inside: str) -> list[str]:
    """Return the names in a folder, in order; none if the folder does not exist."""
    if path is None:
        return []
    try:
        return sorted(os.listdir(path.joinpath(*inside)))
    except (FileNotFoundError, NotADirectoryError):
        return []
