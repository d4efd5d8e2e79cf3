"""What a web tier says of a light: what was expected of it, and where it comes from.

Each fact is a key of its own in the light's JSON, which is left out where there is nothing to say.
Other dojo servers have some of the keys with other values: those are no facts.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from dojo import avatars, kata_ids
from storer.fs import json_files

PREDICTABLE = ("red", "amber", "green")

MAX_WRITER = 100
MAX_COUNT = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Source:
    """The light whose files were taken: a revert if it is the avatar's own."""

    kata_id: str
    avatar: str
    number: int


@dataclass(frozen=True, slots=True)
class TestCounts:
    """How many tests there were of each status."""

    __test__ = False  # it is no test of this project

    passed: int = 0
    failed: int = 0
    errors: int = 0
    skipped: int = 0


@dataclass(frozen=True, slots=True)
class Facts:
    """What a web tier says of a light.

    `predicted` is the colour that somebody expected, "" if nobody did. `writer` names the browser
    or tab that recorded the light. `is_special` says that its run left the file outcome.special.
    `added` and `deleted` are the lines that changed since the light before, and `test_counts` how
    many tests there were; None where that is not known.
    """

    predicted: str = ""
    source: Source | None = None
    writer: str = ""
    is_special: bool = False
    is_stdout_truncated: bool = False
    is_stderr_truncated: bool = False
    added: int | None = None
    deleted: int | None = None
    test_counts: TestCounts | None = None


NO_FACTS = Facts()

_FLAGS = {
    "special": "is_special",
    "stdout_truncated": "is_stdout_truncated",
    "stderr_truncated": "is_stderr_truncated",
}
_COUNTS = {"added_lines": "added", "deleted_lines": "deleted"}
_TEST_COUNTS = tuple(each.name for each in fields(TestCounts))


def to_json(facts: Facts) -> dict[str, Any]:
    """Return the facts as keys of a light's JSON."""
    if facts is NO_FACTS:
        return {}
    value: dict[str, Any] = {}
    if facts.predicted:
        value["predicted"] = facts.predicted
    if facts.source is not None:
        source = facts.source
        value["source"] = {"id": source.kata_id, "avatar": source.avatar, "number": source.number}
    if facts.writer:
        value["writer"] = facts.writer
    value |= {key: True for key, name in _FLAGS.items() if getattr(facts, name)}
    for key, name in _COUNTS.items():
        if (count := getattr(facts, name)) is not None:
            value[key] = count
    if facts.test_counts is not None:
        value["test_counts"] = {name: getattr(facts.test_counts, name) for name in _TEST_COUNTS}
    return value


def from_json(value: Mapping[str, Any]) -> Facts:
    """Return the facts in a light's JSON, without what can't be one."""
    predicted, writer = value.get("predicted"), value.get("writer")
    found = Facts(
        predicted=predicted if predicted in PREDICTABLE else "",
        source=_source(value.get("source")),
        writer=json_files.to_text(writer)[:MAX_WRITER] if isinstance(writer, str) else "",
        **{name: value.get(key) is True for key, name in _FLAGS.items()},
        **{name: count(value.get(key)) for key, name in _COUNTS.items()},  # type: ignore[arg-type]
        test_counts=_test_counts(value.get("test_counts")),
    )
    return NO_FACTS if found == NO_FACTS else found


def _source(value: object) -> Source | None:
    if not isinstance(value, Mapping):
        return None
    kata_id, avatar, number = value.get("id"), value.get("avatar"), count(value.get("number"))
    if not (isinstance(kata_id, str) and kata_ids.is_whole(kata_id) and number is not None):
        return None
    if not (isinstance(avatar, str) and avatars.is_name(avatar)):
        return None
    return Source(kata_id, avatar, number)


def _test_counts(value: object) -> TestCounts | None:
    if not isinstance(value, Mapping):
        return None
    return TestCounts(**{name: count(value.get(name)) or 0 for name in _TEST_COUNTS})


def count(value: object) -> int | None:
    """Return a value if it is a whole number that a count can be; None if it is none."""
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return value if is_number and 0 <= value <= MAX_COUNT else None  # type: ignore[operator, return-value]
