"""What Prometheus is given, our alerts and our dashboard, and what it reads of a service."""

import json
import re
import urllib.request
from typing import Any

import yaml
from prometheus_client.parser import text_string_to_metric_families

from support.paths import TOP
from support.services import Service

DEPLOYED = TOP / "deploy/prometheus"
TOOLS = TOP / "build/tools/prometheus"  # scripts/test-tools.sh puts them there
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((DEPLOYED / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]
_DASHBOARD: dict[str, Any] = json.loads((DEPLOYED / "dashboard.json").read_text())
EXPRESSIONS: list[str] = [
    *(rule["expr"] for rule in RULES),
    *(target["expr"] for each in _DASHBOARD["panels"] for target in each["targets"]),
]

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]

_NAME = re.compile(r"\b(?:cyber_dojo|grpc_server|process|python)_\w+|\bup\b|\bALERTS\b")


def named(expression: str) -> set[str]:
    """Return the names of metrics in an expression of Prometheus."""
    return set(_NAME.findall(re.sub(r'"[^"]*"', "", expression)))


def scraped(service: Service) -> Samples:
    """Return what Prometheus would read: samples by their names and labels."""
    event = service.wait_for_event(lambda event: event["event"] == "serving metrics")
    with urllib.request.urlopen(f"http://{event['listen']}/metrics") as answer:
        text = answer.read().decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float:
    """Return the value of the sample of this name and these labels."""
    return samples[name, frozenset(labels.items())]
