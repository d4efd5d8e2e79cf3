"""The command line, for people on a terminal, in pipes and for programs."""

import fcntl
import hashlib
import json
import os
import re
import signal
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from cyberdojo.output.v1 import output_pb2
from cyberdojo.results.v1 import results_pb2
from cyberdojo.storer.v1 import storer_pb2
from dojo.engine.data_containers import DataContainers
from support.commands import COMMAND, CommandLine
from support.services import Service, wait_until
from support.storer.backups import become_unreadable
from support.storer.katas_directories import SPIDER
from support.storer.stalling_proxy import stalling_proxy
from support.storer.start_points import FILES as FILES_OF_PASCAL
from support.storer.start_points import a_language, write
from support.storer.storing import AMBER, FAULTY, FILES, GREEN, RED, Katas, git, unpacked

ESCAPE = b"\x1b"
HOSTILE = b"\x1b]0;owned\x07\x1b[31m\x9b2J over\x08\x08 \xe2\x80\xae reversed \xff\x00"[:-1]

# The only escapes that may be written: those that set a colour.
COLOURS = re.compile(rb"\x1b\[[0-9]*m")


@pytest.fixture
def storer_line(storer_service: Service, tmp_path: Path) -> CommandLine:
    """A command line that calls the shared storer."""
    return CommandLine(storer_service.address, tmp_path)


@pytest.fixture
def kata_id(katas: Katas) -> str:
    """A kata in which the whale has four lights."""
    kata_id = katas.started("whale")
    for number, colour in enumerate((RED, AMBER, GREEN, FAULTY), 1):
        files = {**FILES, "hiker.c": b"int answer(void)\n{\n    return %d;\n}\n" % number}
        reason = "no \x1b[31mrule" if colour == FAULTY else ""
        katas.record(kata_id, "whale", files, colour=colour, stdout=HOSTILE, reason=reason)
    return kata_id


def bring(folder: Path, **keys: object) -> Path:
    """Write a custom start point, as a teacher has it, and return its folder."""
    write(folder, a_language(display_name="Mine", **keys), FILES_OF_PASCAL)
    return folder


def test_a_kata_is_created_from_files_that_a_teacher_brings(
    storer_line: CommandLine, katas: Katas, tmp_path: Path
) -> None:
    folder = bring(tmp_path / "mine", zzz=1)
    done = storer_line.run("create", str(folder), "--dry-run")
    assert (done.code, done.text) == (0, "")
    warning, said = done.stderr.decode().splitlines()
    assert warning.startswith(f"cyber-dojo: warning: {folder}/manifest.json: zzz: nobody knows")
    assert said == "cyber-dojo: Mine: all as it should be; no kata was created: a dry run"
    done = storer_line.run("create", str(folder))
    kata_id, _, what = done.text.partition("  ")
    assert what == "created: Mine\n"
    assert set(katas.get(kata_id).manifest.files) == set(FILES_OF_PASCAL)
    (found,) = storer_line.run("create", str(folder), "--json").records()
    assert found["display_name"] == "Mine"
    assert katas.get(found["id"]).manifest == katas.get(kata_id).manifest


def test_what_is_wrong_with_a_teachers_files_is_told_and_no_kata_is_created(
    storer_line: CommandLine, katas: Katas, tmp_path: Path
) -> None:
    before = len(katas.stub.ListKatas(storer_pb2.ListKatasRequest()).katas)
    folder = bring(tmp_path / "mine", tab_size=99, max_seconds=0)
    done = storer_line.run("create", str(folder))
    assert (done.code, done.text) == (1, "")
    assert sorted(done.stderr.decode().splitlines()) == [
        f"cyber-dojo: {folder}/manifest.json: max_seconds: 0 is not from 1 to 60",
        f"cyber-dojo: {folder}/manifest.json: tab_size: 99 is not from 1 to 16",
        "cyber-dojo: no kata was created: correct the files",
    ]
    done = storer_line.run("create", str(folder), "--json")
    (found,) = done.records()
    assert (done.code, found["id"], len(found["problems"])) == (1, None, 2)
    done = storer_line.run("create", str(tmp_path / "nowhere"))
    assert done.code == 3
    assert done.stderr.decode() == f"cyber-dojo: {tmp_path}/nowhere: No such file or directory\n"
    (folder / "link").symlink_to("/etc/passwd")
    done = storer_line.run("create", str(folder))
    assert done.code == 5
    assert b"link: is a link that leads out of the folder" in done.stderr
    assert len(katas.stub.ListKatas(storer_pb2.ListKatasRequest()).katas) == before


def test_katas_are_listed_wherever_they_are_and_none_is_imported(
    storer_line: CommandLine, kata_id: str
) -> None:
    for _ in range(2):
        records = {each["id"]: each for each in storer_line.run("ls", "--json").records()}
        assert records[kata_id]["where"] == "container"
        assert (records[kata_id]["avatars"], records[kata_id]["lights"]) == (1, 4)
        assert records[kata_id]["language"] == "C (gcc), assert"
        assert records[SPIDER.id]["where"] == "directory"
        assert records[SPIDER.id]["lights"] == SPIDER.newest
    for each in (kata_id, SPIDER.id):
        (found,) = storer_line.run("ls", each.lower(), "--json").records()
        assert found["id"] == each
    done = storer_line.run("ls", kata_id[:4])
    assert (done.code, done.stderr) == (0, b"")
    heading, *rows = done.text.splitlines()
    assert heading.split() == (
        ["ID", "CREATED", "LANGUAGE", "EXERCISE", "AVATARS", "LIGHTS", "NEWEST", "WHERE"]
    )
    assert any(row.startswith(kata_id) for row in rows)
    assert ESCAPE not in done.stdout


@pytest.mark.parametrize("width", [80, 100, 200])
def test_a_list_fits_the_terminal(storer_line: CommandLine, kata_id: str, width: int) -> None:
    done = storer_line.on_terminal("ls", width=width)
    lines = COLOURS.sub(b"", done.stdout).decode().splitlines()
    assert max(len(line) for line in lines) <= width
    assert any(line.startswith(kata_id) for line in lines)


def test_a_kata_is_shown_with_a_dot_for_each_light(storer_line: CommandLine, kata_id: str) -> None:
    done = storer_line.on_terminal("show", kata_id)
    dots = "\x1b[31m●\x1b[0m\x1b[33m●\x1b[0m\x1b[32m●\x1b[0m\x1b[35m✖\x1b[0m"
    assert dots in done.text
    plain = storer_line.on_terminal("show", kata_id, NO_COLOR="1")
    assert re.search(r"(?m)^whale +4  RAGF +2019-01-16 12:46:02$", plain.text)
    piped = storer_line.run("show", kata_id)
    assert re.search(r"(?m)^whale +4  RAGF  2019-01-16 12:46:02$", piped.text)
    for each in (plain, piped):
        assert each.code == 0
        assert ESCAPE not in each.stdout


def test_more_lights_than_fit_are_cut_at_their_beginning_or_shown_on_several_lines(
    storer_line: CommandLine, katas: Katas, kata_id: str
) -> None:
    for _ in range(96):
        katas.record(kata_id, "whale", colour=GREEN)
    cut = storer_line.on_terminal("show", kata_id, width=80, NO_COLOR="1").text
    row = next(line for line in cut.splitlines() if line.startswith("whale"))
    assert len(row) < 80
    assert "…G" in row
    whole = storer_line.on_terminal("show", kata_id, "--all", width=80, NO_COLOR="1").text
    assert whole.count("G") == 97
    assert max(len(line) for line in whole.splitlines()) < 80


def test_an_avatars_lights_are_shown_with_what_changed(
    storer_line: CommandLine, kata_id: str
) -> None:
    text = storer_line.run("show", kata_id, "whale").text
    assert re.search(r"(?m)^ +2  2019-01-16 12:46:02  A amber +0  hiker.c \+1 -1$", text), text
    records = storer_line.run("show", kata_id, "whale", "--json").records()
    assert [each["colour"] for each in records] == [None, "red", "amber", "green", "faulty"]
    assert [each["changed"] for each in records] == [[], *[["hiker.c"]] * 4]


def test_what_a_web_tier_said_of_a_light_and_its_tests_are_shown(
    storer_line: CommandLine, katas: Katas, kata_id: str
) -> None:
    source = storer_pb2.LightSource(kata_id=kata_id, avatar="whale", light_number=1)
    test = results_pb2.TestResult(
        name="answer", status=results_pb2.TEST_STATUS_FAILED, message="54\nis not 42"
    )
    results = results_pb2.TestResults(tests=[test], counts=results_pb2.TestCounts(failed=1))
    facts = {"predicted": GREEN, "writer": "tab 7", "source": source, "test_results": results}
    katas.record(
        kata_id, "whale", {}, colour=RED, stdout=output_pb2.Output(truncated=True), **facts
    )
    said = f"predicted green, files of {kata_id} whale 1, 0 of 1 tests passed, stdout truncated"
    row = storer_line.run("show", kata_id, "whale").text
    assert " ".join(f"{said}, by tab 7".split()) in " ".join(row.split())
    text = storer_line.run("show", kata_id, "whale", "newest").text
    assert f"\n{said}, by tab 7\nfailed  answer  54\n" in text
    (record,) = storer_line.run("show", kata_id, "whale", "newest", "--json").records()
    assert (record["predicted"], record["writer"], record["special"]) == ("green", "tab 7", False)
    assert record["tests"] == {"passed": 0, "failed": 1, "errors": 0, "skipped": 0}
    assert record["test_results"]["tests"][0]["message"] == "54\nis not 42"


def test_edits_are_shown_between_the_lights_to_who_asks(
    storer_line: CommandLine, katas: Katas, kata_id: str
) -> None:
    edited = {**FILES, "hiker.c": b"int answer(void)\n{\n    return 42;\n}\n"}
    for files, writer in ((edited, "tab 7"), ({**edited, "notes.txt": b"6 * 9\n"}, "")):
        request = storer_pb2.RecordEditRequest(
            kata_id=kata_id, avatar="whale", files=files, writer=writer
        )
        katas.stub.RecordEdit(request)
    assert " edit " not in storer_line.run("show", kata_id, "whale").text
    text = storer_line.run("show", kata_id, "whale", "--edits").text
    assert re.search(r"(?m)^ *4\.1 .* edit +hiker.c \+1 -1  by tab 7$", text), text
    assert re.search(r"(?m)^ *4\.2 .* edit +notes.txt \+1$", text), text
    *_, first, second = storer_line.run("show", kata_id, "whale", "--edits", "--json").records()
    assert (first["light"], first["edit"], first["writer"]) == (4, 1, "tab 7")
    assert (second["edit"], second["changed"]) == (2, ["notes.txt"])

    text = storer_line.run("show", kata_id, "whale", "4.2").text
    assert text.startswith(f"{kata_id} whale 4.2  ")
    assert "── notes.txt ──\n6 * 9\n" in text
    (record,) = storer_line.run("show", kata_id, "whale", "4.2", "--json").records()
    assert (record["number"], record["edited"]["edit"]) == (4, 2)
    for arguments in (("4", "4.1"), ("newest", "4.1")):
        diff = storer_line.run("diff", kata_id, "whale", *arguments).text
        assert "-    return 4;\n+    return 42;" in diff
    assert storer_line.run("diff", kata_id, "whale", "4.1", "4.2", "--patch").text.startswith(
        "diff --git a/notes.txt"
    )
    same = storer_line.run("diff", kata_id, "whale", "4.1", "4.1").text
    assert same == "nothing changed between edit 4.1 and edit 4.1\n"
    for wrong in ("4.0", "4.", "4.1.1", "4.x"):
        refused = storer_line.run("show", kata_id, "whale", wrong)
        assert (refused.code, "2.1 for an edit" in refused.complaint) == (2, True)


def test_options_are_shown(storer_line: CommandLine, katas: Katas, kata_id: str) -> None:
    dark = storer_pb2.Options(theme=storer_pb2.THEME_DARK, predict=True)
    own = storer_pb2.Options(syntax_colour=False)
    for avatar, options in (("", dark), ("whale", own)):
        request = storer_pb2.SetOptionsRequest(kata_id=kata_id, avatar=avatar, options=options)
        katas.stub.SetOptions(request)
    text = storer_line.run("show", kata_id).text
    assert "options    theme dark, predict on\noptions    whale: syntax colour off\n" in text
    (record,) = storer_line.run("show", kata_id, "--json").records()
    assert record["options"] == {
        "kata": {"theme": "THEME_DARK", "predict": True},
        "avatars": {"whale": {"syntax_colour": False}},
    }


@pytest.mark.parametrize("arguments", [("newest",), ("4",)])
def test_a_light_is_shown_with_its_files_and_output(
    storer_line: CommandLine, kata_id: str, arguments: tuple[str, ...]
) -> None:
    text = storer_line.run("show", kata_id, "whale", *arguments).text
    assert "── hiker.c ──\nint answer(void)\n{\n    return 4;\n}\n" in text
    (record,) = storer_line.run("show", kata_id, "whale", *arguments, "--json").records()
    assert record["files"]["hiker.c"] == "int answer(void)\n{\n    return 4;\n}\n"
    assert list(record["stdout"]) == ["base64"]


def test_what_participants_wrote_can_not_steer_a_terminal(
    storer_line: CommandLine, katas: Katas, kata_id: str
) -> None:
    files = {**FILES, "hiker.c": HOSTILE, "a\u202e\u009b.txt": b"\x1b[2J"}
    test = results_pb2.TestResult(name="\x1b[2J", message="\x1b[2J")
    results = results_pb2.TestResults(tests=[test])
    facts = {"writer": "\x1b[2J", "test_results": results, "reason": "\x1b[2J\x07"}
    katas.record(kata_id, "whale", files, colour=RED, stdout=HOSTILE, **facts)
    for arguments in (
        ("show", kata_id),
        ("show", kata_id, "whale"),
        ("show", kata_id, "whale", "newest"),
        ("diff", kata_id, "whale"),
        ("diff", kata_id, "whale", "-y"),
        ("diff", kata_id, "whale", "--patch"),
    ):
        written = storer_line.on_terminal(*arguments).stdout
        assert not re.search(rb"[\x00-\x08\x0b-\x1f\x7f]", COLOURS.sub(b"", written)), arguments
        assert not re.search("[\x80-\x9f\u202a-\u202e]", written.decode()), arguments


def test_a_difference_is_shown_in_colours_side_by_side_or_as_a_patch(
    storer_line: CommandLine, katas: Katas, kata_id: str, tmp_path: Path
) -> None:
    done = storer_line.on_terminal("diff", kata_id, "whale", "1", "3")
    assert "\x1b[31m-    return 1;\x1b[0m\n\x1b[32m+    return 3;\x1b[0m\n" in done.text
    text = storer_line.run("diff", kata_id, "whale", "1", "3").text
    assert "@@ -1 +1 @@\n int answer(void)\n {\n-    return 1;\n+    return 3;\n }\n" in text
    columns = storer_line.run("diff", kata_id, "whale", "1", "3", "--side-by-side").text
    assert re.search(r"3     return 1; +\|    3     return 3;", columns)
    patch = storer_line.run("diff", kata_id, "whale", "1", "3", "--patch").stdout
    assert patch == katas.patch(kata_id, "whale", 1, 3)
    (tmp_path / "hiker.c").write_bytes(b"int answer(void)\n{\n    return 1;\n}\n")
    git(tmp_path, "apply", "-", text=patch)
    assert b"return 3;" in (tmp_path / "hiker.c").read_bytes()


def test_diff_compares_the_two_newest_lights_by_default(
    storer_line: CommandLine, kata_id: str
) -> None:
    assert "-    return 3;\n+    return 4;" in storer_line.run("diff", kata_id, "whale").text
    assert "-    return 2;\n+    return 4;" in storer_line.run("diff", kata_id, "whale", "2").text
    same = storer_line.run("diff", kata_id, "whale", "2", "2", "--exit-code")
    assert (same.code, same.text) == (0, "nothing changed between light 2 and light 2\n")
    assert storer_line.run("diff", kata_id, "whale", "--exit-code").code == 1
    (record,) = storer_line.run("diff", kata_id, "whale", "--json").records()
    assert (record["new_name"], record["added"], record["deleted"]) == ("hiker.c", 1, 1)


def test_a_kata_that_can_not_be_imported_does_not_stop_the_others(
    storer_line: CommandLine,
) -> None:
    done = storer_line.run("import", "0123456789", SPIDER.id, SPIDER.id)
    assert done.code == 3
    assert done.text == (
        f"{SPIDER.id}  imported, 1 avatar\n{SPIDER.id}  was here already, 1 avatar\n"
    )
    assert done.complaint == "cyber-dojo: kata 0123456789: no kata has this id\n"


def test_a_kata_is_deleted_after_a_confirmation(
    storer_line: CommandLine, katas: Katas, kata_id: str
) -> None:
    done = storer_line.run("rm", kata_id)
    assert (done.code, done.text) == (2, "")
    assert "--yes" in done.complaint
    assert storer_line.on_terminal("rm", kata_id, typed=b"n\n").code == 5
    assert katas.get(kata_id)
    assert storer_line.on_terminal("rm", kata_id, typed=b"yes\n").code == 0
    other = katas.create()
    assert storer_line.run("rm", "--yes", other, "--json").records() == [
        {"id": other, "deleted": True, "stays_in_katas_directory": False}
    ]
    assert storer_line.run("show", kata_id).code == 3


def test_verify_reports_what_is_wrong_and_exits_with_1_until_it_is_mended(
    storer_line: CommandLine, kata_id: str, folder: Callable[[str], Path]
) -> None:
    good = storer_line.run("verify", kata_id, "--share", "100")
    assert good.code == 0
    assert good.text.endswith(": all as it should be\n")
    path = folder(kata_id) / "whale/increments.json"
    path.write_bytes(b"")
    assert storer_line.run("verify", kata_id).code == 1
    done = storer_line.run("verify", kata_id, "--mend", "--json")
    assert done.code == 0
    finding, summary = done.records()
    assert (finding["kind"], finding["path"]) == ("stale", "whale/increments.json")
    assert (finding["mended"], summary["mended"]) == (True, 1)
    path.unlink()
    text = storer_line.on_terminal("verify", kata_id, "--mend").text
    assert f"{kata_id}  whale/increments.json: is missing" in text
    assert storer_line.run("verify", kata_id).code == 0


def test_a_download_is_the_katas_tar(
    storer_line: CommandLine, kata_id: str, tmp_path: Path
) -> None:
    done = storer_line.run("download", kata_id, "--json")
    (record,) = done.records()
    tar = (tmp_path / f"{kata_id}.tar").read_bytes()
    assert record["sha256"] == hashlib.sha256(tar).hexdigest()
    assert (unpacked(tar, tmp_path / "out", kata_id) / "manifest.json").exists()
    assert storer_line.run("download", kata_id, "-o", "-").stdout == tar
    zstd = storer_line.run("download", kata_id, "-o", "-", "--compression", "zstd").stdout
    assert unpacked(zstd, tmp_path / "zstd", kata_id).exists()
    assert sorted(path.name for path in tmp_path.glob(f"{kata_id}*")) == [f"{kata_id}.tar"]


def test_a_tar_never_goes_to_a_terminal(storer_line: CommandLine, kata_id: str) -> None:
    for arguments in (("download", kata_id, "-o", "-"), ("backup", "-o", "-")):
        done = storer_line.on_terminal(*arguments)
        assert done.code == 2
        assert done.text == (
            "cyber-dojo: a tar is not for a terminal: name a file, or use a pipe\n"
        )


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
def test_a_download_resumes_where_it_broke_off(
    start_storer: Callable[..., Service],
    client: Callable[[Service], Katas],
    tmp_path: Path,
    compression: str,
    folder: Callable[[str], Path],
) -> None:
    service = start_storer()
    kata_id = client(service).started("whale")
    big = folder(kata_id) / "whale/sandbox/big"
    big.write_bytes(os.urandom(48 * 1024 * 1024))
    arguments = ["download", kata_id, "-o", "kata", "--compression", compression]
    part = tmp_path / "kata.part"
    with stalling_proxy(service.address, 8 * 1024 * 1024) as proxy:
        process = subprocess.Popen(
            [*COMMAND, *arguments],
            cwd=tmp_path,
            env=CommandLine(proxy.address, tmp_path).environ(),
            stderr=subprocess.DEVNULL,
        )
        wait_until(lambda: part.exists() and part.stat().st_size > 1024 * 1024)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    line = CommandLine(service.address, tmp_path)
    part_bytes = part.stat().st_size
    assert part_bytes < 48 * 1024 * 1024
    content = part.read_bytes()
    (record,) = line.run(*arguments, "--json").records()
    tar = (tmp_path / "kata").read_bytes()
    assert tar[:part_bytes] == content
    assert record["sha256"] == hashlib.sha256(tar).hexdigest()
    assert (unpacked(tar, tmp_path / "out", kata_id) / "whale/sandbox/big").stat().st_size > 0
    assert not list(tmp_path.glob("kata.part*"))


def test_a_download_starts_again_when_the_kata_has_changed(
    storer_line: CommandLine, katas: Katas, kata_id: str, tmp_path: Path
) -> None:
    storer_line.run("download", kata_id, "-o", "kata")
    tar = (tmp_path / "kata").read_bytes()
    (tmp_path / "kata.part").write_bytes(tar[:1000])
    (tmp_path / "kata.part.state").write_text(
        json.dumps({"id": kata_id, "compression": "none", "state": "00" * 32})
    )
    katas.record(kata_id, "whale")
    done = storer_line.run("download", kata_id, "-o", "kata")
    assert done.code == 0
    assert "downloading all of it again" in done.complaint
    assert (tmp_path / "kata").read_bytes() == katas.tar(kata_id)


def test_a_backup_is_restored_and_the_next_has_only_what_changed(
    storer_line: CommandLine, katas: Katas, kata_id: str, tmp_path: Path
) -> None:
    other = katas.started("bear")
    full = storer_line.run("backup", "--since-last", "last", "-o", "full.tar", "--json")
    assert full.records()[0]["full"] is True
    katas.record(other, "bear")
    piped = storer_line.run("backup", "--since-last", "last", "-o", "-")
    (tmp_path / "next.tar").write_bytes(piped.stdout)
    for kata in (kata_id, other):
        katas.delete(kata)
    done = storer_line.run("restore", "full.tar")
    assert done.code == 0, done.complaint
    assert f"{kata_id}  restored\n" in done.text
    records = storer_line.run("restore", "--json", stdin=piped.stdout).records()
    assert {"id": other, "outcome": "replaced", "reason": None, "lost_lights": 0} in records
    assert len(katas.lights(other, "bear")) == 2
    with tarfile.open(tmp_path / "next.tar") as tar:
        assert not any(kata_id[2:] in name for name in tar.getnames())


def test_a_restore_says_which_lights_would_go_and_takes_them_only_when_told(
    storer_line: CommandLine, katas: Katas, kata_id: str
) -> None:
    storer_line.run("backup", kata_id, "-o", "old.tar")
    katas.record(kata_id, "whale")
    for options in ((), ("--overwrite",), ("--only-damaged", "--dry-run", "--discard-lights")):
        done = storer_line.run("restore", "old.tar", kata_id, *options)
        if "--only-damaged" in options:
            assert (done.code, done.text) == (0, "1 sound; nothing was changed: a dry run\n")
            continue
        assert done.code == 1
        lost = "it has 1 light that the backup has not: whale 5"
        assert done.text == f"{kata_id}  skipped: {lost}\n1 skipped\n"
        assert done.complaint == (
            "cyber-dojo: 1 kata kept lights that the backup has not; to give them up for ever, "
            "restore with --overwrite --discard-lights\n"
        )
    assert storer_line.run("restore", "old.tar", "--discard-lights").code == 2
    forced = ("restore", "old.tar", kata_id, "--overwrite", "--discard-lights")
    rehearsed, done = storer_line.run(*forced, "--dry-run"), storer_line.run(*forced)
    said = f"{kata_id}  replaced: without 1 light that the backup has not: whale 5\n1 replaced"
    assert rehearsed.text == f"{said}; nothing was changed: a dry run\n"
    assert (done.code, done.text) == (0, f"{said}\n")
    assert len(katas.lights(kata_id, "whale")) == 5


def test_a_backup_names_and_counts_the_katas_that_it_lacks(
    storer_line: CommandLine, katas: Katas, folder: Callable[[str], Path], kata_id: str
) -> None:
    damaged = katas.started("lion")
    become_unreadable(folder(damaged))
    named = f"cyber-dojo: kata {damaged} is not in the backup: "
    try:
        done = storer_line.run("backup", "-o", "all.tar")
        assert done.code == 9
        (complaint,) = done.complaint.splitlines()
        assert complaint.startswith(named)
        assert "can't be read" in complaint
        assert re.search(r"  [\d.]+ [KM]iB, \d+ katas? sent, 1 failed; token \S+\n\Z", done.text)
        in_json = storer_line.run("backup", "-o", "all.tar", "--json")
        assert in_json.code == 9
        (record,) = in_json.records()
        assert [each["id"] for each in record["failed"]] == [damaged]
        assert record["sent"] >= 1
        piped = storer_line.run("backup", "-o", "-")
        assert piped.code == 9
        first, last = piped.complaint.splitlines()
        assert first.startswith(named)
        assert re.search(r"\d+ katas? sent, 1 failed: the next backup tries ", last)
        (storer_line.folder / "piped.tar").write_bytes(piped.stdout)
        with tarfile.open(storer_line.folder / "piped.tar") as tar:
            assert f"{kata_id[:2]}/{kata_id[2:]}.json" in tar.getnames()
    finally:
        katas.delete(damaged)


def test_links_that_were_not_restored_are_named_below_their_kata(
    storer_line: CommandLine, katas: Katas, kata_id: str, tmp_path: Path
) -> None:
    (tmp_path / "links.tar").write_bytes(katas.tar(kata_id))
    links = [f"{kata_id[:2]}/{kata_id[2:]}/whale/sandbox/{number}" for number in range(5)]
    with tarfile.open(tmp_path / "links.tar", "a") as tar:
        for name in links:
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, "/etc"
            tar.addfile(link)
    katas.delete(kata_id)
    done = storer_line.run("restore", "links.tar")
    assert done.code == 0, done.complaint
    said = done.text.split(f"{kata_id}  restored\n")[1].splitlines()[0]
    assert said.startswith("          without links that lead out of their sandbox: ")
    assert [name for name in links if name in said] == links[:3]
    assert said.endswith(" and 2 more")
    katas.delete(kata_id)
    record = storer_line.run("restore", "links.tar", "--json").records()[0]
    assert record["left_out"]["count"] == len(record["left_out"]["names"]) == 5


def test_a_backup_resumes_after_the_last_complete_kata_when_the_storer_is_back(
    elsewhere: DataContainers,
    start_storer: Callable[..., Service],
    client: Callable[[Service], Katas],
    tmp_path: Path,
) -> None:
    named = {"CYBER_DOJO_NAMESPACE": elsewhere.namespace.name}
    service = start_storer(**named)
    kata_ids = sorted(client(service).started("whale") for _ in range(4))
    for kata_id in kata_ids:
        path = elsewhere.folder(kata_id) / "whale/sandbox/big"
        path.write_bytes(os.urandom(24 * 1024 * 1024))
    with stalling_proxy(service.address, 40 * 1024 * 1024) as proxy:
        process = subprocess.Popen(
            [*COMMAND, "backup", "-o", "all.tar"],
            cwd=tmp_path,
            env=CommandLine(proxy.address, tmp_path).environ(),
            stderr=subprocess.PIPE,
        )
        part = tmp_path / "all.tar.part"
        wait_until(lambda: part.exists() and part.stat().st_size > 30 * 1024 * 1024)
        service.kill()
        again = start_storer(**named)
        proxy.switch_to(again.address)
        _, complaint = process.communicate(timeout=60)
    assert process.returncode == 0, complaint
    assert b"resumes when the storer is back" in complaint
    listed = subprocess.run(
        ["tar", "-tf", "all.tar"], cwd=tmp_path, capture_output=True, check=True, text=True
    )
    marks = [each for each in listed.stdout.split() if re.match(r"../.{8}\.json$", each)]
    assert [each[:2] + each[3:11] for each in marks] == kata_ids
    for kata_id in kata_ids:
        client(again).delete(kata_id)
    done = CommandLine(again.address, tmp_path).run("restore", "all.tar", "--json")
    assert done.code == 0, done.complaint
    assert done.records()[-1]["counts"] == {"restored": 4}


def test_a_closed_pipe_ends_a_command_quietly(
    storer_line: CommandLine, katas: Katas, kata_id: str
) -> None:
    for _ in range(3):
        katas.record(kata_id, "whale", {**FILES, "long": b"line\n" * 100_000})
    command = " ".join([*COMMAND, "show", kata_id, "whale", "newest"])
    done = subprocess.run(
        ["bash", "-c", f"{command} | head -1; exit ${{PIPESTATUS[0]}}"],
        env=storer_line.environ(),
        capture_output=True,
        check=False,
    )
    assert done.stdout.startswith(kata_id.encode())
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, b"")


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("show", "0123456789"), 3, "cyber-dojo: kata 0123456789: no kata has this id\n"),
        (("show", "../../etc"), 2, "Invalid value for 'ID': '../../etc' is not an id"),
        (("show", "0123456789", "dodo"), 2, "'dodo' is none of the 64 avatars"),
        (("ls", "%"), 2, "cyber-dojo: prefix: '%' is not 0 to 10 letters and digits\n"),
        (("nonsense",), 2, "No such command 'nonsense'"),
        (("ls", "--address", "nowhere"), 2, "'nowhere' is not host:port"),
        (("ls", "--address", "127.0.0.1:1"), 4, "cyber-dojo: no storer answers at 127.0.0.1:1: "),
        (("restore", "none.tar"), 3, "cyber-dojo: none.tar: No such file or directory\n"),
        (("backup", "--since", "nonsense", "-o", "x"), 5, "make a full one\n"),
        (("backup", "0123456789"), 3, "cyber-dojo: kata 0123456789: the storer does not keep it\n"),
        (("backup", "-o", "."), 2, "cyber-dojo: .: is a folder; name a file in it\n"),
        (
            ("download", "0123456789", "-o", "/"),
            2,
            "/: is a folder; name a file in it\n",
        ),
        (("verify", "0123456789"), 3, "cyber-dojo: kata 0123456789: the storer does not keep it\n"),
        (("restore", "."), 2, "cyber-dojo: .: Is a directory\n"),
        (("restore", "/proc/self/mem"), 2, "cyber-dojo: /proc/self/mem: Input/output error\n"),
    ],
)
def test_an_error_is_one_line_and_an_exit_code(
    storer_line: CommandLine, arguments: tuple[str, ...], code: int, says: str
) -> None:
    done = storer_line.run(*arguments)
    assert done.code == code, done.complaint
    assert says in done.complaint
    assert done.stdout == b""
    assert "Traceback" not in done.complaint


def restoring(storer_line: CommandLine) -> "subprocess.Popen[bytes]":
    """Start a restore from a pipe."""
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [*COMMAND, "restore"], env=storer_line.environ(), stdin=pipe, stdout=pipe, stderr=pipe
    )


def test_a_damaged_backup_is_recognized_in_a_pipe_too(
    storer_line: CommandLine, kata_id: str
) -> None:
    tar = storer_line.run("backup", kata_id, "-o", "-").stdout
    for damaged in (tar[: len(tar) // 2], tar + tar):
        done = storer_line.run("restore", stdin=damaged)
        assert done.code == 6
        assert done.complaint.startswith("cyber-dojo: -: ")
        assert done.complaint.count("\n") == 1
    with restoring(storer_line) as process:  # from a pipe that stays open
        assert process.stdin is not None
        process.stdin.write(b"nonsense" * 1000)
        process.stdin.flush()
        assert process.wait(60) == 6


def test_a_restore_from_a_silent_pipe_can_be_interrupted(storer_line: CommandLine) -> None:
    with restoring(storer_line) as process:
        wait_until(lambda: b"grpc" in Path(f"/proc/{process.pid}/maps").read_bytes())
        wait_until(
            lambda: len(os.listdir(f"/proc/{process.pid}/task")) > 3
        )  # the thread that reads the pipe has started
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        assert process.stderr is not None
        assert process.stderr.read() == b""


def test_output_that_can_not_be_written_is_reported_in_one_line(
    storer_line: CommandLine, kata_id: str
) -> None:
    for command in ("ls", f"show {kata_id}", f"download {kata_id} -o -", "backup -o -"):
        for output, code, says in (
            ("> /dev/full", 7, b"cyber-dojo: standard output: No space left on device\n"),
            (">&-", 2, b"cyber-dojo: standard output is closed\n"),
        ):
            done = subprocess.run(
                ["bash", "-c", f"{' '.join(COMMAND)} {command} {output}"],
                env=storer_line.environ(),
                capture_output=True,
                check=False,
            )
            assert done.returncode == code, (command, output, done.stderr)
            assert done.stderr.replace(b" -: ", b" standard output: ") == says


@pytest.mark.parametrize("command", ["backup", "download"])
def test_a_device_or_a_fifo_is_written_like_a_pipe(
    storer_line: CommandLine, kata_id: str, tmp_path: Path, command: str
) -> None:
    arguments = [command, kata_id, "-o"]
    assert storer_line.run(*arguments, "whole").code == 0
    os.mkfifo(tmp_path / "fifo")
    reading = subprocess.Popen(["cat", "fifo"], cwd=tmp_path, stdout=subprocess.PIPE)
    assert storer_line.run(*arguments, "fifo").code == 0
    assert len(reading.communicate(timeout=60)[0]) == (tmp_path / "whole").stat().st_size
    (tmp_path / "null").symlink_to("/dev/null")
    assert storer_line.run(*arguments, "null").code == 0
    assert Path("/dev/null").is_char_device()
    (tmp_path / "link").symlink_to("whole")
    (tmp_path / "whole").write_bytes(b"")
    assert storer_line.run(*arguments, "link").code == 0
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "whole").stat().st_size > 0
    assert not list(tmp_path.glob("*.part*"))
    whole = (tmp_path / "whole").stat().st_size
    assert len(storer_line.run(*arguments, "/dev/stdout").stdout) >= whole


def test_two_commands_do_not_write_the_same_file(
    storer_line: CommandLine, kata_id: str, tmp_path: Path
) -> None:
    with open(tmp_path / "b.tar.part", "wb") as held:  # as another command does
        fcntl.flock(held, fcntl.LOCK_EX)
        for command in ("backup", "download"):
            done = storer_line.run(command, kata_id, "-o", "b.tar")
            assert done.code == 5
            assert "another command is writing " in done.complaint
            assert "b.tar: wait until it has finished\n" in done.complaint
    assert storer_line.run("backup", "-o", "b.tar").code == 0
    assert storer_line.run("restore", "b.tar").code == 0


def test_progress_is_shown_on_a_terminal_and_not_elsewhere(
    storer_line: CommandLine, katas: Katas
) -> None:
    kata_id = katas.started("bear", "lion", "whale")
    assert storer_line.run("download", kata_id, "-o", "kata").stderr == b""
    on_terminal = storer_line.on_terminal("download", kata_id, "-o", "kata").stdout
    assert re.search(kata_id.encode() + rb"  [0-9.]+ [KM]?i?B", on_terminal)
