"""What Prometheus is given: our alerts and our dashboard, and the programs to try them with."""

import json
import re
from typing import Any

import yaml

from support.paths import TOP

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

_NAME = re.compile(r"\b(?:cyber_dojo|grpc_server|process|python)_\w+|\bup\b|\bALERTS\b")


def named(expression: str) -> set[str]:
    """Return the names of metrics in an expression of Prometheus."""
    return set(_NAME.findall(re.sub(r'"[^"]*"', "", expression)))
