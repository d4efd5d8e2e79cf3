"""DownloadKata: a kata as a tar, whole and consistent, whatever happens during the download."""

import json
import os
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import grpc
import pytest

from cyberdojo.storer.v1 import storer_pb2
from dojo import avatars
from dojo.engine.data_containers import DataContainers
from support.large_file import write_zeros
from support.services import Service, code_of, files_in_use, wait_until
from support.storer.katas_directories import LegacyKata, each_legacy_kata
from support.storer.storing import (
    FILES,
    GREEN,
    Katas,
    at_once,
    content_of,
    git,
    kibibytes,
    refused,
    unpacked,
    wait_for_new,
)

COMPRESSIONS = {
    "none": (storer_pb2.COMPRESSION_NONE, ".tar"),
    "gzip": (storer_pb2.COMPRESSION_GZIP, ".tar.gz"),
    "zstd": (storer_pb2.COMPRESSION_ZSTD, ".tar.zst"),
}
each_compression = pytest.mark.parametrize("compression", COMPRESSIONS)

# More than the transport can buffer: a download with such a file stops in the middle of it until
# the client reads on.
LARGE_BYTES = 64 * 1024**2


class Download:
    """A download whose first bytes have arrived; the rest is sent on request."""

    def __init__(self, katas: Katas, kata_id: str, seconds: float | None = None) -> None:
        request = storer_pb2.DownloadKataRequest(kata_id=kata_id)
        self.call = katas.stub.DownloadKata(request, timeout=seconds)
        parts = iter(self.call)
        self._first = [next(parts), next(parts)]

    def rest(self) -> bytes:
        """Read to the end; return the tar."""
        return content_of([*self._first, *self.call])


def large(folder: Path, name: str, size_bytes: int = LARGE_BYTES) -> Path:
    """Create a large file in a sandbox."""
    path = folder / name
    write_zeros(path, size_bytes)
    return path


@pytest.fixture
def held(katas: Katas, folder: Callable[[str], Path]) -> tuple[str, Path]:
    """A kata whose download stops at the first file of the whale's sandbox; and the sandbox."""
    kata_id = katas.started("bat", "whale", "zebra")
    sandbox = folder(kata_id) / "whale" / "sandbox"
    large(sandbox, "0-large")
    return kata_id, sandbox


def open_files(service: Service, kata_id: str) -> list[str]:
    """Return the files of a kata that a storer has open."""
    return [path for path in files_in_use(service.pid) if kata_id in path]


def names(top: Path) -> set[str]:
    return {str(path.relative_to(top)) for path in top.rglob("*")}


def tags(avatar: Path) -> list[int]:
    return sorted(int(tag) for tag in git(avatar, "tag").split())


@each_compression
def test_a_kata_comes_as_a_tar_that_plain_tar_reads(
    katas: Katas, tmp_path: Path, compression: str
) -> None:
    kata_id = katas.started("whale")
    number, ending = COMPRESSIONS[compression]
    parts = katas.download(kata_id, number)
    assert parts[0].header.filename == kata_id + ending
    kata = unpacked(content_of(parts), tmp_path, kata_id)
    assert [path.name for path in tmp_path.iterdir()] == [kata_id[:2]]
    assert {path.name for path in kata.iterdir()} == {"manifest.json", "whale"}
    assert names(kata / "whale/sandbox") == set(FILES)
    assert json.loads((kata / "whale/increments.json").read_bytes()) == []


def test_the_default_is_no_compression(katas: Katas) -> None:
    kata_id = katas.create()
    unsaid = storer_pb2.COMPRESSION_UNSPECIFIED
    assert katas.tar(kata_id, unsaid) == katas.tar(kata_id, storer_pb2.COMPRESSION_NONE)


def test_the_same_kata_gives_the_same_tar(katas: Katas) -> None:
    kata_id = katas.started("whale", "bat")
    assert katas.tar(kata_id) == katas.tar(kata_id)


def test_a_downloaded_avatar_is_a_repository_for_plain_git(katas: Katas, tmp_path: Path) -> None:
    kata_id = katas.started("whale")
    for number in (1, 2):
        katas.record(kata_id, "whale", stdout=b"%d" % number, colour=GREEN)
    whale = unpacked(katas.tar(kata_id), tmp_path, kata_id) / "whale"
    assert git(whale, "log", "--format=%s").split(b"\n")[:3] == [b"2 green", b"1 green", b"0"]
    assert git(whale, "status", "--porcelain") == b""
    assert git(whale, "fsck", "--strict") == b""
    git(whale, "checkout", "--quiet", "1")
    assert json.loads((whale / "light.json").read_bytes())["stdout"] == "1"


@each_legacy_kata
def test_a_downloaded_legacy_kata_has_every_light(
    katas: Katas, tmp_path: Path, kata: LegacyKata
) -> None:
    folder = unpacked(katas.tar(kata.id), tmp_path, kata.id)
    if not kata.avatar:
        assert names(folder) == {"manifest.json"}
        return
    avatar = folder / kata.avatar
    git(avatar, "fsck")
    assert tags(avatar) == list(range(kata.newest + 1))
    for number in {0, kata.newest // 2, kata.newest}:
        git(avatar, "checkout", "--quiet", "--force", str(number))
        for name, content in katas.files(kata.id, kata.avatar, number).files.items():
            assert (avatar / "sandbox" / name).read_bytes() == content


def test_files_keep_their_content_mode_owner_and_time(
    katas: Katas, tmp_path: Path, folder: Callable[[str], Path]
) -> None:
    kata_id = katas.started("whale")
    sandbox = folder(kata_id) / "whale/sandbox"
    odd = ["a b", 'quo"te', "new\nline", "ü", "d" * 200, "back\\slash", os.fsdecode(b"\xff")]
    for place, name in enumerate([*odd, "deep/" * 30 + "file"]):
        path = sandbox / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(511 + place))
        path.chmod(0o640)
        os.chown(path, avatars.uid("whale"), avatars.uid("whale"))
        os.utime(path, ns=(0, 1_600_000_000_123_456_789 + place))
    copy = unpacked(katas.tar(kata_id), tmp_path, kata_id) / "whale/sandbox"
    assert names(copy) == names(sandbox)
    for path in (path for path in sandbox.rglob("*") if path.is_file()):
        twin = copy / path.relative_to(sandbox)
        assert twin.read_bytes() == path.read_bytes()
        was, now = path.stat(), twin.stat()
        assert (now.st_mode, now.st_uid, now.st_gid) == (was.st_mode, was.st_uid, was.st_gid)
        assert now.st_mtime_ns == was.st_mtime_ns


def test_only_files_and_links_are_included_and_no_link_is_followed(
    katas: Katas, tmp_path: Path, folder: Callable[[str], Path]
) -> None:
    kata_id = katas.started("whale")
    sandbox = folder(kata_id) / "whale/sandbox"
    os.mkfifo(sandbox / "fifo")
    os.mknod(sandbox / "device", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    listening = socket.socket(socket.AF_UNIX)
    with listening, pytest.MonkeyPatch.context() as patch:
        patch.chdir(sandbox)  # the path of a socket has to be short
        listening.bind("socket")
    (sandbox / "sub").mkdir()
    kept = {
        "file": "hiker.c",
        "folder": "sub",
        "sub/up": "../hiker.c",
        "dangling": "nothing",
        "here": ".",
        "absolute": "/etc/passwd",
        "out": "../manifest.json",
        "sub/out": "../../manifest.json",
        "out-by-here": "here/..",
    }
    for name, target in kept.items():
        (sandbox / name).symlink_to(target)
    kata = unpacked(katas.tar(kata_id), tmp_path, kata_id)
    assert names(kata / "whale/sandbox") - set(FILES) == {"sub", *kept}
    assert {name: str((kata / "whale/sandbox" / name).readlink()) for name in kept} == kept


def test_stray_and_half_written_files_are_left_out(
    katas: Katas, tmp_path: Path, folder: Callable[[str], Path]
) -> None:
    kata_id = katas.started("whale")
    before = names(unpacked(katas.tar(kata_id), tmp_path / "before", kata_id))
    strays = [
        *(".incoming-x/manifest.json", "._manifest.json", "f.lock", ".DS_Store", ".starting/a"),
        *("whale/.manifest.json.new", "whale/._increments.json", "whale/.git/index.lock"),
        *("whale/.git/refs/heads/main.lock", "whale/.git/objects/tmp_x"),
    ]
    for stray in strays:
        path = folder(kata_id) / stray
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert names(unpacked(katas.tar(kata_id), tmp_path / "after", kata_id)) == before


def test_an_unknown_kata_cannot_be_downloaded(katas: Katas) -> None:
    with refused(grpc.StatusCode.NOT_FOUND, says="0000000000"):
        katas.tar("0000000000")
    with refused(grpc.StatusCode.INVALID_ARGUMENT, field="kata_id"):
        katas.tar("../../etc")
    with refused(grpc.StatusCode.INVALID_ARGUMENT, field="compression"):
        katas.tar(katas.create(), 99)


@each_compression
def test_the_storers_memory_does_not_grow_with_a_sandbox(
    katas: Katas, storer_service: Service, folder: Callable[[str], Path], compression: str
) -> None:
    kata_id = katas.started("whale")
    size_bytes = 200 * 1024**2
    large(folder(kata_id) / "whale/sandbox", "large", size_bytes)
    request = storer_pb2.DownloadKataRequest(
        kata_id=kata_id, compression=COMPRESSIONS[compression][0]
    )
    Path(f"/proc/{storer_service.pid}/clear_refs").write_text("5")  # reset the peak (VmHWM)
    before = kibibytes(storer_service.pid, "VmRSS")
    came_bytes = 0
    ended = False
    for part in katas.stub.DownloadKata(request):
        came_bytes += len(part.data)
        ended = part.HasField("end")
    assert ended
    assert came_bytes > size_bytes or compression != "none"
    assert kibibytes(storer_service.pid, "VmHWM") - before < 48 * 1024


# --- While others write


@pytest.fixture
def busy(katas: Katas) -> Iterator[tuple[str, threading.Semaphore]]:
    """A kata into which 8 writers record; each light adds one to the semaphore."""
    writing = ["bat", "fox", "whale", "zebra"]
    kata_id = katas.started(*writing)
    recorded = threading.Semaphore(0)
    stopping = threading.Event()
    failures: list[Exception] = []

    def write(writer: int) -> None:
        turn = 0
        while not stopping.is_set():
            content = b"%d %d" % (writer, turn)
            try:
                katas.record(kata_id, writing[writer % 4], {**FILES, "a": content}, stdout=content)
            except grpc.RpcError as error:
                failures.append(error)
                return
            turn += 1
            recorded.release()

    writers = [threading.Thread(target=write, args=(writer,)) for writer in range(8)]
    for each in writers:
        each.start()
    yield kata_id, recorded
    stopping.set()
    for each in writers:
        each.join()
    assert not failures


def test_a_download_is_of_one_moment_while_8_writers_record(
    katas: Katas, busy: tuple[str, threading.Semaphore], tmp_path: Path
) -> None:
    kata_id, recorded = busy
    newest = 0
    for turn in range(4):
        wait_for_new(recorded, writers=8)
        kata = unpacked(katas.tar(kata_id), tmp_path / str(turn), kata_id)
        total = 0
        for name in ("bat", "fox", "whale", "zebra"):
            total += check_avatar(kata / name)
        assert total > newest
        newest = total


def check_avatar(avatar: Path) -> int:
    """Assert that an avatar's files are all of the same newest light; return its number."""
    numbers = [each["number"] for each in json.loads((avatar / "increments.json").read_bytes())]
    assert tags(avatar) == [0, *numbers]
    git(avatar, "fsck")
    newest = len(numbers)
    assert git(avatar, "rev-parse", "HEAD") == git(avatar, "rev-parse", f"{newest}^{{commit}}")
    assert git(avatar, "show", f"{newest}:light.json") == (avatar / "light.json").read_bytes()
    assert git(avatar, "diff", "--cached", "HEAD") == b""
    visible = json.loads((avatar / "manifest.json").read_bytes())
    for name, text in visible.items():
        assert git(avatar, "show", f"{newest}:sandbox/{name}") == text.encode()
    return newest


def test_changes_after_the_first_byte_are_not_in_the_tar(
    katas: Katas, held: tuple[str, Path], tmp_path: Path
) -> None:
    kata_id, _ = held
    download = Download(katas, kata_id)
    katas.start(kata_id, "wolf")
    for content in (b"later", b"still later", b"latest"):
        for name in ("bat", "whale", "zebra"):
            katas.record(kata_id, name, {"a": content})
    kata = unpacked(download.rest(), tmp_path, kata_id)
    assert {path.name for path in kata.iterdir()} == {"manifest.json", "bat", "whale", "zebra"}
    for name in ("bat", "whale", "zebra"):
        assert check_avatar(kata / name) == 0


def test_what_a_run_removes_or_replaces_during_a_download_is_not_followed(
    katas: Katas, held: tuple[str, Path], tmp_path: Path
) -> None:
    kata_id, sandbox = held
    for name in ("gone", "linked", "shrunk", "folder/inside"):
        (sandbox / name).parent.mkdir(exist_ok=True)
        (sandbox / name).write_bytes(b"content")
    download = Download(katas, kata_id)
    (sandbox / "gone").unlink()
    (sandbox / "linked").unlink()
    (sandbox / "linked").symlink_to("/etc/passwd")
    (sandbox / "folder/inside").unlink()
    (sandbox / "folder").rmdir()
    (sandbox / "folder").symlink_to("/etc")
    os.truncate(sandbox / "0-large", 10)
    kata = unpacked(download.rest(), tmp_path, kata_id)
    assert names(kata / "whale/sandbox") == {*FILES, "0-large", "shrunk", "linked", "folder"}
    assert (kata / "whale/sandbox/folder").is_symlink()
    assert (kata / "whale/sandbox/linked").is_symlink()
    assert (kata / "whale/sandbox/0-large").stat().st_size == LARGE_BYTES
    assert check_avatar(kata / "zebra") == 0


@pytest.mark.parametrize("last", [False, True], ids=["in the middle", "in the last file"])
def test_the_download_of_a_kata_that_is_deleted_has_no_end(
    katas: Katas, folder: Callable[[str], Path], held: tuple[str, Path], *, last: bool
) -> None:
    kata_id, sandbox = held
    if last:
        (sandbox / "0-large").unlink()
        large(folder(kata_id) / "zebra/sandbox", "zz")
    download = Download(katas, kata_id)
    katas.delete(kata_id)
    with refused(grpc.StatusCode.NOT_FOUND, says=kata_id):
        download.rest()


def test_the_download_of_a_kata_that_is_replaced_has_no_end(
    katas: Katas, held: tuple[str, Path]
) -> None:
    kata_id, sandbox = held
    (sandbox / "0-large").rename(sandbox.parents[1] / "0-large")
    tar = katas.tar(kata_id)
    (sandbox.parents[1] / "0-large").rename(sandbox / "0-large")
    download = Download(katas, kata_id)
    katas.restore(tar, overwrite=True)
    with refused(grpc.StatusCode.NOT_FOUND, says=f"{kata_id}: it was deleted or replaced"):
        download.rest()
    assert content_of(katas.download(kata_id))


# --- Clients that disconnect or read slowly


def test_a_client_that_disconnects_leaves_no_open_file_and_no_lock(
    katas: Katas, storer_service: Service, held: tuple[str, Path]
) -> None:
    kata_id, _ = held
    downloads = [Download(katas, kata_id) for _ in range(3)]
    assert open_files(storer_service, kata_id)
    for each in downloads:
        each.call.cancel()
    wait_until(lambda: not open_files(storer_service, kata_id))
    assert katas.record(kata_id, "whale").number == 1
    katas.delete(kata_id)


def begun_before_its_deadline(katas: Katas, kata_id: str) -> Download:
    """Return a download whose first bytes arrived before its deadline, which is soon."""
    for seconds in (0.5, 2, 8):
        with suppress(grpc.RpcError):  # the deadline was too soon for this machine
            return Download(katas, kata_id, seconds)
    return Download(katas, kata_id, 32)


def test_a_passed_deadline_leaves_no_open_file_and_no_lock(
    katas: Katas, storer_service: Service, held: tuple[str, Path]
) -> None:
    kata_id, _ = held
    download = begun_before_its_deadline(katas, kata_id)
    wait_until(lambda: not download.call.is_active())
    assert code_of(download.rest) is grpc.StatusCode.DEADLINE_EXCEEDED
    wait_until(lambda: not open_files(storer_service, kata_id))
    assert katas.record(kata_id, "whale").number == 1
    katas.delete(kata_id)


def test_a_finished_download_leaves_no_file_open(
    katas: Katas, storer_service: Service, kata_id: str
) -> None:
    katas.tar(kata_id)
    wait_until(lambda: not open_files(storer_service, kata_id))


def test_slow_readers_delay_nobody(
    katas: Katas, held: tuple[str, Path], data_containers: DataContainers
) -> None:
    kata_id, _ = held
    # More readers than the storer has threads.
    downloads = at_once(lambda _: Download(katas, kata_id), range(80))
    assert katas.record(kata_id, "whale").number == 1
    assert katas.start(kata_id, "wolf") == "wolf"
    other = katas.started("whale")
    assert content_of(katas.download(other))
    katas.delete(kata_id)
    assert not data_containers.folder(kata_id).exists()
    for each in downloads:
        each.call.cancel()
