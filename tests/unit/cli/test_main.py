"""The command `cyber-dojo`: its help, its completion, and what it loads."""

import os
import subprocess
import sys
from importlib import import_module

import click
import pytest
from click.shell_completion import BashComplete
from click.testing import CliRunner, Result

from cli.commands.completion import VARIABLE
from cli.main import COMMANDS, command
from support.paths import TOP

ALL = {name: entry for group in COMMANDS.values() for name, entry in group.items()}
SERVICES = [name for name, (place, _) in COMMANDS["Services"].items() if "__main__" in place]


def run(*arguments: str) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(command, arguments, prog_name="cyber-dojo")


def python(*arguments: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    """Run `python -m` in a process of its own."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", *arguments],
        cwd=TOP,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        check=False,
    )


def loaded_by(*arguments: str) -> set[str]:
    """Return the top-level modules that a command loads to print its help."""
    done = python("cli", *arguments, "--help", PYTHONPROFILEIMPORTTIME="1")
    assert done.returncode == 0
    return {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}


def completed(*words: str) -> list[str]:
    """Return the completions that a shell is offered for the last word."""
    shell = BashComplete(command, {}, "cyber-dojo", VARIABLE)
    return [each.value for each in shell.get_completions(list(words[:-1]), words[-1])]


def test_help_names_every_command() -> None:
    done = run("--help")
    assert done.exit_code == 0
    for name, (_, does) in ALL.items():
        assert f"  {name} " in done.stdout
        assert does in done.stdout


@pytest.mark.parametrize("name", ALL)
def test_every_command_explains_itself_and_each_of_its_options(name: str) -> None:
    done = run(name, "-h")
    assert done.stdout.startswith(f"Usage: cyber-dojo {name} ")
    module, _, attribute = ALL[name][0].partition(":")
    found = getattr(import_module(module), attribute)
    assert found.help
    for option in found.params:
        assert isinstance(option, click.Argument) or option.help, option.name


def test_the_version_is_the_packages() -> None:
    assert run("--version").stdout.startswith("cyber-dojo 0.")


@pytest.mark.parametrize("module", ["cli", "storer", "runner"])
def test_without_a_command_the_help_is_shown_and_nothing_starts(module: str) -> None:
    done = python(module, DOCKER_HOST="tcp://127.0.0.1:1")
    assert done.returncode == 2
    assert (done.stdout, done.stderr.partition(" ")[0]) == ("", "Usage:")
    assert "serve" in done.stderr or module == "cli"


def test_a_command_loads_only_what_it_needs() -> None:
    services = {"storer", "runner", "docker", "pygit2", "boto3", "structlog"}
    assert not loaded_by() & {*services, "grpc", "rich"}
    assert not loaded_by("ls") & {*services, "rich"}
    for service in SERVICES:
        assert not loaded_by(service, "serve") & {"rich", "replay", "opentelemetry"}


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["sh"], ["show"]),
        (["re"], ["restore", "replay"]),
        (["storer", "s"], ["serve"]),
        (["completion", ""], ["bash", "zsh", "fish"]),
        (["show", "493A06504A", "wh"], ["whale"]),
        (["show", "493A06504A", "whale", "n"], ["newest"]),
        (["download", "493A06504A", "--compression", "z"], ["zstd"]),
        (["backup", "--si"], ["--since", "--since-last"]),
        (["show", "4"], []),  # no storer answers
    ],
)
def test_an_incomplete_word_is_completed(
    words: list[str], offered: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CYBER_DOJO_STORER", "127.0.0.1:1")
    found = completed(*words)
    assert sorted(found) == sorted(offered)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_a_script_for_its_completion(shell: str) -> None:
    done = run("completion", shell)
    assert (done.exit_code, done.stderr) == (0, "")
    assert f"_CYBER_DOJO_COMPLETE={shell}_complete" in done.stdout
    assert "cyber-dojo" in done.stdout


def test_bash_understands_its_script() -> None:
    script = run("completion", "bash").stdout
    done = subprocess.run(
        ["bash", "--norc", "-c", f"{script}\ncomplete -p cyber-dojo"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "_cyber_dojo_completion" in done.stdout
