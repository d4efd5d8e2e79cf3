"""The rules in images: read once, and used for requests without a rule."""

import contextlib
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import docker.errors
import pytest

from cyberdojo.colour.v1 import colour_pb2
from dojo.engine.client import Engine
from dojo.naming import KIND_LABEL, LABEL, Namespace
from dojo.ruby_lambdas import MAX_SOURCE_BYTES
from support.runner.submissions import AMBER, COLOUR_RULE, FAULTY, GREEN, PYTHON, Run

PLACE = "/usr/local/bin/red_amber_green.rb"


def ruby(source: str) -> colour_pb2.ColourRule:
    return colour_pb2.ColourRule(ruby_lambda=colour_pb2.RubyLambda(source=source))


def image_with(engine: Engine, name: str, folder: Path, *commands: str) -> None:
    """Build an image that adds `commands` to the Python image."""
    (folder / "Dockerfile").write_text("\n".join([f"FROM {PYTHON}", *commands]))
    # Without the cache: another worker of the tests may be removing images from the cache.
    build = ["docker", "--host", engine.url, "build", "--quiet", "--no-cache", "--network=none"]
    subprocess.run([*build, "--tag", name, str(folder)], check=True, capture_output=True)


@pytest.fixture
def made_image(
    engine: Engine, namespace: Namespace, tmp_path: Path
) -> Iterator[Callable[..., str]]:
    """Makes an image with a given rule."""
    name = f"{namespace.name}-ruled"

    def make(rule: str, *commands: str) -> str:
        (tmp_path / "rule").write_text(rule)
        image_with(engine, name, tmp_path, f"COPY rule {PLACE}", *commands)
        return name

    yield make
    with contextlib.suppress(docker.errors.ImageNotFound):  # the image could not be built
        engine.api.remove_image(name, force=True)


def test_without_a_rule_the_rule_of_the_image_decides(
    run: Run, made_image: Callable[..., str]
) -> None:
    name = made_image("lambda { |stdout,stderr,status|\n  return status == 4 ? :green : :red\n}\n")
    none = colour_pb2.ColourRule()
    for _ in range(2):
        response = run("exit 4", image_name=name, colour_rule=none)
        assert (response.colour, response.reason) == (GREEN, "")
    # The rule belongs to the image, not to its name.
    made_image("lambda { |output| :amber }")
    assert run("exit 4", image_name=name, colour_rule=none).colour == AMBER


def test_reading_a_rule_leaves_no_container(
    run: Run, made_image: Callable[..., str], engine: Engine, namespace: Namespace
) -> None:
    name = made_image("lambda { |output| :green }")
    assert run(image_name=name, colour_rule=colour_pb2.ColourRule()).colour == GREEN
    labels = [f"{LABEL}={namespace.name}", f"{KIND_LABEL}=lambda"]
    found = engine.api.containers(all=True, filters={"label": labels})
    assert not [each for each in found if "-rule-" in each["Names"][0]]


def test_a_given_rule_comes_before_that_of_the_image(
    run: Run, made_image: Callable[..., str]
) -> None:
    name = made_image("lambda { |output| :red }")
    given = {"patterns": COLOUR_RULE, "lambda": ruby("lambda { |output| :green }")}
    for rule in given.values():
        response = run("echo tests: passed", image_name=name, colour_rule=rule)
        assert (response.colour, response.reason) == (GREEN, "")


@pytest.mark.parametrize(
    ("rule", "commands", "reason"),
    [
        ("#" * (MAX_SOURCE_BYTES + 1), [], f"{MAX_SOURCE_BYTES + 1} bytes are more than 16384"),
        ("", [], "is empty"),
        ("x", [f"RUN rm {PLACE} && mkdir {PLACE}"], "is no file"),
        ("x", [f"RUN rm {PLACE} && ln -s /etc/passwd {PLACE}"], "is no file"),
        ("x", [f"RUN rm {PLACE} && mkfifo {PLACE}"], "is no file"),
    ],
)
def test_an_image_with_an_invalid_rule_is_faulty_with_the_reason(
    run: Run, made_image: Callable[..., str], rule: str, commands: list[str], reason: str
) -> None:
    name = made_image(rule, *commands)
    response = run("true", image_name=name, colour_rule=colour_pb2.ColourRule())
    assert (response.colour, response.reason) == (FAULTY, f"the image's {PLACE}: {reason}")


def test_an_image_without_a_rule_leaves_the_colour_faulty(run: Run) -> None:
    response = run(colour_rule=colour_pb2.ColourRule())
    assert (response.colour, response.reason) == (FAULTY, "no colour rule was given")
