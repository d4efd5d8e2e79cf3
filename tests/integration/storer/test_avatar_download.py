"""DownloadKata of one avatar: a repository that people take elsewhere, as a tar or as a bundle."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from cyberdojo.storer.v1 import storer_pb2
from support.storer.katas_directories import LegacyKata, each_legacy_kata
from support.storer.storing import (
    FILES,
    GREEN,
    Katas,
    content_of,
    git,
    refused,
)

EDITED = {**FILES, "hiker.c": b"int answer(void)\n{\n    return 6 * 7;\n}\n", "a/b/c.txt": b""}


@pytest.fixture
def kata_id(katas: Katas) -> str:
    """A kata with two avatars; the whale has three lights."""
    kata_id = katas.started("whale", "lion")
    katas.record(kata_id, "whale")
    katas.record(kata_id, "whale", EDITED, colour=GREEN, stdout=b"passed\n")
    katas.record(kata_id, "whale", {"only.txt": bytes(range(256)) * 1000})
    katas.record(kata_id, "lion")
    return kata_id


def download(katas: Katas, kata_id: str, avatar: str, **fields: object) -> tuple[str, bytes]:
    """Return the filename and the content of an avatar's download."""
    request = storer_pb2.DownloadKataRequest(kata_id=kata_id, avatar=avatar, **fields)  # type: ignore[arg-type]
    parts = list(katas.stub.DownloadKata(request))
    return parts[0].header.filename, content_of(parts)


def clone(source: Path, target: Path) -> Path:
    git(source.parent, "clone", "--quiet", str(source), str(target))
    return target


def check_whale(repository: Path) -> None:
    """Check that a clone has the whale's lights."""
    git(repository, "fsck", "--strict")
    assert git(repository, "status", "--porcelain") == b""
    assert git(repository, "tag").decode().split() == ["0", "1", "2", "3"]
    log = git(repository, "log", "--format=%s").decode().splitlines()
    assert log == ["3 red", "2 green", "1 red", "0"]
    assert git(repository, "show", "2:sandbox/hiker.c") == EDITED["hiker.c"]
    assert (repository / "sandbox/only.txt").read_bytes() == bytes(range(256)) * 1000
    assert os.access(repository / "sandbox", os.X_OK)


def test_a_bundle_is_cloned_and_pushed_elsewhere(
    katas: Katas, kata_id: str, tmp_path: Path
) -> None:
    filename, content = download(katas, kata_id, "whale", as_bundle=True)
    assert filename == f"{kata_id}-whale.bundle"
    bundle = tmp_path / filename
    bundle.write_bytes(content)
    git(tmp_path, "init", "--quiet", "empty")
    git(tmp_path / "empty", "bundle", "verify", str(bundle))
    check_whale(clone(bundle, tmp_path / "cloned"))
    git(tmp_path, "-c", "init.defaultBranch=main", "init", "--quiet", "--bare", "host.git")
    git(tmp_path / "cloned", "push", "--quiet", str(tmp_path / "host.git"), "HEAD:main", "--tags")
    check_whale(clone(tmp_path / "host.git", tmp_path / "again"))
    assert download(katas, kata_id, "whale", as_bundle=True)[1] == content


@pytest.mark.parametrize("compression", ["NONE", "GZIP", "ZSTD"])
def test_a_tar_of_an_avatar_holds_a_repository_that_can_be_cloned(
    katas: Katas, kata_id: str, tmp_path: Path, compression: str
) -> None:
    number = storer_pb2.Compression.Value(f"COMPRESSION_{compression}")
    filename, content = download(katas, kata_id, "whale", compression=number)
    assert filename.startswith(f"{kata_id}-whale.tar")
    flags = {"NONE": [], "GZIP": ["--gzip"], "ZSTD": ["--zstd"]}[compression]
    subprocess.run(["tar", "-x", *flags, "-C", tmp_path], input=content, check=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{kata_id}-whale"]
    unpacked = tmp_path / f"{kata_id}-whale"
    assert sorted(path.name for path in unpacked.iterdir()) == [".git", "light.json", "sandbox"]
    check_whale(unpacked)
    check_whale(clone(unpacked, tmp_path / "cloned"))


@each_legacy_kata
def test_a_legacy_avatar_can_be_cloned(katas: Katas, kata: LegacyKata, tmp_path: Path) -> None:
    if not kata.avatar:
        return
    for number, as_bundle in enumerate((True, False)):
        _, content = download(katas, kata.id, kata.avatar, as_bundle=as_bundle)
        folder = tmp_path / str(number)
        folder.mkdir()
        source = folder / f"{kata.id}-{kata.avatar}"
        if as_bundle:
            source.write_bytes(content)
        else:
            subprocess.run(["tar", "-x", "-C", folder], input=content, check=True)
            assert git(source, "status", "--porcelain") == b""
        cloned = clone(source, folder / "cloned")
        git(cloned, "fsck")
        tags = sorted(int(tag) for tag in git(cloned, "tag").split())
        assert tags == list(range(kata.newest + 1))


def test_a_download_of_an_avatar_is_gone_on_with(katas: Katas, kata_id: str) -> None:
    def parts_of(**fields: object) -> list[storer_pb2.DownloadKataResponse]:
        given = {"kata_id": kata_id, "avatar": "whale", "as_bundle": True, **fields}
        return list(katas.stub.DownloadKata(storer_pb2.DownloadKataRequest(**given)))  # type: ignore[arg-type]

    whole = parts_of(resumable=True)
    content = content_of(whole)
    state = whole[0].header.state
    rest = parts_of(state=state, offset=1000)
    assert rest[0].header.offset == 1000
    assert b"".join(part.data for part in rest) == content[1000:]
    # What is another download has another state.
    assert parts_of(state=state, offset=1000, as_bundle=False)[0].header.offset == 0
    assert parts_of(state=state, offset=1000, avatar="lion")[0].header.offset == 0


def test_a_bundle_is_consistent_while_lights_are_recorded(
    katas: Katas, kata_id: str, tmp_path: Path
) -> None:
    request = storer_pb2.DownloadKataRequest(kata_id=kata_id, avatar="whale", as_bundle=True)
    call: Any = katas.stub.DownloadKata(request)
    first = next(call)
    for _ in range(20):
        katas.record(kata_id, "whale")
    bundle = tmp_path / "whale.bundle"
    bundle.write_bytes(content_of([first, *call]))
    cloned = clone(bundle, tmp_path / "cloned")
    git(cloned, "fsck")
    newest = max(int(tag) for tag in git(cloned, "tag").split())
    assert git(cloned, "log", "-1", "--format=%s").decode().split()[0] == str(newest)


def test_what_can_not_be_downloaded_is_refused(
    katas: Katas, kata_id: str, folder: Callable[[str], Path]
) -> None:
    with refused(grpc.StatusCode.NOT_FOUND):
        download(katas, kata_id, "tiger")
    with refused(grpc.StatusCode.INVALID_ARGUMENT, field="avatar"):
        download(katas, kata_id, "", as_bundle=True)
    with refused(grpc.StatusCode.INVALID_ARGUMENT, field="compression"):
        download(katas, kata_id, "whale", as_bundle=True, compression=storer_pb2.COMPRESSION_GZIP)
    objects = folder(kata_id) / "whale/.git/objects"
    commit = git(folder(kata_id) / "whale", "rev-parse", "1^{tree}").decode().strip()
    (objects / commit[:2] / commit[2:]).write_bytes(b"damaged")
    with refused(grpc.StatusCode.DATA_LOSS):
        download(katas, kata_id, "whale", as_bundle=True)
    download(katas, kata_id, "lion", as_bundle=True)
