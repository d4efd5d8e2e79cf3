"""Settings: how they are read, and that all bad ones are reported together."""

from pathlib import Path

import pytest

from dojo.naming import Namespace
from dojo.service.settings import BadSettings, load
from runner.settings import RunnerSettings
from storer.settings import StorerSettings

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
