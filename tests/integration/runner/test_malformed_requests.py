"""A malformed request is refused with the name of the field, and changes nothing."""

from collections.abc import Callable
from functools import partial
from typing import Any

import grpc
import pytest

from cyberdojo.colour.v1 import colour_pb2
from cyberdojo.runner.v1 import runner_pb2
from dojo import image_names, visible_files
from support.kata_folders import Kata
from support.runner.submissions import (
    AVATAR,
    COLOUR_RULE,
    GREEN,
    RED,
    TIMED_OUT,
    Stub,
    assert_serves,
    bad_field,
    refused,
    request,
)
from support.services import Service

Refused = Callable[[runner_pb2.RunRequest], str]

KATA_IDS = [
    "",
    "493A06504",
    "493A06504A7",
    "493A06504/",
    "493A06504-",
    "493A06504\n",
    "493A0650\x00A",
    "\uff1493A06504A",
    "../../../..",
    "49/3A06504A",
    "x" * 200,
]

AVATARS = [
    "",
    "Whale",
    "WHALE",
    " whale",
    "whale ",
    "whale\n",
    "whale\x00",
    "whale/",
    "./whale",
    "../whale",
    "whale/sandbox",
    "..",
    "manifest.json",
    "unicorn",
    "\uff57hale",
    "whale" * 40,
]

IMAGE_NAMES = [
    "",
    " ",
    "Upper/case",
    "two words",
    "-rf",
    "--help",
    "a//b",
    "/a",
    "a/",
    "a:",
    "a:b:c",
    "a:-",
    "a@sha256:123",
    "../a",
    "a/..",
    "a\x00",
    "a\n",
    "http://a/b",
    "a?tag=b",
    "é",
    "a" * (image_names.MAX_BYTES + 1),
    "0" * 64,
    "sha256:" + "0" * 64,
    "sha256:0",
]

FILENAMES = [
    "",
    "/etc/passwd",
    "/",
    ".",
    "..",
    "../a",
    "a/../b",
    "a/..",
    "a/./b",
    "a//b",
    "a/",
    "a\x00b",
    "a\nb",
    "a\x7f",
    ".git",
    ".git/config",
    "a/.GIT/config",
    ".git /config",
    "git~1/config",
    "a" * 256,
    "é" * 128,
    "a/" * 150 + "b",
]

PATTERNS = [
    ("pattern", "("),
    ("pattern", "a**"),
    ("pattern", "(?=ahead)"),
    ("pattern", r"(a)\1"),
    ("pattern", "(?<=behind)"),
    ("pattern", "[z-a]"),
    ("pattern", "a{1001}"),
    ("pattern", "((((a{100}){100}){100}){100})"),
    ("pattern", ""),
    ("pattern", "a" * 1001),
    ("pattern", "é" * 501),
    ("colour", colour_pb2.COLOUR_UNSPECIFIED),
    ("colour", TIMED_OUT),
    ("colour", colour_pb2.COLOUR_FAULTY),
    ("colour", 99),
    ("colour", -1),
    ("stream", 99),
    ("stream", -1),
]


@pytest.fixture
def is_refused(runner: Stub, started_kata: Kata) -> Refused:
    """Returns the field that a Run is refused for, and asserts that the sandbox is unchanged."""
    sandbox = started_kata.sandbox(AVATAR)
    (sandbox / "earlier").write_bytes(b"")

    def field(asked: runner_pb2.RunRequest) -> str:
        before = sandbox.stat().st_ctime_ns
        found = bad_field(lambda: runner.Run(asked, timeout=30))
        assert [path.name for path in sandbox.iterdir()] == ["earlier"]
        assert sandbox.stat().st_ctime_ns == before
        assert [path.name for path in started_kata.folder.iterdir() if path.is_dir()] == [AVATAR]
        return found

    return field


@pytest.mark.parametrize("kata_id", KATA_IDS)
def test_a_malformed_kata_id(is_refused: Refused, started_kata: Kata, kata_id: str) -> None:
    assert is_refused(request(started_kata, kata_id=kata_id)) == "kata_id"


@pytest.mark.parametrize("avatar", AVATARS)
def test_a_name_of_no_avatar(is_refused: Refused, started_kata: Kata, avatar: str) -> None:
    assert is_refused(request(started_kata, avatar=avatar)) == "avatar"


@pytest.mark.parametrize("image_name", IMAGE_NAMES)
def test_a_name_that_no_image_can_have(
    is_refused: Refused, runner: Stub, started_kata: Kata, image_name: str
) -> None:
    assert is_refused(request(started_kata, image_name=image_name)) == "image_name"
    asked = runner_pb2.PullImageRequest(image_name=image_name)
    assert bad_field(lambda: list(runner.PullImage(asked))) == "image_name"


@pytest.mark.parametrize("name", FILENAMES, ids=ascii)
def test_a_name_that_no_visible_file_can_have(
    is_refused: Refused, started_kata: Kata, name: str
) -> None:
    field = is_refused(request(started_kata, files={name: b""}))
    assert field == f"files[{visible_files.shown(name)}]"


def test_a_file_and_a_folder_of_the_same_name(is_refused: Refused, started_kata: Kata) -> None:
    files = {"a/b": b"", "a": b"", "a.b": b""}
    assert is_refused(request(started_kata, files=files)) == "files['a']"


def test_a_filename_that_is_not_utf8(
    runner_service: Service,
    connect: Callable[[str], grpc.Channel],
    started_kata: Kata,
) -> None:
    # A client in another language could send this; Python's protobuf refuses to.
    sent = (
        request(started_kata, files={"caf!": b""}).SerializeToString().replace(b"caf!", b"caf\xe9")
    )
    channel: Any = connect(runner_service.address)
    method = channel.unary_unary("/cyberdojo.runner.v1.RunnerService/Run")
    refused(lambda: method(sent, timeout=30), grpc.StatusCode.INVALID_ARGUMENT)
    assert not list(started_kata.sandbox(AVATAR).iterdir())


def test_no_cyber_dojo_sh(is_refused: Refused, started_kata: Kata) -> None:
    for files in ({}, {"a/cyber-dojo.sh": b""}, {"Cyber-Dojo.sh": b""}):
        asked = request(started_kata)
        asked.files.clear()
        asked.files.update(files)
        assert is_refused(asked) == "files"


def test_too_many_files(is_refused: Refused, started_kata: Kata) -> None:
    files = {f"{number}.txt": b"" for number in range(10_000)}
    assert is_refused(request(started_kata, files=files)) == "files"


def test_a_file_that_is_too_large(is_refused: Refused, started_kata: Kata) -> None:
    files = {"large.txt": bytes(visible_files.MAX_FILE_BYTES + 1)}
    assert is_refused(request(started_kata, files=files)) == "files['large.txt']"


def test_files_that_are_too_large_together(is_refused: Refused, started_kata: Kata) -> None:
    files = {f"{number}.txt": bytes(visible_files.MAX_FILE_BYTES) for number in range(3)}
    assert is_refused(request(started_kata, files={**files, "one-more": b"a"})) == "files"


def test_a_message_that_is_too_large(runner: Stub, started_kata: Kata) -> None:
    asked = request(started_kata, files={"large.txt": bytes(64 * 1024 * 1024)})
    refused(lambda: runner.Run(asked), grpc.StatusCode.RESOURCE_EXHAUSTED)
    assert not list(started_kata.sandbox(AVATAR).iterdir())


@pytest.mark.parametrize("max_seconds", [-1, 61, 10**9, -(2**31), 2**31 - 1])
def test_a_time_limit_that_is_out_of_range(
    is_refused: Refused, started_kata: Kata, max_seconds: int
) -> None:
    assert is_refused(request(started_kata, max_seconds=max_seconds)) == "max_seconds"


@pytest.mark.parametrize(("part", "value"), PATTERNS, ids=[f"{k}-{v!a:.20}" for k, v in PATTERNS])
def test_a_bad_pattern_is_named_by_its_index(
    is_refused: Refused, started_kata: Kata, part: str, value: object
) -> None:
    fields = {"colour": GREEN, "pattern": "passed", part: value}
    bad = colour_pb2.ColourPattern(**fields)  # type: ignore[arg-type]
    good = colour_pb2.ColourPattern(colour=RED, pattern="failed")
    patterns = colour_pb2.ColourPatterns(patterns=[good, bad])
    asked = request(started_kata, colour_rule=colour_pb2.ColourRule(patterns=patterns))
    assert is_refused(asked) == f"colour_rule.patterns.patterns[1].{part}"


def test_too_many_patterns(is_refused: Refused, started_kata: Kata) -> None:
    pattern = colour_pb2.ColourPattern(colour=RED, pattern="failed")
    patterns = colour_pb2.ColourPatterns(patterns=[pattern] * 33)
    asked = request(started_kata, colour_rule=colour_pb2.ColourRule(patterns=patterns))
    assert is_refused(asked) == "colour_rule.patterns.patterns"


@pytest.mark.parametrize("page_size", [-1, 1001, 2**31 - 1, -(2**31)])
def test_a_page_size_that_is_out_of_range(runner: Stub, page_size: int) -> None:
    asked = runner_pb2.ListImagesRequest(page_size=page_size)
    assert bad_field(lambda: runner.ListImages(asked)) == "page_size"


@pytest.mark.parametrize("page_token", ["!", "a", "é", "/w==", "_w==", "YQ", "YQ==YQ==", "\n"])
def test_a_page_token_that_no_page_gave(runner: Stub, page_token: str) -> None:
    asked = runner_pb2.ListImagesRequest(page_token=page_token)
    assert bad_field(lambda: runner.ListImages(asked)) == "page_token"


def test_a_request_just_within_the_limits_runs(runner: Stub, started_kata: Kata) -> None:
    pattern = colour_pb2.ColourPattern(colour=GREEN, pattern="p" * 1000)
    rule = colour_pb2.ColourRule(patterns=colour_pb2.ColourPatterns(patterns=[pattern] * 31))
    rule.patterns.patterns.extend(COLOUR_RULE.patterns.patterns[1:])
    files = {
        "a" * 255: b"long",
        "a/" * 126 + "é": b"deep",
        "-rf": b"",
        "a b'\"$(c)": b"",
        ".gitignore": b"",
        "...": b"",
        "☃": b"",
    }
    script = f"cat {'a' * 255} {'a/' * 126}é; ls -A | wc -l; echo tests: passed"
    response = runner.Run(request(started_kata, script, files, max_seconds=60, colour_rule=rule))
    assert response.stdout.content == b"longdeep8\ntests: passed\n"
    assert response.colour == GREEN


def test_a_runner_that_refused_serves_the_next_call(runner: Stub, started_kata: Kata) -> None:
    for asked in (
        request(started_kata, kata_id="x"),
        request(started_kata, files={"../a": b""}),
        request(started_kata, max_seconds=61),
    ):
        bad_field(partial(runner.Run, asked))
    assert_serves(runner, started_kata)
