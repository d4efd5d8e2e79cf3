"""BackupKatas: every kata in one tar, each from a single moment, while a class works."""

import hashlib
import io
import json
import subprocess
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from cyberdojo.storer.v1 import storer_pb2
from dojo.engine.data_containers import DataContainers
from support.large_file import write_zeros
from support.services import Service, files_in_use, wait_until
from support.storer.backups import (
    Backup,
    backup,
    become_unreadable,
    contents,
    restore_into,
    seal_of,
)
from support.storer.katas_directories import SPIDER
from support.storer.storing import FILES, GREEN, Katas, at_once, git, refused, wait_for_new

LARGE_BYTES = 64 * 1024**2


@pytest.fixture
def three(katas: Katas) -> list[str]:
    """Three katas in the order of their ids, each with a light of the whale's."""
    made = sorted(katas.started("whale") for _ in range(3))
    for kata_id in made:
        katas.record(kata_id, "whale", colour=GREEN)
    return made


class Begun:
    """A backup whose first bytes have arrived; the rest is sent on request."""

    def __init__(self, katas: Katas, **fields: Any) -> None:
        self.call = katas.stub.BackupKatas(storer_pb2.BackupKatasRequest(**fields))
        parts = iter(self.call)
        self.token = next(parts).header.token
        self._first: bytes = next(parts).data

    def rest(self) -> bytes:
        """Read to the end; return the tar."""
        return self._first + b"".join(part.data for part in self.call)


@pytest.fixture
def held(three: list[str], folder: Callable[[str], Path]) -> list[str]:
    """Three katas, and a backup of them that stops in the first sandbox until it is read on."""
    large = folder(three[0]) / "whale/sandbox/zz-large"
    write_zeros(large, LARGE_BYTES)
    return three


def unpacked(tar: bytes, into: Path) -> Path:
    into.mkdir(exist_ok=True)
    done = subprocess.run(
        ["tar", "-x", "--same-owner", "-p", "-C", into], input=tar, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
    return into


def test_plain_tar_extracts_a_katas_directory(
    katas: Katas,
    three: list[str],
    *,
    start_storer: Callable[..., Service],
    tmp_path: Path,
    client: Callable[[Service], Katas],
    elsewhere: DataContainers,
) -> None:
    directory = unpacked(backup(katas).tar, tmp_path / "katas")
    for kata_id in three:
        whale = directory / kata_id[:2] / kata_id[2:] / "whale"
        assert git(whale, "fsck", "--strict") == b""
        assert git(whale, "tag").split() == [b"0", b"1"]
    other = client(
        start_storer(
            CYBER_DOJO_NAMESPACE=elsewhere.namespace.name,
            CYBER_DOJO_KATAS_DIRECTORY=str(directory),
        )
    )
    for kata_id in three:
        assert other.lights(kata_id, "whale") == katas.lights(kata_id, "whale")


def test_katas_are_in_the_order_of_their_ids_each_followed_by_its_seal(
    katas: Katas, three: list[str]
) -> None:
    made = backup(katas)
    names = [name.split("/") for name in contents(made.tar)]
    seals = [
        first + second.removesuffix(".json") for first, second, *rest in names[:-1] if not rest
    ]
    assert seals == three
    assert names[-1] == ["backup.json"]
    begun = 0
    with tarfile.open(fileobj=io.BytesIO(made.tar)) as archive:
        for member in archive:
            if member.name.endswith(".json") and member.name.count("/") == 1:
                kata_id = member.name.replace("/", "").removesuffix(".json")
                came = made.tar[begun : member.offset]
                assert seal_of(made.tar, kata_id)["sha256"] == hashlib.sha256(came).hexdigest()
                begun = member.offset_data + 512


def test_the_manifest_lists_every_kata_with_its_digest_and_head(
    katas: Katas, three: list[str]
) -> None:
    made = backup(katas)
    assert made.manifest["token"] == made.token
    assert made.states == dict.fromkeys(three, "sent")
    for each in made.manifest["katas"]:
        seal = seal_of(made.tar, each["kata_id"])
        assert (each["sha256"], each["head"]) == (seal["sha256"], seal["head"])


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
def test_a_backup_is_compressed_as_requested(
    katas: Katas, compression: str, tmp_path: Path
) -> None:
    number = storer_pb2.Compression.Value(f"COMPRESSION_{compression.upper()}")
    made = backup(katas, compression=number)
    endings = {"none": "", "gzip": ".gz", "zstd": ".zst"}
    assert made.filename == "katas.tar" + endings[compression]
    path = tmp_path / made.filename
    path.write_bytes(made.tar)
    listed = subprocess.run(["tar", "-taf", path], capture_output=True, check=True).stdout
    assert listed.endswith(b"backup.json\n")


def test_a_prefix_selects_katas(katas: Katas, three: list[str]) -> None:
    assert backup(katas, prefix=three[1]).states == {three[1]: "sent"}
    assert backup(katas, prefix="zz").states == {}
    with refused(grpc.StatusCode.INVALID_ARGUMENT, field="prefix"):
        backup(katas, prefix="../x")


def test_an_empty_backup_is_a_whole_tar(katas: Katas) -> None:
    assert list(contents(backup(katas).tar)) == ["backup.json"]


def test_katas_that_are_only_in_the_katas_directory_are_not_backed_up(katas: Katas) -> None:
    katas.import_(SPIDER.id)
    assert list(backup(katas).states) == [SPIDER.id]


# --- Incremental backups


def test_the_next_backup_has_what_changed_since(katas: Katas, three: list[str]) -> None:
    full = backup(katas)
    katas.record(three[1], "whale")
    added = katas.started("bat")
    more = backup(katas, since_token=full.token)
    assert more.states == {
        three[0]: "unchanged",
        three[1]: "sent",
        three[2]: "unchanged",
        added: "sent",
    }
    assert {name[:11].replace("/", "") for name in contents(more.tar)} == {
        *(each for each in (three[1], added)),
        "backup.json",
    }
    was = {each["kata_id"]: each for each in full.manifest["katas"]}
    now = {each["kata_id"]: each for each in more.manifest["katas"]}
    assert now[three[0]]["sha256"] == was[three[0]]["sha256"]
    assert now[three[1]]["head"] != was[three[1]]["head"]


def test_every_kind_of_change_is_in_the_next_backup(
    katas: Katas, three: list[str], folder: Callable[[str], Path]
) -> None:
    def changed(token: str) -> bool:
        return backup(katas, since_token=token).states[three[0]] == "sent"

    token = backup(katas).token
    assert not changed(token)
    katas.start(three[0], "zebra")
    assert changed(token)
    token = backup(katas).token
    katas.record(three[0], "zebra")
    assert changed(token)
    token = backup(katas).token
    (folder(three[0]) / "whale/sandbox/left-by-a-run").touch()
    assert not changed(token)
    katas.record(three[0], "whale")
    assert changed(token)


def test_a_chain_of_backups_reports_each_deletion_once(katas: Katas, three: list[str]) -> None:
    full = backup(katas)
    katas.delete(three[0])
    second = backup(katas, since_token=full.token)
    assert second.states[three[0]] == "deleted"
    third = backup(katas, since_token=second.token)
    assert third.states == dict.fromkeys(three[1:], "unchanged")


def test_a_backup_can_follow_any_of_the_last_32(katas: Katas, kata_id: str) -> None:
    tokens = [backup(katas).token for _ in range(34)]
    assert len(set(tokens)) == 34
    assert backup(katas, since_token=tokens[2]).states == {kata_id: "unchanged"}
    with refused(grpc.StatusCode.FAILED_PRECONDITION, says="make a full one"):
        backup(katas, since_token=tokens[0])


@pytest.mark.parametrize("token", ["x", "../../etc/passwd", "0000000001-0123456789abcdef"])
def test_an_unknown_token_asks_for_a_full_backup(katas: Katas, token: str) -> None:
    with refused(grpc.StatusCode.FAILED_PRECONDITION, says="make a full one"):
        backup(katas, since_token=token)
    with refused(grpc.StatusCode.FAILED_PRECONDITION, says="make a full one"):
        backup(katas, resume_token=token)


def test_a_token_is_valid_for_its_own_prefix_only(katas: Katas, three: list[str]) -> None:
    token = backup(katas, prefix=three[0][:2]).token
    with refused(grpc.StatusCode.INVALID_ARGUMENT, field="since_token"):
        backup(katas, since_token=token)


def test_a_token_is_valid_after_a_restart(
    start_storer: Callable[..., Service],
    client: Callable[[Service], Katas],
    elsewhere: DataContainers,
) -> None:
    named = {"CYBER_DOJO_NAMESPACE": elsewhere.namespace.name}
    first = start_storer(**named)
    kata_id = client(first).started("whale")
    token = backup(client(first)).token
    first.kill()
    assert backup(client(start_storer(**named)), since_token=token).states == {kata_id: "unchanged"}


def test_the_catalog_is_in_a_volume_of_the_namespace(
    katas: Katas, data_containers: DataContainers, three: list[str]
) -> None:
    token = backup(katas).token
    namespace = data_containers.namespace
    found = data_containers.engine.api.inspect_volume(namespace.backups)
    assert found["Labels"] == namespace.labels("backups")
    manifest = json.loads((data_containers.backups_folder / f"{token}.json").read_text())
    assert [each["kata_id"] for each in manifest["katas"]] == three


# --- The archive


@pytest.fixture
def archiving(
    start_storer: Callable[..., Service],
    client: Callable[[Service], Katas],
    elsewhere: DataContainers,
    tmp_path: Path,
) -> Katas:
    """The katas of another namespace, whose storer has an archive."""
    named = {"CYBER_DOJO_NAMESPACE": elsewhere.namespace.name}
    return client(start_storer(**named, CYBER_DOJO_ARCHIVE=str(tmp_path / "archive")))


def archived(katas: Katas) -> str:
    kata_id = katas.started("whale")
    katas.record(kata_id, "whale", colour=GREEN)
    katas.stub.ArchiveKata(storer_pb2.ArchiveKataRequest(kata_id=kata_id))
    return kata_id


def test_archived_katas_are_backed_up_and_stay_archived(
    archiving: Katas, elsewhere: DataContainers, katas: Katas
) -> None:
    ids = sorted([archived(archiving), archived(archiving), archiving.started("bat")])
    made = backup(archiving)
    assert made.states == dict.fromkeys(ids, "sent")
    assert len(list(elsewhere.kata_ids())) == 1
    assert restore_into(katas, made.tar).outcomes == dict.fromkeys(ids, "restored")
    for kata_id in ids:
        avatar = archiving.get(kata_id).avatars[0]
        assert katas.lights(kata_id, avatar) == archiving.lights(kata_id, avatar)


def test_an_archived_kata_is_unchanged_until_it_is_fetched(archiving: Katas) -> None:
    kata_id = archived(archiving)
    token = backup(archiving).token
    assert backup(archiving, since_token=token).states == {kata_id: "unchanged"}
    archiving.record(kata_id, "whale")
    token = backup(archiving, since_token=token).token
    assert backup(archiving, since_token=token).states == {kata_id: "unchanged"}


def test_a_kata_that_is_archived_during_a_backup_is_in_it(
    archiving: Katas, elsewhere: DataContainers
) -> None:
    made = sorted(archiving.started("whale") for _ in range(3))
    large = elsewhere.folder(made[0]) / "whale/sandbox/zz-large"
    write_zeros(large, LARGE_BYTES)
    token = backup(archiving).token
    archiving.record(made[0], "whale")
    for kata_id, fields in ((made[1], {}), (made[2], {"since_token": token})):
        archiving.record(kata_id, "whale")
        begun = Begun(archiving, **fields)
        archiving.stub.ArchiveKata(storer_pb2.ArchiveKataRequest(kata_id=kata_id))
        states = Backup(begun.rest(), begun.token, "").states
        assert states[kata_id] == "sent"
        assert set(states) == set(made)


def test_a_kata_that_was_only_archived_or_fetched_is_not_sent_again(archiving: Katas) -> None:
    kata_id, changed = archiving.started("whale"), archiving.started("whale")
    for each in (kata_id, changed):
        archiving.record(each, "whale")
    made = backup(archiving)
    archiving.record(changed, "whale")
    for each in (kata_id, changed):
        archiving.stub.ArchiveKata(storer_pb2.ArchiveKataRequest(kata_id=each))
    made = backup(archiving, since_token=made.token)
    assert made.states == {kata_id: "unchanged", changed: "sent"}
    unchanged = {kata_id: "unchanged", changed: "unchanged"}
    made = backup(archiving, since_token=made.token)
    assert made.states == unchanged
    archiving.import_(kata_id)
    assert backup(archiving, since_token=made.token).states == unchanged


def test_a_damaged_archive_does_not_end_the_backup(archiving: Katas, tmp_path: Path) -> None:
    damaged, whole = archived(archiving), archived(archiving)
    (path,) = (tmp_path / "archive").rglob(f"*{damaged}*.tar.zst")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    made = backup(archiving)
    assert made.states == {damaged: "failed", whole: "sent"}
    assert made.counts == {"sent": 1, "failed": 1}
    assert "damaged" in made.failures.pop(damaged)
    assert not made.failures
    assert "damaged" in seal_of(made.tar, damaged)["error"]


# --- While others write


def test_a_class_works_while_a_backup_is_made(
    katas: Katas, three: list[str], tmp_path: Path
) -> None:
    stopping = threading.Event()
    recorded = {kata_id: threading.Semaphore(0) for kata_id in three}
    failures: list[Exception] = []

    def write(kata_id: str) -> None:
        turn = 0
        while not stopping.is_set():
            turn += 1
            try:
                katas.record(kata_id, "whale", {**FILES, "a": b"%d" % turn})
            except grpc.RpcError as error:
                failures.append(error)
                return
            recorded[kata_id].release()

    writers = [threading.Thread(target=write, args=(each,)) for each in three]
    for each in writers:
        each.start()
    token = ""
    try:
        for turn in range(4):
            for semaphore in recorded.values():
                wait_for_new(semaphore, writers=1)
            made = backup(katas, since_token=token)
            token = made.token
            assert made.states == dict.fromkeys(three, "sent")
            directory = unpacked(made.tar, tmp_path / str(turn))
            for kata_id in three:
                whale = directory / kata_id[:2] / kata_id[2:] / "whale"
                lights = json.loads((whale / "increments.json").read_bytes())
                assert len(git(whale, "tag").split()) == len(lights) + 1
                git(whale, "fsck")
    finally:
        stopping.set()
        for each in writers:
            each.join()
    assert not failures


def test_a_slow_reader_locks_no_kata(katas: Katas, held: list[str]) -> None:
    begun = Begun(katas)
    for kata_id in held:
        assert katas.record(kata_id, "whale").number == 2
    states = Backup(begun.rest(), begun.token, "").states
    assert states == dict.fromkeys(held, "sent")


def test_a_kata_that_is_deleted_during_a_backup_does_not_end_it(
    katas: Katas, held: list[str]
) -> None:
    begun = Begun(katas)
    katas.delete(held[0])
    katas.delete(held[1])
    made = Backup(begun.rest(), begun.token, "")
    assert made.states == {held[0]: "failed", held[2]: "sent"} | (
        {held[1]: made.states[held[1]]} if held[1] in made.states else {}
    )
    assert "deleted" in seal_of(made.tar, held[0])["error"]
    assert "sha256" in seal_of(made.tar, held[2])
    after = backup(katas, since_token=made.token)
    assert after.states[held[0]] == "deleted"
    assert after.states[held[2]] == "unchanged"


def test_a_damaged_kata_does_not_end_the_backup(
    katas: Katas, three: list[str], folder: Callable[[str], Path]
) -> None:
    become_unreadable(folder(three[0]))
    made = backup(katas)
    assert made.states == {three[0]: "failed", three[1]: "sent", three[2]: "sent"}
    assert "error" in seal_of(made.tar, three[0])
    assert backup(katas, since_token=made.token).states[three[0]] == "failed"


def test_a_damaged_avatar_is_in_the_backup_with_the_others(
    katas: Katas, three: list[str], folder: Callable[[str], Path]
) -> None:
    (folder(three[0]) / "whale/increments.json").write_bytes(b"{")
    for path in (folder(three[0]) / "whale/.git/objects").rglob("*"):
        if path.is_file():
            path.unlink()
    (folder(three[1]) / "whale/manifest.json").unlink()
    made = backup(katas)
    assert made.states == dict.fromkeys(three, "sent")
    top = f"{three[0][:2]}/{three[0][2:]}"
    assert contents(made.tar)[f"{top}/whale/increments.json"] == b"{"
    assert backup(katas, since_token=made.token).states == dict.fromkeys(three, "unchanged")


def test_an_avatar_that_was_damaged_is_in_the_next_backup_when_it_is_mended(
    katas: Katas, three: list[str], folder: Callable[[str], Path]
) -> None:
    git_folder = folder(three[0]) / "whale/.git"
    commit = (git_folder / "refs/tags/1").read_text().strip()
    lost = git_folder / "objects" / commit[:2] / commit[2:]
    content = lost.read_bytes()
    lost.unlink()
    damaged = backup(katas)
    assert damaged.states == dict.fromkeys(three, "sent")
    lost.write_bytes(content)
    mended = backup(katas, since_token=damaged.token)
    assert mended.states == {three[0]: "sent", three[1]: "unchanged", three[2]: "unchanged"}
    member = f"{three[0][:2]}/{three[0][2:]}/whale/.git/objects/{commit[:2]}/{commit[2:]}"
    assert contents(mended.tar)[member] == content
    assert backup(katas, since_token=mended.token).states == dict.fromkeys(three, "unchanged")


# --- Streams that break off


@pytest.fixture
def broken(katas: Katas, three: list[str], folder: Callable[[str], Path]) -> Iterator[Begun]:
    """A backup that breaks off in the second of three katas."""
    large = folder(three[1]) / "whale/sandbox/zz-large"
    write_zeros(large, LARGE_BYTES)
    begun = Begun(katas)
    yield begun
    begun.call.cancel()


def test_an_interrupted_backup_resumes_after_the_last_whole_kata(
    katas: Katas, three: list[str], broken: Begun
) -> None:
    broken.call.cancel()
    katas.record(three[0], "whale")
    resumed = backup(katas, resume_token=broken.token, after_kata_id=three[0])
    assert resumed.states == dict.fromkeys(three, "sent")
    assert {name[:11].replace("/", "") for name in contents(resumed.tar)} == {
        *three[1:],
        "backup.json",
    }
    after = backup(katas, since_token=resumed.token)
    assert after.states == {three[0]: "sent", three[1]: "unchanged", three[2]: "unchanged"}


def test_a_backup_whose_end_alone_did_not_arrive_is_resumed(katas: Katas, three: list[str]) -> None:
    token = backup(katas).token
    resumed = backup(katas, resume_token=token, after_kata_id=three[1])
    assert resumed.states == dict.fromkeys(three, "sent")
    assert f"{three[2][:2]}/{three[2][2:]}.json" in contents(resumed.tar)
    assert backup(katas, since_token=token).states == dict.fromkeys(three, "unchanged")


def test_a_resumed_backup_counts_and_names_what_failed_before_it_broke(
    katas: Katas, three: list[str], folder: Callable[[str], Path]
) -> None:
    (folder(three[0]) / "whale/.git/refs/tags/1").write_bytes(b"nonsense")
    token = backup(katas).token
    resumed = backup(katas, resume_token=token, after_kata_id=three[1])
    assert set(resumed.failures) == {three[0]}
    assert resumed.counts == {"sent": 2, "failed": 1}


def test_an_interrupted_backup_can_start_again(
    katas: Katas, three: list[str], broken: Begun
) -> None:
    broken.call.cancel()
    assert backup(katas, resume_token=broken.token).states == dict.fromkeys(three, "sent")


def test_no_backup_can_be_based_on_an_interrupted_one(katas: Katas, broken: Begun) -> None:
    broken.call.cancel()
    with refused(grpc.StatusCode.FAILED_PRECONDITION):
        backup(katas, since_token=broken.token)


def test_resuming_takes_the_options_of_the_interrupted_backup(katas: Katas, broken: Begun) -> None:
    for field in ("prefix", "since_token"):
        with refused(grpc.StatusCode.INVALID_ARGUMENT, field=field):
            backup(katas, resume_token=broken.token, **{field: "49"})
    with refused(grpc.StatusCode.INVALID_ARGUMENT, field="after_kata_id"):
        backup(katas, after_kata_id="493A06504A")
    with refused(grpc.StatusCode.INVALID_ARGUMENT, field="after_kata_id"):
        backup(katas, resume_token=broken.token, after_kata_id="../x")


def test_a_client_that_disconnects_leaves_no_file_open(
    broken: Begun, storer_service: Service, data_containers: DataContainers
) -> None:
    broken.call.cancel()
    root = str(data_containers.volume_root / data_containers.namespace.name)

    pid = storer_service.pid
    wait_until(lambda: not [path for path in files_in_use(pid) if path.startswith(root)])


def test_simultaneous_backups_are_each_whole(katas: Katas, three: list[str]) -> None:
    made = at_once(lambda _: backup(katas), range(6))
    assert len({each.token for each in made}) == 6
    for each in made:
        assert each.states == dict.fromkeys(three, "sent")
