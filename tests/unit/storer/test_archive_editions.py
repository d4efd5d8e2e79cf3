"""Several machines write into one archive: what a former owner writes late never counts."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from dojo.errors import ArchiveUnavailable, EtcdBehind, KataMoved, KataNotFound
from storer.archive.archive import Copy
from storer.archive.directory_store import DirectoryStore
from storer.archive.editions import edition
from storer.archive.stored_archive import StoredArchive

KATA = "493A06504A"


@dataclass(frozen=True)
class Token:
    """The editions of a machine that owns every kata with a token, in a generation of etcd."""

    token: int
    number: int = 0
    told: list[str] = field(default_factory=list)

    def of(self, _: str) -> int:
        return edition(self.number, self.token)

    def unanswered(self, kata_id: str) -> None:
        self.told.append(kata_id)

    def generation(self) -> int:
        return self.number


@pytest.fixture
def machine(tmp_path: Path) -> Callable[[int], StoredArchive]:
    """Returns the archive as a machine sees it that owns every kata with a token."""
    store = DirectoryStore(tmp_path / "archive")
    return lambda token: StoredArchive(store, "test", Token(token))


def put(archive: StoredArchive, content: bytes, kata_id: str = KATA) -> Copy:
    """Archive a kata; return the copy before its first one."""
    edition = archive.edition(kata_id)
    return Copy(Copy.base_of(archive.put(kata_id, iter([content]))), 0, edition)


def put_late(archive: StoredArchive, meanwhile: Callable[[], object], content: bytes) -> None:
    """Archive the kata; something happens while it is being written."""

    def pieces() -> Iterator[bytes]:
        meanwhile()
        yield content

    with pytest.raises(KataMoved):
        archive.put(KATA, pieces())


def put_copy(archive: StoredArchive, base: Copy, number: int, content: bytes) -> None:
    archive.put_copy(KATA, Copy(base.base, number, base.edition), iter([content]))


def put_copy_late(archive: StoredArchive, base: Copy, number: int, content: bytes) -> None:
    with pytest.raises(KataMoved):
        put_copy(archive, base, number, content)


def content(archive: StoredArchive, edition: str | None = None) -> bytes:
    """Return the tar of the kata, followed by its copies."""
    with archive.open(KATA, edition) as sealed:
        found = sealed.read()
    for copy in archive.copies(KATA, edition):
        with archive.open_copy(KATA, copy) as sealed:
            found += sealed.read()
    return found


def test_the_newest_edition_counts(machine: Callable[[int], StoredArchive]) -> None:
    put(machine(7), b"seven")
    put(machine(12), b"twelve")
    assert content(machine(1)) == b"twelve"
    found = machine(1).find(KATA)
    assert found is not None
    assert found.size_bytes > len(b"twelve")
    assert list(machine(1).ids()) == [KATA]


def test_what_a_former_owner_writes_late_does_not_count(
    machine: Callable[[int], StoredArchive],
) -> None:
    base = put(machine(7), b"seven")
    put_late(machine(7), lambda: put(machine(12), b"twelve"), b"late")
    put_copy_late(machine(7), base, 1, b"late copy")
    assert content(machine(1)) == b"twelve"


def test_copies_belong_to_the_edition_of_their_tar(
    machine: Callable[[int], StoredArchive],
) -> None:
    first = put(machine(7), b"same")
    put_copy(machine(7), first, 1, b" and first")
    second = put(machine(12), b"same")
    assert content(machine(1)) == b"same"
    put_copy(machine(12), second, 1, b" and second")
    put_copy_late(machine(7), first, 2, b" and late")
    assert content(machine(1)) == b"same and second"


def test_nothing_stays_of_older_editions(
    machine: Callable[[int], StoredArchive], tmp_path: Path
) -> None:
    base = put(machine(7), b"seven")
    put_copy(machine(7), base, 1, b" and more")
    put_late(machine(9), lambda: put(machine(12), b"twelve"), b"late")
    put_copy_late(machine(7), base, 2, b" and late")
    names = [path.name for path in (tmp_path / "archive/49").rglob("*") if path.is_file()]
    assert [name.split(".")[2] for name in names] == [f"{12:016x}"]


def test_an_owner_that_is_older_than_what_is_there_archives_nothing(
    machine: Callable[[int], StoredArchive],
) -> None:
    put(machine(12), b"twelve")
    with pytest.raises(EtcdBehind):
        put(machine(7), b"of an etcd that lost its data")
    assert content(machine(1)) == b"twelve"
    assert machine(1).newest_number(KATA) == 12
    machine(15).delete(KATA)
    assert machine(1).newest_number(KATA) == 15


def test_a_reader_keeps_to_the_edition_that_it_began_with(
    machine: Callable[[int], StoredArchive],
) -> None:
    base = put(machine(7), b"seven")
    put_copy(machine(7), base, 1, b" and more")
    edition = machine(1).newest_edition(KATA)
    with machine(1).open(KATA, edition) as sealed:
        put(machine(12), b"twelve")
        assert sealed.read() == b"seven"
    with pytest.raises(KataNotFound), machine(1).open(KATA, edition):
        pass
    assert machine(1).newest_edition(KATA) != edition


def test_a_deleted_kata_stays_deleted_whatever_a_former_owner_writes(
    machine: Callable[[int], StoredArchive],
) -> None:
    put(machine(7), b"seven")
    put_late(machine(7), lambda: machine(12).delete(KATA), b"late")
    assert machine(1).find(KATA) is None
    assert list(machine(1).ids()) == []
    with pytest.raises(KataNotFound):
        machine(1).newest_edition(KATA)
    put(machine(15), b"created again")
    assert content(machine(1)) == b"created again"
    assert list(machine(1).ids()) == [KATA]


def test_who_writes_is_told_that_a_write_has_no_answer(tmp_path: Path) -> None:
    class Silent(DirectoryStore):
        def write(self, key: str, pieces: Iterator[bytes]) -> None:
            super().write(key, pieces)
            if key.endswith(".tar.zst"):
                raise ArchiveUnavailable("no answer")

    token = Token(7)
    archive = StoredArchive(Silent(tmp_path / "archive"), "test", token)
    with pytest.raises(ArchiveUnavailable):
        archive.put(KATA, iter([b"seven"]))
    with pytest.raises(ArchiveUnavailable):
        archive.put_copy(KATA, Copy("0" * 16, 1, archive.edition(KATA)), iter([b"more"]))
    assert token.told == [KATA, KATA]


def test_what_one_machine_archived_before_is_the_oldest_edition(
    machine: Callable[[int], StoredArchive], tmp_path: Path
) -> None:
    alone = StoredArchive(DirectoryStore(tmp_path / "archive"), "test")
    base = put(alone, b"before")
    put_copy(alone, base, 1, b" and more")
    assert content(machine(1)) == b"before and more"
    put(machine(7), b"seven")
    assert content(machine(1)) == b"seven"
    assert list(machine(1).ids()) == [KATA]
    names = {path.name for path in (tmp_path / "archive/49").rglob("*") if path.is_file()}
    assert names == {f"{KATA.lower()}.{KATA}.{7:016x}.tar.zst"}


def test_ids_are_told_apart_by_case(machine: Callable[[int], StoredArchive]) -> None:
    put(machine(7), b"lower", "493a06504a")
    put(machine(8), b"upper", "493A06504A")
    assert sorted(machine(1).ids()) == ["493A06504A", "493a06504a"]
    machine(9).delete("493a06504a")
    assert list(machine(1).ids()) == ["493A06504A"]


@pytest.fixture
def alone(tmp_path: Path) -> Callable[[], StoredArchive]:
    """Returns the same archive as a storer sees it that is alone, and has just been started."""
    return lambda: StoredArchive(DirectoryStore(tmp_path / "archive"), "test")


def test_a_storer_that_is_alone_has_what_several_archived(
    machine: Callable[[int], StoredArchive], alone: Callable[[], StoredArchive]
) -> None:
    put(machine(7), b"seven")
    base = put(machine(12), b"twelve")
    put_copy(machine(12), base, 1, b" and more")
    machine(13).delete("5A0F824303")
    assert content(alone()) == b"twelve and more"
    assert list(alone().ids()) == [KATA]


def test_what_a_storer_that_is_alone_archives_is_newer_than_what_several_did(
    machine: Callable[[int], StoredArchive], alone: Callable[[], StoredArchive]
) -> None:
    put(machine(12), b"twelve")
    base = put(alone(), b"alone")
    put_copy(alone(), base, 1, b" and more")
    assert content(alone()) == b"alone and more"
    assert content(machine(1)) == b"alone and more"
    with pytest.raises(EtcdBehind):
        put(machine(2**39), b"of the machines before")


def test_a_kata_that_was_deleted_by_a_storer_that_is_alone_can_be_archived_again(
    machine: Callable[[int], StoredArchive], alone: Callable[[], StoredArchive]
) -> None:
    put(machine(12), b"twelve")
    alone().delete(KATA)
    assert alone().find(KATA) is None
    assert list(alone().ids()) == []
    put(alone(), b"again")
    assert content(alone()) == b"again"
    assert list(alone().ids()) == [KATA]


def test_a_generation_is_newer_than_all_before_it(
    machine: Callable[[int], StoredArchive],
    alone: Callable[[], StoredArchive],
    tmp_path: Path,
) -> None:
    put(machine(12), b"twelve")
    assert machine(1).generation() == 0
    put(alone(), b"alone")
    put(alone(), b"alone again")
    assert machine(1).generation() == 1
    after = StoredArchive(DirectoryStore(tmp_path / "archive"), "test", Token(3, number=2))
    put(after, b"after")
    assert content(machine(1)) == content(alone()) == b"after"
    put(alone(), b"alone for the second time")
    assert machine(1).generation() == 3
    assert content(machine(1)) == b"alone for the second time"


def test_a_storer_that_was_never_one_of_several_writes_no_editions(
    alone: Callable[[], StoredArchive], tmp_path: Path
) -> None:
    put(alone(), b"alone")
    alone().delete("5A0F824303")
    names = sorted(path.name for path in (tmp_path / "archive").rglob("*") if path.is_file())
    assert names == [".namespace", f"{KATA.lower()}.{KATA}.tar.zst"]
