"""The file with an installation's settings: programs and scripts read the same of it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dojo.service import settings_file
from dojo.service.settings import BadSettings
from support.paths import TOP

# Lines, and what is read of them.
GOOD = [
    ("CYBER_DOJO_LOG_LEVEL=debug", {"CYBER_DOJO_LOG_LEVEL": "debug"}),
    ("# a comment\n\n  \nCYBER_DOJO_ARCHIVE=", {"CYBER_DOJO_ARCHIVE": ""}),
    ("CYBER_DOJO_ARCHIVE_DIRECTORY=/srv/a b#c=d", {"CYBER_DOJO_ARCHIVE_DIRECTORY": "/srv/a b#c=d"}),
    (
        "AWS_REGION=eu-1\nCOMPOSE_PROJECT_NAME=x",
        {"AWS_REGION": "eu-1", "COMPOSE_PROJECT_NAME": "x"},
    ),
]
# Lines that can't be used, and what is said of the last one.
BAD = [
    ("CYBER_DOJO_LOGLEVEL=debug", "CYBER_DOJO_LOGLEVEL is no setting"),
    ("PATH=/tmp", "PATH is no setting"),
    ("\n\nLOG_LEVEL=debug", "LOG_LEVEL is no setting"),
    ("export CYBER_DOJO_ARCHIVE=/a", "is not NAME=value"),
    ("CYBER_DOJO_ARCHIVE = /a", "is not NAME=value"),
    ("debug", "is not NAME=value"),
    ("CYBER_DOJO_ARCHIVE= /a", "CYBER_DOJO_ARCHIVE: there are blanks around its value"),
    ("CYBER_DOJO_ARCHIVE=/a ", "CYBER_DOJO_ARCHIVE: there are blanks around its value"),
    ("CYBER_DOJO_ARCHIVE=/a\nCYBER_DOJO_ARCHIVE=/b", "CYBER_DOJO_ARCHIVE is set above"),
    ("CYBER_DOJO_SETTINGS_FILE=/a", "CYBER_DOJO_SETTINGS_FILE can't be in the file"),
    *(
        (f"CYBER_DOJO_ARCHIVE={value}", "CYBER_DOJO_ARCHIVE: write the value as it is")
        for value in ('"/a"', "'/a'", "/a\\b", "$HOME", "`id`", "/a # there", "#a")
    ),
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A settings file, which a test writes."""
    return tmp_path / "settings"


def applied(file: Path, **environ: str) -> dict[str, str]:
    """Return the environment that a program has after it read the file."""
    before = {settings_file.FILE: str(file), **environ}
    after = dict(before)
    settings_file.apply(after)
    return {name: value for name, value in after.items() if before.get(name) != value}


def in_a_script(file: Path, **environ: str) -> "subprocess.CompletedProcess[str]":
    """Run a script of ours that prints its settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CYBER_DOJO_")}
    return subprocess.run(
        ["bash", "-euc", ". scripts/lib.sh; env -0"],
        cwd=TOP,
        env={**kept, settings_file.FILE: str(file), **environ},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(("text", "found"), GOOD)
@pytest.mark.parametrize("end", ["", "\n"])
def test_programs_and_scripts_read_the_same(
    file: Path, text: str, found: dict[str, str], end: str
) -> None:
    file.write_text(text + end)
    expected = {**found, settings_file.SET_BY_FILE: " ".join(found)}
    assert applied(file) == expected
    done = in_a_script(file)
    assert done.returncode == 0, done.stderr
    environ = dict(each.split("=", 1) for each in done.stdout.split("\0") if each)
    assert {name: environ[name] for name in expected} == expected


@pytest.mark.parametrize(("text", "reason"), BAD)
def test_programs_and_scripts_refuse_the_same_and_name_the_line(
    file: Path, text: str, reason: str
) -> None:
    file.write_text(text)
    with pytest.raises(BadSettings) as caught:
        applied(file)
    (problem,) = caught.value.problems
    where = f"{file}:{text.count(chr(10)) + 1}: "
    assert problem.startswith(where + reason)
    done = in_a_script(file)
    assert done.returncode == 1
    assert done.stderr.startswith(f"** {where}{reason}")


def test_the_environment_counts_before_the_file(file: Path) -> None:
    file.write_text("CYBER_DOJO_LOG_LEVEL=debug\nCYBER_DOJO_ARCHIVE=/file\nCYBER_DOJO_TAG=1")
    environ = {"CYBER_DOJO_LOG_LEVEL": "error", "CYBER_DOJO_ARCHIVE": ""}
    added = {"CYBER_DOJO_TAG": "1", settings_file.SET_BY_FILE: "CYBER_DOJO_TAG"}
    assert applied(file, **environ) == added
    # A second program that inherits all of that adds nothing, and knows what came from the file.
    inherited = {**environ, **added}
    assert applied(file, **inherited) == {}
    assert settings_file.names_set_by_file(inherited) == {"CYBER_DOJO_TAG"}


def test_all_bad_lines_are_named_and_no_value_is_told(file: Path) -> None:
    file.write_text("CYBER_DOJO_X='secret'\nAWS_SECRET_ACCESS_KEY=\"secret\"\nsecret")
    with pytest.raises(BadSettings) as caught:
        applied(file)
    lines = [problem.removeprefix(f"{file}:")[0] for problem in caught.value.problems]
    assert lines == ["1", "1", "2", "3"]
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "reason"), [(b"\xff=1", "UTF-8"), (b"#" * 65537, "larger than 65536 bytes")]
)
def test_a_file_that_is_no_text_or_too_large_is_refused(
    file: Path, content: bytes, reason: str
) -> None:
    file.write_bytes(content)
    with pytest.raises(BadSettings, match=reason):
        applied(file)


def test_a_file_that_is_named_and_missing_is_refused_by_every_program(file: Path) -> None:
    with pytest.raises(BadSettings, match="there is no such file"):
        applied(file)
    assert "can't be read" in in_a_script(file).stderr
    for command in (["cli", "ls"], ["storer", "serve"]):
        done = subprocess.run(
            [sys.executable, "-m", *command],
            env={**os.environ, settings_file.FILE: str(file)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 2
        assert f"{settings_file.FILE}='{file}': there is no such file" in done.stderr
