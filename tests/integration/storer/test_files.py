"""GetFiles: the files and the output of a light."""

from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from support.storer.storing import FILES, GREEN, STARTED, Katas, git, refused, timestamp


def test_light_0_has_the_files_that_the_kata_starts_from(katas: Katas) -> None:
    kata_id = katas.started("whale")
    katas.record(kata_id, "whale", {"other.c": b"x"})
    start = katas.files(kata_id, "whale", 0)
    assert start.light.number == 0
    assert start.light.time == timestamp(STARTED)
    assert dict(start.files) == FILES
    assert (start.stdout.content, start.stderr.content) == (b"", b"")


def test_every_light_keeps_its_own_files_and_output(katas: Katas) -> None:
    kata_id = katas.started("whale")
    for number in range(1, 4):
        files = {**FILES, "hiker.c": b"%d" % number}
        katas.record(kata_id, "whale", files, stdout=b"out%d" % number, stderr=b"err%d" % number)
    for number in range(1, 4):
        found = katas.files(kata_id, "whale", number)
        assert found.light.number == number
        assert found.files["hiker.c"] == b"%d" % number
        assert (found.stdout.content, found.stderr.content) == (
            b"out%d" % number,
            b"err%d" % number,
        )


def test_minus_1_is_the_newest_light(katas: Katas) -> None:
    kata_id = katas.started("whale")
    assert katas.files(kata_id, "whale", -1).light.number == 0
    katas.record(kata_id, "whale", {"a": b"1"})
    katas.record(kata_id, "whale", {"a": b"2"}, colour=GREEN, status=0)
    newest = katas.files(kata_id, "whale", -1)
    assert newest.light == katas.lights(kata_id, "whale")[-1]
    assert dict(newest.files) == {"a": b"2"}


def test_a_file_that_was_deleted_in_the_editor_is_not_in_the_next_light(katas: Katas) -> None:
    kata_id = katas.started("whale")
    katas.record(kata_id, "whale", {"a.c": b"", "b/c.c": b"1"})
    katas.record(kata_id, "whale", {"b/d.c": b"2"})
    assert dict(katas.files(kata_id, "whale").files) == {"b/d.c": b"2"}


@pytest.mark.parametrize("kind", ["commit", "tree", "blob"])
def test_a_truncated_git_object_is_data_loss_and_blocks_no_call(
    katas: Katas, folder: Callable[[str], Path], kind: str
) -> None:
    kata_id = katas.started("whale")
    whale = folder(kata_id) / "whale"
    katas.record(kata_id, "whale", {**FILES, "only": b"here"})
    assert katas.diff(kata_id, "whale", 0, 1)  # the storer has read and cached it
    new = git(whale, "rev-list", "--objects", "0..1").decode().splitlines()
    for name in (line.partition(" ")[0] for line in new):
        if git(whale, "cat-file", "-t", name).decode().strip() == kind:
            path = whale / ".git/objects" / name[:2] / name[2:]
            path.chmod(0o600)
            path.write_bytes(path.read_bytes()[:-6])
    for call in (katas.diff, katas.patch):
        with refused(grpc.StatusCode.DATA_LOSS, says="cut off"):
            call(kata_id, "whale", 0, 1)
    with refused(grpc.StatusCode.DATA_LOSS, says="cut off"):
        katas.files(kata_id, "whale", 1)
    assert dict(katas.files(kata_id, "whale", 0).files) == FILES


def test_a_missing_git_object_is_data_loss_and_is_named(
    katas: Katas, folder: Callable[[str], Path]
) -> None:
    kata_id = katas.started("whale")
    katas.record(kata_id, "whale", {**FILES, "only": b"here"})
    whale = folder(kata_id) / "whale"
    name = git(whale, "rev-parse", "1:sandbox/only").decode().strip()
    (whale / ".git/objects" / name[:2] / name[2:]).unlink()
    for call in (katas.diff, katas.patch):
        with refused(grpc.StatusCode.DATA_LOSS, says=f"the object {name} is missing"):
            call(kata_id, "whale", 0, 1)
    with refused(grpc.StatusCode.DATA_LOSS, says=f"the object {name} is missing"):
        katas.files(kata_id, "whale", 1)


WAYS_OF_KEEPING = {
    "packed": [["repack", "-adq"], ["pack-refs", "--all"]],
    "tags with a message": [["tag", "-f", "-m", "said", number, f"{number}^0"] for number in "12"],
}


@pytest.mark.parametrize("way", WAYS_OF_KEEPING)
def test_a_light_is_the_same_however_git_stores_it(
    katas: Katas, folder: Callable[[str], Path], way: str
) -> None:
    kata_id = katas.started("whale")
    katas.record(kata_id, "whale", {**FILES, "a/b c": b"1\n"}, stdout=b"out")
    katas.record(kata_id, "whale", {**FILES, "a/d": b"2\n"}, stderr=b"err")

    def read() -> list[object]:
        files = [katas.files(kata_id, "whale", number) for number in range(3)]
        return [*files, katas.diff(kata_id, "whale", 1, 2), katas.patch(kata_id, "whale", 1, 2)]

    before = read()
    for command in WAYS_OF_KEEPING[way]:
        git(folder(kata_id) / "whale", "-c", "user.name=a", "-c", "user.email=a@b", *command)
    assert read() == before


def test_a_light_that_does_not_exist_is_not_found(katas: Katas) -> None:
    kata_id = katas.started("whale")
    with refused(grpc.StatusCode.NOT_FOUND, says="whale has no light 1; the newest is 0"):
        katas.files(kata_id, "whale", 1)


def test_an_avatar_that_was_not_started_has_no_files(katas: Katas) -> None:
    kata_id = katas.started("whale")
    with refused(grpc.StatusCode.NOT_FOUND, says="zebra was not started"):
        katas.files(kata_id, "zebra", 0)


def test_a_file_called_output_is_a_file_like_any_other(katas: Katas) -> None:
    files = {**FILES, "output": b"a participant's own\n"}
    kata_id = katas.started("whale", files=files)
    assert katas.get(kata_id).manifest.files["output"] == files["output"]
    assert dict(katas.files(kata_id, "whale", 0).files) == files
    katas.record(kata_id, "whale", files, stdout=b"printed\n")
    found = katas.files(kata_id, "whale", 1)
    assert (dict(found.files), found.stdout.content) == (files, b"printed\n")
