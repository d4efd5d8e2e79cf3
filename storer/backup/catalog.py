"""The catalog of the last backups: a file per backup, from which the next one finds changes.

The files are in a volume of the namespace. Each is a backup's manifest: JSON with a line per kata,
in the order of their ids, so that it is written and read line by line. Losing the files costs a
full backup and nothing else. The file of an incomplete backup has another ending; the backup can be
resumed from it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import IO

from dojo import kata_ids
from dojo.engine.data_containers import DataContainers
from dojo.errors import UnknownBackup
from storer.fs import durable

# The number of files that are kept of each ending.
MAX_FILES = 32
# Of the katas that a backup could not read, how many a list of backups names.
MAX_LISTED_FAILURES = 100

_TOKEN = re.compile(r"[0-9]{10}-[0-9a-f]{16}\Z")
_FINISHED, _UNFINISHED = ".json", ".unfinished"
_LAST_LINE = b"]}\n"
_MAX_LINE = 4096


class BadManifest(Exception):
    """A file is not a backup's manifest."""


class State(StrEnum):
    """What a backup has of a kata."""

    SENT = "sent"
    UNCHANGED = "unchanged"  # an earlier backup has it
    DELETED = "deleted"  # after the previous backup
    FAILED = "failed"  # it could not be read


_STATES = {each: f'"state":"{each.value}"'.encode() for each in State}


@dataclass(frozen=True)
class Entry:
    """A line of a backup's manifest.

    `head` and `sha256` are those of the kata when it was last sent. `stamp` is the archive's, if it
    was sent from there. `reason` says why it failed.
    """

    kata_id: str
    state: State
    head: str = ""
    stamp: str = ""
    sha256: str = ""
    reason: str = ""


@dataclass
class BackupManifest:
    """The first line of a backup's manifest, and the file to read its entries from.

    `begun` is None for a backup of an older storer, which did not write it.
    """

    token: str
    since: str
    prefix: str
    begun: datetime | None
    file: IO[bytes] = field(repr=False)

    def entries(self) -> Iterator[Entry]:
        """Yield the entries in the order of their ids. Raises BadManifest."""
        while (line := self.file.readline(_MAX_LINE)) and line != _LAST_LINE:
            if line.endswith(b"\n"):  # else the process died while it wrote the line
                yield _entry(line)


@dataclass(frozen=True)
class ListedBackup:
    """A backup that the catalog remembers.

    `finished` is None for one that did not come to its end. `counts` has the number of katas of
    each state, `failed` the first of those that could not be read.
    """

    token: str
    since: str
    prefix: str
    begun: datetime | None
    finished: datetime | None
    counts: Counter[State]
    failed: list[Entry]


class UnfinishedManifest:
    """The manifest of a backup in progress. Belongs to one thread at a time.

    `counts` has the number of entries of each state; `failures` those of failed katas that nobody
    has taken from it.
    """

    def __init__(
        self, path: Path, token: str, since: str, prefix: str, begun: datetime | None
    ) -> None:
        self.token = token
        self.since = since
        self.prefix = prefix
        self._path = path
        # Line-buffered: once a caller has a kata's seal, the kata's line is in the file.
        self._file = path.open("w+", buffering=1, encoding="ascii")
        self._is_first = True
        self.counts = Counter[State]()
        self.failures = deque[Entry]()
        head = json.dumps(
            {
                "token": token,
                "since": since,
                "prefix": prefix,
                "begun": begun.isoformat() if begun else "",
                "katas": [],
            }
        )
        self._file.write(head.removesuffix("]}") + "\n")

    def add(self, entry: Entry) -> None:
        """Add the entry of the next kata."""
        separator = "" if self._is_first else ","
        fields = {key: value for key, value in asdict(entry).items() if value}
        self._file.write(separator + json.dumps(fields, separators=(",", ":")) + "\n")
        self._is_first = False
        self.counts[entry.state] += 1
        if entry.state is State.FAILED:
            self.failures.append(entry)

    def finish(self) -> tuple[int, Iterator[bytes]]:
        """Complete the manifest; return its size in bytes, and its content."""
        self._file.write(_LAST_LINE.decode())
        self._file.flush()
        descriptor = self._file.fileno()
        return os.fstat(descriptor).st_size, _pieces(descriptor)

    def keep(self) -> None:
        """Make the manifest durable, so that another backup can be based on it."""
        os.fsync(self._file.fileno())
        try:
            self._path.rename(self._path.with_suffix(_FINISHED))
        except FileNotFoundError:  # removed: MAX_FILES more backups were begun since
            raise UnknownBackup(self.token) from None
        durable.sync_folder(self._path.parent)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class Catalog:
    """The manifests of the last backups of a namespace. Any thread may use it."""

    def __init__(self, data_containers: DataContainers) -> None:
        self._containers = data_containers

    def begin(self, prefix: str, since: str, begun: datetime | None = None) -> UnfinishedManifest:
        """Begin a backup, based on the one with the token `since` unless that is empty.

        It counts as begun now, or when `begun` says.
        """
        folder = self._folder()
        numbers = [int(path.name[:10]) for path in _files(folder)]
        token = f"{max(numbers, default=0) + 1:010}-{secrets.token_hex(8)}"
        for ending in (_FINISHED, _UNFINISHED):
            for path in _files(folder, ending)[:-MAX_FILES]:
                path.unlink(missing_ok=True)
        path = folder / (token + _UNFINISHED)
        return UnfinishedManifest(path, token, since, prefix, begun or datetime.now(UTC))

    def resume(self, token: str, after: str) -> UnfinishedManifest:
        """Resume an interrupted backup after a kata, as a new one that has the same beginning.

        This also works if only the end of the backup did not arrive. Raises UnknownBackup.
        """
        with self._open(token, _UNFINISHED, _FINISHED) as broken:
            resumed = self.begin(broken.prefix, broken.since, broken.begun)
            try:
                for entry in broken.entries():
                    if entry.kata_id > after:
                        break
                    resumed.add(entry)
            except BaseException:
                resumed.close()
                raise
        return resumed

    def listed(self) -> Iterator[ListedBackup]:
        """Yield the backups, the newest first, unfinished ones too."""
        with contextlib.suppress(FileNotFoundError):  # there was none yet
            for path in reversed(_files(self._containers.backups_folder)):
                with contextlib.suppress(FileNotFoundError, BadManifest):
                    yield _listed(path)

    def last_time(self) -> float:
        """Return when the last backup came to its end, in seconds since 1970; 0 if none did.

        Unlike `last_finished`, reads no file.
        """
        folder = self._containers.backups_folder
        finished = _files(folder, _FINISHED) if folder.is_dir() else []
        return max((path.stat().st_mtime for path in finished), default=0)

    def last_finished(self) -> ListedBackup | None:
        """Return the last backup that came to its end; None if there is none."""
        return next((each for each in self.listed() if each.finished is not None), None)

    @contextlib.contextmanager
    def open_finished(self, token: str) -> Iterator[BackupManifest]:
        """Open the manifest of a complete backup. Raises UnknownBackup."""
        with self._open(token, _FINISHED) as backup:
            yield backup

    @contextlib.contextmanager
    def _open(self, token: str, *endings: str) -> Iterator[BackupManifest]:
        """Open the manifest of this token that has the first of the endings that exists."""
        if not _TOKEN.match(token):
            raise UnknownBackup(token)
        with contextlib.ExitStack() as opened:
            file: IO[bytes] | None = None
            for ending in endings:
                if file is None:
                    with contextlib.suppress(FileNotFoundError):
                        path = self._containers.backups_folder / (token + ending)
                        file = opened.enter_context(path.open("rb"))
            if file is None:
                raise UnknownBackup(token)
            try:
                yield read(file)
            except BadManifest:  # the machine went down before the file was synced
                raise UnknownBackup(token) from None

    def _folder(self) -> Path:
        """Return the folder of the volume; create the volume if there is none."""
        folder = self._containers.backups_folder
        if not folder.is_dir():
            self._containers.create_plain_volume(self._containers.namespace.backups, "backups")
        return folder


def read(file: IO[bytes]) -> BackupManifest:
    """Read the first line of a manifest. Raises BadManifest."""
    line = file.readline(_MAX_LINE)
    try:
        fields = json.loads(line + b"]}")
        return BackupManifest(
            str(fields["token"]),
            str(fields["since"]),
            str(fields["prefix"]),
            datetime.fromisoformat(fields["begun"]) if fields.get("begun") else None,
            file,
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise BadManifest("its first line is not that of a backup's manifest") from None


def _listed(path: Path) -> ListedBackup:
    """Read a manifest, to count its katas. Raises BadManifest."""
    counts = Counter[State]()
    failed: list[Entry] = []
    with path.open("rb") as file:
        head = read(file)
        while line := file.readline(_MAX_LINE):
            # Faster than parsing; inside of a text, a quote has a backslash before it.
            state = next((each for each in State if _STATES[each] in line), None)
            if state is None:
                continue
            counts[state] += 1
            if state is State.FAILED and len(failed) < MAX_LISTED_FAILURES:
                failed.append(_entry(line))
        changed = datetime.fromtimestamp(os.fstat(file.fileno()).st_mtime, UTC)
    finished = changed if path.suffix == _FINISHED else None
    return ListedBackup(head.token, head.since, head.prefix, head.begun, finished, counts, failed)


def _entry(line: bytes) -> Entry:
    try:
        fields = json.loads(line.removeprefix(b","))
        texts = {key: str(value) for key, value in fields.items()}
        entry = Entry(**{**texts, "state": State(texts["state"])})  # type: ignore[arg-type]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise BadManifest(f"{line[:80]!r} is not a line of a backup's manifest") from None
    if not kata_ids.is_whole(entry.kata_id):
        raise BadManifest(f"{entry.kata_id[:40]!r} is not a kata's id")
    return entry


def _files(folder: Path, *endings: str) -> list[Path]:
    """Return the manifests in a folder, the oldest first."""
    wanted = endings or (_FINISHED, _UNFINISHED)
    return sorted(
        path for path in folder.iterdir() if path.suffix in wanted and _TOKEN.match(path.stem)
    )


def _pieces(descriptor: int) -> Iterator[bytes]:
    offset = 0
    while piece := os.pread(descriptor, 256 * 1024, offset):
        yield piece
        offset += len(piece)
