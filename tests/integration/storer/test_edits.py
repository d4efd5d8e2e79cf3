"""What is changed between tests is recorded between lights, and goes wherever lights go."""

import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

import grpc
import pytest

from cyberdojo.storer.v1 import storer_pb2
from support.services import Service, wait_until
from support.storer.storing import FILES, Katas, refused, unpacked

CREATED, DELETED = storer_pb2.FILE_CHANGE_CREATED, storer_pb2.FILE_CHANGE_DELETED
RENAMED, CHANGED = storer_pb2.FILE_CHANGE_RENAMED, storer_pb2.FILE_CHANGE_CHANGED


def edit(katas: Katas, kata_id: str, files: dict[str, bytes], **fields: Any) -> storer_pb2.Edit:
    """Record an edit of the whale's that changes something."""
    request = storer_pb2.RecordEditRequest(kata_id=kata_id, avatar="whale", files=files, **fields)
    answer = katas.stub.RecordEdit(request)
    assert answer.HasField("edit")
    return answer.edit


def listed(katas: Katas, kata_id: str) -> list[storer_pb2.Edit]:
    """Return all edits of the whale's."""
    request = storer_pb2.ListLightsRequest(kata_id=kata_id, avatar="whale", with_edits=True)
    return list(katas.stub.ListLights(request).avatars[0].edits)


def files_of(
    katas: Katas, kata_id: str, number: int, edit_number: int
) -> storer_pb2.GetFilesResponse:
    """Return the files of a light, or of an edit after it."""
    request = storer_pb2.GetFilesRequest(
        kata_id=kata_id, avatar="whale", light_number=number, edit_number=edit_number
    )
    return katas.stub.GetFiles(request)


def told(found: storer_pb2.Edit) -> list[tuple[int, str, str]]:
    """Return what an edit says of its files."""
    return [(each.change, each.old_name, each.new_name) for each in found.changes]


def session(katas: Katas) -> tuple[str, dict[str, dict[str, bytes]]]:
    """Record edits before and after a light; return the kata, and the files of each place."""
    kata_id = katas.started("whale")
    first = {**FILES, "new.c": b"1\n2\n3\n4\n"}
    second = {**FILES, "newer.c": b"1\n2\n3\n4\n"}
    third = {**second, "newer.c": b"1\n2\n3\n5\n"}
    edit(katas, kata_id, first)
    edit(katas, kata_id, second, writer="tab 7")
    katas.record(kata_id, "whale", third, stdout=b"54")
    edit(katas, kata_id, FILES)
    return kata_id, {"0.1": first, "0.2": second, "1": third, "1.1": dict(FILES)}


def test_an_edit_says_what_became_of_each_file(katas: Katas) -> None:
    kata_id, files = session(katas)
    created, renamed, deleted = listed(katas, kata_id)
    assert (created.light_number, created.number, told(created)) == (
        0,
        1,
        [(CREATED, "", "new.c")],
    )
    assert (renamed.light_number, renamed.number, told(renamed)) == (
        0,
        2,
        [(RENAMED, "new.c", "newer.c")],
    )
    assert renamed.writer == "tab 7"
    assert (deleted.light_number, deleted.number, told(deleted)) == (
        1,
        1,
        [(DELETED, "newer.c", "")],
    )
    changed = edit(katas, kata_id, {**FILES, "hiker.c": b"other\n"})
    assert told(changed) == [(CHANGED, "hiker.c", "hiker.c")]
    for place, expected in files.items():
        number, _, minor = place.partition(".")
        assert dict(files_of(katas, kata_id, int(number), int(minor or 0)).files) == expected


def test_the_newest_edit_comes_with_the_output_of_its_light(katas: Katas) -> None:
    kata_id, files = session(katas)
    found = files_of(katas, kata_id, -1, -1)
    assert (found.light.number, found.edit.number) == (1, 1)
    assert (dict(found.files), found.stdout.content) == (files["1.1"], b"54")
    katas.record(kata_id, "whale", FILES)
    found = files_of(katas, kata_id, -1, -1)
    assert (found.light.number, found.HasField("edit")) == (2, False)
    with refused(grpc.StatusCode.NOT_FOUND, reason="NO_SUCH_EDIT", says="no edit 0.3"):
        files_of(katas, kata_id, 0, 3)
    with refused(grpc.StatusCode.INVALID_ARGUMENT, field="edit_number"):
        files_of(katas, kata_id, 0, -2)


def test_lights_are_what_they_were(katas: Katas, tmp_path: Path) -> None:
    kata_id, _ = session(katas)
    lights = katas.lights(kata_id, "whale")
    assert [each.number for each in lights] == [0, 1]
    folder = unpacked(katas.tar(kata_id), tmp_path / "tar", kata_id) / "whale"
    git = ["git", "-c", "safe.directory=*", "-C", str(folder), "log", "--format=%s"]
    log = subprocess.run([*git, "main"], check=True, capture_output=True, text=True).stdout
    assert log.split("\n") == ["1 red", "0", ""]
    log = subprocess.run([*git, "0.2"], check=True, capture_output=True, text=True).stdout
    assert log.split("\n") == ["0.2 renamed", "0.1 created", "0", ""]


def test_files_that_are_as_they_were_record_nothing(katas: Katas) -> None:
    kata_id = katas.started("whale")
    same = storer_pb2.RecordEditRequest(kata_id=kata_id, avatar="whale", files=FILES)
    assert not katas.stub.RecordEdit(same).HasField("edit")
    edit(katas, kata_id, {"a": b""})
    same = storer_pb2.RecordEditRequest(kata_id=kata_id, avatar="whale", files={"a": b""})
    assert not katas.stub.RecordEdit(same).HasField("edit")
    assert len(listed(katas, kata_id)) == 1


def test_the_same_request_records_once(katas: Katas) -> None:
    kata_id = katas.started("whale")
    first = edit(katas, kata_id, {"a": b"1"}, request_id="one")
    edit(katas, kata_id, {"a": b"2"}, request_id="two")
    katas.record(kata_id, "whale", {"a": b"3"})
    assert edit(katas, kata_id, {"a": b"1"}, request_id="one") == first
    with refused(grpc.StatusCode.ALREADY_EXISTS, reason="REQUEST_ID_REUSED"):
        edit(katas, kata_id, {"a": b"9"}, request_id="one")
    assert len(listed(katas, kata_id)) == 2


def test_an_edit_after_another_light_than_the_newest_is_refused(katas: Katas) -> None:
    kata_id = katas.started("whale")
    katas.record(kata_id, "whale")
    with refused(grpc.StatusCode.ABORTED, reason="STALE_NUMBER"):
        edit(katas, kata_id, {"a": b"1"}, after_number=0)
    assert edit(katas, kata_id, {"a": b"1"}, after_number=1).light_number == 1


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"files": {}}, "files"),
        ({"files": {"../x": b""}}, "files"),
        ({"writer": "x" * 101}, "writer"),
        ({"after_number": -1}, "after_number"),
        ({"request_id": "x" * 101}, "request_id"),
    ],
)
def test_a_malformed_edit_is_refused(katas: Katas, fields: dict[str, Any], field: str) -> None:
    kata_id = katas.started("whale")
    given = {"kata_id": kata_id, "avatar": "whale", "files": {"a": b""}, **fields}
    with pytest.raises(grpc.RpcError) as caught:
        katas.stub.RecordEdit(storer_pb2.RecordEditRequest(**given))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert field in str(caught.value)
    assert listed(katas, kata_id) == []


def test_many_changes_are_one_edit_that_lists_the_first(katas: Katas) -> None:
    kata_id = katas.started("whale")
    found = edit(katas, kata_id, {f"{number:03}": b"%d" % number for number in range(100)})
    assert (len(found.changes), found.changes_truncated) == (64, True)


def test_a_difference_is_between_lights_and_edits(katas: Katas) -> None:
    kata_id, _ = session(katas)
    request = storer_pb2.DiffLightsRequest(
        kata_id=kata_id,
        avatar="whale",
        was_number=0,
        was_edit_number=1,
        now_number=1,
        changed_only=True,
    )
    (found,) = katas.stub.DiffLights(request).files
    assert (found.change, found.old_name, found.new_name) == (RENAMED, "new.c", "newer.c")
    patch = storer_pb2.DownloadPatchRequest(
        kata_id=kata_id, avatar="whale", was_number=1, now_number=1, now_edit_number=-1
    )
    content = b"".join(part.data for part in katas.stub.DownloadPatch(patch))
    assert b"deleted file mode 100644" in content


def test_a_watch_has_edits_for_who_asks(katas: Katas) -> None:
    kata_id, _ = session(katas)
    contents = count()

    def places(wanted: int, **fields: Any) -> list[str]:
        call: Any = katas.stub.WatchKata(
            storer_pb2.WatchKataRequest(kata_id=kata_id, **fields), timeout=60
        )
        found: list[str] = []
        for each in call:
            if each.caught_up:
                edit(katas, kata_id, {"a": b"%d" % next(contents)})
                katas.record(kata_id, "whale", {"a": b"%d" % next(contents)})
                continue
            at = each.edit
            found.append(
                f"{at.light_number}.{at.number}"
                if each.HasField("edit")
                else str(each.light.number)
            )
            if len(found) == wanted:
                call.cancel()
                return found
        return found

    assert places(7, with_edits=True) == ["0", "0.1", "0.2", "1", "1.1", "1.2", "2"]
    seen = {"seen": {"whale": 1}, "seen_edits": {"whale": 1}}
    assert places(4, with_edits=True, **seen) == ["1.2", "2", "2.1", "3"]
    assert places(3, **seen) == ["2", "3", "4"]


def test_edits_of_a_killed_storer_and_of_two_at_once_are_all_there(
    start_storer: Callable[..., Service], client: Callable[[Service], Katas]
) -> None:
    doomed = start_storer()
    katas, other = client(doomed), client(start_storer())
    kata_id = katas.started("whale")
    with ThreadPoolExecutor(4) as threads:
        edits = list(
            threads.map(
                lambda number: edit([katas, other][number % 2], kata_id, {"a": b"%d" % number}),
                range(20),
            )
        )
    assert sorted(each.number for each in edits) == list(range(1, 21))
    doomed.kill()
    assert [each.number for each in listed(other, kata_id)] == list(range(1, 21))
    contents = {files_of(other, kata_id, 0, number).files["a"] for number in range(1, 21)}
    assert contents == {b"%d" % number for number in range(20)}


def test_edits_go_round_through_archive_backup_restore_and_verifying(
    start_storer: Callable[..., Service], client: Callable[[Service], Katas], tmp_path: Path
) -> None:
    katas = client(start_storer(CYBER_DOJO_ARCHIVE=str(tmp_path / "archive")))
    kata_id, files = session(katas)

    def check() -> None:
        assert len(listed(katas, kata_id)) == 3
        for place, expected in files.items():
            number, _, minor = place.partition(".")
            assert dict(files_of(katas, kata_id, int(number), int(minor or 0)).files) == expected
        request = storer_pb2.VerifyKatasRequest(kata_ids=[kata_id])
        findings = [part for part in katas.stub.VerifyKatas(request) if part.HasField("finding")]
        assert findings == []

    check()
    katas.stub.ArchiveKata(storer_pb2.ArchiveKataRequest(kata_id=kata_id))
    katas.import_(kata_id)
    check()
    tar = katas.tar(kata_id, storer_pb2.COMPRESSION_ZSTD)
    katas.delete(kata_id)
    katas.restore(tar)
    check()
    # An edit alone is a change for a backup, and nothing that an older tar may take back.
    (header, *_), parts = backup(katas)
    assert parts == [kata_id]
    assert backup(katas, since_token=header.header.token)[1] == []
    edit(katas, kata_id, {"a": b"later"})
    assert backup(katas, since_token=header.header.token)[1] == [kata_id]


def backup(katas: Katas, **fields: Any) -> tuple[list[Any], list[str]]:
    """Make a backup; return its parts, and which katas are in it."""
    parts = list(katas.stub.BackupKatas(storer_pb2.BackupKatasRequest(**fields)))
    content = b"".join(part.data for part in parts)
    ids = [
        line.replace("/", "").removesuffix("manifest.json")
        for line in subprocess.run(["tar", "-t"], input=content, check=True, capture_output=True)
        .stdout.decode()
        .splitlines()
        if line.count("/") == 2 and line.endswith("/manifest.json")
    ]
    return parts, ids


def test_edits_are_copied_with_the_katas_in_use(
    start_storer: Callable[..., Service],
    client: Callable[[Service], Katas],
    data_containers: Any,
    tmp_path: Path,
) -> None:
    archive = {"CYBER_DOJO_ARCHIVE": str(tmp_path / "archive")}
    service = start_storer(
        **archive, CYBER_DOJO_ARCHIVE_COPY_SECONDS="1", CYBER_DOJO_LOG_LEVEL="debug"
    )
    katas = client(service)
    kata_id = katas.started("whale")

    def copies() -> int:
        return sum(event["event"] == "kata copied" for event in service.events())

    for number in range(3):  # each is in a copy of its own
        before = copies()
        edit(katas, kata_id, {"a": b"%d" % number})
        wait_until(lambda: copies() > before)  # noqa: B023 - at once
        if number == 1:
            before = copies()
            katas.record(kata_id, "whale", {"a": b"light"})
            wait_until(lambda: copies() > before)  # noqa: B023 - at once
    service.stop()
    data_containers.delete(kata_id)
    again = client(start_storer(**archive))
    again.import_(kata_id)
    assert [(each.light_number, each.number) for each in listed(again, kata_id)] == [
        (0, 1),
        (0, 2),
        (1, 1),
    ]
    assert files_of(again, kata_id, 1, 1).files["a"] == b"2"
