"""Reads the JSON that test runners of online tracks write.

See https://exercism.org/docs/building/tooling/test-runners/interface: an object with `status` and,
from version 2, `tests`, each with `name`, `status` (pass, fail or error) and `message`.
"""

import json
from typing import Any

from runner.results.results import Collector, Malformed, Status

_STATUSES = {
    "pass": Status.PASSED,
    "fail": Status.FAILED,
    "error": Status.ERROR,
    "skip": Status.SKIPPED,
}


def read(content: bytes, collector: Collector) -> str:
    """Add the tests in a JSON file, and return its message about all of them; raise Malformed."""
    try:
        value = json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise Malformed(f"it is no JSON: {error}") from None
    if not isinstance(value, dict) or not isinstance(value.get("status"), str):
        raise Malformed("it is JSON, and no object that has a status")
    tests = value.get("tests")
    if tests is None:
        tests = []
    if not isinstance(tests, list):
        raise Malformed("it is JSON, and its tests are no list")
    for place, each in enumerate(tests):
        if not isinstance(each, dict) or _STATUSES.get(str(each.get("status"))) is None:
            statuses = ", ".join(_STATUSES)
            raise Malformed(f"it is JSON, and tests[{place}].status is none of {statuses}")
        collector.add(
            _text(each.get("name")),
            _STATUSES[each["status"]],
            seconds=_seconds(each),
            message=_text(each.get("message")),
        )
    return _text(value.get("message"))


def _seconds(test: dict[str, Any]) -> float | None:
    value = test.get("duration")
    return float(value) if isinstance(value, int | float) else None


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
