"""The results of each test, in the response of a run that names the file they are in."""

import pytest

from cyberdojo.results.v1 import results_pb2
from support.kata_folders import Kata
from support.runner.submissions import GREEN, Run, Stub, bad_field, request

TESTS = b"""
def test_life(): pass
def test_answer(): assert 6 * 9 == 42, "wrong question"
"""
PYTEST = "pytest --junitxml=build/results.xml; echo tests: passed"


def test_the_tests_that_pytest_ran_are_told(run: Run) -> None:
    response = run(PYTEST, {"test_hiker.py": TESTS}, results_filename="build/results.xml")
    results = response.test_results
    assert (results.counts.passed, results.counts.failed, results.fault) == (1, 1, "")
    life, answer = results.tests
    assert (life.name, life.group) == ("test_life", "test_hiker")
    assert life.status == results_pb2.TEST_STATUS_PASSED
    assert life.HasField("duration")
    assert answer.status == results_pb2.TEST_STATUS_FAILED
    assert answer.message.startswith("AssertionError: wrong question")
    assert "build/results.xml" not in response.changed_files


def test_a_later_run_that_writes_no_results_does_not_tell_those_of_an_earlier_one(run: Run) -> None:
    assert run("echo ok 1 - a > tap", results_filename="tap").test_results.counts.passed == 1
    response = run("echo tests: passed", results_filename="tap")
    assert response.test_results.fault == "tap is that of an earlier run"
    assert response.colour == GREEN


@pytest.mark.parametrize(
    ("script", "fault"),
    [
        ("true", "the run wrote no file tap"),
        ("ln -s /etc/passwd tap", "the run wrote no file tap"),
        ("mkfifo tap", "the run wrote no file tap"),
        ("truncate -s 100M tap", "'tap': 1048576 bytes are the most that are read"),
        ("echo '<!DOCTYPE a [<!ENTITY a \"a\">]><testsuite/>' >tap", "'tap': it is XML with a doc"),
        ("echo '<testsuite><testcase' > tap", "'tap': it is no XML"),
    ],
)
def test_a_file_that_can_not_be_read_leaves_the_colour_as_it_is(
    run: Run, script: str, fault: str
) -> None:
    response = run(f"rm -f tap; {script}; echo tests: passed", results_filename="tap")
    assert response.colour == GREEN
    assert response.test_results.fault.startswith(fault)
    assert not response.test_results.tests


def test_no_file_named_is_no_results(run: Run) -> None:
    assert not run().HasField("test_results")


@pytest.mark.parametrize("name", ["../a", "/etc/passwd", "a\nb"])
def test_a_name_that_leads_out_is_refused(runner: Stub, kata: Kata, name: str) -> None:
    asked = request(kata, results_filename=name)
    assert bad_field(lambda: runner.Run(asked, timeout=60)) == "results_filename"


def test_a_run_that_leaves_the_file_for_it_has_a_special_colour(run: Run) -> None:
    response = run("touch outcome.special; echo tests: passed")
    assert response.special
    assert response.colour == GREEN
    assert "outcome.special" not in response.changed_files
    assert not run().special  # it is that of the earlier run
    assert run(files={"outcome.special": b""}).special
    assert not run("rm outcome.special; mkdir outcome.special").special
