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
over, changes nothing.

    .bodies/49/493A06504A/<name>.tar.zst                      what is too large for etcd

`<base>` is the beginning of the digest of the tar that a copy adds to. A copy whose base is not the
tar in the archive is ignored.

Each file ends with a seal: the SHA-256 digest of everything before it, in a frame that zstd skips.
A tar of a whole kata has another such frame before the seal, with the kata's head.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import product

from dojo import kata_ids
from dojo.errors import ArchiveOfAnother, ArchiveUnavailable, EtcdBehind, KataMoved, KataNotFound
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

_END = ".tar.zst"
_DELETED = ".deleted"
_EDITION = re.compile(r"\.([0-9a-f]{16})(\.tar\.zst|\.deleted)\Z")
_OWNER = ".namespace"
_MAX_OWNER_BYTES = 1024
_MAX_NOTE_BYTES = 100
_COPY = re.compile(r"([0-9a-f]{16})\.([0-9]{6})\.tar\.zst\Z")
_NOT_HERE = "it is not in the archive"

_CHARACTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


class StoredArchive(Archive):
    """The archived katas in a store.

    The first storer that writes there marks the store with its namespace. For a storer of another
    namespace every write raises ArchiveOfAnother: it would replace and delete only copies.
    """

    def __init__(
        self,
        store: Store,
        namespace: str,
        edition_of: Callable[[str], int] | None = None,
        on_unanswered: Callable[[str], object] = lambda _: None,
    ) -> None:
        """Use the store for the katas of `namespace`; nothing is read yet.

        Several machines share it if there is `edition_of`, which returns the edition in which this
        one writes a kata, or raises if it may not. `on_unanswered` is called with the id of a kata
        of which the store did not answer a write: it may still happen, over what is written under
        the same name since then.
        """
        self._store = store
        self._namespace = namespace
        self._edition_of = edition_of
        self._on_unanswered = on_unanswered
        self._is_ours = False

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
        self._is_ours = True

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
        found = None if stem is None else self._store.status(stem + _END)
        if stem is None or found is None:
            return None
        size_bytes, stamp = found
        copies = self._copies(stem)
        suffix = f"+{len(copies)}.{copies[-1].base}.{copies[-1].number}" if copies else ""
        return ArchivedKata(kata_id, size_bytes, stamp + suffix)

    def head(self, kata_id: str) -> str:
        """Return the head of an archived kata, from the end of its tar."""
        try:
            key = self._required(kata_id) + _END
            end = self._store.read_end(key, HEAD_BYTES + SEAL_BYTES)
        except FileNotFoundError:
            raise KataNotFound(kata_id, _NOT_HERE) from None
        return head_in(end[:-SEAL_BYTES])

    @contextmanager
    def open(self, kata_id: str, edition: str | None = None) -> Iterator[SealedReader]:
        """Give the compressed tar of an archived kata, without its copies."""
        with self._open(kata_id, self._required(kata_id, edition) + _END) as sealed:
            yield sealed

    def put(self, kata_id: str, pieces: Iterator[bytes], edition: str | None = None) -> str:
        """Archive a kata; return the digest of its tar."""
        self.claim()
        digest = hashlib.sha256()
        stem = self._own(kata_id) if edition is None else _with_edition(_stem(kata_id), edition)
        self._refuse_older(kata_id, stem)
        self._write(kata_id, stem + _END, seal(pieces, digest))
        for copy in self._copies(stem):
            self._store.delete(_copy_key(stem, copy))
        self._delete_before(kata_id, stem)
        return digest.hexdigest()

    def delete(self, kata_id: str) -> None:
        """Delete an archived kata, if there is one."""
        if self._edition_of is not None:
            stem = self._own(kata_id)
            self._store.write(stem + _DELETED, iter([b"deleted\n"]))
            self._delete_before(kata_id, stem)
        # The tar first: copies without a tar are ignored, the reverse would be an older kata.
        self._delete_edition(self._own(kata_id))
        self._store.delete(_index_key(kata_id))

    def copies(self, kata_id: str, edition: str | None = None) -> list[Copy]:
        """Return the copies of a kata in order, including those that add to an older tar."""
        try:
            return self._copies(self._required(kata_id, edition))
        except KataNotFound:
            return []

    @contextmanager
    def open_copy(self, kata_id: str, copy: Copy) -> Iterator[SealedReader]:
        """Give the compressed tar of a copy, as `open` gives a kata's."""
        key = _copy_key(_with_edition(_stem(kata_id), copy.edition), copy)
        with self._open(kata_id, key) as sealed:
            yield sealed

    def put_copy(self, kata_id: str, copy: Copy, pieces: Iterator[bytes]) -> None:
        """Add a copy, durably and atomically."""
        self.claim()
        key = _copy_key(_with_edition(_stem(kata_id), copy.edition), copy)
        self._write(kata_id, key, seal(pieces, hashlib.sha256()))

    def put_body(self, kata_id: str, name: str, pieces: Iterator[bytes]) -> None:
        """Store something of a kata under a name that nobody else uses, durably and atomically."""
        self.claim()
        self._store.write(_body_key(kata_id, name), seal(pieces, hashlib.sha256()))

    @contextmanager
    def open_body(self, kata_id: str, name: str) -> Iterator[SealedReader]:
        """Give what was stored under a name, as `open` gives a kata's tar."""
        with self._open(kata_id, _body_key(kata_id, name)) as sealed:
            yield sealed

    def delete_body(self, kata_id: str, name: str) -> None:
        """Delete what was stored under a name, if it is there."""
        self._store.delete(_body_key(kata_id, name))

    def read_index(self, kata_ids: Iterable[str], max_bytes: int) -> dict[str, bytes]:
        """Return the index entries of these katas, except those that are absent or larger."""
        keys = {_index_key(kata_id): kata_id for kata_id in kata_ids}
        found = self._store.read_small(keys, max_bytes)
        return {keys[key]: content for key, content in found.items()}

    def write_index(self, kata_id: str, content: bytes) -> None:
        """Write or replace the index entry of an archived kata, atomically."""
        self.claim()
        self._store.write(_index_key(kata_id), iter([content]))

    def note_old_ids(self, old_ids: Iterable[str], kata_id: str) -> None:
        """Have the old ids of an archived kata's avatars lead to the kata."""
        self.claim()
        for old_id in old_ids:
            if self.of_old_id(old_id) != kata_id:
                self._store.write(_old_id_key(old_id), iter([f"{kata_id}\n".encode()]))

    def of_old_id(self, old_id: str) -> str | None:
        """Return the kata that an old id was noted for; None if there is none."""
        return next(iter(self._noted([_old_id_key(old_id)])), None)

    def complete_old_id(self, old_id: str) -> list[str]:
        """Return the katas that an old id, in any case, was noted for."""
        return self._noted(self._store.keys(_old_id_key(old_id).rpartition(".")[0] + "."))

    def _write(self, kata_id: str, key: str, pieces: Iterator[bytes]) -> None:
        try:
            self._store.write(key, pieces)
        except ArchiveUnavailable:
            self._on_unanswered(kata_id)
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
            kata_id, edition, is_deleted = _parts(key)
            if kata_id and (edition, is_deleted) >= newest.get(kata_id, ("", False)):
                newest[kata_id] = edition, is_deleted
        return (kata_id for kata_id, (_, is_deleted) in newest.items() if not is_deleted)

    def _own(self, kata_id: str) -> str:
        """Return what the keys begin with under which this machine writes a kata."""
        return _with_edition(_stem(kata_id), self.edition(kata_id))

    def newest_token(self, kata_id: str) -> int:
        """Return the newest edition of a kata as a number; 0 if there is none."""
        editions = [] if self._edition_of is None else self._editions(kata_id)
        return max((int(edition or "0", 16) for edition, _ in editions), default=0)

    def newest_edition(self, kata_id: str) -> str:
        """Return the newest edition of an archived kata. Raises KataNotFound."""
        return self._required(kata_id).removeprefix(_stem(kata_id)).removeprefix(".")

    def edition(self, kata_id: str) -> str:
        """Return the edition in which this machine writes a kata; "" if it is the only machine."""
        return "" if self._edition_of is None else f"{self._edition_of(kata_id):016x}"

    def _current(self, kata_id: str) -> str | None:
        """Return what the keys of an archived kata begin with; None if there is none."""
        if self._edition_of is None:
            return _stem(kata_id)
        newest = max(self._editions(kata_id), default=None)
        if newest is None or newest[1]:
            return None
        return _with_edition(_stem(kata_id), newest[0])

    def _required(self, kata_id: str, edition: str | None = None) -> str:
        """Return the same for an edition, by default the newest. Raises KataNotFound."""
        if edition is not None:
            return _with_edition(_stem(kata_id), edition)
        stem = self._current(kata_id)
        if stem is None:
            raise KataNotFound(kata_id, _NOT_HERE)
        return stem

    def _editions(self, kata_id: str) -> list[tuple[str, bool]]:
        """Return the editions of a kata, and whether each says that the kata was deleted."""
        found = map(_parts, self._store.keys(_stem(kata_id) + "."))
        return [(edition, is_deleted) for each, edition, is_deleted in found if each == kata_id]

    def _refuse_older(self, kata_id: str, stem: str) -> None:
        """Raise EtcdBehind if there is a newer edition than the one whose keys begin with `stem`.

        Raises KataMoved if this machine, a former owner, would write another one by now. What it
        began to write before does no harm.
        """
        if self._edition_of is not None:
            own = int(stem.removeprefix(f"{_stem(kata_id)}."), 16)
            if self.newest_token(kata_id) > own:
                if self._edition_of(kata_id) != own:
                    raise KataMoved(kata_id)
                raise EtcdBehind(kata_id)

    def _delete_before(self, kata_id: str, stem: str) -> None:
        """Delete the editions of a kata before the one whose keys begin with `stem`."""
        if self._edition_of is not None:
            for edition, is_deleted in self._editions(kata_id):
                older = _with_edition(_stem(kata_id), edition)
                if older < stem:
                    self._delete_edition(older)
                    if is_deleted:
                        self._store.delete(older + _DELETED)

    def _delete_edition(self, stem: str) -> None:
        self._store.delete(stem + _END)
        for copy in self._copies(stem):
            self._store.delete(_copy_key(stem, copy))

    def _copies(self, stem: str) -> list[Copy]:
        found = (_COPY.search(key) for key in self._store.keys(f"{stem}.copies/"))
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


def _stem(kata_id: str) -> str:
    """Return what the keys of a kata begin with."""
    return f"{kata_id[:2].lower()}/{kata_id.lower()}.{kata_id}"


def _with_edition(stem: str, edition: str) -> str:
    return f"{stem}.{edition}" if edition else stem


def _copy_key(stem: str, copy: Copy) -> str:
    return f"{stem}.copies/{copy.base}.{copy.number:06}{_END}"


def _body_key(kata_id: str, name: str) -> str:
    return f".bodies/{kata_id[:2].lower()}/{kata_id}/{name}{_END}"


def _index_key(kata_id: str) -> str:
    return f".index/{kata_id[:2].lower()}/{kata_id.lower()}.{kata_id}.json"


def _old_id_key(old_id: str) -> str:
    return f".old-ids/{old_id_path(old_id)}"


def old_id_path(old_id: str) -> str:
    """Return a path that one listing finds for an old id that is typed in any case."""
    lower = old_id.lower()
    return f"{lower[:2]}/{lower}.{old_id}"


def _parts(key: str) -> tuple[str, str, bool]:
    """Return the id and the edition in the key of a kata's tar, and whether it was deleted.

    The edition is "" if there is none. All are empty for any other key.
    """
    edition, is_deleted = "", False
    if (match := _EDITION.search(key)) is not None:
        edition, is_deleted = match[1], match[2] == _DELETED
        key = key[: match.start()] + _END
    folder, _, name = key.partition("/")
    lower, _, rest = name.partition(".")
    kata_id = rest.removesuffix(_END)
    is_key = kata_ids.is_whole(kata_id) and rest.endswith(_END)
    if not (is_key and kata_id.lower() == lower and lower.startswith(folder)):
        return "", "", False
    return kata_id, edition, is_deleted
