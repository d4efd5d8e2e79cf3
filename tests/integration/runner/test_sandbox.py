"""The sandbox between runs: what stays, what is removed, and what a run can't do to it."""

import os
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path

import grpc
import pytest

from dojo import avatars
from support.kata_folders import Kata
from support.runner.submissions import AVATAR, GCC, GREEN, Run, Stub, refused, request

UID = avatars.uid(AVATAR)

PROGRAM = {
    "makefile": b"run: one.o two.o main.o\n\tcc -o run one.o two.o main.o && ./run\n",
    "one.c": b"int one(void) { return 1; }\n",
    "two.c": b"int two(void) { return 2; }\n",
    "main.c": b"int one(void); int two(void);\nint main(void) { return one() + two() - 3; }\n",
}


@pytest.fixture
def sandbox(started_kata: Kata) -> Path:
    return started_kata.sandbox(AVATAR)


def written(path: Path) -> tuple[int, int, int]:
    """Return times and inode, which differ if a file was rewritten."""
    found = path.stat()
    return found.st_mtime_ns, found.st_ctime_ns, found.st_ino


def contents(folder: Path) -> dict[str, bytes]:
    """Return the contents of all files below a folder, without cyber-dojo.sh."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
    del found["cyber-dojo.sh"]
    return found


def test_a_file_that_did_not_change_keeps_its_times_and_inode(run: Run, sandbox: Path) -> None:
    files = {"a.txt": b"a\n", "lib/b.txt": b"b\n", "empty": b""}
    run("true", files)
    before = {name: written(sandbox / name) for name in files}
    run("false", files)
    assert {name: written(sandbox / name) for name in files} == before


@pytest.mark.parametrize("script", ["chmod +x a.c", "cp -l a.c other", "chmod 0 a.c"])
def test_a_file_whose_content_did_not_change_keeps_its_time(
    run: Run, sandbox: Path, script: str
) -> None:
    run(script, {"a.c": b"int a;\n"})
    before = (sandbox / "a.c").stat().st_mtime_ns
    run("true", {"a.c": b"int a;\n"})
    found = (sandbox / "a.c").stat()
    assert (found.st_mtime_ns, found.st_nlink, found.st_uid) == (before, 1, UID)
    assert stat.S_IMODE(found.st_mode) == 0o644
    assert (sandbox / "a.c").read_bytes() == b"int a;\n"


@pytest.mark.parametrize("content", [b"b\n", b"longer\n", b"", bytes(range(256)), b"\xff\xfe"])
def test_a_file_that_changed_is_written(run: Run, sandbox: Path, content: bytes) -> None:
    run("true", {"a.txt": b"a\n", "lib/a.txt": b"a\n"})
    run("true", {"a.txt": content, "lib/a.txt": content})
    assert contents(sandbox) == {"a.txt": content, "lib/a.txt": content}


def test_what_a_run_did_to_a_visible_file_is_undone(run: Run, sandbox: Path) -> None:
    files = {"a.txt": b"a\n", "b.txt": b"b\n"}
    run("echo c > a.txt; rm b.txt", files)
    run("true", files)
    assert contents(sandbox) == files


def test_a_file_deleted_in_the_editor_goes_with_the_folders_left_empty(
    run: Run, sandbox: Path
) -> None:
    files = {"a.txt": b"", "lib/deep/b.txt": b"", "lib/c.txt": b"", "src/d.txt": b""}
    run("touch src/product", files)
    run("true", {"lib/c.txt": b""})
    assert contents(sandbox) == {"lib/c.txt": b"", "src/product": b""}
    assert not (sandbox / "lib/deep").exists()
    run()
    assert not (sandbox / "lib").exists()


def test_a_file_that_the_avatar_started_with_goes_when_the_editor_deleted_it(
    runner: Stub, kata: Kata
) -> None:
    kata.start_avatar(AVATAR, {"readme.txt": b"Your task\n", "lib/a.txt": b"a\n"})
    runner.Run(request(kata, "true", {"lib/a.txt": b"a\n"}))
    assert contents(kata.sandbox(AVATAR)) == {"lib/a.txt": b"a\n"}


def test_the_products_of_earlier_runs_stay(run: Run, sandbox: Path) -> None:
    run("mkdir out; echo 1 > out/product; echo 2 > .hidden")
    before = written(sandbox / "out/product")
    run("true", {"a.txt": b"a"})
    assert run("cat out/product .hidden").stdout.content == b"1\n2\n"
    assert written(sandbox / "out/product") == before


def test_a_product_becomes_a_visible_file_by_being_submitted(run: Run, sandbox: Path) -> None:
    run("echo approved > a.txt")
    before = sandbox.joinpath("a.txt").read_bytes()
    run("true", {"a.txt": before})
    assert contents(sandbox) == {"a.txt": b"approved\n"}
    run("true")
    assert contents(sandbox) == {}


def test_make_compiles_only_what_changed(run: Run) -> None:
    def compiled(files: Mapping[str, bytes]) -> list[str]:
        response = run("make", files, image_name=GCC)
        assert response.status == 0, response
        lines = response.stdout.content.decode().splitlines()
        return [line.split()[-1] for line in lines if " -c " in line]

    assert compiled(PROGRAM) == ["one.c", "two.c", "main.c"]
    assert compiled(PROGRAM) == []
    changed = {**PROGRAM, "two.c": b"int two(void) { return 1 + 1; }\n"}
    assert compiled(changed) == ["two.c"]


def test_the_files_belong_to_the_avatar_and_scripts_can_be_executed(
    run: Run, sandbox: Path
) -> None:
    run("./tool.sh > lib/made", {"tool.sh": b"#!/bin/sh\necho made\n", "lib/a.txt": b""})
    modes = {
        path.relative_to(sandbox).as_posix(): stat.S_IMODE(path.stat().st_mode)
        for path in (sandbox, *sandbox.rglob("*"))
    }
    assert modes == {
        ".": 0o700,
        "cyber-dojo.sh": 0o755,
        "tool.sh": 0o755,
        "lib": 0o755,
        "lib/a.txt": 0o644,
        "lib/made": 0o644,
    }
    for path in (sandbox, *sandbox.rglob("*")):
        assert (path.stat().st_uid, path.stat().st_gid) == (UID, UID), path


# What a run leaves in place of the visible files a.txt and lib/b.txt.
TRAPS = {
    "a folder for a file": "rm a.txt && mkdir -p a.txt/deep && touch a.txt/deep/c",
    "a link for a file": "echo kept > kept && ln -sf kept a.txt",
    "a link that leads nowhere": "ln -sf /nowhere a.txt",
    "a FIFO for a file": "rm a.txt && mkfifo a.txt",
    "a socket for a file": (
        "rm a.txt && python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"a.txt\")'"
    ),
    "a second name of a file": "ln a.txt second",
    "a file that can't be read": "chmod 0 a.txt",
    "a file with set-user-id": "chmod 4755 a.txt",
    "a file for a folder": "rm -r lib && touch lib",
    "a link for a folder": "mv lib elsewhere && ln -s elsewhere lib",
    "a link to somebody else's folder": "rm -r lib && ln -s ../../zebra/sandbox lib",
    "a link to the outside": "rm -r lib && ln -s ../.. lib",
    "a FIFO for a folder": "rm -r lib && mkfifo lib",
    "a folder that can't be entered": "chmod 0 lib",
    "a sandbox that can't be entered": "chmod 0 .",
    "a sandbox that anybody can write": "chmod 7777 .",
    "nothing": "rm -rf ./* .[!.]*",
}


@pytest.mark.parametrize("trap", TRAPS.values(), ids=TRAPS)
def test_what_a_run_puts_in_the_way_of_a_visible_file_is_removed(
    run: Run, started_kata: Kata, sandbox: Path, trap: str
) -> None:
    started_kata.start_avatar("zebra", {"b.txt": b"zebra's"})
    files = {"a.txt": b"a\n", "lib/b.txt": b"b\n"}
    assert run(trap, files).status == 0
    response = run("cat a.txt lib/b.txt; echo tests: passed", files)
    assert response.colour == GREEN
    assert response.stdout.content == b"a\nb\ntests: passed\n"
    for path in (sandbox, sandbox / "a.txt", sandbox / "lib", sandbox / "lib/b.txt"):
        assert not path.is_symlink()
        assert path.stat().st_uid == UID
    assert (sandbox / "a.txt").stat().st_nlink == 1
    assert stat.S_IMODE((sandbox / "a.txt").stat().st_mode) == 0o644
    assert stat.S_IMODE(sandbox.stat().st_mode) == 0o700
    assert (started_kata.sandbox("zebra") / "b.txt").read_bytes() == b"zebra's"
    assert not (started_kata.folder / "b.txt").exists()


def test_very_deep_folders_are_removed(run: Run, sandbox: Path) -> None:
    dig = b"""import os
for _ in range(3000):
    os.mkdir("a.txt")
    os.chdir("a.txt")
"""
    assert "deep" in run("python3 dig.py", {"dig.py": dig}).reason
    assert run("cat a.txt", {"a.txt": b"tests: passed\n"}).colour == GREEN
    assert contents(sandbox) == {"a.txt": b"tests: passed\n"}


def test_a_link_is_not_followed_when_a_deleted_file_goes(
    run: Run, started_kata: Kata, sandbox: Path
) -> None:
    started_kata.start_avatar("zebra", {"b.txt": b"zebra's"})
    run("rm -r lib; ln -s ../../zebra/sandbox lib; rm c; mkdir c", {"lib/b.txt": b"", "c": b""})
    assert run().colour == GREEN
    assert (started_kata.sandbox("zebra") / "b.txt").read_bytes() == b"zebra's"
    assert sorted(os.listdir(sandbox)) == ["c", "cyber-dojo.sh", "lib"]


def test_a_run_can_neither_remove_nor_replace_its_sandbox(run: Run, sandbox: Path) -> None:
    before = sandbox.stat().st_ino
    response = run("cd ..; rm -rf sandbox; mv sandbox other; ln -sfT /tmp sandbox; touch file; ls")
    assert response.status != 0
    assert sandbox.stat().st_ino == before
    # The pipes of the next run, whose names begin with a dot, may exist for a moment.
    left = {name for name in os.listdir(sandbox.parent) if not name.startswith(".")}
    assert left == {"manifest.json", "sandbox", "submission.json"}


def test_a_restored_avatar_without_a_sandbox_gets_one(run: Run, sandbox: Path) -> None:
    run("true", {"a.txt": b"a\n"})
    shutil.rmtree(sandbox)
    assert run("cat a.txt; echo tests: passed", {"a.txt": b"a\n"}).colour == GREEN
    assert (sandbox.stat().st_uid, stat.S_IMODE(sandbox.stat().st_mode)) == (UID, 0o700)


def test_a_sandbox_that_is_a_file_is_damage_and_not_a_defect(
    run: Run, sandbox: Path, started_kata: Kata
) -> None:
    sandbox.rmdir()
    sandbox.touch()
    error = refused(run, grpc.StatusCode.DATA_LOSS)
    assert f"kata {started_kata.id} is damaged: {AVATAR}/sandbox" in error.details()


def test_an_avatar_that_came_in_damaged_runs_nothing(
    run: Run, sandbox: Path, started_kata: Kata
) -> None:
    (sandbox.parent / "damaged.json").write_text("{}")
    error = refused(run, grpc.StatusCode.DATA_LOSS)
    assert f"kata {started_kata.id} is damaged: {AVATAR}" in error.details()


def test_files_of_another_user_become_the_avatars(run: Run, sandbox: Path) -> None:
    files = {"a.txt": b"a\n", "lib/b.txt": b"b\n"}
    run("true", files)
    for path in (sandbox, *sandbox.rglob("*")):
        os.chown(path, avatars.uid("zebra"), avatars.uid("zebra"))
    assert run("echo c >> a.txt; touch lib/c && echo tests: passed", files).colour == GREEN
    assert {path.stat().st_uid for path in (sandbox, *sandbox.rglob("*"))} == {UID}


def test_the_next_run_finishes_what_a_killed_runner_left(run: Run, sandbox: Path) -> None:
    run("true", {"a.txt": b"a\n"})
    # The runner was killed while it removed a tree, with a file and the names half written.
    (sandbox.parent / ".removed/1234/deep").mkdir(parents=True)
    (sandbox.parent / ".removed/1234/deep/file").write_bytes(b"")
    (sandbox.parent / ".visible-file").write_bytes(b"half")
    (sandbox.parent / ".submission.json").write_bytes(b'{"filenames": ["cyber')
    assert run("true", {"b.txt": b"b\n"}).status == 0
    assert contents(sandbox) == {"b.txt": b"b\n"}
    # The pipes of the next run, whose names begin with a dot, may exist for a moment.
    left = {name for name in os.listdir(sandbox.parent) if not name.startswith(".")}
    assert left == {"manifest.json", "sandbox", "submission.json"}


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"filenames": 7}', b'{"filenames": ["../manifest.json", 7]}']
)
def test_a_damaged_submission_json_does_no_harm(run: Run, sandbox: Path, content: bytes) -> None:
    run("true", {"a.txt": b"a\n"})
    (sandbox.parent / "submission.json").write_bytes(content)
    assert run().colour == GREEN
    assert (sandbox.parent / "manifest.json").exists()
