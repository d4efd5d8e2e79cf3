"""A light: as increments.json has it, and as a message."""

import json
from datetime import UTC, datetime

import pytest
from google.protobuf.duration_pb2 import Duration
from hypothesis import given
from hypothesis import strategies as st

from cyberdojo.colour.v1 import colour_pb2
from cyberdojo.storer.v1 import storer_pb2
from dojo.errors import InvalidArgument
from storer.api import converters
from storer.fs.json_files import Unreadable
from storer.kata import light
from storer.kata.light import COLOURS, Light
from storer.kata.request import Request

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
lights = st.builds(
    Light,
    number=st.integers(1, light.MAX_NUMBER),
    colour=st.sampled_from(COLOURS),
    time=st.datetimes(timezones=st.just(UTC)),
    duration=st.none() | st.floats(0, light.MAX_SECONDS),
    status=st.none() | st.integers(0, light.MAX_STATUS),
    reason=texts,
    request=st.none() | st.builds(Request, texts.filter(bool), texts),
)


@given(lights)
def test_a_light_comes_back_from_its_json(made: Light) -> None:
    assert light.from_json(json.loads(json.dumps(light.to_json(made)))) == made


@given(lights)
def test_a_message_says_the_same(made: Light) -> None:
    message = storer_pb2.Light.FromString(converters.light_to(made).SerializeToString())
    assert message.number == made.number
    assert message.colour == colour_pb2.Colour.Value(f"COLOUR_{made.colour.upper()}")
    assert message.time.ToDatetime(tzinfo=UTC) == made.time
    assert message.HasField("status") == (made.status is not None)
    assert message.reason == made.reason
    if made.duration is not None:
        seconds = message.duration.seconds + message.duration.nanos / 1e9
        assert seconds == pytest.approx(made.duration, abs=1e-9)


def test_a_legacy_colour_is_called_outcome_at_times() -> None:
    found = light.from_json({"outcome": "red", "time": [2014, 2, 11, 10, 10, 10], "number": 1})
    assert (found.colour, found.time) == ("red", datetime(2014, 2, 11, 10, 10, 10, tzinfo=UTC))


LONG = "x" * 100_000
GOOD = {"colour": "red", "time": [2014, 2, 11, 10, 10, 10], "number": 1}


@pytest.mark.parametrize(
    "value",
    [
        *([], None, 5, {}),
        {**GOOD, "number": -1},
        {**GOOD, "number": 2**40},
        {**GOOD, "number": "1"},
        {**GOOD, "number": 1, "colour": ""},
        {**GOOD, "colour": "purple"},
        {**GOOD, "time": None},
        {**GOOD, "time": [2014, 13, 1, 0, 0, 0]},
    ],
)
def test_what_stands_for_no_light_is_unreadable(value: object) -> None:
    assert light.from_json(GOOD)
    with pytest.raises(Unreadable):
        light.from_json(value)


@pytest.mark.parametrize(
    "value",
    [[LONG], {**GOOD, "number": LONG}, {**GOOD, "colour": LONG}, {**GOOD, "time": [LONG]}],
)
def test_a_large_value_is_told_in_part(value: object) -> None:
    with pytest.raises(Unreadable, match=r"'xxx.* is not") as raised:
        light.from_json(value)
    assert len(str(raised.value)) < 200


@pytest.mark.parametrize(
    "more", [{"status": 256}, {"status": "0"}, {"duration": -1}, {"duration": 10**9}]
)
def test_what_is_not_to_be_believed_is_not_known(more: dict[str, object]) -> None:
    found = light.from_json({**GOOD, **more})
    assert (found.status, found.duration) == (None, None)


def a_request(**fields: object) -> storer_pb2.RecordTestRequest:
    request = storer_pb2.RecordTestRequest(colour=colour_pb2.COLOUR_RED, files={"a": b""})
    for name, value in fields.items():
        setattr(request, name, value)
    return request


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"colour": 0}, "colour"),
        ({"colour": 99}, "colour"),
        ({"status": 256}, "status"),
        ({"status": -1}, "status"),
        ({"request_id": "x" * 101}, "request_id"),
        ({"reason": "x" * 1001}, "reason"),
        ({"stdout": bytes(1024 * 1024 + 1)}, "stdout"),
        ({"expected_number": 0}, "expected_number"),
        ({"expected_number": light.MAX_NUMBER + 1}, "expected_number"),
    ],
)
def test_a_test_that_can_not_have_been_is_refused_by_field(
    fields: dict[str, object], field: str
) -> None:
    assert converters.light_from(a_request())
    with pytest.raises(InvalidArgument) as caught:
        converters.light_from(a_request(**fields))
    assert caught.value.field == field


@pytest.mark.parametrize(
    "duration", [Duration(seconds=-1), Duration(nanos=10**9), Duration(seconds=1_000_001)]
)
def test_a_duration_that_can_not_have_been_is_refused(duration: Duration) -> None:
    request = a_request()
    request.duration.CopyFrom(duration)
    with pytest.raises(InvalidArgument) as caught:
        converters.light_from(request)
    assert caught.value.field == "duration"
