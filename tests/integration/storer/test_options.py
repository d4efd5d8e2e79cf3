"""Options of a kata are kept with it, and go wherever lights go."""

import io
import json
import subprocess
import tarfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import grpc
import pytest

from cyberdojo.storer.v1 import storer_pb2
from dojo import limits
from dojo.engine.data_containers import DataContainers
from support.services import Service, wait_until
from support.storer.backups import Restored, backup, restore_into
from support.storer.storing import (
    CREATED,
    Katas,
    a_manifest,
    refused,
    restore_requests,
    timestamp,
    unpacked,
)
from support.storer.verifying import verify

INVALID = grpc.StatusCode.INVALID_ARGUMENT
DARK, LIGHT = storer_pb2.THEME_DARK, storer_pb2.THEME_LIGHT
FILE = "options.json"


def one(**fields: Any) -> storer_pb2.Options:
    return storer_pb2.Options(**fields)


def all_of(kata: storer_pb2.Options | None = None, **avatars: Any) -> storer_pb2.KataOptions:
    return storer_pb2.KataOptions(kata=kata or one(), avatars=avatars)


def set_(
    katas: Katas, kata_id: str, avatar: str = "", unset: tuple[str, ...] = (), **given: Any
) -> storer_pb2.KataOptions:
    """Set options; return all of the kata."""
    request = storer_pb2.SetOptionsRequest(
        kata_id=kata_id, avatar=avatar, options=one(**given), unset=unset
    )
    return katas.stub.SetOptions(request).options


def options_of(katas: Katas, kata_id: str) -> storer_pb2.KataOptions:
    return katas.get(kata_id).options


def with_options(katas: Katas) -> tuple[str, storer_pb2.KataOptions]:
    """Create a kata that has options, and an avatar with others; return its id, and those."""
    kata_id = katas.started("whale", "zebra")
    katas.record(kata_id, "whale")
    set_(katas, kata_id, theme=DARK, predict=True)
    return kata_id, set_(katas, kata_id, "whale", theme=LIGHT, revert_red=True)


def test_only_the_given_options_change(katas: Katas) -> None:
    kata_id = katas.started("whale")
    assert not katas.get(kata_id).HasField("options")
    assert set_(katas, kata_id, theme=DARK) == all_of(one(theme=DARK))
    assert set_(katas, kata_id, predict=True) == all_of(one(theme=DARK, predict=True))
    assert set_(katas, kata_id, predict=False) == all_of(one(theme=DARK, predict=False))
    own = set_(katas, kata_id, "whale", syntax_colour=False, revert_amber=True, revert_green=True)
    whale = one(syntax_colour=False, revert_amber=True, revert_green=True)
    assert own == all_of(one(theme=DARK, predict=False), whale=whale)
    assert options_of(katas, kata_id) == own


def test_options_are_set_no_longer(katas: Katas) -> None:
    kata_id, options = with_options(katas)
    assert set_(katas, kata_id, "whale", unset=("theme",), predict=False) == all_of(
        options.kata, whale=one(predict=False, revert_red=True)
    )
    assert set_(katas, kata_id, "whale", unset=("predict", "revert_red")) == all_of(options.kata)
    assert set_(katas, kata_id, unset=("predict", "theme")) == all_of()
    assert not katas.get(kata_id).HasField("options")


def test_a_repeated_call_changes_nothing(katas: Katas, folder: Callable[[str], Path]) -> None:
    kata_id, options = with_options(katas)
    before = (folder(kata_id) / FILE).stat()
    assert set_(katas, kata_id, "whale", theme=LIGHT) == options
    assert set_(katas, kata_id, unset=("revert_green",)) == options
    assert (folder(kata_id) / FILE).stat() == before


def test_callers_who_set_different_options_at_once_lose_nothing(
    start_storer: Callable[..., Service], client: Callable[[Service], Katas]
) -> None:
    both = [client(start_storer()), client(start_storer())]
    kata_id = both[0].started("whale", "zebra")
    names = ("syntax_colour", "predict", "revert_red", "revert_amber", "revert_green")
    wanted = [(avatar, name) for avatar in ("", "whale", "zebra") for name in names]

    def set_one(place: int) -> None:
        avatar, name = wanted[place]
        request = storer_pb2.SetOptionsRequest(kata_id=kata_id, avatar=avatar)
        setattr(request.options, name, True)
        both[place % 2].stub.SetOptions(request)

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(set_one, range(len(wanted))))
    everything = one(**dict.fromkeys(names, True))
    for each in both:
        assert options_of(each, kata_id) == all_of(everything, whale=everything, zebra=everything)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, "options"),
        ({"options": one(theme=7)}, "options.theme"),
        ({"unset": ["colour"]}, "unset[0]"),
        ({"options": one(predict=True), "unset": ["theme", "predict"]}, "unset[1]"),
        ({"unset": ["theme"] * 7}, "unset"),
        ({"options": one(predict=True), "avatar": "dragon"}, "avatar"),
        ({"options": one(predict=True), "kata_id": "x"}, "kata_id"),
    ],
)
def test_what_can_not_be_set_is_refused(katas: Katas, fields: dict[str, Any], field: str) -> None:
    kata_id = katas.started("whale")
    with refused(INVALID, field=field):
        katas.stub.SetOptions(storer_pb2.SetOptionsRequest(**{"kata_id": kata_id, **fields}))
    assert not katas.get(kata_id).HasField("options")


def test_an_avatar_that_has_not_started_has_no_options(katas: Katas) -> None:
    kata_id = katas.started("whale")
    with refused(grpc.StatusCode.NOT_FOUND, reason="NO_SUCH_AVATAR"):
        set_(katas, kata_id, "zebra", predict=True)


def test_a_kata_is_created_with_options(katas: Katas, folder: Callable[[str], Path]) -> None:
    for request_id in ("", "0123456789abcdef"):
        request = storer_pb2.CreateKataRequest(
            manifest=a_manifest(),
            created=timestamp(CREATED),
            request_id=request_id,
            options=one(theme=DARK, predict=False),
        )
        kata_id = katas.stub.CreateKata(request).kata_id
        assert options_of(katas, kata_id) == all_of(one(theme=DARK, predict=False))
    again = katas.stub.CreateKata(request).kata_id
    assert again == kata_id
    with refused(INVALID, field="options.theme"):
        katas.stub.CreateKata(
            storer_pb2.CreateKataRequest(manifest=a_manifest(), options=one(theme=9))
        )
    assert not (folder(katas.create()) / FILE).exists()


def test_a_fork_has_the_options_that_hold_for_the_avatar(katas: Katas) -> None:
    kata_id, options = with_options(katas)

    def fork(avatar: str) -> storer_pb2.KataOptions:
        request = storer_pb2.ForkKataRequest(kata_id=kata_id, avatar=avatar, light_number=0)
        return options_of(katas, katas.stub.ForkKata(request).kata_id)

    assert fork("whale") == all_of(one(theme=LIGHT, predict=True, revert_red=True))
    assert fork("zebra") == all_of(options.kata)


Parts = list[storer_pb2.WatchKataResponse]


def watched(katas: Katas, kata_id: str, then: Callable[[], object], count: int) -> Parts:
    """Watch a kata, do something when all is caught up; return the first parts."""
    request = storer_pb2.WatchKataRequest(kata_id=kata_id, with_options=True)
    call: Any = katas.stub.WatchKata(request, timeout=60)
    found = []
    for each in call:
        if each.caught_up:
            then()
            continue
        found.append(each)
        if len(found) == count:
            break
    call.cancel()
    return found


def test_who_asks_watches_options(katas: Katas) -> None:
    kata_id, options = with_options(katas)

    def then() -> None:
        set_(katas, kata_id, "zebra", theme=DARK)

    first, *lights, last = watched(katas, kata_id, then, 5)
    assert first == storer_pb2.WatchKataResponse(options=options)
    assert all(each.HasField("light") for each in lights)
    now = all_of(options.kata, whale=options.avatars["whale"], zebra=one(theme=DARK))
    assert last == storer_pb2.WatchKataResponse(options=now)


def test_a_watch_begins_with_options_also_if_none_is_set(katas: Katas) -> None:
    kata_id = katas.create()
    (first,) = watched(katas, kata_id, lambda: None, 1)
    assert first.HasField("options")
    assert first.options == all_of()


def test_options_that_another_storer_sets_are_watched_too(
    start_storer: Callable[..., Service], client: Callable[[Service], Katas]
) -> None:
    katas, other = client(start_storer()), client(start_storer())
    kata_id = katas.create()
    first, last = watched(katas, kata_id, lambda: set_(other, kata_id, predict=True), 2)
    assert (first.options, last.options) == (all_of(), all_of(one(predict=True)))


def test_who_does_not_ask_sees_what_was_always_seen(katas: Katas) -> None:
    kata_id, _ = with_options(katas)
    call: Any = katas.stub.WatchKata(storer_pb2.WatchKataRequest(kata_id=kata_id), timeout=60)
    seen = [next(call) for _ in range(4)]
    assert seen[-1].caught_up
    set_(katas, kata_id, theme=LIGHT)
    katas.record(kata_id, "zebra")
    after = next(call)
    call.cancel()
    assert (after.avatar, after.light.number) == ("zebra", 1)
    assert not any(each.HasField("options") for each in [*seen, after])


def check(katas: Katas, kata_id: str, options: storer_pb2.KataOptions) -> None:
    assert options_of(katas, kata_id) == options
    assert verify(katas, kata_id).kinds() == []


def test_options_go_round_through_archive_download_and_restore(
    start_storer: Callable[..., Service],
    client: Callable[[Service], Katas],
    folder: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    katas = client(start_storer(CYBER_DOJO_ARCHIVE=str(tmp_path / "archive")))
    kata_id, options = with_options(katas)
    content = (folder(kata_id) / FILE).read_bytes()

    def archive() -> None:
        katas.stub.ArchiveKata(storer_pb2.ArchiveKataRequest(kata_id=kata_id))
        assert not folder(kata_id).exists()

    archive()
    check(katas, kata_id, options)
    assert (folder(kata_id) / FILE).read_bytes() == content
    # Nothing but an option changed since the copy in the archive.
    options = set_(katas, kata_id, "zebra", predict=False)
    archive()
    assert verify(katas, kata_id).kinds() == []
    check(katas, kata_id, options)
    tar = katas.tar(kata_id, storer_pb2.COMPRESSION_ZSTD)
    set_(katas, kata_id, theme=LIGHT)
    katas.restore(tar, overwrite=True)
    check(katas, kata_id, options)
    katas.delete(kata_id)
    katas.restore(tar)
    check(katas, kata_id, options)
    archive()
    katas.delete(kata_id)
    with refused(grpc.StatusCode.NOT_FOUND):
        katas.get(kata_id)


def test_a_kata_without_options_is_what_it_was(
    start_storer: Callable[..., Service], client: Callable[[Service], Katas], tmp_path: Path
) -> None:
    katas = client(start_storer(CYBER_DOJO_ARCHIVE=str(tmp_path / "archive")))
    kata_id = katas.started("whale")
    katas.record(kata_id, "whale")

    def files() -> dict[str, bytes]:
        top = unpacked(katas.tar(kata_id), tmp_path / "out", kata_id)
        return {
            str(path.relative_to(top)): path.read_bytes()
            for path in top.rglob("*")
            if path.is_file()
        }

    before = files()
    assert not any("options" in name for name in before)
    katas.get(kata_id)
    katas.stub.ArchiveKata(storer_pb2.ArchiveKataRequest(kata_id=kata_id))
    subprocess.run(["rm", "-r", tmp_path / "out"], check=True)
    katas.get(kata_id)
    after = files()
    packed = {name for name in before.keys() ^ after.keys() if "/.git/" not in f"/{name}"}
    assert packed == set()
    same = [name for name in before.keys() & after.keys() if ".git/" not in name]
    assert {name: before[name] for name in same} == {name: after[name] for name in same}


def test_a_kata_whose_options_alone_changed_is_in_the_next_backup(
    katas: Katas, katas_elsewhere: Katas
) -> None:
    kata_id, first = with_options(katas)
    backups = [backup(katas)]
    options = [first]
    for predict in (False, True):
        assert backup(katas, since_token=backups[-1].token).states[kata_id] == "unchanged"
        options.append(set_(katas, kata_id, predict=predict))
        backups.append(backup(katas, since_token=backups[-1].token))
        assert backups[-1].states[kata_id] == "sent"
    # Each goes on from the one before, and none that is older takes anything back.
    for made, expected in zip(backups, options, strict=True):
        outcome = restore_into(katas_elsewhere, made.tar).outcomes[kata_id]
        assert outcome == ("restored" if made is backups[0] else "replaced")
        check(katas_elsewhere, kata_id, expected)
    assert restore_into(katas_elsewhere, backups[-1].tar).outcomes == {kata_id: "unchanged"}
    older = restore_into(katas_elsewhere, backups[0].tar)
    assert older.outcomes == {kata_id: "skipped"}
    assert "its options were set later than those in the backup" in older.reasons[kata_id]
    check(katas_elsewhere, kata_id, options[-1])
    forced = restore_into(katas_elsewhere, backups[0].tar, overwrite=True)
    assert forced.outcomes == {kata_id: "replaced"}
    check(katas_elsewhere, kata_id, options[0])


def test_options_that_were_set_here_keep_a_kata_from_being_replaced(
    katas: Katas, katas_elsewhere: Katas
) -> None:
    kata_id, _ = with_options(katas)
    restore_into(katas_elsewhere, backup(katas).tar)
    here = set_(katas_elsewhere, kata_id, revert_red=True)
    set_(katas, kata_id, revert_green=True)
    katas.record(kata_id, "whale")
    restored: Restored = restore_into(katas_elsewhere, backup(katas).tar)
    assert restored.outcomes == {kata_id: "skipped"}
    check(katas_elsewhere, kata_id, here)


def test_a_deletion_spares_a_kata_whose_options_were_set_since(
    katas: Katas, katas_elsewhere: Katas
) -> None:
    kata_id, _ = with_options(katas)
    full = backup(katas)
    restore_into(katas_elsewhere, full.tar)
    set_(katas_elsewhere, kata_id, revert_red=True)
    katas.delete(kata_id)
    deleting = backup(katas, since_token=full.token).tar
    kept = restore_into(katas_elsewhere, deleting, apply_deletions=True)
    assert kept.outcomes == {kata_id: "kept"}


def test_options_are_copied_with_the_katas_in_use(
    start_storer: Callable[..., Service],
    client: Callable[[Service], Katas],
    data_containers: DataContainers,
    folder: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    archive = {"CYBER_DOJO_ARCHIVE": str(tmp_path / "archive")}
    service = start_storer(
        **archive, CYBER_DOJO_ARCHIVE_COPY_SECONDS="1", CYBER_DOJO_LOG_LEVEL="debug"
    )
    katas = client(service)

    def copies() -> list[int]:
        return [each["copy"] for each in service.events() if each["event"] == "kata copied"]

    def copied(change: Callable[[], object]) -> None:
        before = len(copies())
        change()
        wait_until(lambda: len(copies()) > before)

    copied(lambda: katas.started("whale"))
    (kata_id,) = (
        each.kata_id for each in katas.stub.ListKatas(storer_pb2.ListKatasRequest()).katas
    )
    wait_until((folder(kata_id) / "whale").is_dir)
    copied(lambda: set_(katas, kata_id, theme=DARK))
    copied(lambda: katas.record(kata_id, "whale"))
    copied(lambda: set_(katas, kata_id, "whale", predict=True))
    numbers = copies()[-3:]
    assert all(after == before + 1 for before, after in pairwise(numbers)), numbers
    options = options_of(katas, kata_id)
    content = (folder(kata_id) / FILE).read_bytes()
    service.stop()
    data_containers.delete(kata_id)
    again = client(start_storer(**archive))
    check(again, kata_id, options)
    assert (folder(kata_id) / FILE).read_bytes() == content
    assert len(again.lights(kata_id, "whale")) == 2


def test_a_storer_that_is_killed_loses_no_option_that_it_said_was_set(
    start_storer: Callable[..., Service], client: Callable[[Service], Katas]
) -> None:
    doomed = start_storer()
    katas = client(doomed)
    kata_id, options = with_options(katas)
    answered = all_of()
    answered.CopyFrom(options)

    def go_on_setting() -> None:
        try:
            for number in range(100_000):
                answered.CopyFrom(set_(katas, kata_id, "zebra", predict=bool(number % 2)))
                answered.CopyFrom(set_(katas, kata_id, theme=number % 2 + 1))
        except grpc.RpcError:
            return

    with ThreadPoolExecutor(1) as threads:
        setting = threads.submit(go_on_setting)
        wait_until(lambda: "zebra" in answered.avatars)
        doomed.kill()
        setting.result()
    again = client(start_storer())
    found = options_of(again, kata_id)
    # The call that was not answered may have changed one option, or not.
    flipped = [
        all_of(one(theme=3 - answered.kata.theme, predict=True), **answered.avatars),
        all_of(
            answered.kata,
            whale=answered.avatars["whale"],
            zebra=one(predict=not answered.avatars["zebra"].predict),
        ),
    ]
    assert found in [answered, *flipped]
    assert verify(again, kata_id).unmended() == []
    set_(again, kata_id, theme=DARK)


def of_tar(tar: bytes, name: str, content: bytes) -> bytes:
    """Return a kata's tar in which a file at its top has other content."""
    out = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(tar)) as was,
        tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as now,
    ):
        for member in was:
            found = was.extractfile(member) if member.isreg() else None
            data = found.read() if found else b""
            if member.name.count("/") == 2 and member.name.endswith(f"/{name}"):
                data = content
                member.size = len(data)
            now.addfile(member, io.BytesIO(data) if member.isreg() else None)
    return out.getvalue()


DAMAGED = {
    "no JSON": b"{",
    "no object": b"[1]",
    "another theme": b'{"kata":{"theme":"blue"}}',
    "no switch": b'{"avatars":{"whale":{"predict":"on"}}}',
    "no avatars": b'{"avatars":[]}',
    "no count": b'{"revision":-1}',
    "too large": b'{"kata":{},"more":"%s"}' % (b"x" * limits.MAX_OPTIONS_BYTES),
    "too much that is unknown": b'{"kata":{},"more":"%s"}'
    % (b"x" * (limits.MAX_OPTIONS_BYTES // 2)),
    "too deep to be written": b'{"more":%s1%s}' % (b"[" * 500, b"]" * 500),
    "too deep": b'{"kata":%s1%s}' % (b"[" * 30_000, b"]" * 30_000),
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED.keys())
def test_options_that_come_in_damaged_are_put_aside(
    katas: Katas, folder: Callable[[str], Path], content: bytes
) -> None:
    kata_id, _ = with_options(katas)
    tar = of_tar(katas.tar(kata_id), FILE, content)
    katas.delete(kata_id)
    katas.stub.RestoreKata(restore_requests(tar))
    assert not katas.get(kata_id).HasField("options")
    assert verify(katas, kata_id).kinds() == []
    assert (folder(kata_id) / f"{FILE}.damaged").read_bytes() == content
    assert set_(katas, kata_id, predict=True) == all_of(one(predict=True))


def test_damaged_options_keep_nobody_from_the_kata(
    katas: Katas, katas_elsewhere: Katas, folder: Callable[[str], Path]
) -> None:
    kata_id, _ = with_options(katas)
    path = folder(kata_id) / FILE
    path.write_bytes(b"\0\0\0")
    assert not katas.get(kata_id).HasField("options")
    katas.record(kata_id, "whale")
    assert restore_into(katas_elsewhere, backup(katas).tar).outcomes == {kata_id: "restored"}
    check(katas_elsewhere, kata_id, storer_pb2.KataOptions())
    assert verify(katas, kata_id).kinds() == [("OPTIONS", FILE, False)]
    assert path.read_bytes() == b"\0\0\0"
    assert verify(katas, kata_id, mend=True).kinds() == [("OPTIONS", FILE, True)]
    assert verify(katas, kata_id).kinds() == []
    aside = path.with_name(f"{FILE}.damaged")
    assert aside.read_bytes() == b"\0\0\0"
    # What sets the next option puts a damaged file aside, too.
    path.write_bytes(b"{}}")
    assert set_(katas, kata_id, predict=True) == all_of(one(predict=True))
    assert aside.read_bytes() == b"{}}"
    # It may be no file at all.
    path.unlink()
    path.mkdir(mode=0o700)
    assert not katas.get(kata_id).HasField("options")
    assert verify(katas, kata_id, mend=True).kinds() == [("OPTIONS", FILE, True)]
    assert set_(katas, kata_id, predict=True) == all_of(one(predict=True))


@pytest.mark.parametrize("mend", [False, True])
def test_an_old_backup_takes_no_options_back_that_follow_damaged_ones(
    katas: Katas, folder: Callable[[str], Path], *, mend: bool
) -> None:
    kata_id, options = with_options(katas)
    older = backup(katas).tar
    (folder(kata_id) / FILE).write_bytes(b"\0" * 100)
    if mend:
        assert verify(katas, kata_id, mend=True).kinds() == [("OPTIONS", FILE, True)]
        assert verify(katas, kata_id).kinds() == []
        now = storer_pb2.KataOptions()
    else:
        now = set_(katas, kata_id, predict=False)
    assert katas.get(kata_id).HasField("options") != mend
    found = restore_into(katas, older)
    assert found.outcomes == {kata_id: "skipped"}
    check(katas, kata_id, now)
    assert restore_into(katas, older, overwrite=True).outcomes == {kata_id: "replaced"}
    check(katas, kata_id, options)


def test_what_a_later_storer_keeps_there_stays(katas: Katas, folder: Callable[[str], Path]) -> None:
    kata_id, options = with_options(katas)
    path = folder(kata_id) / FILE
    value = json.loads(path.read_bytes())
    value["sound"] = [1]
    value["kata"]["font"] = "large"
    value["avatars"]["zebra"] = {"font": "small"}
    path.write_text(json.dumps(value))
    assert options_of(katas, kata_id) == options
    set_(katas, kata_id, "zebra", predict=True)
    after = json.loads(path.read_bytes())
    assert after["sound"] == [1]
    assert after["kata"]["font"] == "large"
    assert after["avatars"]["zebra"] == {"font": "small", "predict": True}
    assert after["revision"] == value["revision"] + 1
