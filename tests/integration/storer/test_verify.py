"""VerifyKatas finds everything that is wrong and nothing else, and mends what can be mended."""

import json
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import docker.errors
import grpc
import pytest

from cyberdojo.storer.v1 import storer_pb2
from dojo import avatars, locks
from dojo.engine.data_containers import DataContainers
from storer.fs.write_ahead_log import WriteAheadLog
from support.services import Service
from support.storer.katas_directories import LegacyKata, each_legacy_kata
from support.storer.storing import FILES, GREEN, RED, Katas, git, refused
from support.storer.verifying import (
    another_content,
    fsck,
    object_path,
    objects_of,
    overwrite,
    verify,
)

Folder = Callable[[str], Path]


@pytest.fixture
def kata_id(katas: Katas) -> str:
    """A kata with a whale that has three lights, and a zebra that has none."""
    kata_id = katas.started("whale", "zebra")
    for number, colour in enumerate((RED, RED, GREEN), 1):
        files = {**FILES, "hiker.c": b"int answer(void) { return %d; }\n" % number}
        katas.record(kata_id, "whale", files, colour=colour, stdout=b"light %d\n" % number)
    return kata_id


@pytest.fixture
def whale(kata_id: str, folder: Folder) -> Path:
    """The whale's folder."""
    return folder(kata_id) / "whale"


def test_nothing_is_found_in_katas_that_are_whole(katas: Katas, kata_id: str) -> None:
    katas.tar(kata_id)  # updates light.json and the index
    verified = verify(katas, kata_id)
    assert verified.kinds() == []
    assert verified.summary.kata_count == 1
    assert verified.summary.avatar_count == 2
    assert verified.summary.light_count == 3
    assert verified.summary.size_bytes > 1000


@each_legacy_kata
def test_nothing_is_found_in_legacy_katas(katas: Katas, kata: LegacyKata, folder: Folder) -> None:
    katas.import_(kata.id)
    for _ in range(2):
        verified = verify(katas, kata.id)
        assert verified.kinds() == []
        assert verified.summary.light_count == kata.newest
        if kata.avatar:
            assert not any(fsck(folder(kata.id) / kata.avatar).values())
            katas.record(kata.id, kata.avatar)
            assert verify(katas, kata.id).kinds() == []
            katas.tar(kata.id)
            katas.restore(katas.tar(kata.id), overwrite=True)
            assert verify(katas, kata.id).kinds() == []
            break


@pytest.mark.parametrize(
    "what", ["1", "1^{tree}", "2:light.json", "2:sandbox", "3:sandbox/hiker.c"]
)
def test_a_missing_object_is_found_as_by_git(
    katas: Katas, kata_id: str, whale: Path, what: str
) -> None:
    path = object_path(whale, what)
    name = path.parent.name + path.name
    path.unlink()
    verified = verify(katas, kata_id)
    assert fsck(whale)["missing"] == {name} or what == "1"
    assert name in objects_of(verified, "HISTORY")
    assert any(f"light {what[0]} needs it" in each.what for each in verified.findings)
    assert verified.summary.mended_count == 0


@pytest.mark.parametrize(
    "change",
    [another_content, lambda _: b"", lambda content: content[:20], lambda _: b"nonsense" * 9],
    ids=["another content", "empty", "cut off", "nonsense"],
)
def test_an_object_that_does_not_match_its_name_is_found(
    katas: Katas, kata_id: str, whale: Path, change: Callable[[bytes], bytes]
) -> None:
    path = object_path(whale, "2:sandbox/hiker.c")
    overwrite(path, change)
    verified = verify(katas, kata_id, mend=True)
    name = path.parent.name + path.name
    assert objects_of(verified, "HISTORY") == {name}
    assert name in {
        each.replace("/", "") for each in fsck(whale)["damaged"] | fsck(whale)["missing"]
    }
    assert verified.summary.mended_count == 0
    assert path.exists()


def test_a_kata_with_a_truncated_object_is_neither_restored_nor_imported_and_hangs_no_call(
    katas: Katas, kata_id: str, whale: Path
) -> None:
    overwrite(object_path(whale, "2"), lambda content: content[:20])
    with refused(grpc.StatusCode.DATA_LOSS, says="cut off"):
        katas.restore(katas.tar(kata_id), overwrite=True)


def test_a_damaged_object_that_nothing_needs_is_found(
    katas: Katas, kata_id: str, whale: Path
) -> None:
    name = git(whale, "hash-object", "-w", "--stdin", text=b"nobody's").decode().strip()
    path = whale / ".git/objects" / name[:2] / name[2:]
    overwrite(path, lambda content: content[:9])
    assert objects_of(verify(katas, kata_id), "HISTORY") == {name}


def test_dangling_objects_are_those_that_git_finds(katas: Katas, kata_id: str, whale: Path) -> None:
    git(whale, "hash-object", "-w", "--stdin", text=b"nobody's")
    tree = git(whale, "rev-parse", "2^{tree}").decode().strip()
    author = ["-c", "user.name=a", "-c", "user.email=a@b"]
    git(whale, *author, "commit-tree", "-m", "lost", "-p", "3", tree)
    verified = verify(katas, kata_id)
    assert objects_of(verified, "DANGLING") == fsck(whale)["dangling"]
    assert len(verified.findings) == 2
    assert verified.summary.harmless_count == 2


def test_a_pack_is_read_as_a_whole(katas: Katas, kata_id: str, whale: Path) -> None:
    git(whale, "repack", "-adq")
    (pack,) = (whale / ".git/objects/pack").glob("*.pack")
    assert verify(katas, kata_id).kinds() == []
    overwrite(pack, lambda content: content[:-1] + bytes([content[-1] ^ 1]))
    assert ("HISTORY", f"whale/.git/objects/pack/{pack.name}", False) in verify(
        katas, kata_id
    ).kinds()


def test_the_objects_of_a_damaged_pack_are_named(katas: Katas, kata_id: str, whale: Path) -> None:
    git(whale, "repack", "-adq")
    (pack,) = (whale / ".git/objects/pack").glob("*.pack")
    middle = pack.stat().st_size // 2
    overwrite(
        pack,
        lambda content: content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :],
    )
    verified = verify(katas, kata_id)
    assert objects_of(verified, "HISTORY")
    assert fsck(whale)["damaged"] or fsck(whale)["missing"]


def test_a_pack_without_its_index_is_found(katas: Katas, kata_id: str, whale: Path) -> None:
    git(whale, "repack", "-adq")
    (index,) = (whale / ".git/objects/pack").glob("*.idx")
    index.unlink()
    assert any(".pack" in path for _, path, _ in verify(katas, kata_id).kinds())


@pytest.mark.parametrize("path", ["packed-refs", "HEAD", "index"])
def test_junk_in_one_repository_is_a_finding_and_the_next_kata_is_verified(
    katas: Katas, kata_id: str, whale: Path, path: str
) -> None:
    (whale / ".git" / path).write_bytes(b"\xff\xfe junk\n")
    others = katas.started("bat")
    verified = verify(katas, kata_id, others)
    assert verified.summary.kata_count == 2
    assert {each.kata_id for each in verified.findings} == {kata_id}


def test_a_missing_repository_is_found(katas: Katas, kata_id: str, whale: Path) -> None:
    shutil.rmtree(whale / ".git")
    assert verify(katas, kata_id, mend=True).kinds() == [("HISTORY", "whale/.git", False)]


@pytest.mark.parametrize("content", [None, b"", b"{nonsense", b"{}"])
@pytest.mark.parametrize("name", ["increments.json", "manifest.json"])
def test_a_stale_file_that_repeats_git_is_rewritten(
    katas: Katas, kata_id: str, whale: Path, name: str, content: bytes | None
) -> None:
    before = json.loads((whale / name).read_bytes())
    if content is None:
        (whale / name).unlink()
    else:
        (whale / name).write_bytes(content)
    assert verify(katas, kata_id).kinds() == [("STALE", f"whale/{name}", False)]
    assert verify(katas, kata_id, mend=True).kinds() == [("STALE", f"whale/{name}", True)]
    assert json.loads((whale / name).read_bytes()) == before
    kept = [path.read_bytes() for path in whale.glob(f".{name}.was-*")]
    assert kept == ([content] if content else [])
    assert verify(katas, kata_id).kinds() == []
    assert [light.number for light in katas.lights(kata_id, "whale")] == [0, 1, 2, 3]


def test_a_list_of_lights_that_contradicts_git_is_corrected_and_keeps_unknown_keys(
    katas: Katas, kata_id: str, whale: Path
) -> None:
    path = whale / "increments.json"
    listed = json.loads(path.read_bytes())
    listed[0]["colour"] = "green"
    listed[1]["mood"] = "red"
    path.write_text(json.dumps(listed[:2]))
    verified = verify(katas, kata_id, mend=True)
    assert verified.kinds() == [("STALE", "whale/increments.json", True)]
    assert verified.findings[0].what == "lights 1, 3 are not as git has it"
    mended = json.loads(path.read_bytes())
    assert [each["colour"] for each in mended] == ["red", "red", "green"]
    assert mended[1]["mood"] == "red"
    assert verify(katas, kata_id).kinds() == []


@pytest.mark.parametrize("number", ["1", "2", "3"])
def test_a_lost_tag_is_restored(katas: Katas, kata_id: str, whale: Path, number: str) -> None:
    before = git(whale, "rev-parse", number)
    (whale / ".git/refs/tags" / number).unlink()
    path = f"whale/.git/refs/tags/{number}"
    assert verify(katas, kata_id).kinds() == [("LIGHTS", path, False)]
    assert verify(katas, kata_id, mend=True).kinds() == [("LIGHTS", path, True)]
    assert git(whale, "rev-parse", number) == before
    assert verify(katas, kata_id).kinds() == []


@pytest.mark.parametrize("numbers", [[0], [1, 2], [2, 3], [0, 1, 2, 3]])
def test_a_lost_set_of_tags_is_one_finding_and_is_restored(
    katas: Katas, kata_id: str, whale: Path, numbers: list[int]
) -> None:
    before = [git(whale, "rev-parse", str(number)) for number in numbers]
    for number in numbers:
        (whale / ".git/refs/tags" / str(number)).unlink()
    path = "whale/.git/refs/tags" + (f"/{numbers[0]}" if len(numbers) == 1 else "")
    verified = verify(katas, kata_id, mend=True)
    assert verified.kinds()[0] == ("LIGHTS", path, True)
    assert [kind for kind, *_ in verified.kinds()].count("LIGHTS") == 1
    if len(numbers) > 1:
        what = f"lights {numbers[0]} to {numbers[-1]} have no tags"
        assert verified.findings[0].what == what
    assert [git(whale, "rev-parse", str(number)) for number in numbers] == before
    verify(katas, kata_id, mend=True)
    assert verify(katas, kata_id).kinds() == []


def test_a_tag_that_a_crash_left_empty_is_restored(katas: Katas, kata_id: str, whale: Path) -> None:
    (whale / ".git/refs/tags/2").write_bytes(b"")
    assert verify(katas, kata_id, mend=True).kinds() == [("LIGHTS", "whale/.git/refs/tags/2", True)]
    assert verify(katas, kata_id).kinds() == []


def test_a_light_that_git_does_not_have_is_reported_and_stays_listed(
    katas: Katas, kata_id: str, whale: Path
) -> None:
    path = whale / "increments.json"
    listed = json.loads(path.read_bytes())
    path.write_text(json.dumps([*listed, {**listed[-1], "number": 4}]))
    verified = verify(katas, kata_id, mend=True)
    assert ("LIGHTS", "whale/.git/refs/tags/4", False) in verified.kinds()
    assert len(json.loads(path.read_bytes())) == 4


def test_a_light_that_does_not_follow_the_previous_one_is_reported(
    katas: Katas, kata_id: str, whale: Path
) -> None:
    tree = git(whale, "rev-parse", "3^{tree}").decode().strip()
    author = ["-c", "user.name=a", "-c", "user.email=a@b"]
    commit = git(whale, *author, "commit-tree", "-m", "3", "-p", "1", tree).decode()
    (whale / ".git/refs/tags/3").write_text(commit)
    found = verify(katas, kata_id, mend=True).kinds()
    assert ("LIGHTS", "whale/.git/refs/tags/3", False) in found


def test_a_branch_that_lags_behind_is_moved_to_the_newest_light(
    katas: Katas, kata_id: str, whale: Path
) -> None:
    branch = whale / ".git" / git(whale, "symbolic-ref", "HEAD").decode().strip()
    for content in (git(whale, "rev-parse", "2"), b"", b"\0\0\0"):
        branch.write_bytes(content)
        assert [mended for _, _, mended in verify(katas, kata_id, mend=True).kinds()] == [True]
        assert git(whale, "rev-parse", "HEAD") == git(whale, "rev-parse", "3")


@pytest.mark.parametrize("name", [".git/index", "light.json"])
def test_an_index_and_light_json_of_no_light_are_rewritten(
    katas: Katas, kata_id: str, whale: Path, name: str
) -> None:
    katas.tar(kata_id)
    (whale / name).write_bytes(b"nonsense")
    assert verify(katas, kata_id).kinds() == [("STALE", f"whale/{name}", False)]
    assert verify(katas, kata_id, mend=True).kinds() == [("STALE", f"whale/{name}", True)]
    assert git(whale, "status", "--short", "--", "light.json") == b""
    assert verify(katas, kata_id).kinds() == []


def test_leftovers_of_dead_processes_are_removed(
    katas: Katas, kata_id: str, whale: Path, folder: Folder
) -> None:
    top = folder(kata_id)
    (top / ".starting" / "sandbox").mkdir(parents=True)
    (top / ".incoming-123" / "whale").mkdir(parents=True)
    for name in (".increments.json.new", ".git/index.lock", ".git/refs/tags/3.lock"):
        (whale / name).write_bytes(b"half")
    unfinished = object_path(whale, "3").parent / "tmp_obj_1234"
    unfinished.write_bytes(b"half")
    expected = {
        ".starting",
        ".incoming-123",
        "whale/.increments.json.new",
        "whale/.git/index.lock",
        "whale/.git/refs/tags/3.lock",
        str(unfinished.relative_to(top)),
    }
    for mend in (False, True):
        found = verify(katas, kata_id, mend=mend).kinds()
        left = {path for kind, path, mended in found if kind == "LEFTOVER" and mended is mend}
        assert left == expected
    assert verify(katas, kata_id).kinds() == []


def test_files_of_a_call_in_progress_are_not_leftovers(
    katas: Katas, kata_id: str, folder: Folder
) -> None:
    incoming = folder(kata_id) / ".incoming-123"
    incoming.mkdir()
    starting = folder(kata_id) / ".starting"
    starting.mkdir()
    with locks.locked(incoming), locks.locked(folder(kata_id) / "manifest.json"):
        assert verify(katas, kata_id, mend=True).kinds() == []
    assert incoming.exists()
    assert starting.exists()


def test_a_missing_sandbox_is_made_from_the_newest_light(
    katas: Katas, kata_id: str, whale: Path
) -> None:
    shutil.rmtree(whale / "sandbox")
    assert verify(katas, kata_id).kinds() == [("OWNERSHIP", "whale/sandbox", False)]
    assert verify(katas, kata_id, mend=True).kinds() == [("OWNERSHIP", "whale/sandbox", True)]
    assert (whale / "sandbox/hiker.c").read_bytes() == b"int answer(void) { return 3; }\n"
    assert (whale / "sandbox/hiker.c").stat().st_uid == avatars.uid("whale")
    assert verify(katas, kata_id).kinds() == []


def test_owners_and_modes_are_corrected(
    katas: Katas, kata_id: str, whale: Path, folder: Folder
) -> None:
    os.chown(whale / "sandbox/hiker.c", 0, 0)
    (folder(kata_id) / "zebra/sandbox").chmod(0o755)
    (folder(kata_id) / "zebra").chmod(0o777)
    (whale / ".git").chmod(0o755)
    os.chown(whale / "manifest.json", avatars.uid("whale"), 0)
    (folder(kata_id) / "manifest.json").chmod(0o644)
    expected = {
        "manifest.json",
        "whale/.git",
        "whale/manifest.json",
        "whale/sandbox/hiker.c",
        "zebra",
        "zebra/sandbox",
    }
    for mend in (False, True):
        found = verify(katas, kata_id, mend=mend).kinds()
        assert {path for kind, path, mended in found if mended is mend} == expected
        assert {kind for kind, _, _ in found} == {"OWNERSHIP"}
    assert verify(katas, kata_id).kinds() == []


def test_a_sandbox_in_use_is_left_alone(katas: Katas, kata_id: str, whale: Path) -> None:
    os.chown(whale / "sandbox/hiker.c", 0, 0)
    with locks.locked(whale / "sandbox"):
        assert verify(katas, kata_id, mend=True).kinds() == []


def test_a_link_in_a_sandbox_leads_nobody_out_of_it(
    katas: Katas, kata_id: str, whale: Path, tmp_path: Path
) -> None:
    (whale / "sandbox/out").symlink_to(tmp_path)
    before = tmp_path.stat()
    assert verify(katas, kata_id, mend=True).summary.mended_count == 1
    assert (tmp_path.stat().st_uid, tmp_path.stat().st_mode) == (before.st_uid, before.st_mode)


def test_a_missing_handle_is_made_again(
    katas: Katas, kata_id: str, data_containers: DataContainers
) -> None:
    api = data_containers.engine.api
    name = data_containers.namespace.kata(kata_id)
    api.remove_container(name)
    assert verify(katas, kata_id).kinds() == [("HANDLE", "", False)]
    with pytest.raises(docker.errors.NotFound):
        api.inspect_container(name)
    assert verify(katas, kata_id, mend=True).kinds() == [("HANDLE", "", True)]
    assert api.inspect_container(name)
    assert verify(katas, kata_id).kinds() == []


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"id": "0123456789"}', b'{"created": "yesterday"}']
)
def test_a_manifest_of_another_kata_is_reported(
    katas: Katas, kata_id: str, folder: Folder, content: bytes
) -> None:
    (folder(kata_id) / "manifest.json").write_bytes(content)
    found = verify(katas, kata_id, mend=True).kinds()
    assert ("MANIFEST", "manifest.json", False) in found
    assert (folder(kata_id) / "manifest.json").read_bytes() == content


def test_a_kata_without_its_manifest_is_reported(
    katas: Katas, kata_id: str, folder: Folder
) -> None:
    manifest = folder(kata_id) / "manifest.json"
    content = manifest.read_bytes()
    manifest.unlink()
    assert verify(katas, kata_id).kinds() == [("MANIFEST", "manifest.json", False)]
    manifest.write_bytes(content)


def test_a_damaged_kata_does_not_keep_others_from_being_verified(
    katas: Katas, kata_id: str, whale: Path
) -> None:
    others = [katas.started("bear") for _ in range(3)]
    shutil.rmtree(whale / ".git/objects")
    verified = verify(katas, kata_id, *others)
    assert {each.kata_id for each in verified.findings} == {kata_id}
    assert verified.summary.kata_count == 4


def test_katas_are_selected_by_prefix_or_by_id_and_an_unknown_id_is_refused(
    katas: Katas, kata_id: str
) -> None:
    other = katas.create()
    assert verify(katas, prefix=kata_id[:9]).summary.kata_count == 1
    assert verify(katas, other, kata_id, other).summary.kata_count == 2
    with refused(grpc.StatusCode.NOT_FOUND, says="0123456789"):
        verify(katas, "0123456789")
    with refused(grpc.StatusCode.INVALID_ARGUMENT, field="kata_ids"):
        verify(katas, "../../../etc")
    with refused(grpc.StatusCode.INVALID_ARGUMENT, field="kata_ids"):
        verify(katas, kata_id, prefix="A")
    with refused(grpc.StatusCode.INVALID_ARGUMENT, field="prefix"):
        verify(katas, prefix="%")
    with refused(grpc.StatusCode.INVALID_ARGUMENT, field="share_percent"):
        verify(katas, share_percent=101)


def test_nothing_is_found_and_nothing_is_mended_while_a_class_works(katas: Katas) -> None:
    names = ["bear", "lion", "whale", "zebra"]
    kata_id = katas.started(*names)
    stop = threading.Event()
    recorded: dict[str, int] = dict.fromkeys(names, 0)

    def play(name: str) -> None:
        while not stop.is_set():
            recorded[name] += 1
            content = {"hiker.c": b"%s %d\n" % (name.encode(), recorded[name])}
            katas.record(kata_id, name, {**FILES, **content})

    players = [threading.Thread(target=play, args=(name,)) for name in names]
    for player in players:
        player.start()
    try:
        while min(recorded.values()) < 25:
            verified = verify(katas, kata_id, mend=True)
            assert [str(each) for each in verified.findings] == []
    finally:
        stop.set()
        for player in players:
            player.join()
    for name in names:
        assert [each.number for each in katas.lights(kata_id, name)] == list(
            range(recorded[name] + 1)
        )
    assert verify(katas, kata_id).summary.light_count == sum(recorded.values())


def test_a_kata_can_be_deleted_while_it_is_verified(katas: Katas) -> None:
    kata_ids = [katas.started("bear", "lion") for _ in range(8)]
    request = storer_pb2.VerifyKatasRequest(kata_ids=kata_ids, share_percent=5)
    parts = katas.stub.VerifyKatas(request)
    for kata_id in kata_ids:
        katas.delete(kata_id)
    assert [part.WhichOneof("part") for part in parts if not part.HasField("progress")] == [
        "summary"
    ]


def test_a_write_ahead_log_is_replayed_before_its_avatar_is_verified(
    start_storer: Callable[..., Service], client: Callable[[Service], Katas], folder: Folder
) -> None:
    service = start_storer()
    kata_id = client(service).started("whale")
    client(service).record(kata_id, "whale", {**FILES, "new": b"new"})
    whale = folder(kata_id) / "whale"
    service.kill()
    assert WriteAheadLog(whale).read_position().used
    object_path(whale, "1:sandbox/new").unlink()
    (whale / "increments.json").write_bytes(b"")
    verified = verify(client(start_storer()), kata_id)
    assert verified.kinds() == []
    assert verified.summary.light_count == 1


def test_an_archived_kata_is_read_through(
    start_storer: Callable[..., Service],
    elsewhere: DataContainers,
    client: Callable[[Service], Katas],
    tmp_path: Path,
) -> None:
    place = tmp_path / "archive"
    service = start_storer(
        CYBER_DOJO_NAMESPACE=elsewhere.namespace.name, CYBER_DOJO_ARCHIVE=str(place)
    )
    katas = client(service)
    kata_id = katas.started("whale")
    katas.record(kata_id, "whale")
    katas.stub.ArchiveKata(storer_pb2.ArchiveKataRequest(kata_id=kata_id))
    verified = verify(katas)
    assert verified.kinds() == []
    assert verified.summary.kata_count == 1
    assert verified.summary.size_bytes > 1000
    (tar,) = place.rglob(f"*{kata_id}.tar.zst")
    whole = tar.read_bytes()
    middle = len(whole) // 2
    for content in (
        whole[:-1],
        whole[:middle],
        whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
        b"",
    ):
        tar.write_bytes(content)
        assert {kind for kind, _, _ in verify(katas, kata_id).kinds()} == {"ARCHIVE"}
    assert verify(katas, skip_archive=True).kinds() == []
    tar.write_bytes(whole)
    assert katas.get(kata_id)
