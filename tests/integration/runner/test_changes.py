"""The files in a run's response: those that the run created, changed and deleted."""

import os

import pytest

from cyberdojo.runner.v1 import runner_pb2
from runner.sandbox import changes
from support.kata_folders import Kata
from support.runner.submissions import AVATAR, Run


def test_text_files_that_a_run_created_are_returned(run: Run) -> None:
    response = run("echo 1 > made; mkdir -p a/b; echo 2 > a/b/made; : > empty", {"a/c": b"c"})
    assert dict(response.changed_files) == {"made": b"1\n", "a/b/made": b"2\n", "empty": b""}
    assert not response.changed_files_truncated
    assert list(response.deleted_filenames) == []


def test_visible_files_that_a_run_changed_are_returned(run: Run) -> None:
    files = {"a.txt": b"a\n", "b.txt": b"b\n", "c.txt": b"c\n"}
    response = run("echo more >> a.txt; : > b.txt; echo c > c.txt", files)
    assert dict(response.changed_files) == {"a.txt": b"a\nmore\n", "b.txt": b""}


def test_a_change_is_found_even_if_size_and_time_are_the_same(run: Run) -> None:
    script = "touch -r a.txt time; printf z > a.txt; touch -r time a.txt; rm time"
    assert dict(run(script, {"a.txt": b"a"}).changed_files) == {"a.txt": b"z"}


def test_a_renamed_file_is_returned(run: Run) -> None:
    response = run("mv a.txt b.txt", {"a.txt": b"a\n"})
    assert dict(response.changed_files) == {"b.txt": b"a\n"}
    assert list(response.deleted_filenames) == ["a.txt"]


def test_products_of_earlier_runs_are_returned_when_they_change_again(run: Run) -> None:
    run("echo 1 > one; echo 2 > two")
    assert dict(run("cat one; echo more >> two").changed_files) == {"two": b"2\nmore\n"}


@pytest.mark.parametrize(
    "script",
    [
        "printf 'a\\000b' > file",
        "printf '\\377\\376' > file",
        "printf 'caf\\303' > file",
        "head -c 5000 /dev/zero | tr '\\000' a > file; printf '\\000' >> file",
        "head -c 5000 /dev/zero | tr '\\000' a > file; printf '\\303' >> file",
        "echo hidden > .file",
        "mkdir .folder a; echo hidden > .folder/file; mkdir a/.b; echo hidden > a/.b/file",
        "ln -s /etc/passwd link; ln -s cyber-dojo.sh other",
        "mkfifo fifo",
        "python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"socket\")'",
        'echo not UTF-8 > "$(printf "caf\\351")"',
        'echo control > "$(printf "a\\nb")"',
        "mkdir folder",
        "touch cyber-dojo.sh",
    ],
)
def test_only_visible_text_files_are_returned(run: Run, script: str) -> None:
    response = run(script)
    assert response.status == 0
    assert dict(response.changed_files) == {}
    assert not response.changed_files_truncated
    assert list(response.deleted_filenames) == []


def test_what_is_not_told_is_named(run: Run) -> None:
    files = {".rspec": b"a\n", "text": b"text\n", "logo.png": b"\x89PNG\0"}
    script = r"""
        echo b > .rspec; printf 'caf\351' > text; touch logo.png; : > "$(printf 'a\tb')"
    """
    response = run(script, files)
    assert dict(response.changed_files) == {".rspec": b"b\n"}
    named = {each.filename: each.reason for each in response.named_changes}
    assert named == {
        "text": runner_pb2.NAMED_CHANGE_REASON_NOT_TEXT,
        r"'a\tb'": runner_pb2.NAMED_CHANGE_REASON_ODD_NAME,
    }


def test_a_character_split_by_the_first_read_does_not_hide_a_file(
    run: Run,
) -> None:
    for size_bytes in (4094, 4095, 4096, 4097):
        text = "a" * size_bytes + "é☃𝄞"
        response = run("cat text > made", {"text": text.encode()})
        assert response.changed_files["made"].decode() == text


def test_too_many_changed_files_are_truncated(run: Run) -> None:
    wanted = {f"{number:03}": f"{number:03}".encode() for number in range(changes.MAX_FILES)}
    script = "for each in {}; do printf $each > $each; done"
    response = run(script.format(" ".join(wanted)))
    assert dict(response.changed_files) == wanted
    assert not response.changed_files_truncated
    response = run("rm 0*; " + script.format(" ".join([*wanted, "one-more"])))
    assert dict(response.changed_files) == wanted
    assert response.changed_files_truncated


def test_of_too_many_files_visible_and_top_level_ones_come_first(run: Run) -> None:
    report = "mkdir -p a/b; for each in $(seq 100); do echo $each > a/b/$each.html; done"
    response = run(f"{report}; echo tidied > lib/z.py; echo summary > z", {"lib/z.py": b"untidy"})
    assert len(response.changed_files) == changes.MAX_FILES
    assert response.changed_files["lib/z.py"] == b"tidied\n"
    assert response.changed_files["z"] == b"summary\n"
    assert response.changed_files_truncated


def test_a_file_at_the_size_limit_is_returned_and_a_larger_one_is_left_out(run: Run) -> None:
    largest = changes.MAX_FILE_BYTES
    script = "head -c {} /dev/zero | tr '\\000' a > large; echo small > small"
    response = run(script.format(largest))
    assert dict(response.changed_files) == {"large": b"a" * largest, "small": b"small\n"}
    assert not response.changed_files_truncated
    response = run("rm large small; " + script.format(largest + 1))
    assert dict(response.changed_files) == {"small": b"small\n"}
    assert response.changed_files_truncated


def test_files_that_are_too_large_together_are_returned_in_part(run: Run) -> None:
    response = run(
        f"head -c {changes.MAX_FILE_BYTES} /dev/zero | tr '\\000' a > 0\n"
        "for each in 1 2 3 4 5 6 7 8 9 a b c; do cp 0 $each; done"
    )
    total_bytes = sum(map(len, response.changed_files.values()))
    assert total_bytes == 10 * changes.MAX_FILE_BYTES <= changes.MAX_TOTAL_BYTES
    assert response.changed_files_truncated


def test_submitted_files_that_a_run_deleted_are_returned(run: Run, started_kata: Kata) -> None:
    files = {"b.txt": b"", "a/b.txt": b"", "kept": b"", "product": b""}
    response = run("rm b.txt; rm -r a; mv product moved; rm cyber-dojo.sh", files)
    wanted = ["a/b.txt", "b.txt", "cyber-dojo.sh", "product"]
    assert list(response.deleted_filenames) == wanted
    assert sorted(os.listdir(started_kata.sandbox(AVATAR))) == ["kept", "moved"]


@pytest.mark.parametrize("instead", ["mkdir a.txt", "ln -s kept a.txt", "mkfifo a.txt"])
def test_a_file_that_a_run_replaced_by_something_else_counts_as_deleted(
    run: Run, instead: str
) -> None:
    response = run(f"rm a.txt; {instead}", {"a.txt": b"a", "kept": b""})
    assert list(response.deleted_filenames) == ["a.txt"]
    assert dict(response.changed_files) == {}


def test_a_file_in_a_folder_that_became_a_link_counts_as_deleted(run: Run) -> None:
    response = run("mv lib .lib; ln -s .lib lib", {"lib/a.txt": b"a"})
    assert list(response.deleted_filenames) == ["lib/a.txt"]


def test_a_file_that_its_owner_can_no_longer_read_is_returned(run: Run) -> None:
    response = run("echo made > made; chmod 0 made a.txt", {"a.txt": b"a"})
    assert dict(response.changed_files) == {"made": b"made\n"}


def test_what_a_daemon_writes_after_the_end_is_not_waited_for(run: Run, started_kata: Kata) -> None:
    daemon = "while :; do date +%N > clock; done"
    response = run(f"setsid sh -c '{daemon}' >/dev/null 2>&1 & until [ -s clock ]; do :; done")
    clock = started_kata.sandbox(AVATAR) / "clock"
    # The response has the daemon's last write, so the daemon had ended before files were read.
    assert response.changed_files["clock"] == clock.read_bytes()
