"""A real Prometheus takes our rules, and reads both services by them."""

import json
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

from support.prometheus import DEPLOYED, EXPRESSIONS, RULES, TOOLS
from support.services import STOP_SECONDS, Service, free_ports, wait_until

TARGETS = {"storer": "127.0.0.1:4578", "runner": "127.0.0.1:4598"}


def promtool(*arguments: str) -> str:
    """Run promtool on what is in `deploy/prometheus`."""
    done = subprocess.run(
        [TOOLS / "promtool", *arguments], cwd=DEPLOYED, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


class Prometheus:
    """A running Prometheus."""

    def __init__(self, folder: Path, configuration: Path) -> None:
        (port,) = free_ports(1)
        self._address = f"127.0.0.1:{port}"
        options = (
            f"--config.file={configuration}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address={self._address}",
        )
        with (folder / "prometheus.log").open("wb") as log:
            self._process = subprocess.Popen([TOOLS / "prometheus", *options], stderr=log)

    def get(self, what: str, **parameters: str) -> Any:
        """Return the data of an answer of its API; None while it does not answer."""
        query = urllib.parse.urlencode(parameters)
        try:
            with urllib.request.urlopen(f"http://{self._address}/api/v1/{what}?{query}") as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            if error.code != HTTPStatus.SERVICE_UNAVAILABLE:  # as it is while it starts
                raise
            return None
        except urllib.error.URLError:
            assert self._process.poll() is None, "it ended"
            return None

    def stop(self) -> None:
        self._process.terminate()
        assert self._process.wait(STOP_SECONDS) == 0


@pytest.fixture
def prometheus(start_service: Callable[..., Service], tmp_path: Path) -> Iterator[Prometheus]:
    """A Prometheus with our configuration, except that it reads services on free ports."""
    text = (DEPLOYED / "prometheus.yml").read_text().replace("interval: 15s", "interval: 1s")
    services = [start_service(each, CYBER_DOJO_METRICS_LISTEN="127.0.0.1:0") for each in TARGETS]
    for service in services:
        metrics = service.wait_for_event(lambda event: event["event"] == "serving metrics")
        assert TARGETS[service.module] in text
        text = text.replace(TARGETS[service.module], metrics["listen"])
    configuration = tmp_path / "prometheus.yml"
    configuration.write_text(text.replace("alerts.yml", str(DEPLOYED / "alerts.yml")))
    started = Prometheus(tmp_path, configuration)
    yield started
    started.stop()
    for service in services:
        service.stop()


def test_promtool_accepts_the_rules_and_each_alert_comes_when_it_should() -> None:
    assert "SUCCESS" in promtool("check", "config", "prometheus.yml")
    assert "SUCCESS" in promtool("test", "rules", "alerts_test.yml")


def test_prometheus_reads_both_services_and_raises_no_alert(prometheus: Prometheus) -> None:
    def both_are_up() -> bool:
        targets = (prometheus.get("targets") or {}).get("activeTargets", [])
        return [each["health"] for each in targets] == ["up", "up"]

    def all_rules_were_evaluated() -> bool:
        groups = prometheus.get("rules")["groups"]
        rules = [each for group in groups for each in group["rules"]]
        assert len(rules) == len(RULES)
        assert not [each for each in rules if each["health"] == "err"]
        return all(each["health"] == "ok" for each in rules)

    wait_until(both_are_up)
    wait_until(all_rules_were_evaluated)
    assert prometheus.get("alerts")["alerts"] == []
    for expression in EXPRESSIONS:
        assert prometheus.get("query", query=expression)["resultType"] == "vector"
    (size,) = prometheus.get("query", query='cyber_dojo_disk_size_bytes{disk="volumes"}')["result"]
    assert float(size["value"][1]) > 0
