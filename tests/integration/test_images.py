"""Which images a checkout builds and uses, whatever else is on the engine."""

import io
import os
import subprocess
import tarfile
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from dojo.engine.client import Engine
from dojo.naming import Namespace
from support.paths import TOP

VERSION = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]["version"]


def images_of(**environ: str) -> dict[str, str]:
    """Return the image of each service, as compose starts it."""
    left_out = ("CYBER_DOJO_NAMESPACE", "CYBER_DOJO_TAG")
    kept = {name: value for name, value in os.environ.items() if name not in left_out}
    said = subprocess.run(
        ["scripts/compose", "--profile", "prometheus", "config"],
        cwd=TOP,
        env={**kept, **environ},
        stdout=-1,
        check=True,
    ).stdout
    services = yaml.safe_load(said)["services"]
    found = {name: each["image"] for name, each in services.items()}
    return {**found, "ruby": services["runner"]["environment"]["CYBER_DOJO_RUNNER_RUBY_IMAGE"]}


def test_each_version_and_namespace_has_images_of_its_own() -> None:
    for environ, tag in (
        ({}, VERSION),
        ({"CYBER_DOJO_NAMESPACE": "cyber-dojo"}, VERSION),
        ({"CYBER_DOJO_NAMESPACE": "other"}, f"{VERSION}-other"),
        ({"CYBER_DOJO_NAMESPACE": "other", "CYBER_DOJO_TAG": "0.0.9"}, "0.0.9"),
    ):
        assert images_of(**environ) == {
            "storer": f"cyber-dojo/storer:{tag}",
            "runner": f"cyber-dojo/runner:{tag}",
            "languages": f"cyber-dojo/languages:{tag}",
            "exercises": f"cyber-dojo/exercises:{tag}",
            "custom": f"cyber-dojo/custom:{tag}",
            "ruby": f"cyber-dojo/ruby_lambdas:{tag}",
            "prometheus": f"cyber-dojo/prometheus:{tag}",
            "web": f"cyber-dojo/web:{tag}",
        }


@pytest.fixture
def image(engine: Engine, namespace: Namespace) -> Iterator[str]:
    """The name of an image, which is removed with all of its tags."""
    name = f"{namespace.name}-images"
    yield name
    for found in engine.api.images(name=name):
        for tag in found["RepoTags"]:
            engine.api.remove_image(tag)


def in_lib(engine: Engine, script: str, *arguments: object, **environ: str) -> None:
    """Run a script that uses the functions of scripts/lib.sh."""
    subprocess.run(
        ["bash", "-euc", f". scripts/lib.sh; {script}", "script", *map(str, arguments)],
        cwd=TOP,
        env={**os.environ, "CYBER_DOJO_TAG": "", "DOCKER_HOST": engine.url, **environ},
        check=True,
        stdout=subprocess.DEVNULL,
    )


def numbers(engine: Engine, image: str) -> dict[str, str]:
    """Return the number of the image that each tag stands for."""
    return {
        tag.rpartition(":")[2]: engine.api.inspect_image(tag)["Config"]["Labels"]["number"]
        for each in engine.api.images(name=image)
        for tag in each["RepoTags"]
    }


@pytest.mark.parametrize("namespace_name", ["", "other"])
def test_the_images_that_ran_before_stay_for_going_back(
    engine: Engine, image: str, tmp_path: Path, namespace_name: str
) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\nARG number\nLABEL number=$number\n")
    build = """
        docker build --quiet --tag "$1:$CYBER_DOJO_TAG" --build-arg "number=$3" "$2"
        also_latest "$1:$CYBER_DOJO_TAG"
    """
    suffix = f"-{namespace_name}" if namespace_name else ""
    environ = {"CYBER_DOJO_NAMESPACE": namespace_name}

    def ran() -> tuple[str | None, str | None]:
        found = numbers(engine, image)
        assert ("latest" in found) == (not namespace_name)
        return found.get(f"running{suffix}"), found.get(f"previous{suffix}")

    def run(tag: str = f"{VERSION}{suffix}") -> None:
        in_lib(engine, 'keep_running "$1"', f"{image}:{tag}", **environ)

    for number, expected in (("1", ("1", None)), ("2", ("2", "1"))):
        in_lib(engine, build, image, tmp_path, number, **environ)
        run()
        run()  # starting the same once more is no reason to forget what ran before
        assert ran() == expected
    in_lib(engine, build, image, tmp_path, "3", **environ)
    assert ran() == ("2", "1")  # what was built and never ran counts for nothing
    run()
    assert ran() == ("3", "2")
    run(f"previous{suffix}")
    assert ran() == ("2", "3")
    run(f"previous{suffix}")
    assert ran() == ("3", "2")


def test_files_of_a_private_checkout_can_be_read_by_everybody_in_an_image(
    engine: Engine, image: str, tmp_path: Path
) -> None:
    folder = tmp_path / "context" / "folder"
    folder.mkdir(parents=True)
    (tmp_path / "context" / "Dockerfile").write_text("FROM scratch\nCOPY folder /folder\nCMD x\n")
    for name, mode in (("read", 0o600), ("run", 0o700), ("open", 0o666)):
        (folder / name).touch()
        (folder / name).chmod(mode)
    folder.chmod(0o700)
    (tmp_path / "context").chmod(0o700)
    build = '. scripts/lib.sh; docker_build "$1" --quiet --tag "$2"; umask'
    done = subprocess.run(
        ["bash", "-ec", f"umask 077; {build}", "build", tmp_path / "context", image],
        cwd=TOP,
        env={**os.environ, "DOCKER_HOST": engine.url},
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.endswith("0022\n")
    container = engine.api.create_container(image)["Id"]
    try:
        content = b"".join(engine.api.get_archive(container, "/folder")[0])
    finally:
        engine.api.remove_container(container)
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        found = {member.name: oct(member.mode & 0o777) for member in tar}
    assert found == {
        "folder": "0o755",
        "folder/read": "0o644",
        "folder/run": "0o755",
        "folder/open": "0o644",
    }
