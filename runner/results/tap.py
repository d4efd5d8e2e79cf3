"""Reads the Test Anything Protocol, TAP: https://testanything.org/tap-version-14-specification.html.

What is indented below a test that is not ok, its diagnostics, is the test's message. Tests inside
of tests are told by the line of the outer one.
"""

import re
from dataclasses import dataclass, field

from runner.results.results import MAX_MESSAGE, Collector, Malformed, Status

_TEST = re.compile(r"(not )?ok\b[ \t]*(?:\d+\b)?[ \t]*(?:-[ \t]+)?(.*)")
_PLAN = re.compile(r"1\.\.(\d{1,9})\b")
_BAIL_OUT = "Bail out!"
_DIRECTIVE = re.compile(r"(?<!\\)#[ \t]*(skip|todo)", re.IGNORECASE)
_NUMBERED = re.compile(r"(?:not )?ok\b|1\.\.\d")
# The lines around diagnostics that are YAML.
_YAML = {"---", "..."}


@dataclass
class _Test:
    """A test whose diagnostics may follow."""

    name: str
    status: Status
    lines: list[str] = field(default_factory=list)
    size: int = 0


def read(content: bytes, collector: Collector) -> str:
    """Add the tests in a TAP file, and return its message about all of them; raise Malformed."""
    test, planned, count, bail_out = None, None, 0, ""
    for line in content.decode(errors="replace").splitlines():
        if (found := _TEST.match(line)) is not None:
            _finish(collector, test)
            test, count = _test(is_ok=found[1] is None, description=found[2]), count + 1
        elif (plan := _PLAN.match(line)) is not None:
            planned = int(plan[1])
        elif line.startswith(_BAIL_OUT):
            bail_out = line
        elif test is not None and line.startswith((" ", "\t", "#")):
            _add_diagnostics(test, line)
    _finish(collector, test)
    if test is None and planned is None and not bail_out:
        raise Malformed("it is neither XML, JSON nor TAP")
    if not bail_out and planned is not None and planned != count:
        return f"{planned} tests were planned, and {count} are told"
    return bail_out


def _test(*, is_ok: bool, description: str) -> _Test:
    directive = _DIRECTIVE.search(description)
    name, status = description, Status.PASSED if is_ok else Status.FAILED
    if directive is not None:
        name = description[: directive.start()]
        # A test that is still to do may fail.
        is_skipped = directive[1].lower() == "skip" or not is_ok
        status = Status.SKIPPED if is_skipped else status
    test = _Test(name.replace("\\#", "#").replace("\\\\", "\\"), status)
    if directive is not None:
        _add_diagnostics(test, description[directive.start() :])
    return test


def _add_diagnostics(test: _Test, line: str) -> None:
    words = line.strip().removeprefix("#").strip()
    if words in _YAML or _NUMBERED.match(words) or test.size > MAX_MESSAGE:
        return
    test.lines.append(line.removeprefix("#").rstrip() if words else "")
    test.size += len(line)


def _finish(collector: Collector, test: _Test | None) -> None:
    if test is not None:
        message = "" if test.status is Status.PASSED else "\n".join(test.lines)
        collector.add(test.name, test.status, message=message)
