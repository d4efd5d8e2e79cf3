"""A service that can't start prints the reason in plain words."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from dojo.engine.client import Engine
from dojo.naming import Namespace
from support.paths import TOP

MODULES = ("storer", "runner")
DEFAULT_PORTS = {"storer": 4577, "runner": 4597}

each_service = pytest.mark.parametrize("module", MODULES)


def start(module: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Try to start a service that can't start; return its exit code and output."""
    listen = {f"CYBER_DOJO_{module.upper()}_LISTEN": "127.0.0.1:0"}
    done = subprocess.run(
        [sys.executable, "-m", module, "serve"],
        env={**os.environ, **listen, **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    return done


def said(done: subprocess.CompletedProcess[str]) -> list[str]:
    """Return the lines for people that a service printed in addition to its log."""
    return [line for line in done.stderr.splitlines() if line.startswith(("storer: ", "runner: "))]


@each_service
def test_all_bad_settings_are_named_at_once(module: str) -> None:
    listen = f"CYBER_DOJO_{module.upper()}_LISTEN"
    bad = {
        "CYBER_DOJO_NAMESPACE": "Not/A Namespace",
        "CYBER_DOJO_VOLUME_ROOT": "volumes",
        "CYBER_DOJO_LOG_LEVEL": "loud",
        listen: "4577",
    }
    done = start(module, **bad)
    assert done.returncode == 2
    assert len(said(done)) == len(bad)
    for name, value in bad.items():
        assert any(line.startswith(f"{module}: {name}={value!r} is n") for line in said(done))


@each_service
def test_a_log_file_that_can_not_be_written_is_named(module: str) -> None:
    done = start(module, CYBER_DOJO_LOG_FILE="/nowhere/a.log")
    assert done.returncode == 2
    reason = "can't be written: No such file or directory"
    assert said(done) == [f"{module}: CYBER_DOJO_LOG_FILE='/nowhere/a.log' {reason}"]


def test_compose_refuses_a_mistyped_setting() -> None:
    done = subprocess.run(
        ["scripts/compose", "config"],
        cwd=TOP,
        env={**os.environ, "CYBER_DOJO_RUNNER_MAX_CONCURRENT_RUN": "4"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(
        "** CYBER_DOJO_RUNNER_MAX_CONCURRENT_RUN is no setting; "
        "CYBER_DOJO_RUNNER_MAX_CONCURRENT_RUNS is one\n"
    )


def test_compose_takes_nothing_from_a_file_in_the_place_of_which_another_is_named(
    engine: Engine, tmp_path: Path
) -> None:
    checkout = tmp_path / "checkout"
    for name in (
        "scripts",
        "docker-compose.yml",
        "pyproject.toml",
        "dojo/service/setting_names.py",
    ):
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (TOP / name).is_dir() else shutil.copy
        copy(TOP / name, checkout / name)
    (checkout / ".env").write_text("CYBER_DOJO_ARCHIVE=s3://mine/katas\nCYBER_DOJO_TAG=mine\n")
    named = tmp_path / "settings"
    named.write_text("CYBER_DOJO_TAG=other\n")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CYBER_DOJO_")}

    def config(**environ: str) -> Any:
        done = subprocess.run(
            ["scripts/compose", "config"],
            cwd=checkout,
            env={**kept, "DOCKER_HOST": engine.url, **environ},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        storer = yaml.safe_load(done.stdout)["services"]["storer"]
        return storer["image"].rpartition(":")[2], storer["environment"]["CYBER_DOJO_ARCHIVE"]

    assert config() == ("mine", "s3://mine/katas")
    assert config(CYBER_DOJO_SETTINGS_FILE=str(named)) == ("other", "/archive")


def test_a_runtime_that_the_engine_does_not_have_is_named_with_those_that_it_has(
    engine: Engine, namespace: Namespace
) -> None:
    environ = {"CYBER_DOJO_NAMESPACE": namespace.name, "DOCKER_HOST": engine.url}
    done = start("runner", CYBER_DOJO_RUN_RUNTIME="not-here", **environ)
    assert done.returncode == 2
    (line,) = said(done)
    assert line.startswith("runner: CYBER_DOJO_RUN_RUNTIME='not-here' is none of the engine's")
    assert all(runtime in line for runtime in engine.runtimes())


@each_service
def test_volumes_that_cannot_be_seen_stop_a_service(
    module: str, engine: Engine, namespace: Namespace, tmp_path: object
) -> None:
    done = start(
        module,
        CYBER_DOJO_NAMESPACE=namespace.name,
        DOCKER_HOST=engine.url,
        CYBER_DOJO_VOLUME_ROOT=str(tmp_path),
    )
    assert done.returncode == 1
    (line,) = said(done)
    assert f"can't be seen in {tmp_path}" in line
    assert "CYBER_DOJO_VOLUME_ROOT" in line


@each_service
@pytest.mark.parametrize(
    "host", ["unix:///nonexistent/docker.sock", "tcp://127.0.0.1:1", "nonsense://there"]
)
def test_without_an_engine_a_service_does_not_start(module: str, host: str) -> None:
    done = start(module, DOCKER_HOST=host)
    assert done.returncode == 1
    (line,) = said(done)
    assert line.startswith(f"{module}: the docker engine does not answer: ")


@pytest.mark.parametrize(
    ("module", "setting"),
    [
        ("storer", "CYBER_DOJO_STORER_LISTEN"),
        ("runner", "CYBER_DOJO_RUNNER_LISTEN"),
        ("runner", "CYBER_DOJO_METRICS_LISTEN"),
    ],
)
def test_a_port_that_another_program_has_stops_a_service(
    module: str, setting: str, engine: Engine, namespace: Namespace
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        environ = {
            "CYBER_DOJO_NAMESPACE": namespace.name,
            "DOCKER_HOST": engine.url,
            setting: listen,
        }
        done = start(module, **environ)
    assert done.returncode == 1
    (line,) = said(done)
    assert line.startswith(f"{module}: can't listen on {listen}: ")
