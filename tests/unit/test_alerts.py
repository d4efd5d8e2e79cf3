"""Alerts and dashboard name metrics that there are, and somebody on call finds each alert."""

import re

import pytest
import yaml

import runner.app
import storer.app  # noqa: F401 - each service's metrics are there once its modules are
from dojo.metrics import REGISTRY
from support.paths import TOP
from support.prometheus import DEPLOYED, EXPRESSIONS, RULES, named

# What Prometheus itself adds.
ITS_OWN = {"up", "ALERTS"}


def exported() -> set[str]:
    """Return the names of all samples that the services export."""
    assert runner.app.SERVICE
    names = set(ITS_OWN)
    for family in REGISTRY.collect():
        # A metric with labels that nothing was counted for has no samples yet.
        endings = {
            "counter": ("_total",),
            "histogram": ("_bucket", "_sum", "_count"),
        }.get(family.type, ("",))
        names |= {family.name + ending for ending in endings}
    return names


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_what_rules_and_dashboard_name_is_exported(expression: str) -> None:
    assert named(expression)
    assert named(expression) <= exported()


def test_every_metric_is_explained_to_operators_and_none_besides() -> None:
    text = (TOP / "docs/running.md").read_text().split("### Metrics")[1].split("\n### ")[0]
    told = set(re.findall(r"`((?:cyber_dojo|grpc_server)_\w+)`", text))
    ours = {name for name in exported() if name.startswith(("cyber_dojo", "grpc_server"))}
    without_endings = {re.sub(r"_(bucket|sum|count)$", "", name) for name in ours}
    assert told == without_endings


def test_every_metric_of_ours_is_in_the_dashboard() -> None:
    shown = set().union(*map(named, EXPRESSIONS))
    ours = {name for name in exported() if name.startswith("cyber_dojo")}
    assert {re.sub(r"_(bucket|sum|count)$", "", name) for name in ours} == {
        re.sub(r"_(bucket|sum|count)$", "", name) for name in shown if name.startswith("cyber_dojo")
    }


def test_every_alert_has_a_section_that_says_what_to_do() -> None:
    text = (TOP / "docs/operations.md").read_text().split("## Alerts")[1].split("\n## ")[0]
    sections = dict(re.findall(r"(?ms)^### (\w+)\n(.*?)(?=^### |\Z)", text))
    assert list(sections) == [rule["alert"] for rule in RULES]
    for section in sections.values():
        assert all(word in section for word in ("**Means**", "**Look", "o**"))


def test_every_alert_has_an_example_in_which_it_comes_and_one_in_which_it_does_not() -> None:
    tests = yaml.safe_load((DEPLOYED / "alerts_test.yml").read_text())["tests"]
    expected = [each for test in tests for each in test["alert_rule_test"]]
    alerts = {rule["alert"] for rule in RULES}
    assert {each["alertname"] for each in expected if each.get("exp_alerts")} == alerts
    assert {each["alertname"] for each in expected if not each.get("exp_alerts")} == alerts
