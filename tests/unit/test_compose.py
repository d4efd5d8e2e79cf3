"""The compose file passes on and explains every setting."""

import re
from dataclasses import fields

import pytest
import yaml

from runner.settings import RunnerSettings
from storer.settings import StorerSettings
from support.paths import TOP
from web.settings import WebSettings


@pytest.mark.parametrize(
    ("service", "settings"), [("storer", StorerSettings), ("runner", RunnerSettings)]
)
def test_compose_passes_every_setting_to_its_service(
    service: str, settings: type[StorerSettings] | type[RunnerSettings]
) -> None:
    compose = yaml.safe_load((TOP / "docker-compose.yml").read_text())
    environment = compose["services"][service]["environment"]
    passed = {name for name in environment if name.startswith(("CYBER_DOJO_", "SETTINGS_"))}
    known = {field.metadata["name"] for field in fields(settings)}
    # The engine's socket is mounted where the services look for it by default. The command, which
    # is in both containers, calls both services, and tells what the settings' file set.
    of_the_command = {"CYBER_DOJO_STORER", "CYBER_DOJO_RUNNER_PORT", "SETTINGS_SET_BY_FILE"}
    assert "SETTINGS_SET_BY_FILE" in passed
    assert passed | of_the_command == known - {"DOCKER_HOST"} | of_the_command


def test_compose_passes_every_setting_to_the_web_tier() -> None:
    compose = yaml.safe_load((TOP / "docker-compose.yml").read_text())
    passed = set(compose["services"]["web"]["environment"])
    known = {field.metadata["name"] for field in fields(WebSettings)}
    # Its image has the scripts, and the engine keeps the log. It calls
    # with the token that scripts/web-access.sh gives it.
    of_the_image = {"CYBER_DOJO_WEB_ASSETS", "CYBER_DOJO_LOG_FILE"}
    other_ways = {"CYBER_DOJO_TOKEN", "CYBER_DOJO_CLIENT_CERTIFICATE", "CYBER_DOJO_CLIENT_KEY"}
    assert passed == known - of_the_image - other_ways


def test_the_web_tier_has_no_right_and_writes_nothing() -> None:
    compose = yaml.safe_load((TOP / "docker-compose.yml").read_text())
    web = compose["services"]["web"]
    assert web["cap_drop"] == ["ALL"]
    assert "cap_add" not in web
    assert web["read_only"] is True
    assert web["volumes"] == ["${CYBER_DOJO_WEB_DIRECTORY:-/var/lib/cyber-dojo/web}:/web:ro"]
    assert {"mem_limit", "pids_limit", "healthcheck"} <= web.keys()


def test_the_compose_file_explains_every_setting() -> None:
    text = (TOP / "docker-compose.yml").read_text()
    used = {re.split(":?-", part)[0] for part in text.split("${")[1:]}
    explained = {
        line.split()[1]
        for line in text.splitlines()
        if line.startswith(("#   CYBER_DOJO", "#   SETTINGS")) and "..." not in line
    }
    assert used == explained
