"""A light: one recorded test, and its JSON in increments.json and in git."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeGuard

from storer.fs import json_files, json_times
from storer.fs.json_files import Unreadable
from storer.kata import light_facts, request
from storer.kata.light_facts import NO_FACTS, Facts
from storer.kata.request import Request

COLOURS = ("red", "amber", "green", "timed_out", "faulty")


# Larger values can't be real, and do not fit into a message.
MAX_NUMBER = 10_000_000
MAX_STATUS = 255
MAX_SECONDS = 1_000_000


@dataclass(frozen=True, slots=True)
class Light:
    """One recorded test, without its files and output.

    `number` is 0 for the start, which has no colour. `duration` is in seconds. `duration` and
    `status` are None if they were not recorded. `request` is the one that recorded it, or for
    number 0 started the avatar; None if that had no id. `facts` are what a web tier says of it.
    """

    number: int
    colour: str
    time: datetime
    duration: float | None = None
    status: int | None = None
    reason: str = ""
    request: Request | None = None
    facts: Facts = NO_FACTS


@dataclass(frozen=True, slots=True)
class Submission:
    """The files and the output of a light.

    `test_results` are the results of each test, as a JSON object whose form is the caller's
    business; None if there are none.
    """

    files: dict[str, bytes]
    stdout: bytes = b""
    stderr: bytes = b""
    test_results: dict[str, Any] | None = None

    @property
    def size(self) -> int:
        """The bytes of the files."""
        return sum(map(len, self.files.values()))


def to_json(light: Light) -> dict[str, Any]:
    """Return a light as an element of increments.json."""
    value: dict[str, Any] = {
        "colour": light.colour,
        "time": json_times.to_list(light.time),
        "number": light.number,
    }
    if light.duration is not None:
        value["duration"] = light.duration
    if light.status is not None:
        value["status"] = light.status
    if light.reason:
        value["reason"] = light.reason
    value.update(request.to_keys(light.request))
    value.update(light_facts.to_json(light.facts))
    return value


def from_json(value: object) -> Light:
    """Return the light that an element of increments.json stands for.

    Raises Unreadable for any other value. Some legacy katas have `outcome` instead of `colour`.
    """
    if not isinstance(value, Mapping):
        raise Unreadable(f"{value!r:.80} is not a light")
    number, status, duration = value.get("number"), value.get("status"), value.get("duration")
    colour = value.get("colour", value.get("outcome", ""))
    if not is_number(number, MAX_NUMBER):
        raise Unreadable(f"{number!r:.80} is not a light's number")
    if colour not in COLOURS and not (number == 0 and colour == ""):
        raise Unreadable(f"light {number}: {colour!r:.80} is not a colour")
    try:
        time = json_times.from_list(value.get("time"))
    except ValueError as error:
        raise Unreadable(f"light {number}: {error}") from None
    return Light(
        number=number,
        colour=colour,
        time=time,
        duration=duration if is_duration(duration) else None,
        status=status if is_number(status, MAX_STATUS) else None,
        reason=json_files.to_text(value.get("reason", "")),
        request=request.from_keys(value),
        facts=light_facts.from_json(value),
    )


def is_number(value: object, most: int) -> TypeGuard[int]:
    """Say whether a value is a whole number from 0 to `most`."""
    # In Python, but not in JSON, `true` is a number.
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most


def is_duration(value: object) -> TypeGuard[float]:
    """Say whether a value is a number of seconds that a run can have taken."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return 0 <= value <= MAX_SECONDS
