"""Settings: how they are read, and that all bad ones are reported together."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from dojo.naming import Namespace
from dojo.service import setting_names
from dojo.service.settings import (
    BadSettings,
    CommonSettings,
    Origin,
    in_force,
    load,
)
from runner.settings import RunnerSettings
from storer.settings import StorerSettings
from support.paths import TOP
from web.settings import WebSettings

LISTEN = "CYBER_DOJO_STORER_LISTEN"


def problems(kind: type[StorerSettings] | type[RunnerSettings], **environ: str) -> list[str]:
    with pytest.raises(BadSettings) as caught:
        load(kind, environ)
    return caught.value.problems


@pytest.mark.parametrize("kind", [StorerSettings, RunnerSettings])
def test_unset_and_empty_settings_have_their_defaults(
    kind: type[StorerSettings] | type[RunnerSettings],
) -> None:
    assert load(kind, {}) == kind()
    assert load(kind, {"CYBER_DOJO_NAMESPACE": "", "DOCKER_HOST": ""}) == kind()


def test_settings_are_read_from_the_environment() -> None:
    environ = {
        "CYBER_DOJO_NAMESPACE": "another",
        "CYBER_DOJO_VOLUME_ROOT": "/volumes",
        LISTEN: "[::1]:0",
        "CYBER_DOJO_ARCHIVE": "s3://bucket/prefix",
    }
    found = load(StorerSettings, environ)
    assert found.namespace == Namespace("another")
    assert found.volume_root == Path("/volumes")
    assert found.listen == "[::1]:0"
    assert found.archive == "s3://bucket/prefix"


def test_the_names_of_all_settings_are_known() -> None:
    of_services = {
        each.metadata["name"]
        for kind in (StorerSettings, RunnerSettings, WebSettings)
        for each in fields(kind)
    }
    assert of_services - setting_names.NAMES == {"DOCKER_HOST"}
    used = set(re.findall(r"\$\{(CYBER_DOJO_\w+)", (TOP / "docker-compose.yml").read_text()))
    scripts = [each for each in (TOP / "scripts").iterdir() if each.is_file()]
    for script in [*scripts, *(TOP / "images").rglob("*.sh")]:
        used |= set(re.findall(r"\$\{(CYBER_DOJO_\w+):-", script.read_text()))
    assert used - setting_names.NAMES == set()


@pytest.mark.parametrize("kind", [StorerSettings, RunnerSettings])
def test_a_mistyped_setting_is_named_with_the_one_that_was_meant(
    kind: type[StorerSettings] | type[RunnerSettings],
) -> None:
    runs = "CYBER_DOJO_RUNNER_MAX_CONCURRENT_RUN"
    assert problems(kind, **{runs: "4", "CYBER_DOJO_LOGLEVEL": "info"}) == [
        f"{runs} is no setting: {runs}S is one",
        "CYBER_DOJO_LOGLEVEL is no setting: CYBER_DOJO_LOG_LEVEL is one",
    ]
    # The other service, compose and the tests share the environment.
    of_others = {"CYBER_DOJO_STORER_PORT": "1", "CYBER_DOJO_TEST_RUN": "1", "CYBER_DOJO_X": ""}
    known = dict.fromkeys(["CYBER_DOJO_STORER", "CYBER_DOJO_STORER_LISTEN"], "127.0.0.1:1")
    load(kind, {**of_others, **known})


def test_all_bad_settings_are_named_at_once() -> None:
    bad = {
        "CYBER_DOJO_NAMESPACE": "Not/A Namespace",
        "CYBER_DOJO_VOLUME_ROOT": "volumes",
        "CYBER_DOJO_LOG_LEVEL": "loud",
        LISTEN: "4577",
    }
    found = problems(StorerSettings, **bad)
    assert len(found) == len(bad)
    for name, value in bad.items():
        assert any(each.startswith(f"{name}={value!r} is n") for each in found)


@pytest.mark.parametrize(
    "listen", [" ", ":4577", "localhost", "localhost:", "localhost:65536", "a:b", "a:-1", "a:٣"]
)
def test_an_address_is_a_host_and_a_port(listen: str) -> None:
    assert problems(StorerSettings, **{LISTEN: listen}) == [f"{LISTEN}={listen!r} is not host:port"]


def test_the_settings_of_runs_are_whole_numbers_in_their_range() -> None:
    found = problems(
        RunnerSettings,
        CYBER_DOJO_RUN_MEMORY_BYTES="much",
        CYBER_DOJO_RUN_MAX_PROCESSES="1",
        CYBER_DOJO_RUNNER_MAX_CONCURRENT_RUNS="1000",
    )
    assert sorted(found) == [
        "CYBER_DOJO_RUNNER_MAX_CONCURRENT_RUNS='1000' is not from 1 to 256",
        "CYBER_DOJO_RUN_MAX_PROCESSES='1' is not from 8 to 32768",
        "CYBER_DOJO_RUN_MEMORY_BYTES='much' is not a whole number",
    ]


@pytest.mark.parametrize("text", ["/a", "file:///a", "file://localhost/a%20b", "s3://bucket"])
def test_an_archive_is_a_path_or_a_bucket(text: str) -> None:
    assert load(StorerSettings, {"CYBER_DOJO_ARCHIVE": text}).archive == text


@pytest.mark.parametrize(
    "text", ["archive", "ftp://host/x", "s3:///x", "http://a/b", "file://host/a", "/a?b", "/a#b"]
)
def test_an_archive_is_nothing_else(text: str) -> None:
    (found,) = problems(StorerSettings, CYBER_DOJO_ARCHIVE=text)
    assert found.startswith(f"CYBER_DOJO_ARCHIVE={text!r} is no absolute path")


def test_each_setting_in_force_has_its_origin_and_secrets_have_no_text() -> None:
    environ = {"CYBER_DOJO_NAMESPACE": "a", "CYBER_DOJO_LOG_LEVEL": "debug"}
    environ |= {"CYBER_DOJO_TOKEN": "hunter2"}
    settings = load(CommonSettings, environ)
    found = {each.name: each for each in in_force(settings, environ, {"CYBER_DOJO_NAMESPACE"})}
    shown = [(each.text, each.origin, each.is_secret) for each in found.values()]
    assert ("a", Origin.FILE, False) in shown
    assert ("debug", Origin.ENVIRONMENT, False) in shown
    assert ("", Origin.DEFAULT, False) in shown
    assert ("", Origin.ENVIRONMENT, True) in shown
    assert "hunter2" not in str(shown)


def test_a_bad_secret_is_not_told() -> None:
    with pytest.raises(BadSettings) as caught:
        load(CommonSettings, {"CYBER_DOJO_TOKEN": "hunter2 3"})
    assert caught.value.problems == ["CYBER_DOJO_TOKEN has blanks or letters that no token has"]
