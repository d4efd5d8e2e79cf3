"""Backups: a tar of all katas, or of those that changed since another backup.

The tar has the layout of a katas directory. Each kata is in the state that it has when its turn
comes, and no lock is held while the caller reads. A seal, a small member with a digest, follows the
members of each kata: with it, a restore knows that the kata is whole. The last member is the
manifest, which `storer.backup.catalog` keeps. Memory grows with neither the size nor the number of
the katas.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import IO, cast

import pygit2
import zstandard

from dojo import kata_ids, waits
from dojo.chunks import CHUNK_BYTES, Digest, rechunk
from dojo.errors import ArchiveDamaged, InvalidArgument, KataDamaged, KataNotFound, LockHeld
from storer.archive.archive import HEAD_BYTES, Archive, ArchivedKata, head_in
from storer.backup.catalog import Catalog, Entry, State, UnfinishedManifest
from storer.backup.download import Compression, compress
from storer.fs import durable
from storer.git.libgit2 import in_words
from storer.kata.head import head_of
from storer.katas.repository import Katas
from storer.tar import headers, snapshot
from storer.tar.snapshot import Snapshot

MANIFEST = "backup.json"
COMMENT = "cyber-dojo backup "  # the tar's global comment; the backup's token follows
_MAX_REASON = 500
MAX_HELD_BYTES = 8 * 1024**2


class Backup:
    """A backup in progress: its token, and its tar, which is read once and closed."""

    def __init__(
        self, katas: Katas, catalog: Catalog, unfinished: UnfinishedManifest, after: str
    ) -> None:
        self._katas = katas
        self._catalog = catalog
        self._unfinished = unfinished
        self._after = after
        self._unsealed = Digest()  # of the bytes after the last seal

    @property
    def token(self) -> str:
        """The token that names the backup."""
        return self._unfinished.token

    @property
    def counts(self) -> Counter[State]:
        """How many katas had which state so far."""
        return self._unfinished.counts

    def take_failures(self) -> Iterator[Entry]:
        """Yield the katas that could not be read and were not yielded before. For any thread."""
        failures = self._unfinished.failures
        while failures:
            yield failures.popleft()

    def tar(self, compression: Compression) -> Generator[bytes, None, None]:
        """Yield the tar, in chunks. Raises UnknownBackup."""
        try:
            yield from rechunk(compress(self._members(), compression))
        finally:
            self._unfinished.close()

    def _members(self) -> Iterator[bytes]:
        unfinished = self._unfinished
        header = tarfile.TarInfo.create_pax_global_header({"comment": COMMENT + self.token})
        self._unsealed.update(header)
        yield header
        with ExitStack() as opened:
            previous_entries: Iterator[Entry] = iter(())
            if unfinished.since:
                previous_manifest = opened.enter_context(
                    self._catalog.open_finished(unfinished.since)
                )
                previous_entries = without_deleted(previous_manifest.entries(), self._after)
            stored_ids = self._katas.stored_ids(unfinished.prefix, self._after)
            for kata_id, previous, is_there in merge(stored_ids, previous_entries):
                # A kata that is fetched or archived during the listing can be missing in it.
                if is_there or self._katas.is_stored(kata_id):
                    yield from self._kata(kata_id, previous)
                elif previous is not None:
                    unfinished.add(Entry(kata_id, State.DELETED, head=previous.head))
        size, manifest = unfinished.finish()
        yield _header(MANIFEST, size)
        yield from manifest
        yield snapshot.padding(size)
        # Before the end is sent: a caller who has the whole tar can base the next backup on it.
        unfinished.keep()
        yield snapshot.END

    def _kata(self, kata_id: str, previous: Entry | None) -> Iterator[bytes]:
        """Yield a kata's members and its seal if it changed; add its entry to the manifest."""
        waits.check()
        waits.wait_longer()
        try:
            entry = yield from self._entry(kata_id, previous)
        # A kata that is not found was deleted after it was listed; the next backup reports that.
        except (KataNotFound, KataDamaged, ArchiveDamaged, LockHeld) as error:
            entry = _failed(kata_id, previous, str(error))
        except OSError as error:
            entry = _failed(kata_id, previous, f"it can't be read: {error.strerror}")
        except (pygit2.GitError, KeyError, ValueError) as error:  # damage that no check expects
            entry = _failed(kata_id, previous, f"it can't be read: {in_words(error)}")
        self._unfinished.add(entry)
        if entry.state is not State.UNCHANGED:
            yield _seal(entry)
            self._unsealed = Digest()

    def _entry(self, kata_id: str, previous: Entry | None) -> Generator[bytes, None, Entry]:
        with ExitStack() as opened:
            found = self._find(kata_id, previous, opened)
            if isinstance(found, Entry):
                return found
            if isinstance(found, Snapshot):
                sha256 = yield from self._digested(snapshot.members(found))
                # Without a head, the next backup has the kata again: it may be mended by then.
                head = "" if found.has_head_of_whole else found.head.digest
                return Entry(kata_id, State.SENT, head=head, sha256=sha256)
            head, members = _archived(self._katas.archive, found, opened)
            sha256 = yield from self._digested(members)
        return Entry(kata_id, State.SENT, head=head, stamp=found.stamp, sha256=sha256)

    def _digested(self, members: Iterable[bytes]) -> Generator[bytes, None, str]:
        """Yield the members; return the digest in hexadecimal of all bytes since the last seal."""
        for piece in members:
            self._unsealed.update(piece)
            yield piece
        return self._unsealed.sha256.hex()

    def _find(
        self, kata_id: str, previous: Entry | None, opened: ExitStack
    ) -> Entry | Snapshot | ArchivedKata:
        """Return what to read a kata from, or its entry if unchanged. Raises KataNotFound."""
        archive = self._katas.archive
        with suppress(KataNotFound), self._katas.reading(kata_id) as kata:
            if previous is not None and previous.head and head_of(kata).digest == previous.head:
                return _unchanged(previous)
            with (
                durable.translate_disk_errors()
            ):  # a full disk fails the backup, not just this kata
                return Snapshot(kata, opened)
        if self._katas.is_in_use(kata_id):
            kata = opened.enter_context(self._katas.copied(kata_id))
            if previous is not None and previous.head and head_of(kata).digest == previous.head:
                return _unchanged(previous)
            return Snapshot(kata, opened)
        archived = archive.find(kata_id)
        if archived is None:
            raise KataNotFound(kata_id, "it was deleted during the backup")
        if previous is not None and previous.stamp == archived.stamp:
            return _unchanged(previous)
        head = previous.head if previous is not None else ""
        if archive.copies(kata_id):  # left by a lost machine: fetching merges them with their base
            with self._katas.using(kata_id, touching=False) as kata:
                if previous is not None and head and head_of(kata).digest == head:
                    return _unchanged(previous)
                return Snapshot(kata, opened)
        if previous is not None and head and archive.head(kata_id) == head:
            return replace(_unchanged(previous), stamp=archived.stamp)
        return archived


def begin(katas: Katas, catalog: Catalog, prefix: str, since: str) -> Backup:
    """Begin a backup of the katas whose ids begin with `prefix`.

    If `since` is the token of another backup, only what changed after that is sent. Raises
    InvalidArgument or UnknownBackup.
    """
    if since:
        with catalog.open_finished(since) as previous_manifest:
            if previous_manifest.prefix != prefix:
                reason = f"is of a backup with the prefix {previous_manifest.prefix!r}"
                raise InvalidArgument("since_token", reason)
    return Backup(katas, catalog, catalog.begin(prefix, since), "")


def resume(katas: Katas, catalog: Catalog, token: str, after: str) -> Backup:
    """Resume an interrupted backup after the kata `after`. Raises UnknownBackup."""
    return Backup(katas, catalog, catalog.resume(token, after), after)


def filename(compression: Compression) -> str:
    """Return a filename for the tar of a backup."""
    return f"katas.tar{compression.value}"


def _unchanged(previous: Entry) -> Entry:
    return replace(previous, state=State.UNCHANGED, reason="")


def _failed(kata_id: str, previous: Entry | None, reason: str) -> Entry:
    """Return the entry of a kata that can't be sent; what was last sent of it stays known."""
    entry = previous or Entry(kata_id, State.FAILED)
    return replace(entry, state=State.FAILED, reason=reason[:_MAX_REASON])


def _archived(
    archive: Archive, archived: ArchivedKata, opened: ExitStack
) -> tuple[str, Iterator[bytes]]:
    """Return the head of an archived kata ("" if unknown) and the members of its tar.

    A large tar is read twice, to check it before any of it is sent: a member that breaks off would
    damage all that follows.
    """
    source = cast("IO[bytes]", opened.enter_context(archive.open(archived.kata_id)))
    if archived.size_bytes <= MAX_HELD_BYTES:
        end = source.read()
        source = io.BytesIO(end)
    else:
        end = b""
        while piece := source.read(CHUNK_BYTES):
            end = (end + piece)[-HEAD_BYTES:]
        source = cast("IO[bytes]", opened.enter_context(archive.open(archived.kata_id)))
    return head_in(end), _archived_members(source)


def _archived_members(source: IO[bytes]) -> Iterator[bytes]:
    tar = zstandard.ZstdDecompressor().stream_reader(source, read_across_frames=True)
    held = b""
    while piece := tar.read(CHUNK_BYTES):
        held += piece
        yield held[: -len(snapshot.END)]
        held = held[-len(snapshot.END) :]


def merge(
    stored_ids: Iterator[str], previous_entries: Iterator[Entry]
) -> Iterator[tuple[str, Entry | None, bool]]:
    """Yield each id once, in order, with its previous entry, and whether it is stored."""
    kata_id, previous = next(stored_ids, None), next(previous_entries, None)
    while kata_id is not None or previous is not None:
        if kata_id is not None and (previous is None or kata_id < previous.kata_id):
            yield kata_id, None, True
            kata_id = next(stored_ids, None)
        elif previous is not None and previous.kata_id != kata_id:
            yield previous.kata_id, previous, False
            previous = next(previous_entries, None)
        elif previous is not None:
            yield previous.kata_id, previous, True
            kata_id, previous = next(stored_ids, None), next(previous_entries, None)


def without_deleted(entries: Iterable[Entry], after: str = "") -> Iterator[Entry]:
    """Yield the entries of ids that come after `after`, except those of deleted katas."""
    return (each for each in entries if each.kata_id > after and each.state is not State.DELETED)


def _seal(entry: Entry) -> bytes:
    """Return a kata's seal: the digest of its members, or why they are incomplete."""
    fields = {"kata_id": entry.kata_id, "head": entry.head, "sha256": entry.sha256}
    if entry.state is State.FAILED:
        fields = {"kata_id": entry.kata_id, "error": entry.reason}
    content = json.dumps({key: value for key, value in fields.items() if value}).encode() + b"\n"
    name = f"{kata_ids.outer(entry.kata_id)}/{kata_ids.inner(entry.kata_id)}.json"
    return _header(name, len(content)) + content + snapshot.padding(len(content))


def _header(name: str, size: int) -> bytes:
    header = tarfile.TarInfo(name)
    header.mode = 0o600
    header.size = size
    return headers.encode(header)
