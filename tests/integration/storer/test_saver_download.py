"""DownloadKata in the layout of today's server: there, and back, is the same."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from cyberdojo.output.v1 import output_pb2
from cyberdojo.results.v1 import results_pb2
from cyberdojo.storer.v1 import storer_pb2
from dojo import avatars, kata_ids
from support.storer import saver_katas
from support.storer.katas_directories import LegacyKata, each_legacy_kata
from support.storer.saver_katas import folder_of
from support.storer.storing import FILES, GREEN, RED, Katas, content_of, git, refused

GROUP, LONE = "LyQpFr", "H8NAvN"
KOALA, LEOPARD = 26, 27


@pytest.fixture
def saver(saver_directory: Path) -> Iterator[Path]:
    """The saver's directory that the shared storer imports from."""
    yield saver_directory
    for path in saver_directory.glob("*/*"):
        shutil.rmtree(path)


def export(katas: Katas, kata_id: str, folder: Path) -> Path:
    """Unpack a kata, in the layout of a saver, into a folder."""
    request = storer_pb2.DownloadKataRequest(kata_id=kata_id, for_saver=True)
    parts = list(katas.stub.DownloadKata(request))
    assert parts[0].header.filename == f"{kata_id}-saver.tar"
    folder.mkdir(exist_ok=True)
    subprocess.run(["tar", "-x", "-C", folder], input=content_of(parts), check=True)
    return folder


def read(path: Path) -> Any:
    return json.loads(path.read_bytes())


def events_of(repository: Path) -> dict[str, dict[str, bytes]]:
    """Return the content of each tag of a kata of version 2, without what is written by us."""
    found = {}
    for tag in git(repository, "tag").decode().split():
        names = git(repository, "ls-tree", "-r", "-z", "--name-only", tag).decode().split("\0")
        files = {name: git(repository, "show", f"{tag}:{name}") for name in names if name}
        files.pop("README.md")
        found[tag] = files
    return found


def as_json(files: dict[str, bytes]) -> dict[str, Any]:
    return {
        name: json.loads(content) if name.endswith(".json") else content
        for name, content in files.items()
    }


def test_a_group_of_a_saver_is_the_same_when_it_comes_back(
    katas: Katas, saver: Path, tmp_path: Path
) -> None:
    session = saver_katas.session_with_edits("rUqcey", "38w9NC", LEOPARD, index=KOALA)
    other = saver_katas.session_of_runs("38w9NC", index=LEOPARD)
    saver_katas.write_group(saver, GROUP, [session, other], 2, is_stale=False)
    out = export(katas, katas.get(GROUP).kata_id, tmp_path / "out")
    was, now = folder_of(saver, "groups", GROUP), folder_of(out, "groups", GROUP)
    assert read(now / "manifest.json") == read(was / "manifest.json")
    assert (now / "katas.txt").read_text() == (was / "katas.txt").read_text()
    assert sorted(path.name for path in now.iterdir()) == sorted(
        path.name for path in was.iterdir()
    )
    for old_id in ("rUqcey", "38w9NC"):
        was, now = folder_of(saver, "katas", old_id), folder_of(out, "katas", old_id)
        git(now, "fsck", "--strict")
        before, after = events_of(was), events_of(now)
        assert before.keys() == after.keys()
        for tag in before:
            assert as_json(after[tag]) == as_json(before[tag]), tag
        assert read(now / "manifest.json") == read(was / "manifest.json")
        assert read(now / "events.json") == read(was / "events.json")
        newest = [path.relative_to(was) for path in was.glob("files/**/*") if path.is_file()]
        assert newest == [
            path.relative_to(now) for path in now.glob("files/**/*") if path.is_file()
        ]
        log = git(now, "log", "--format=%s").decode().splitlines()
        assert [each.split()[0] for each in log] == [
            str(index) for index in reversed(range(len(before)))
        ]


def test_a_fork_has_old_ids_of_its_own(katas: Katas, saver: Path, tmp_path: Path) -> None:
    session = saver_katas.session_with_edits("rUqcey", "38w9NC", LEOPARD, index=KOALA)
    other = saver_katas.session_of_runs("38w9NC", index=LEOPARD)
    saver_katas.write_group(saver, GROUP, [session, other], 2)
    forked = katas.stub.ForkKata(
        storer_pb2.ForkKataRequest(
            kata_id=katas.get(GROUP).kata_id, avatar="koala", light_number=-1, with_avatar=True
        )
    ).kata_id
    out = export(katas, forked, tmp_path / "out")
    (group,), (kata,) = out.glob("groups/*/*/*"), out.glob("katas/*/*/*")
    assert "".join(group.parts[-3:]) != GROUP
    old_id = "".join(kata.parts[-3:])
    assert old_id not in {"rUqcey", "38w9NC"}
    assert (group / "katas.txt").read_text() == f"{old_id} {KOALA}\n"
    assert len(read(kata / "events.json")) == len(session.events) - 1  # without the last edit


def test_a_lone_kata_of_a_saver_stays_one(katas: Katas, saver: Path, tmp_path: Path) -> None:
    session = saver_katas.session_of_runs(LONE)
    saver_katas.write(saver, session, 1)
    out = export(katas, katas.get(LONE).kata_id, tmp_path / "out")
    assert not (out / "groups").exists()
    now = folder_of(out, "katas", LONE)
    manifest = read(now / "manifest.json")
    assert (manifest["id"], manifest["version"], "group_id" in manifest) == (LONE, 2, False)
    events = read(now / "events.json")
    assert [each["colour"] for each in events[1:]] == [
        each.said["colour"] for each in session.events[1:]
    ]
    assert events[5]["revert"] == [LONE, 3]
    assert git(now, "show", "4:status") == b"137"
    assert json.loads(git(now, "show", "4:truncations.json")) == {"stdout": True, "stderr": False}


def test_a_kata_of_ours_is_the_same_when_it_comes_back(
    katas: Katas, saver: Path, tmp_path: Path
) -> None:
    kata_id = katas.started("whale", "lion")
    edited = {**FILES, "hiker.c": b"int answer;\n", "sub/output": b"\xff\xfe", "output": b"x"}
    counts = results_pb2.TestCounts(passed=2, failed=1)
    katas.record(kata_id, "whale", stdout=b"\xffno UTF-8", status=2, reason="it is told why")
    katas.record(
        kata_id, "whale", edited, colour=GREEN, predicted=RED, special=True, writer="tab 1",
        test_results=results_pb2.TestResults(counts=counts),
        stderr=output_pb2.Output(truncated=True),
        added_lines=3, deleted_lines=1,
    )  # fmt: skip
    source = storer_pb2.LightSource(kata_id=kata_id, avatar="whale", light_number=2)
    for name in ("whale", "lion"):
        request = storer_pb2.RecordTestRequest(kata_id=kata_id, avatar=name, source=source)
        katas.stub.RecordTest(request)
    set_options(katas, kata_id, theme=storer_pb2.THEME_DARK, predict=False)
    set_options(katas, kata_id, "whale", predict=True, theme=storer_pb2.THEME_DARK)
    out = export(katas, kata_id, tmp_path / "out")
    (group,) = (path for path in out.glob("groups/*/*/*"))
    events = read(next(out.glob("katas/*/*/*/events.json")))
    assert {key for each in events for key in each} & {"revert", "checkout"}
    old_id = "".join(group.parts[-3:])
    shutil.copytree(out, saver, dirs_exist_ok=True)
    back = katas.get(old_id)
    assert back.kata_id == kata_ids.of_old(old_id)
    first = katas.get(kata_id)
    assert list(back.avatars) == list(first.avatars)
    assert back.options == first.options
    assert not back.damaged
    assert back.created == first.created
    back.manifest.other.Clear()
    first.manifest.other.Clear()
    assert back.manifest == first.manifest
    for name in ("whale", "lion"):
        lights = katas.lights(back.kata_id, name)
        for light in lights:
            if light.HasField("source"):
                assert light.source.kata_id == back.kata_id
                light.source.kata_id = kata_id
        assert lights == katas.lights(kata_id, name)
        for light in lights:
            was = katas.files(kata_id, name, light.number)
            now = katas.files(back.kata_id, name, light.number)
            was.light.ClearField("source")
            now.light.ClearField("source")
            assert now == was
    # And out again, it is what it was.
    again = export(katas, back.kata_id, tmp_path / "again")
    for path in out.glob("katas/*/*/*"):
        repository = again / path.relative_to(out)
        assert {tag: as_json(each) for tag, each in events_of(repository).items()} == {
            tag: as_json(each) for tag, each in events_of(path).items()
        }


def set_options(katas: Katas, kata_id: str, avatar: str = "", **options: Any) -> None:
    given = storer_pb2.Options(**options)
    request = storer_pb2.SetOptionsRequest(kata_id=kata_id, avatar=avatar, options=given)
    katas.stub.SetOptions(request)


def options_in(out: Path, old_id: str) -> Any:
    return read(folder_of(out, "katas", old_id) / "options.json")


def test_options_of_a_saver_come_back_as_they_were_or_as_they_were_set(
    katas: Katas, saver: Path, tmp_path: Path
) -> None:
    session = saver_katas.session_of_runs("rUqcey", index=KOALA)
    session.options |= {"theme": "dark", "colour": "purple", "fork_button": "off"}
    other = saver_katas.session_of_runs("38w9NC", index=LEOPARD)
    other.options["revert_red"] = "on"
    saver_katas.write_group(saver, GROUP, [session, other], 2, is_stale=False)
    kata = katas.get(GROUP)
    assert kata.options.avatars["koala"] == storer_pb2.Options(theme=storer_pb2.THEME_DARK)
    assert kata.options.avatars["leopard"] == storer_pb2.Options(revert_red=True)
    out = export(katas, kata.kata_id, tmp_path / "out")
    assert options_in(out, "rUqcey") == session.options
    assert options_in(out, "38w9NC") == other.options
    set_options(katas, kata.kata_id, predict=True)
    set_options(katas, kata.kata_id, "koala", syntax_colour=False)
    unset(katas, kata.kata_id, "revert_red", avatar="leopard")
    out = export(katas, kata.kata_id, tmp_path / "set")
    assert options_in(out, "rUqcey") == {**session.options, "colour": "off", "predict": "on"}
    assert options_in(out, "38w9NC") == {**other.options, "predict": "on", "revert_red": "off"}


def test_what_a_saver_sets_meanwhile_has_precedence(
    katas: Katas, saver: Path, tmp_path: Path
) -> None:
    kata_id = katas.started("whale", "lion")
    set_options(katas, kata_id, theme=storer_pb2.THEME_DARK)
    out = export(katas, kata_id, tmp_path / "out")
    shutil.copytree(out, saver, dirs_exist_ok=True)
    (group,) = (path for path in out.glob("groups/*/*/*"))
    words = (group / "katas.txt").read_text().split()
    old_ids = dict(zip(words[1::2], words[::2], strict=True))
    repository = folder_of(saver, "katas", old_ids[str(avatars.NAMES.index("lion"))])
    options = {**read(repository / "options.json"), "theme": "light", "predict": "on"}
    (repository / "options.json").write_text(json.dumps(options))
    identity = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    git(repository, "reset", "-q", "--mixed")
    git(repository, "add", "options.json")
    git(repository, *identity, "commit", "-q", "-m", "set option theme to light")
    back = katas.get("".join(group.parts[-3:])).options
    assert back.kata == storer_pb2.Options(theme=storer_pb2.THEME_DARK)
    own = storer_pb2.Options(theme=storer_pb2.THEME_LIGHT, predict=True)
    assert dict(back.avatars) == {"lion": own}


def write_dark_group(saver: Path, *sessions: saver_katas.Session) -> None:
    """Write a group whose manifest has another theme than a kata in which nobody has set one."""
    path = saver_katas.write_group(saver, GROUP, sessions, 2) / "manifest.json"
    path.write_text(json.dumps({**read(path), "theme": "dark"}))


def unset(katas: Katas, kata_id: str, *names: str, avatar: str = "") -> None:
    katas.stub.SetOptions(storer_pb2.SetOptionsRequest(kata_id=kata_id, avatar=avatar, unset=names))


def test_what_only_the_manifest_of_a_group_sets_can_be_unset(
    katas: Katas, saver: Path, tmp_path: Path
) -> None:
    write_dark_group(saver, saver_katas.session_of_runs("rUqcey", index=KOALA))
    kata_id = katas.get(GROUP).kata_id
    katas.start(kata_id, "lion")

    def of_lion(folder: str) -> Any:
        out = export(katas, kata_id, tmp_path / folder)
        lines = (folder_of(out, "groups", GROUP) / "katas.txt").read_text().split()
        return options_in(out, lines[lines.index(str(avatars.NAMES.index("lion"))) - 1])

    assert of_lion("set") == {**saver_katas.OPTIONS, "theme": "dark"}
    unset(katas, kata_id, "theme")
    assert of_lion("unset") == saver_katas.OPTIONS


@pytest.mark.parametrize("with_avatar", [False, True])
def test_a_fork_has_no_options_of_the_avatars_that_a_saver_had(
    katas: Katas, saver: Path, tmp_path: Path, *, with_avatar: bool
) -> None:
    session = saver_katas.session_of_runs("rUqcey", index=KOALA)
    session.options |= {"colour": "off", "fork_button": "off"}
    other = saver_katas.session_of_runs("38w9NC", index=LEOPARD)
    other.options["revert_red"] = "on"
    write_dark_group(saver, session, other)
    original = katas.get(GROUP).kata_id
    unset(katas, original, "theme")
    unset(katas, original, "theme", "syntax_colour", avatar="koala")

    def fork() -> str:
        request = storer_pb2.ForkKataRequest(
            kata_id=original, avatar="koala", light_number=-1, with_avatar=with_avatar
        )
        forked = katas.stub.ForkKata(request).kata_id
        if not with_avatar:
            katas.start(forked, "koala")
        katas.start(forked, "leopard")
        assert "saver" not in katas.get(forked).manifest.other
        return forked

    bare = fork()
    set_options(katas, original, "koala", revert_green=True)
    chosen = fork()
    for forked, own in ((bare, {}), (chosen, {"revert_green": "on"})):
        out = export(katas, forked, tmp_path / forked)
        found = [read(path) for path in out.glob("katas/*/*/*/options.json")]
        assert found == [{**saver_katas.OPTIONS, **own}] * 2
        for path in out.glob("katas/*/*/*/manifest.json"):
            manifest = read(path)
            if manifest["group_index"] == LEOPARD or not with_avatar:
                assert manifest["created"] != session.events[0].said["time"]
        (group,) = out.glob("groups/*/*/*")
        shutil.copytree(out, saver, dirs_exist_ok=True)
        assert katas.get("".join(group.parts[-3:])).options == katas.get(forked).options


def test_a_kata_that_is_created_as_another_one_has_nothing_of_its_avatars(
    katas: Katas, saver: Path, tmp_path: Path
) -> None:
    session = saver_katas.session_of_runs("rUqcey", index=KOALA)
    session.options |= {"theme": "dark", "fork_button": "off"}
    saver_katas.write_group(saver, GROUP, [session], 2, is_stale=False)
    request = storer_pb2.CreateKataRequest(manifest=katas.get(GROUP).manifest)
    kata_id = katas.stub.CreateKata(request).kata_id
    katas.start(kata_id, "koala")
    out = export(katas, kata_id, tmp_path / "out")
    assert read(next(out.glob("katas/*/*/*/options.json"))) == saver_katas.OPTIONS


@each_legacy_kata
def test_a_legacy_kata_can_go_to_a_saver(katas: Katas, kata: LegacyKata, tmp_path: Path) -> None:
    out = export(katas, kata.id, tmp_path / "out")
    found = list(out.glob("katas/*/*/*"))
    assert len(found) == bool(kata.avatar)
    for repository in found:
        git(repository, "fsck", "--strict")
        assert len(read(repository / "events.json")) == kata.newest + 1


def test_a_damaged_avatar_is_left_out_and_named(katas: Katas, saver: Path, tmp_path: Path) -> None:
    sessions = [
        saver_katas.session_of_runs("rUqcey", index=KOALA),
        saver_katas.session_of_runs("38w9NC", index=LEOPARD),
    ]
    saver_katas.write_group(saver, GROUP, sessions, 1)
    (folder_of(saver, "katas", "38w9NC") / "events.json").unlink()
    out = export(katas, katas.get(GROUP).kata_id, tmp_path / "out")
    assert "leopard" in (out / "left_out.txt").read_text()
    assert (folder_of(out, "groups", GROUP) / "katas.txt").read_text() == f"rUqcey {KOALA}\n"


def test_only_a_whole_kata_goes_to_a_saver(katas: Katas) -> None:
    request = storer_pb2.DownloadKataRequest(kata_id=katas.create(), for_saver=True, avatar="whale")
    with refused(grpc.StatusCode.INVALID_ARGUMENT, field="for_saver"):
        list(katas.stub.DownloadKata(request))
