"""A light: as increments.json has it, and as a message."""

import json
from datetime import UTC, datetime

import pytest
from google.protobuf.duration_pb2 import Duration
from hypothesis import given
from hypothesis import strategies as st

from cyberdojo.colour.v1 import colour_pb2
from cyberdojo.results.v1 import results_pb2
from cyberdojo.storer.v1 import storer_pb2
from dojo import avatars
from dojo.errors import InvalidArgument
from storer.api import converters, facts_converters
from storer.fs.json_files import Unreadable
from storer.kata import light, light_facts
from storer.kata.light import COLOURS, Light
from storer.kata.light_facts import NO_FACTS, Facts, Source, TestCounts
from storer.kata.request import Request

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
counts = st.integers(0, light_facts.MAX_COUNT)
facts = st.builds(
    Facts,
    predicted=st.sampled_from(["", *light_facts.PREDICTABLE]),
    source=st.none()
    | st.builds(
        Source,
        st.just("493A06504A"),
        st.sampled_from(avatars.NAMES),
        st.integers(0, light.MAX_NUMBER),
    ),
    writer=texts,
    is_special=st.booleans(),
    is_stdout_truncated=st.booleans(),
    is_stderr_truncated=st.booleans(),
    added=st.none() | counts,
    deleted=st.none() | counts,
    test_counts=st.none() | st.builds(TestCounts, counts, counts, counts, counts),
)
lights = st.builds(
    Light,
    number=st.integers(1, light.MAX_NUMBER),
    colour=st.sampled_from(COLOURS),
    time=st.datetimes(timezones=st.just(UTC)),
    duration=st.none() | st.floats(0, light.MAX_SECONDS),
    status=st.none() | st.integers(0, light.MAX_STATUS),
    reason=texts,
    request=st.none() | st.builds(Request, texts.filter(bool), texts),
    facts=facts,
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


@given(facts)
def test_a_message_says_the_facts_of_a_light(made: Facts) -> None:
    message = storer_pb2.Light()
    facts_converters.facts_to(made, message)
    # A request has the same fields, but for the counts, which follow from the results.
    request = storer_pb2.RecordTestRequest()
    for field, value in message.ListFields():
        if field.name == "test_counts":
            request.test_results.counts.CopyFrom(value)
        elif field.name == "source":
            request.source.CopyFrom(value)
        elif field.name.endswith("_truncated"):
            getattr(request, field.name.removesuffix("_truncated")).truncated = value
        else:
            setattr(request, field.name, value)
    assert facts_converters.facts_from(request) == made


@pytest.mark.parametrize(
    "more",
    [
        {"predicted": "none"},  # as another dojo server writes it
        {"predicted": 5, "writer": 5, "special": "yes", "added_lines": -1, "deleted_lines": "3"},
        {"source": "whale", "test_counts": 5},
        {"source": {"id": "../etc", "avatar": "whale", "number": 1}},
        {"source": {"id": "493A06504A", "avatar": "unicorn", "number": 1}},
        {"source": {"id": "493A06504A", "avatar": "whale", "number": -1}},
    ],
)
def test_what_can_be_no_fact_is_left_out(more: dict[str, object]) -> None:
    assert light.from_json({**GOOD, **more}).facts is NO_FACTS


def test_a_light_without_facts_has_no_keys_of_them() -> None:
    assert light.to_json(light.from_json(GOOD)).keys() == GOOD.keys()


RESULTS = results_pb2.TestResults(
    tests=[
        results_pb2.TestResult(
            name="answer",
            status=results_pb2.TEST_STATUS_FAILED,
            duration=Duration(nanos=5000),
            message="54",
        )
    ],
    counts=results_pb2.TestCounts(failed=1),
)


def test_the_results_of_tests_come_back_as_they_were() -> None:
    found = facts_converters.results_from(storer_pb2.RecordTestRequest(test_results=RESULTS))
    response = storer_pb2.GetFilesResponse()
    facts_converters.results_to(json.loads(json.dumps(found)), response)
    assert response.test_results == RESULTS


@pytest.mark.parametrize("value", [{"tests": 5}, {"tests": [{"name": "\ud800"}]}, {"counts": 5}])
def test_results_in_another_form_are_left_out(value: dict[str, object]) -> None:
    response = storer_pb2.GetFilesResponse()
    facts_converters.results_to(value, response)
    assert not response.HasField("test_results")


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
        if value is None:
            request.ClearField(name)  # type: ignore[arg-type]
        elif isinstance(value, dict):
            getattr(request, name).CopyFrom(type(getattr(request, name))(**value))
        else:
            setattr(request, name, value)
    return request


SOURCE = {"kata_id": "493A06504A", "avatar": "whale", "light_number": 1}


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"colour": 0}, "colour"),
        ({"colour": 99}, "colour"),
        ({"status": 256}, "status"),
        ({"status": -1}, "status"),
        ({"request_id": "x" * 101}, "request_id"),
        ({"reason": "x" * 1001}, "reason"),
        ({"stdout": {"content": bytes(1024 * 1024 + 1)}}, "stdout.content"),
        ({"predicted": colour_pb2.COLOUR_TIMED_OUT}, "predicted"),
        ({"predicted": 99}, "predicted"),
        ({"writer": "x" * 101}, "writer"),
        ({"added_lines": -1}, "added_lines"),
        ({"deleted_lines": -1}, "deleted_lines"),
        ({"source": SOURCE}, "files"),
        ({"source": SOURCE, "files": None, "stdout": {"content": b"a"}, "colour": 0}, "stdout"),
        ({"source": SOURCE, "files": None, "status": 1, "colour": 0}, "status"),
        ({"source": SOURCE, "files": None, "colour": 99}, "colour"),
        ({"source": {**SOURCE, "kata_id": "493A"}, "files": None}, "source.kata_id"),
        ({"source": {**SOURCE, "avatar": "unicorn"}, "files": None}, "source.avatar"),
        ({"source": {**SOURCE, "light_number": -1}, "files": None}, "source.light_number"),
        ({"test_results": {"counts": {"failed": -1}}}, "test_results.counts"),
        ({"test_results": {"message": "x" * (4 * 1024 * 1024)}}, "test_results"),
        ({"test_results": {"tests": [{"duration": {"nanos": -5, "seconds": 5}}]}}, "test_results"),
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
