"""RestoreKatas: each kata of a tar as a whole or not at all, and a report for each."""

import gzip
import io
import json
import shutil
import subprocess
import tarfile
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import pytest

from cyberdojo.storer.v1 import storer_pb2
from dojo.chunks import rechunk
from dojo.engine.data_containers import DataContainers
from support.large_file import write_zeros
from support.services import Service, wait_until
from support.storer.backups import (
    Restored,
    backup,
    become_unreadable,
    contents,
    requests,
    restore_into,
)
from support.storer.katas_directories import ALL, SPIDER
from support.storer.storing import FILES, GREEN, Katas, at_once, refused

Request = storer_pb2.RestoreKatasRequest

BLOCK = tarfile.BLOCKSIZE


@pytest.fixture
def three(katas: Katas) -> list[str]:
    """Three katas in the order of their ids, each with a light of the whale's."""
    made = sorted(katas.started("bat", "whale") for _ in range(3))
    for kata_id in made:
        katas.record(kata_id, "whale", {**FILES, "sub/a b": b"\xff\0"}, colour=GREEN)
    return made


def assert_same(katas: Katas, other: Katas, ids: Iterable[str]) -> None:
    for kata_id in ids:
        was, now = katas.get(kata_id), other.get(kata_id)
        assert now.manifest.files == was.manifest.files
        assert (now.created, now.avatars) == (was.created, was.avatars)
        for avatar in katas.get(kata_id).avatars:
            assert other.lights(kata_id, avatar) == katas.lights(kata_id, avatar)
            assert other.files(kata_id, avatar) == katas.files(kata_id, avatar)


def ids_in(data_containers: DataContainers) -> set[str]:
    return set(data_containers.kata_ids())


# --- Backups, into an empty installation


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
def test_a_full_backup_restores_every_kata(
    katas: Katas, three: list[str], katas_elsewhere: Katas, compression: str
) -> None:
    number = storer_pb2.Compression.Value(f"COMPRESSION_{compression.upper()}")
    made = backup(katas, compression=number)
    restored = restore_into(katas_elsewhere, made.tar)
    assert restored.outcomes == dict.fromkeys(three, "restored")
    assert restored.counts == {"restored": 3}
    assert restored.token == made.token
    assert_same(katas, katas_elsewhere, three)
    for kata_id in three:
        assert katas_elsewhere.record(kata_id, "whale").number == 2


def test_legacy_katas_are_restored_unchanged(katas: Katas, katas_elsewhere: Katas) -> None:
    ids = sorted(kata.id for kata in ALL)
    for kata_id in ids:
        katas.import_(kata_id)
    restored = restore_into(katas_elsewhere, backup(katas).tar)
    assert restored.outcomes == dict.fromkeys(ids, "restored")
    for kata in ALL:
        if kata.avatar:
            assert katas_elsewhere.lights(kata.id, kata.avatar) == katas.lights(
                kata.id, kata.avatar
            )


def test_a_full_backup_and_its_increments_restore_the_state_of_the_last(
    katas: Katas, three: list[str], katas_elsewhere: Katas
) -> None:
    full = backup(katas)
    katas.record(three[0], "whale")
    katas.delete(three[1])
    added = katas.started("zebra")
    second = backup(katas, since_token=full.token)
    katas.start(three[0], "fox")
    katas.record(added, "zebra")
    third = backup(katas, since_token=second.token)
    for made in (full, second, third):
        restored = restore_into(katas_elsewhere, made.tar, apply_deletions=True)
        assert not {"refused", "missing", "skipped", "kept"} & set(restored.counts)
    assert restored.outcomes == {three[0]: "replaced", added: "replaced"}
    listed = katas_elsewhere.stub.ListKatas(storer_pb2.ListKatasRequest()).katas
    assert {each.kata_id for each in listed} == {three[0], three[2], added}
    assert_same(katas, katas_elsewhere, [three[0], three[2], added])


def test_deletions_of_archived_and_damaged_katas_are_applied(
    start_storer: Callable[..., Service],
    client: Callable[[Service], Katas],
    folder: Callable[[str], Path],
    katas_elsewhere: Katas,
    tmp_path: Path,
) -> None:
    katas = client(start_storer(CYBER_DOJO_ARCHIVE=str(tmp_path / "archive")))
    archived, damaged = katas.started("whale"), katas.started("whale")
    katas.stub.ArchiveKata(storer_pb2.ArchiveKataRequest(kata_id=archived))
    made = [backup(katas)]
    katas.record(damaged, "whale")
    become_unreadable(folder(damaged))
    made.append(backup(katas, since_token=made[-1].token))
    assert made[-1].states[damaged] == "failed"
    for kata_id in (archived, damaged):
        katas.delete(kata_id)
    made.append(backup(katas, since_token=made[-1].token))
    assert made[-1].states == {archived: "deleted", damaged: "deleted"}
    for each in made:
        restored = restore_into(katas_elsewhere, each.tar, apply_deletions=True)
    assert restored.outcomes == {archived: "deleted", damaged: "deleted"}


ODD = {
    "a time that fits no number": ("created", [10**20, 1, 1, 1, 1, 1]),
    "half a character": ("display_name", "C\ud800"),
    "half a character in a name": ("visible_files", {"a\ud800": ""}),
    "half a character below": ("mine", [{"a": "\ud800"}]),
    "a number beyond all": ("mine", 10**400),
    "too deep": ("mine", json.loads("[" * 150 + "]" * 150)),
    "out of the sandbox": ("visible_files", {"../../escaped": ""}),
    "out of everything": ("visible_files", {"/escaped": ""}),
    "no name": ("visible_files", {"": ""}),
    "a name too long": ("visible_files", {"a" * 300: ""}),
    "a file that is a folder": ("visible_files", {"a": "", "a/b": ""}),
}


@pytest.mark.parametrize("what", ODD)
def test_a_damaged_kata_is_refused_and_the_others_are_restored(
    katas: Katas, katas_elsewhere: Katas, elsewhere: DataContainers, what: str
) -> None:
    good, odd = katas.started("whale"), katas.started("whale")
    key, value = ODD[what]
    manifest = f"{odd[:2]}/{odd[2:]}/manifest.json"
    files = contents(katas.tar(odd))
    files[manifest] = json.dumps({**json.loads(files[manifest]), key: value}).encode()
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for name, content in [*files.items(), *contents(katas.tar(good)).items()]:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    restored = restore_into(katas_elsewhere, made.getvalue())
    assert restored.outcomes == {odd: "refused", good: "restored"}
    assert "manifest.json" in restored.reasons[odd]
    assert ids_in(elsewhere) == {good}


def test_restoring_again_changes_nothing(
    katas: Katas, three: list[str], katas_elsewhere: Katas, elsewhere: DataContainers
) -> None:
    full = backup(katas)
    katas.record(three[0], "whale")
    more = backup(katas, since_token=full.token)
    restore_into(katas_elsewhere, full.tar)
    restore_into(katas_elsewhere, more.tar)
    before = {each: (elsewhere.folder(each) / "whale").stat().st_ino for each in three}
    assert restore_into(katas_elsewhere, more.tar).outcomes == {three[0]: "unchanged"}
    again = restore_into(katas_elsewhere, full.tar)
    assert again.outcomes == {**dict.fromkeys(three, "unchanged"), three[0]: "skipped"}
    assert again.reasons[three[0]] == "it has 1 light that the backup has not: whale 2"
    assert {each: (elsewhere.folder(each) / "whale").stat().st_ino for each in three} == before


def test_an_increment_without_its_base_reports_what_is_missing(
    katas: Katas, three: list[str], katas_elsewhere: Katas
) -> None:
    token = backup(katas).token
    katas.record(three[0], "whale")
    restored = restore_into(katas_elsewhere, backup(katas, since_token=token).tar)
    assert restored.outcomes == {
        three[0]: "restored",
        three[1]: "missing",
        three[2]: "missing",
    }


# --- Into an installation in use


def test_a_newer_existing_kata_stays_unless_its_lights_are_given_up(
    katas: Katas, three: list[str]
) -> None:
    tar = backup(katas).tar
    katas.record(three[0], "whale")
    katas.start(three[1], "fox")
    restored = restore_into(katas, tar)
    assert restored.outcomes == {
        three[0]: "skipped",
        three[1]: "skipped",
        three[2]: "unchanged",
    }
    headers: list[dict[str, Any]] = [{}, {"overwrite": True}, {"overwrite": True, "dry_run": True}]
    for header in headers:
        restored = restore_into(katas, tar, **header)
        assert restored.counts == {"skipped": 2, "unchanged": 1}
        assert restored.lost_lights == {three[0]: 1, three[1]: 1, three[2]: 0}
        assert restored.reasons[three[1]] == "it has 1 light that the backup has not: fox 0"
    assert len(katas.lights(three[0], "whale")) == 3
    forced: dict[str, Any] = {"overwrite": True, "discard_lights": True}
    rehearsed = restore_into(katas, tar, **forced, dry_run=True)
    assert rehearsed.counts == {"replaced": 2, "unchanged": 1}
    assert rehearsed.lost_lights == {three[0]: 1, three[1]: 1, three[2]: 0}
    assert rehearsed.reasons[three[0]] == "without 1 light that the backup has not: whale 2"
    assert len(katas.lights(three[0], "whale")) == 3
    assert restore_into(katas, tar, **forced).outcomes == rehearsed.outcomes
    assert len(katas.lights(three[0], "whale")) == 2
    assert list(katas.get(three[1]).avatars) == ["bat", "whale"]


def test_an_existing_kata_with_another_history_stays_unless_overwriting_is_requested(
    katas: Katas, three: list[str], katas_elsewhere: Katas
) -> None:
    restore_into(katas_elsewhere, backup(katas).tar)
    katas_elsewhere.record(three[0], "whale", {"here": b""})
    katas.record(three[0], "whale", {"there": b""})
    katas.record(three[0], "whale", {"there": b"too"})
    tar = backup(katas, prefix=three[0]).tar
    restored = restore_into(katas_elsewhere, tar)
    assert restored.outcomes == {three[0]: "skipped"}
    assert restored.reasons[three[0]] == "it has 1 light that the backup has not: whale 2"
    assert set(katas_elsewhere.files(three[0], "whale").files) == {"here"}
    forced: dict[str, Any] = {"overwrite": True, "discard_lights": True}
    assert restore_into(katas_elsewhere, tar, **forced).counts == {"replaced": 1}
    assert_same(katas, katas_elsewhere, three[:1])


def test_only_the_named_katas_are_restored(
    katas: Katas, three: list[str], katas_elsewhere: Katas, elsewhere: DataContainers
) -> None:
    full = backup(katas)
    katas.record(three[0], "whale")
    more = backup(katas, since_token=full.token)
    unknown = "0123456789"
    restored = restore_into(katas_elsewhere, full.tar, kata_ids=[three[1], unknown])
    assert restored.outcomes == {three[1]: "restored", unknown: "missing"}
    assert restored.reasons[unknown] == "the backup has no such kata"
    assert ids_in(elsewhere) == {three[1]}
    later = restore_into(katas_elsewhere, more.tar, kata_ids=[three[1]])
    assert later.outcomes == {three[1]: "missing"}
    assert later.reasons[three[1]] == "an earlier backup has it"
    with refused(grpc.StatusCode.INVALID_ARGUMENT, field="header.kata_ids"):
        restore_into(katas_elsewhere, full.tar, kata_ids=["nonsense"])
    with refused(grpc.StatusCode.INVALID_ARGUMENT, field="header.discard_lights"):
        restore_into(katas_elsewhere, full.tar, discard_lights=True)


def test_a_dry_run_restores_nothing(
    katas: Katas, three: list[str], katas_elsewhere: Katas, elsewhere: DataContainers
) -> None:
    full = backup(katas)
    assert restore_into(katas_elsewhere, full.tar, dry_run=True).counts == {"restored": 3}
    assert ids_in(elsewhere) == set()
    katas.delete(three[0])
    more = backup(katas, since_token=full.token).tar
    restore_into(katas_elsewhere, full.tar)
    rehearsed = restore_into(katas_elsewhere, more, dry_run=True, apply_deletions=True)
    assert rehearsed.outcomes == {three[0]: "deleted"}
    assert ids_in(elsewhere) == set(three)


def _break_manifest(kata: Path) -> None:
    (kata / "manifest.json").write_bytes(b'{"id": ')


def _lose_manifest(kata: Path) -> None:
    (kata / "manifest.json").unlink()


def _lose_objects(kata: Path) -> None:
    for path in (kata / "whale/.git/objects").rglob("*"):
        if path.is_file():
            path.unlink()


@pytest.mark.parametrize("damage", [_break_manifest, _lose_manifest, _lose_objects])
def test_a_damaged_kata_is_restored_and_no_other_goes_back(
    katas: Katas, three: list[str], folder: Callable[[str], Path], damage: Callable[[Path], None]
) -> None:
    lights = katas.lights(three[1], "whale")
    tar = backup(katas).tar
    katas.record(three[0], "whale")
    damage(folder(three[1]))
    for is_dry in (True, False):
        restored = restore_into(katas, tar, only_damaged=True, dry_run=is_dry)
        assert restored.outcomes == {
            three[0]: "sound",
            three[1]: "replaced",
            three[2]: "sound",
        }
    assert katas.lights(three[1], "whale") == lights
    assert len(katas.lights(three[0], "whale")) == 3
    assert restore_into(katas, tar, only_damaged=True).counts == {"sound": 3}


def test_a_damaged_kata_keeps_its_newer_lights_until_they_are_given_up(
    katas: Katas, three: list[str], folder: Callable[[str], Path]
) -> None:
    tar = backup(katas).tar
    katas.record(three[0], "whale")
    katas.record(three[0], "whale")
    _break_manifest(folder(three[0]))
    headers: list[dict[str, Any]] = [{"only_damaged": True}, {"overwrite": True}]
    for header in headers:
        restored = restore_into(katas, tar, kata_ids=[three[0]], **header)
        assert restored.outcomes == {three[0]: "skipped"}
        assert restored.lost_lights == {three[0]: 2}
        assert restored.reasons[three[0]] == "it has 2 lights that the backup has not: whale 2 to 3"
    damaged = restore_into(katas, tar, only_damaged=True, discard_lights=True)
    assert damaged.outcomes[three[0]] == "replaced"
    assert len(katas.lights(three[0], "whale")) == 2


def test_a_kata_whose_manifest_alone_differs_is_told_so(
    katas: Katas, three: list[str], folder: Callable[[str], Path]
) -> None:
    tar = backup(katas, prefix=three[0]).tar
    _break_manifest(folder(three[0]))
    restored = restore_into(katas, tar)
    assert restored.outcomes == {three[0]: "skipped"}
    assert "manifest.json" in restored.reasons[three[0]]
    assert restored.reasons[three[0]].endswith(". Restore it with overwrite")
    assert restore_into(katas, tar, overwrite=True).outcomes == {three[0]: "replaced"}


def test_deleted_katas_stay_unless_deletion_is_requested(
    katas: Katas, three: list[str], katas_elsewhere: Katas
) -> None:
    full = backup(katas)
    for kata_id in three:
        katas.delete(kata_id)
    more = backup(katas, since_token=full.token)
    restore_into(katas_elsewhere, full.tar)
    katas_elsewhere.record(three[0], "whale")
    assert restore_into(katas_elsewhere, more.tar).counts == {"kept": 3}
    applied = restore_into(katas_elsewhere, more.tar, apply_deletions=True)
    assert applied.outcomes == {three[0]: "kept", three[1]: "deleted", three[2]: "deleted"}
    assert "changed after" in applied.reasons[three[0]]
    forced = restore_into(katas_elsewhere, more.tar, apply_deletions=True, discard_lights=True)
    assert forced.outcomes == {three[0]: "deleted"}
    with refused(grpc.StatusCode.NOT_FOUND):
        katas_elsewhere.get(three[0])


def test_a_kata_of_the_katas_directory_is_replaced_by_a_newer_one(
    katas: Katas,
    katas_directory: Path,
    start_storer: Callable[..., Service],
    client: Callable[[Service], Katas],
    elsewhere: DataContainers,
) -> None:
    katas.record(SPIDER.id, SPIDER.avatar)
    other = client(
        start_storer(
            CYBER_DOJO_NAMESPACE=elsewhere.namespace.name,
            CYBER_DOJO_KATAS_DIRECTORY=str(katas_directory),
        )
    )
    assert restore_into(other, backup(katas).tar).outcomes == {SPIDER.id: "replaced"}
    assert other.lights(SPIDER.id, "spider") == katas.lights(SPIDER.id, "spider")


def test_katas_are_used_while_others_are_restored(katas: Katas, three: list[str]) -> None:
    tar = backup(katas).tar
    for kata_id in three[:2]:
        katas.delete(kata_id)

    def work(turn: int) -> object:
        if turn < 2:
            return restore_into(katas, tar).counts
        return katas.record(three[2], "bat").number

    at_once(work, range(8))
    assert len(katas.lights(three[2], "bat")) == 7
    assert set(katas.get(three[0]).avatars) == {"bat", "whale"}


# --- Incomplete streams and tars


def cut(tar: bytes, at: int) -> Iterator[Request]:
    """Yield the beginning of a stream, and break off."""
    yield Request(header=storer_pb2.RestoreKatasHeader())
    for data in rechunk([tar[:at]]):
        yield Request(data=data)


def seal_ends(tar: bytes) -> list[int]:
    """Return the offset of the end of each kata's seal in a tar, which may break off."""
    ends: list[int] = []
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive, suppress(tarfile.ReadError):
        ends.extend(
            member.offset_data + BLOCK
            for member in archive
            if member.name.endswith(".json") and member.name.count("/") == 1
        )
    return ends


@pytest.mark.parametrize("place", range(12))
@pytest.mark.parametrize("how", ["stream", "file"])
def test_a_truncated_stream_restores_whole_katas_and_nothing_of_others(
    katas: Katas,
    three: list[str],
    katas_elsewhere: Katas,
    elsewhere: DataContainers,
    *,
    place: int,
    how: str,
) -> None:
    tar = backup(katas).tar
    ends = seal_ends(tar)
    places = [0, 1, 700, 5000, ends[0] - BLOCK, ends[0] - 1, ends[0], ends[0] + 10 * BLOCK,
              ends[1], (ends[1] + ends[2]) // 2, ends[2] + BLOCK, len(tar) - 1]  # fmt: skip
    at = places[place]
    whole = [kata_id for kata_id, end in zip(three, ends, strict=True) if end <= at + BLOCK - 60]
    found = Restored()
    with refused(grpc.StatusCode.INVALID_ARGUMENT):
        if how == "file":
            restore_into(katas_elsewhere, tar[:at], found)
        else:
            for each in katas_elsewhere.stub.RestoreKatas(cut(tar, at)):
                found.outcomes[each.report.kata_id] = "restored"
    assert set(found.outcomes) <= set(three)
    assert ids_in(elsewhere) == set(found.outcomes)
    assert set(whole[:-1]) <= set(found.outcomes)
    assert_same(katas, katas_elsewhere, found.outcomes)
    again = restore_into(katas_elsewhere, tar)
    assert again.outcomes == dict.fromkeys(three, "restored") | dict.fromkeys(
        found.outcomes, "unchanged"
    )


def test_a_client_that_disconnects_leaves_whole_katas_and_nothing_of_others(
    katas: Katas, three: list[str], katas_elsewhere: Katas, elsewhere: DataContainers
) -> None:
    tar = backup(katas).tar
    middle = (seal_ends(tar)[1] + seal_ends(tar)[2]) // 2

    def begin() -> Iterator[Request]:
        yield from cut(tar, middle)
        call_is_over.wait(60)

    call_is_over = threading.Event()
    call = katas_elsewhere.stub.RestoreKatas(begin())
    parts = iter(call)
    first, second = next(parts), next(parts)
    call.cancel()
    call_is_over.set()
    assert [first.report.kata_id, second.report.kata_id] == three[:2]
    wait_until(lambda: ids_in(elsewhere) == set(three[:2]))
    assert_same(katas, katas_elsewhere, three[:2])


def test_a_kata_that_was_altered_in_transit_is_refused_and_the_rest_restored(
    katas: Katas, three: list[str], katas_elsewhere: Katas, elsewhere: DataContainers
) -> None:
    tar = bytearray(backup(katas).tar)
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        name = f"{three[1][:2]}/{three[1][2:]}/whale/sandbox/hiker.c"
        tar[archive.getmember(name).offset_data] ^= 1
    restored = restore_into(katas_elsewhere, bytes(tar))
    assert restored.outcomes == {
        three[0]: "restored",
        three[1]: "refused",
        three[2]: "restored",
    }
    assert restored.counts == {"restored": 2, "refused": 1}
    assert ids_in(elsewhere) == {three[0], three[2]}


def test_a_kata_that_could_not_be_backed_up_is_not_restored(
    katas: Katas,
    three: list[str],
    katas_elsewhere: Katas,
    elsewhere: DataContainers,
    folder: Callable[[str], Path],
) -> None:
    become_unreadable(folder(three[1]))
    restored = restore_into(katas_elsewhere, backup(katas).tar)
    assert restored.counts == {"restored": 2, "refused": 1}
    assert "can't be read" in restored.reasons[three[1]]
    assert ids_in(elsewhere) == {three[0], three[2]}


def test_an_interrupted_backup_and_its_rest_restore_everything(
    katas: Katas, three: list[str], katas_elsewhere: Katas, folder: Callable[[str], Path]
) -> None:
    large = folder(three[1]) / "whale/sandbox/zz-large"
    write_zeros(large, 64 * 1024**2)
    call = katas.stub.BackupKatas(storer_pb2.BackupKatasRequest())
    parts = iter(call)
    token = next(parts).header.token
    begun = next(parts).data
    call.cancel()
    rest = backup(katas, resume_token=token, after_kata_id=three[0])
    found = Restored()
    with refused(grpc.StatusCode.INVALID_ARGUMENT):
        restore_into(katas_elsewhere, begun, found)
    assert found.outcomes == {three[0]: "restored"}
    assert restore_into(katas_elsewhere, rest.tar).outcomes == dict.fromkeys(three[1:], "restored")
    katas_elsewhere.delete(three[0])
    katas_elsewhere.delete(three[1])
    joined = begun[: seal_ends(begun)[0]] + rest.tar
    assert restore_into(katas_elsewhere, joined).outcomes == {
        three[0]: "restored",
        three[1]: "restored",
        three[2]: "unchanged",
    }


# --- Any tar of a katas directory


@pytest.mark.parametrize("top", ["katas", "katas/.", "."])
def test_a_plain_tar_of_a_katas_directory_is_restored(
    katas: Katas, katas_elsewhere: Katas, katas_directory: Path, tmp_path: Path, top: str
) -> None:
    shutil.copytree(katas_directory, tmp_path / "katas", symlinks=True)
    (tmp_path / "katas/readme.txt").write_text("Katas.")
    made = tmp_path.parent / f"{tmp_path.name}.tar"
    subprocess.run(["tar", "-cf", made, top], cwd=tmp_path, check=True)
    restored = restore_into(katas_elsewhere, made.read_bytes())
    made.unlink()
    ids = {kata.id for kata in ALL}
    assert restored.outcomes == dict.fromkeys(ids, "restored")
    assert restored.token == ""
    for kata in ALL:
        if kata.avatar:
            assert katas_elsewhere.lights(kata.id, kata.avatar) == katas.lights(
                kata.id, kata.avatar
            )


def test_the_last_kata_of_a_plain_tar_needs_the_tars_end(
    katas: Katas, three: list[str], katas_elsewhere: Katas, elsewhere: DataContainers
) -> None:
    tar = b"".join(katas.tar(kata_id)[: -2 * BLOCK] for kata_id in three)
    found = Restored()
    with refused(grpc.StatusCode.INVALID_ARGUMENT):
        restore_into(katas_elsewhere, tar, found)
    assert found.outcomes == dict.fromkeys(three[:2], "restored")
    assert ids_in(elsewhere) == set(three[:2])
    restored = restore_into(katas_elsewhere, gzip.compress(tar + bytes(2 * BLOCK)))
    assert restored.outcomes[three[2]] == "restored"


# --- Hostile tars


def member(name: str, content: bytes = b"", **fields: object) -> bytes:
    header = tarfile.TarInfo(name)
    header.size = len(content)
    for key, value in fields.items():
        setattr(header, key, value)
    return header.tobuf() + content + bytes(-len(content) % BLOCK)


ID, OTHER = "493A06504A", "5A0F824399"


def a_kata(kata_id: str, *more: bytes) -> bytes:
    top = f"{kata_id[:2]}/{kata_id[2:]}"
    manifest = {
        "id": kata_id,
        "created": [2019, 1, 16, 12, 44, 55],
        "display_name": "C (gcc), assert",
        "visible_files": {name: text.decode() for name, text in FILES.items()},
    }
    return member(f"{top}/manifest.json", json.dumps(manifest).encode()) + b"".join(more)


TOP = f"{ID[:2]}/{ID[2:]}"
HOSTILE = {
    "a link": member(f"{TOP}/whale/x", type=tarfile.SYMTYPE, linkname="y"),
    "a hard link": member(f"{TOP}/x", type=tarfile.LNKTYPE, linkname="/etc/passwd"),
    "a device": member(f"{TOP}/whale/sandbox/x", type=tarfile.CHRTYPE, devmajor=1, devminor=3),
    "a file twice": member(f"{TOP}/manifest.json", b"{}"),
    "a name with a dot": member(f"{TOP}/.complete/manifest.json", b"{}"),
}
DAMAGED = {
    "an avatar that is a file": member(f"{TOP}/whale", b"x"),
    "a list that is no JSON": member(f"{TOP}/zebra/increments.json", b"{"),
    "no history": member(f"{TOP}/whale/increments.json", b'[{"number": 1}]'),
}


@pytest.mark.parametrize("what", DAMAGED)
def test_a_damaged_avatar_is_named_and_its_kata_restored(katas_elsewhere: Katas, what: str) -> None:
    tar = a_kata(ID, DAMAGED[what]) + a_kata(OTHER) + bytes(2 * BLOCK)
    restored = restore_into(katas_elsewhere, tar)
    assert restored.outcomes == {ID: "restored", OTHER: "restored"}
    assert "is damaged" in restored.reasons[ID]
    assert not restored.reasons[OTHER]


@pytest.mark.parametrize("what", HOSTILE)
def test_a_kata_with_forbidden_members_is_refused_and_the_others_are_restored(
    katas_elsewhere: Katas, elsewhere: DataContainers, what: str
) -> None:
    tar = a_kata(ID, HOSTILE[what]) + a_kata(OTHER) + bytes(2 * BLOCK)
    restored = restore_into(katas_elsewhere, tar)
    assert restored.outcomes == {ID: "refused", OTHER: "restored"}
    assert restored.reasons[ID]
    assert ids_in(elsewhere) == {OTHER}


def test_links_that_lead_out_of_their_sandbox_are_left_out_and_named(
    katas_elsewhere: Katas, elsewhere: DataContainers
) -> None:
    name = f"{TOP}/whale/sandbox/x"
    harmful = member(name, type=tarfile.SYMTYPE, linkname="/etc/passwd")
    restored = restore_into(katas_elsewhere, a_kata(ID, harmful) + a_kata(OTHER) + bytes(2 * BLOCK))
    assert restored.outcomes == {ID: "restored", OTHER: "restored"}
    assert restored.left_out == {ID: [f"'{name}'"]}
    assert not list(elsewhere.folder(ID).rglob("x"))


@pytest.mark.parametrize("name", ["../x", "/etc/x", f"{TOP}/../../../x", f"{TOP}/../5A/x"])
def test_names_that_lead_out_end_the_restore(
    katas_elsewhere: Katas, elsewhere: DataContainers, name: str
) -> None:
    tar = a_kata(OTHER) + a_kata(ID, member(name, b"x")) + bytes(2 * BLOCK)
    found = Restored()
    with refused(grpc.StatusCode.INVALID_ARGUMENT, says="leads out"):
        restore_into(katas_elsewhere, tar, found)
    assert ids_in(elsewhere) == set(found.outcomes) == {OTHER}


@pytest.mark.parametrize(
    "manifest",
    [
        b"",
        b"{}",
        b"\xff\xfe",
        b'{"token": "x", "since": "", "prefix": "", "katas": [\n{"kata_id": "../../x"}\n]}\n',
        b'{"token": "x", "since": "", "prefix": "", "katas": [\n' + b"[" * 5000 + b"\n]}\n",
    ],
)
def test_a_malformed_manifest_ends_the_restore(
    katas_elsewhere: Katas, elsewhere: DataContainers, manifest: bytes
) -> None:
    tar = a_kata(ID) + member("backup.json", manifest) + bytes(2 * BLOCK)
    found = Restored()
    with refused(grpc.StatusCode.INVALID_ARGUMENT, says="backup.json"):
        restore_into(katas_elsewhere, tar, found)
    assert ids_in(elsewhere) == set(found.outcomes) == {ID}


def test_a_kata_with_a_malformed_seal_is_refused(
    katas_elsewhere: Katas, elsewhere: DataContainers
) -> None:
    for content in (b"", b"[]", b'{"sha256": 7}', b"[" * 5000, b"\xff"):
        tar = a_kata(ID) + member(f"{TOP}.json", content) + a_kata(OTHER)
        tar += member(f"{OTHER[:2]}/{OTHER[2:]}.json", type=tarfile.DIRTYPE) + bytes(2 * BLOCK)
        assert restore_into(katas_elsewhere, tar).counts == {"refused": 2}
    assert ids_in(elsewhere) == set()


def test_requests_have_to_be_in_order(katas: Katas) -> None:
    data = Request(data=b"x")
    with refused(grpc.StatusCode.INVALID_ARGUMENT, field="header"):
        list(katas.stub.RestoreKatas(iter([data])))
    with refused(grpc.StatusCode.INVALID_ARGUMENT, field="header"):
        list(katas.stub.RestoreKatas(iter([])))
    header = Request(header=storer_pb2.RestoreKatasHeader())
    with refused(grpc.StatusCode.INVALID_ARGUMENT):
        list(katas.stub.RestoreKatas(iter([header, data, header])))


def test_a_wrong_digest_of_the_stream_is_reported(
    katas: Katas, three: list[str], katas_elsewhere: Katas
) -> None:
    sent = list(requests(backup(katas).tar))
    sent[-1].end.sha256 = bytes(32)
    with refused(grpc.StatusCode.INVALID_ARGUMENT, field="end.sha256"):
        list(katas_elsewhere.stub.RestoreKatas(iter(sent)))
    assert_same(katas, katas_elsewhere, three)


def test_the_tar_of_one_kata_can_be_restored(
    katas: Katas, three: list[str], katas_elsewhere: Katas
) -> None:
    assert restore_into(katas_elsewhere, katas.tar(three[0])).outcomes == {three[0]: "restored"}
    assert contents(backup(katas_elsewhere).tar)
