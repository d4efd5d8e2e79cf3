"""The archive's files, and their names.

It is in a directory or in an S3-compatible store (`storer.archive.directory_store`,
`storer.archive.s3_store`). In both, kata 493A06504A is

    49/493a06504a.493A06504A.tar.zst                          a tar of all of it
    49/493a06504a.493A06504A.copies/<base>.0001.tar.zst       copies: what was added since, if any

The names begin with the id in lower case, so that one listing finds an id typed in any case.
    .index/49/493a06504a.493A06504A.json                      its entry in the index
    .old-ids/ru/ruqcey.rUqcey                                 the kata of an avatar's old id

Of several machines with one archive, each writes what it archives under a name with an edition
(`storer.cluster`), 16 hexadecimal digits that grow with each owner of the kata:

    49/493a06504a.493A06504A.00000000000002f1.tar.zst         and the same with .copies
    49/493a06504a.493A06504A.00000000000002f1.deleted         says that the kata was deleted then

The highest edition counts, so a machine that writes late, for a kata that another one has taken
over, changes nothing. `.generation` has the highest generation of editions, and whether a storer
that was alone wrote it: such a one writes all katas in one edition, the first of a generation.

    .bodies/49/493A06504A/<name>.tar.zst                      what is too large for etcd

`<base>` is the beginning of the digest of the tar that a copy adds to. A copy whose base is not the
tar in the archive is ignored.

Each file ends with a seal: the SHA-256 digest of everything before it, in a frame that zstd skips.
A tar of a whole kata has another such frame before the seal, with the kata's head.
"""

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import product

from dojo import kata_ids
from dojo.errors import ArchiveOfAnother, ArchiveUnavailable, EtcdBehind, KataMoved, KataNotFound
from storer.archive import keys
from storer.archive.archive import (
    HEAD_BYTES,
    SEAL_BYTES,
    Archive,
    ArchivedKata,
    Copy,
    SealedReader,
    Store,
    head_in,
    seal,
)
from storer.archive.editions import AloneEditions, EditionSource

_OWNER = ".namespace"
_GENERATION = ".generation"
_SEVERAL, _ALONE = "several", "alone"
_MAX_OWNER_BYTES = 1024
_MAX_NOTE_BYTES = 100
_NOT_HERE = "it is not in the archive"

_CHARACTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


class StoredArchive(Archive):
    """The archived katas in a store.

    The first storer that writes there marks the store with its namespace. For a storer of another
    namespace every write raises ArchiveOfAnother: it would replace and delete only copies.
    """

    def __init__(self, store: Store, namespace: str, editions: EditionSource | None = None) -> None:
        """Use the store for the katas of `namespace`; nothing is read yet.

        Several machines share it if there are `editions`.
        """
        self._store = store
        self._namespace = namespace
        self._editions = editions
        # What was found about the two, once: others set it to the same, as no other machine writes.
        self._is_ours = False
        self._is_known_to_be_alone = False

    def claim(self) -> None:
        """Mark the store as this namespace's. Raises ArchiveOfAnother or ArchiveUnavailable."""
        if self._is_ours:
            return
        try:
            with self._store.open(_OWNER) as file:
                owner = file.read(_MAX_OWNER_BYTES).decode(errors="replace").strip()
        except FileNotFoundError:
            owner = self._namespace
            self._store.write(_OWNER, iter([f"{owner}\n".encode()]))
        if owner != self._namespace:
            raise ArchiveOfAnother(owner, self._namespace)
        self._claim_generation()
        self._is_ours = True

    def ask(self) -> None:
        """Raise ArchiveUnavailable if the store does not answer."""
        self._store.status(_OWNER)

    def generation(self) -> int:
        """Return the highest generation whose storers have written; 0 if there is none."""
        return (self._generation() or (0, ""))[0]

    def _generation(self) -> tuple[int, str] | None:
        """Return the highest generation, and who wrote it; None if there is none."""
        found = self._store.read_small([_GENERATION], _MAX_NOTE_BYTES).get(_GENERATION)
        if found is None:
            return None
        number, _, writer = found.decode("ascii", "replace").strip().partition(" ")
        return int(number), writer

    def _claim_generation(self) -> None:
        """Note the generation in which this storer writes."""
        found = self._generation()
        if self._editions is not None:
            number = self._editions.generation()
            if found is None or found[0] < number:
                self.note_generation(number)
        elif found is not None:
            number, writer = found
            if writer != _ALONE:
                number += 1
                self._write_generation(number, _ALONE)
            self._editions = AloneEditions(number)

    def note_generation(self, number: int) -> None:
        """Note that storers of several machines write in this generation from now on."""
        self._write_generation(number, _SEVERAL)

    def _write_generation(self, number: int, writer: str) -> None:
        self._store.write(_GENERATION, iter([f"{number} {writer}\n".encode()]))

    @property
    def _has_editions(self) -> bool:
        """Whether there are editions: several machines write, or did so once."""
        if self._editions is None and not self._is_known_to_be_alone:
            if self._generation() is not None:
                return True
            self._is_known_to_be_alone = True
        return self._editions is not None

    def ids(self, prefix: str = "", *, ignore_case: bool = False, after: str = "") -> Iterator[str]:
        """Yield the ids that begin with `prefix` and come after `after`, in order."""
        beginning = prefix.lower() if ignore_case else prefix
        for outer in self._outer_names(prefix, ignore_case=ignore_case):
            if outer < after[:2]:
                continue
            first = f"{outer.lower()}/{outer.lower()}{prefix[2:].lower()}"
            yield from sorted(
                kata_id
                for kata_id in self._archived(first)
                if kata_id.startswith(outer)
                and kata_id > after
                and (kata_id.lower() if ignore_case else kata_id).startswith(beginning)
            )

    def find(self, kata_id: str) -> ArchivedKata | None:
        """Return an archived kata's size and stamp without reading it; None if there is none."""
        stem = self._current(kata_id)
        found = None if stem is None else self._store.status(stem + keys.TAR)
        if stem is None or found is None:
            return None
        size_bytes, stamp = found
        copies = self._copies(stem)
        suffix = f"+{len(copies)}.{copies[-1].base}.{copies[-1].number}" if copies else ""
        return ArchivedKata(kata_id, size_bytes, stamp + suffix)

    def head(self, kata_id: str) -> str:
        """Return the head of an archived kata, from the end of its tar."""
        try:
            key = self._required(kata_id) + keys.TAR
            end = self._store.read_end(key, HEAD_BYTES + SEAL_BYTES)
        except FileNotFoundError:
            raise KataNotFound(kata_id, _NOT_HERE) from None
        return head_in(end[:-SEAL_BYTES])

    @contextmanager
    def open(self, kata_id: str, edition: str | None = None) -> Iterator[SealedReader]:
        """Give the compressed tar of an archived kata, without its copies."""
        with self._open(kata_id, self._required(kata_id, edition) + keys.TAR) as sealed:
            yield sealed

    def put(self, kata_id: str, pieces: Iterator[bytes], edition: str | None = None) -> str:
        """Archive a kata; return the digest of its tar. Raises KataMoved if another machine has."""
        self.claim()
        digest = hashlib.sha256()
        written = self.edition(kata_id) if edition is None else edition
        stem = keys.with_edition(keys.stem(kata_id), written)
        self._refuse_older(kata_id, stem)
        self._write(kata_id, stem + keys.TAR, seal(pieces, digest))
        if self._is_late(kata_id, stem):
            self._delete_edition(stem)
            raise KataMoved(kata_id)
        for copy in self._copies(stem):
            self._store.delete(keys.copy_key(stem, copy))
        self._delete_before(kata_id, stem, is_there=True)
        return digest.hexdigest()

    def delete(self, kata_id: str) -> None:
        """Delete an archived kata, if there is one."""
        self.claim()
        if self._editions is not None:
            stem = self._own(kata_id)
            self._store.write(stem + keys.DELETED, iter([b"deleted\n"]))
            self._delete_before(kata_id, stem, is_there=False)
        # The tar first: copies without a tar are ignored, the reverse would be an older kata.
        self._delete_edition(self._own(kata_id))
        self._store.delete(keys.index_key(kata_id))
        for name in self.bodies(kata_id):
            self.delete_body(kata_id, name)

    def copies(self, kata_id: str, edition: str | None = None) -> list[Copy]:
        """Return the copies of a kata in order, including those that add to an older tar."""
        try:
            return self._copies(self._required(kata_id, edition))
        except KataNotFound:
            return []

    @contextmanager
    def open_copy(self, kata_id: str, copy: Copy) -> Iterator[SealedReader]:
        """Give the compressed tar of a copy, as `open` gives a kata's."""
        key = keys.copy_key(keys.with_edition(keys.stem(kata_id), copy.edition), copy)
        with self._open(kata_id, key) as sealed:
            yield sealed

    def put_copy(self, kata_id: str, copy: Copy, pieces: Iterator[bytes]) -> None:
        """Add a copy, durably and atomically. Raises KataMoved if another machine archived it."""
        self.claim()
        stem = keys.with_edition(keys.stem(kata_id), copy.edition)
        key = keys.copy_key(stem, copy)
        self._write(kata_id, key, seal(pieces, hashlib.sha256()))
        if self._is_late(kata_id, stem):
            self._store.delete(key)
            raise KataMoved(kata_id)

    def put_body(self, kata_id: str, name: str, pieces: Iterator[bytes]) -> None:
        """Store something of a kata under a name that nobody else uses, durably and atomically."""
        self.claim()
        self._store.write(keys.body_key(kata_id, name), seal(pieces, hashlib.sha256()))

    @contextmanager
    def open_body(self, kata_id: str, name: str) -> Iterator[SealedReader]:
        """Give what was stored under a name, as `open` gives a kata's tar."""
        with self._open(kata_id, keys.body_key(kata_id, name)) as sealed:
            yield sealed

    def bodies(self, kata_id: str) -> list[str]:
        """Return the names under which something of a kata was stored."""
        found = self._store.keys(keys.body_key(kata_id, "").removesuffix(keys.TAR))
        return [key.rpartition("/")[2].removesuffix(keys.TAR) for key in found]

    def delete_body(self, kata_id: str, name: str) -> None:
        """Delete what was stored under a name, if it is there."""
        self._store.delete(keys.body_key(kata_id, name))

    def read_index(self, kata_ids: Iterable[str], max_bytes: int) -> dict[str, bytes]:
        """Return the index entries of these katas, except those that are absent or larger."""
        of_key = {keys.index_key(kata_id): kata_id for kata_id in kata_ids}
        found = self._store.read_small(of_key, max_bytes)
        return {of_key[key]: content for key, content in found.items()}

    def write_index(self, kata_id: str, content: bytes) -> None:
        """Write or replace the index entry of an archived kata, atomically."""
        self.claim()
        self._store.write(keys.index_key(kata_id), iter([content]))

    def note_old_ids(self, old_ids: Iterable[str], kata_id: str) -> None:
        """Have the old ids of an archived kata's avatars lead to the kata."""
        self.claim()
        for old_id in old_ids:
            if self.of_old_id(old_id) != kata_id:
                self._store.write(keys.old_id_key(old_id), iter([f"{kata_id}\n".encode()]))

    def of_old_id(self, old_id: str) -> str | None:
        """Return the kata that an old id was noted for; None if there is none."""
        return next(iter(self._noted([keys.old_id_key(old_id)])), None)

    def complete_old_id(self, old_id: str) -> list[str]:
        """Return the katas that an old id, in any case, was noted for."""
        return self._noted(self._store.keys(keys.old_id_key(old_id).rpartition(".")[0] + "."))

    def _write(self, kata_id: str, key: str, pieces: Iterator[bytes]) -> None:
        try:
            self._store.write(key, pieces)
        except ArchiveUnavailable:
            if self._editions is not None:
                self._editions.unanswered(kata_id)
            raise

    def _noted(self, keys: Iterable[str]) -> list[str]:
        found = self._store.read_small(keys, _MAX_NOTE_BYTES)
        noted = (content.decode("ascii", "replace").strip() for content in found.values())
        return [kata_id for kata_id in noted if kata_ids.is_whole(kata_id)]

    def sweep(self) -> None:
        """Remove incomplete files of processes that died."""
        self._store.sweep()

    def _archived(self, first: str) -> Iterator[str]:
        """Yield the ids of archived katas whose keys begin with `first`, in any order."""
        newest: dict[str, tuple[str, bool]] = {}
        for key in self._store.keys(first):
            kata_id, edition, is_deleted = keys.parts(key)
            if kata_id and (edition, is_deleted) >= newest.get(kata_id, ("", False)):
                newest[kata_id] = edition, is_deleted
        return (kata_id for kata_id, (_, is_deleted) in newest.items() if not is_deleted)

    def _own(self, kata_id: str) -> str:
        """Return what the keys begin with under which this machine writes a kata."""
        return keys.with_edition(keys.stem(kata_id), self.edition(kata_id))

    def newest_number(self, kata_id: str) -> int:
        """Return the newest edition of a kata as a number; 0 if there is none."""
        editions = self._editions_of(kata_id) if self._has_editions else []
        return max((int(edition or "0", 16) for edition, _ in editions), default=0)

    def newest_edition(self, kata_id: str) -> str:
        """Return the newest edition of an archived kata. Raises KataNotFound."""
        return self._required(kata_id).removeprefix(keys.stem(kata_id)).removeprefix(".")

    def edition(self, kata_id: str) -> str:
        """Return the edition in which this machine writes a kata; "" if only one ever wrote."""
        self.claim()
        return "" if self._editions is None else f"{self._editions.of(kata_id):016x}"

    def _current(self, kata_id: str) -> str | None:
        """Return what the keys of an archived kata begin with; None if there is none."""
        if not self._has_editions:
            return keys.stem(kata_id)
        newest = max(self._editions_of(kata_id), default=None)
        if newest is None or newest[1]:
            return None
        return keys.with_edition(keys.stem(kata_id), newest[0])

    def _required(self, kata_id: str, edition: str | None = None) -> str:
        """Return the same for an edition, by default the newest. Raises KataNotFound."""
        if edition is not None:
            return keys.with_edition(keys.stem(kata_id), edition)
        stem = self._current(kata_id)
        if stem is None:
            raise KataNotFound(kata_id, _NOT_HERE)
        return stem

    def _editions_of(self, kata_id: str) -> list[tuple[str, bool]]:
        """Return the editions of a kata, and whether each says that the kata was deleted."""
        found = map(keys.parts, self._store.keys(keys.stem(kata_id) + "."))
        return [(edition, is_deleted) for each, edition, is_deleted in found if each == kata_id]

    def _refuse_older(self, kata_id: str, stem: str) -> None:
        """Raise EtcdBehind if there is a newer edition than the one whose keys begin with `stem`.

        Raises KataMoved if this machine, a former owner, would write another one by now. What it
        began to write before does no harm.
        """
        if self._is_late(kata_id, stem):
            if self._own(kata_id) != stem:
                raise KataMoved(kata_id)
            raise EtcdBehind(kata_id)

    def _is_late(self, kata_id: str, stem: str) -> bool:
        """Say whether there is a newer edition than the one whose keys begin with `stem`.

        Then nobody reads what was written to it, and of a deleted kata nothing may stay.
        """
        if self._editions is None:
            return False
        own = stem.removeprefix(keys.stem(kata_id)).removeprefix(".")
        return self.newest_number(kata_id) > int(own or "0", 16)

    def _delete_before(self, kata_id: str, stem: str, *, is_there: bool) -> None:
        """Delete the editions of a kata before the one whose keys begin with `stem`.

        If the kata `is_there` in that one, this says no longer that it was deleted: a storer that
        is alone deletes a kata, and archives another one of its id, in the same edition.
        """
        if self._editions is not None:
            for edition, is_deleted in self._editions_of(kata_id):
                older = keys.with_edition(keys.stem(kata_id), edition)
                if older < stem:
                    self._delete_edition(older)
                if is_deleted and (older < stem or (older == stem and is_there)):
                    self._store.delete(older + keys.DELETED)

    def _delete_edition(self, stem: str) -> None:
        self._store.delete(stem + keys.TAR)
        for copy in self._copies(stem):
            self._store.delete(keys.copy_key(stem, copy))

    def _copies(self, stem: str) -> list[Copy]:
        found = (keys.COPY.search(key) for key in self._store.keys(f"{stem}.copies/"))
        edition = stem.partition(".")[2].partition(".")[2]
        return [Copy(match[1], int(match[2]), edition) for match in found if match is not None]

    @contextmanager
    def _open(self, kata_id: str, key: str) -> Iterator[SealedReader]:
        try:
            opened = self._store.open(key)
            with opened as source:
                sealed = SealedReader(source, key)
                yield sealed
                sealed.finish()
        except FileNotFoundError:
            raise KataNotFound(kata_id, _NOT_HERE) from None

    def _outer_names(self, prefix: str, *, ignore_case: bool) -> Iterator[str]:
        """Yield, in order, the first two characters that archived ids can begin with."""
        existing = {prefix[:2].lower()} if len(prefix) >= 2 else set(self._store.folders())
        fold = str.lower if ignore_case else str
        beginning = fold(prefix[:2])
        for pair in product(_CHARACTERS, repeat=2):
            outer = "".join(pair)
            if outer.lower() in existing and fold(outer).startswith(beginning):
                yield outer
