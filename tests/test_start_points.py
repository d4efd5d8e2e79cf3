"""The start points: complete, and red, green and amber in their images as they should be."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from kata_folders import Kata

from cyberdojo.colour.v1 import colour_pb2
from cyberdojo.runner.v1 import runner_pb2, runner_pb2_grpc

LANGUAGES = Path(__file__).parents[1] / "start_points" / "languages"
NAMES = sorted(path.name for path in LANGUAGES.iterdir())
AVATAR = "whale"

KEYS = {
    "display_name",
    "image_name",
    "filename_extension",
    "tab_size",
    "max_seconds",
    "visible_filenames",
    "highlight_filenames",
    "progress_regexs",
    "colour_rule",
}

Files = dict[str, bytes]
Test = Callable[[str, Files], runner_pb2.RunResponse]


def manifest(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((LANGUAGES / name / "manifest.json").read_bytes())
    return found


def visible_files(name: str) -> Files:
    names = manifest(name)["visible_filenames"]
    return {each: (LANGUAGES / name / each).read_bytes() for each in names}


def edited(name: str, filename: str, old: bytes, new: bytes) -> Files:
    """Return the visible files after somebody replaced `old` by `new` in one of them."""
    files = visible_files(name)
    assert files[filename].count(old) == 1, f"{old!r} is not in {filename} once"
    return {**files, filename: files[filename].replace(old, new)}


def fixed(name: str) -> Files:
    filename = "hiker.c" if name.startswith("gcc") else "hiker.py"
    return edited(name, filename, b"6 * 9", b"6 * 7")


def colour_rule(name: str) -> colour_pb2.ColourRule:
    patterns = [
        {
            "colour": f"COLOUR_{each['colour'].upper()}",
            "pattern": each["pattern"],
            "stream": f"STREAM_{each.get('stream', 'unspecified').upper()}",
        }
        for each in manifest(name)["colour_rule"]["patterns"]
    ]
    rule = {"patterns": {"patterns": patterns}}
    return json_format.ParseDict(rule, colour_pb2.ColourRule())


@pytest.fixture
def test(runner: runner_pb2_grpc.RunnerServiceStub, kata: Kata) -> Test:
    """Runs the tests of a start point in the whale's sandbox: `test("gcc_assert", files)`."""
    kata.start_avatar(AVATAR)

    def test(name: str, files: Files) -> runner_pb2.RunResponse:
        asked = runner_pb2.RunRequest(
            kata_id=kata.id,
            avatar=AVATAR,
            image_name=manifest(name)["image_name"],
            files=files,
            max_seconds=manifest(name)["max_seconds"],
            colour_rule=colour_rule(name),
        )
        return runner.Run(asked, timeout=60)

    return test


@pytest.mark.parametrize("name", NAMES)
def test_a_manifest_names_each_file_of_its_folder_and_says_all_that_there_is_to_say(
    name: str,
) -> None:
    found = manifest(name)
    folder = LANGUAGES / name
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert set(found) == KEYS
    assert set(found["visible_filenames"]) == files - {"manifest.json"}
    assert "cyber-dojo.sh" in found["visible_filenames"]
    assert set(found["highlight_filenames"]) <= set(found["visible_filenames"])
    assert found["image_name"] == f"cyberdojofoundation/{name}"
    for extension in found["filename_extension"]:
        assert any(each.endswith(extension) for each in found["visible_filenames"])
    assert 1 <= found["max_seconds"] <= 60
    assert 1 <= found["tab_size"] <= 16


@pytest.mark.parametrize("name", NAMES)
def test_what_it_begins_with_is_red(test: Test, name: str) -> None:
    response = test(name, visible_files(name))
    assert response.outcome == colour_pb2.COLOUR_RED, response
    assert not response.reason


@pytest.mark.parametrize("name", NAMES)
def test_it_becomes_green_and_red_again_in_one_sandbox(test: Test, name: str) -> None:
    for files, colour in (
        (fixed(name), colour_pb2.COLOUR_GREEN),
        (visible_files(name), colour_pb2.COLOUR_RED),
        (fixed(name), colour_pb2.COLOUR_GREEN),
    ):
        response = test(name, files)
        assert response.outcome == colour, response


@pytest.mark.parametrize(
    ("name", "filename", "old", "new"),
    [
        # It does not compile.
        ("gcc_assert", "hiker.c", b"return", b"retrun"),
        ("gcc_assert", "hiker.tests.c", b"== 42);", b"== 42)"),
        # A function is called that there is not, which only the linker notices.
        ("gcc_assert", "hiker.c", b"answer(void)", b"other(void)"),
        # It compiles, and dies before it can say how the tests went.
        ("gcc_assert", "hiker.c", b"return 6 * 9", b"__builtin_trap()"),
        # make finds no rule.
        ("gcc_assert", "makefile", b"test: $(OBJECTS)", b"tests: $(OBJECTS) missing"),
        # The code can't be parsed, so that the tests can't import it.
        ("python_pytest", "hiker.py", b"return 6 * 9", b"return 6 *"),
        ("python_unittest", "hiker.py", b"return 6 * 9", b"return 6 *"),
        ("python_behave", "hiker.py", b"return 6 * 9", b"return 6 *"),
        # The tests themselves can't be parsed.
        ("python_pytest", "test_hiker.py", b"== 42", b"=="),
        ("python_unittest", "test_hiker.py", b"hiker.answer())", b"hiker.answer()"),
        ("python_behave", "steps/hiker_steps.py", b"def has_a_towel", b"def has a towel"),
        # There is no test.
        ("python_pytest", "test_hiker.py", b"def test_", b"def _"),
        ("python_unittest", "test_hiker.py", b"def test_", b"def _"),
        ("python_behave", "hiker.feature", b"  Scenario:", b"  "),
        # A step of the scenario is not defined.
        ("python_behave", "hiker.feature", b"a hiker with a towel", b"a hiker"),
        # The feature can't be parsed.
        ("python_behave", "hiker.feature", b"    When", b"    Whenever"),
    ],
)
def test_tests_that_could_not_run_are_amber(
    test: Test, name: str, filename: str, old: bytes, new: bytes
) -> None:
    response = test(name, edited(name, filename, old, new))
    assert response.outcome == colour_pb2.COLOUR_AMBER, response


@pytest.mark.parametrize("name", NAMES)
def test_a_command_that_is_not_there_is_amber(test: Test, name: str) -> None:
    response = test(name, {**visible_files(name), "cyber-dojo.sh": b"not-there\n"})
    assert response.outcome == colour_pb2.COLOUR_AMBER
    assert response.status == 127


@pytest.mark.parametrize("name", NAMES)
def test_nothing_that_a_test_makes_shows_up_beside_the_visible_files(test: Test, name: str) -> None:
    response = test(name, fixed(name))
    assert not response.changed_files
    assert not response.deleted_filenames


def test_a_changed_header_compiles_what_includes_it(test: Test) -> None:
    test("gcc_assert", visible_files("gcc_assert"))
    # Contradicts hiker.c, which has not changed.
    response = test("gcc_assert", edited("gcc_assert", "hiker.h", b"int answer", b"long answer"))
    assert response.outcome == colour_pb2.COLOUR_AMBER
    assert b"conflicting types" in response.stderr.content
