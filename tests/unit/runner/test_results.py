"""The results of each test that a run leaves in a file: JUnit's XML, TAP, or a track's JSON."""

import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.results import file, junit_xml, tap, track_json
from runner.results.results import (
    MAX_MESSAGE,
    MAX_MESSAGES,
    MAX_NAME,
    MAX_TESTS,
    Collector,
    Malformed,
    Results,
    Status,
    TestResult,
)
from runner.sandbox import file_versions
from runner.sandbox.sandbox import Sandbox

PASSED, FAILED, ERROR, SKIPPED = Status.PASSED, Status.FAILED, Status.ERROR, Status.SKIPPED

# What pytest 7 writes, shortened.
PYTEST = b"""<?xml version="1.0" encoding="utf-8"?><testsuites><testsuite name="pytest" errors="1"
 failures="1" skipped="1" tests="4" time="0.031"><testcase classname="test_hiker"
 name="test_life" time="0.001" /><testcase classname="test_hiker" name="test_answer"
 time="0.002"><failure message="assert 54 == 42">def test_answer():
&gt;       assert answer() == 42
E       assert 54 == 42</failure></testcase><testcase classname="test_hiker" name="test_later"
 time="0.000"><skipped type="pytest.skip" message="not now">test_hiker.py:9: not now</skipped>
</testcase><testcase classname="test_hiker" name="test_setup" time="1,000.5"><error
 message="failed on setup with &quot;no&quot;" /></testcase></testsuite></testsuites>"""

# What prove and mocha write.
TAP = b"""TAP version 13
1..5
ok 1 - life
not ok 2 - the answer # is \\# 42
  ---
  message: expected 42
  severity: fail
  ...
ok 3 - later # SKIP not now
not ok 4 - unwritten # TODO write it
not ok 5
#   Failed test at hiker.t line 7.
"""

TRACK = {
    "version": 3,
    "status": "fail",
    "message": None,
    "tests": [
        {"name": "life", "status": "pass", "message": None},
        {"name": "the answer", "status": "fail", "message": "expected 42", "duration": 0.5},
        {"name": "setup", "status": "error", "message": "no \ud800"},
    ],
}


Read = Callable[[bytes, Collector], str]


def results(read: Read, content: bytes) -> Results:
    collector = Collector()
    return collector.results(read(content, collector))


def test_junit_xml_is_read() -> None:
    answer = "def test_answer():\n>       assert answer() == 42\nE       assert 54 == 42"
    found = results(junit_xml.read, PYTEST)
    assert found.tests == (
        TestResult("test_life", PASSED, "test_hiker", 0.001),
        TestResult("test_answer", FAILED, "test_hiker", 0.002, f"assert 54 == 42\n{answer}"),
        TestResult("test_later", SKIPPED, "test_hiker", 0.0, "not now\ntest_hiker.py:9: not now"),
        TestResult("test_setup", ERROR, "test_hiker", 1000.5, 'failed on setup with "no"'),
    )
    assert found.counts == {PASSED: 1, FAILED: 1, ERROR: 1, SKIPPED: 1}


def test_a_text_that_begins_with_its_summary_tells_it_once() -> None:
    case = b'<testcase name="a"><failure message="no">no: 54</failure></testcase>'
    assert results(junit_xml.read, case).tests == (TestResult("a", FAILED, message="no: 54"),)


def test_tap_is_read() -> None:
    found = results(tap.read, TAP)
    assert found.tests == (
        TestResult("life", PASSED),
        TestResult(
            "the answer # is # 42", FAILED, message="message: expected 42\n  severity: fail"
        ),
        TestResult("later", SKIPPED, message="SKIP not now"),
        TestResult("unwritten", SKIPPED, message="TODO write it"),
        TestResult("", FAILED, message="Failed test at hiker.t line 7."),
    )
    assert found.message == ""


@pytest.mark.parametrize(
    ("content", "count", "message"),
    [
        (b"1..3\nok 1 - a\n", 1, "3 tests were planned, and 1 are told"),
        (b"ok 1 - a\nBail out! no database\n", 1, "Bail out! no database"),
        (b"1..0 # SKIP nothing to do\n", 0, ""),
        (b"# Subtest: outer\n    ok 1 - inner\n    1..1\nok 1 - outer\n1..1\n", 1, ""),
    ],
)
def test_tap_that_ends_early_says_so(content: bytes, count: int, message: str) -> None:
    found = results(tap.read, content)
    assert (len(found.tests), found.message) == (count, message)


def test_the_json_of_a_track_is_read() -> None:
    assert results(track_json.read, json.dumps(TRACK).encode()).tests == (
        TestResult("life", PASSED),
        TestResult("the answer", FAILED, seconds=0.5, message="expected 42"),
        TestResult("setup", ERROR, message="no ?"),
    )


def test_the_json_of_a_track_can_have_one_message_for_all() -> None:
    content = {"version": 2, "status": "error", "message": "hiker.c:3: expected ;", "tests": None}
    assert results(track_json.read, json.dumps(content).encode()) == Results(
        (), dict.fromkeys(Status, 0), "hiker.c:3: expected ;"
    )


LAUGHS = b"""<!DOCTYPE a [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>
<testsuite><testcase name="&b;"/></testsuite>"""


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (LAUGHS, "it is XML with a document type"),
        (b"<testsuite>" + b"<a>" * 10_000, "it is XML with elements more than 32 deep"),
        (PYTEST[:-20], "it is no XML: unclosed token, in line "),
        (b"<html></html>", "it is XML, and 'html' is none of testcase, testsuite, testsuites"),
        (b'<?xml version="1.0" encoding="klingon"?><testsuite/>', "it is no XML: "),
        (b"<testsuite>\xff</testsuite>", "it is no XML: not well-formed"),
        (b"[" * 100_000, "it is no JSON: "),
        (b"{", "it is no JSON: "),
        (b'{"status": 5}', "it is JSON, and no object that has a status"),
        (b'{"status": "pass", "tests": {}}', "it is JSON, and its tests are no list"),
        (b'{"status": "pass", "tests": [{"status": "?"}]}', "it is JSON, and tests[0].status is"),
        (b'{"status": "pass", "tests": [{"status": ["pass"]}]}', "it is JSON, and tests[0]"),
        (b"[]", "it is JSON, and no object that has a status"),
        (b"", "it is neither XML, JSON nor TAP"),
        (b"\0" * 1000, "it is neither XML, JSON nor TAP"),
    ],
)
def test_what_can_not_be_read_is_a_fault_with_its_reason(
    sandbox: Sandbox, folder: Path, content: bytes, reason: str
) -> None:
    (folder / "results").write_bytes(content)
    found = file.read("results", sandbox, {})
    assert not found.tests
    assert found.fault.startswith(f"'results': {reason}")


@pytest.mark.parametrize("name", ["results.xml", "build/results.xml"])
def test_a_file_that_the_run_did_not_write_is_a_fault(
    sandbox: Sandbox, folder: Path, name: str
) -> None:
    assert file.read(name, sandbox, {}).fault == f"the run wrote no file {name}"
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(PYTEST)
    before = file_versions.versions(sandbox, 10)
    assert file.read(name, sandbox, before).fault == f"{name} is that of an earlier run"
    path.write_bytes(PYTEST)
    os.utime(path, ns=(1, 1))
    assert len(file.read(name, sandbox, before).tests) == 4


def test_a_link_and_a_fifo_are_no_files(sandbox: Sandbox, folder: Path) -> None:
    (folder / "secret.xml").write_bytes(PYTEST)
    (folder / "link").symlink_to(folder / "secret.xml")
    os.mkfifo(folder / "fifo")
    for name in ("link", "fifo"):
        assert file.read(name, sandbox, {}).fault == f"the run wrote no file {name}"


def test_a_file_that_is_too_large_is_a_fault(sandbox: Sandbox, folder: Path) -> None:
    with (folder / "results").open("wb") as holes:
        holes.truncate(10**9)
    reason = f"'results': {file.MAX_BYTES} bytes are the most that are read"
    assert file.read("results", sandbox, {}).fault == reason


def test_the_files_of_a_folder_are_read_in_the_order_of_their_names(
    sandbox: Sandbox, folder: Path
) -> None:
    inside = folder / "results"
    inside.mkdir()
    (inside / "inner").mkdir()
    (inside / "link").symlink_to(folder / "a")
    for name in ("b", "a", "of an earlier run"):
        (inside / name).write_text(f"1..2\nok 1 - {name}\n")
    before = file_versions.versions(sandbox, 10)
    del before["results/a"], before["results/b"]
    found = file.read("results", sandbox, before)
    assert [each.name for each in found.tests] == ["a", "b"]
    assert found.message == "\n".join(["2 tests were planned, and 1 are told"] * 2)
    (inside / "b").write_bytes(b"\0")
    assert file.read("results", sandbox, before).fault == (
        "'results/b': it is neither XML, JSON nor TAP"
    )


def test_the_files_of_a_folder_are_bounded_together(sandbox: Sandbox, folder: Path) -> None:
    inside = folder / "results"
    inside.mkdir()
    for number in range(3):
        (inside / str(number)).write_bytes(b"ok\n" * (file.MAX_BYTES // 8))
    found = file.read("results", sandbox, {})
    assert found.fault == f"'results/2': {file.MAX_BYTES} bytes are the most that are read"


def test_long_names_and_messages_are_cut_off_and_tests_too_many_are_counted() -> None:
    long = b'<testcase name="%s"><failure message="%s"/></testcase>' % (b"n" * 999, b"m" * 9999)
    found = results(junit_xml.read, b"<testsuite>" + long * 3000 + b"</testsuite>")
    assert found.counts[FAILED] == 3000
    assert found.is_truncated
    assert len(found.tests) == MAX_TESTS
    assert len(found.tests[0].name) == MAX_NAME
    assert len(found.tests[0].message) == MAX_MESSAGE
    assert sum(len(each.message) for each in found.tests) == MAX_MESSAGES


@pytest.mark.parametrize("seconds", ["", "soon", "nan", "inf", "-1", "1e300"])
def test_what_is_no_duration_is_left_out(seconds: str) -> None:
    case = f'<testcase name="a" time="{seconds}"/>'.encode()
    assert results(junit_xml.read, case).tests[0].seconds is None


@given(st.binary(max_size=300) | st.sampled_from([PYTEST, TAP, LAUGHS]).map(bytes), st.data())
def test_whatever_a_run_writes_has_results_or_a_reason(content: bytes, data: st.DataObject) -> None:
    cut = content[: data.draw(st.integers(0, len(content)))]
    changed = cut + data.draw(st.binary(max_size=5)) + content[len(cut) :]
    for read in (junit_xml.read, tap.read, track_json.read):
        with contextlib.suppress(Malformed):
            found = results(read, changed)
            assert len(found.tests) == sum(found.counts.values())
