"""Times as lists of their parts in JSON files."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storer.fs import json_times

times = st.datetimes(timezones=st.just(UTC))


@given(times)
def test_a_time_survives_its_list(time: datetime) -> None:
    assert json_times.from_list(json_times.to_list(time)) == time


@given(times, st.integers(-14, 14))
def test_a_time_is_written_in_utc(time: datetime, hours: int) -> None:
    if 1 < time.year < 9999:
        there = time.astimezone(timezone(timedelta(hours=hours)))
        assert json_times.to_list(there) == json_times.to_list(time)


def test_whole_seconds_have_six_parts_as_in_legacy_katas() -> None:
    time = datetime(2019, 1, 16, 12, 44, 55, tzinfo=UTC)
    assert json_times.to_list(time) == [2019, 1, 16, 12, 44, 55]
    assert json_times.to_list(time.replace(microsecond=7)) == [2019, 1, 16, 12, 44, 55, 7]


@given(times)
def test_seconds_are_rounded_down_as_git_counts_them(time: datetime) -> None:
    seconds = json_times.seconds(time)
    begin = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    assert timedelta(0) <= time - begin < timedelta(seconds=1)


@pytest.mark.parametrize(
    "parts",
    [
        *(None, "", 5, {}, [], [2019], [2019, 1, 16, 12, 44], [2019, 1, 16, 12, 44, 55, 0, 0]),
        *(
            [2019, 13, 1, 0, 0, 0],
            [2019, 2, 29, 0, 0, 0],
            [2019, 1, 1, 24, 0, 0],
            [0, 1, 1, 0, 0, 0],
        ),
        *(["2019", 1, 1, 0, 0, 0], [2019.0, 1, 1, 0, 0, 0], [10**30, 1, 1, 0, 0, 0]),
        [2019, 1, 1, 0, 0, 0, 1_000_000],
    ],
)
def test_a_value_that_is_no_time_is_refused(parts: object) -> None:
    with pytest.raises(ValueError, match=r"time|must be in|out of range"):
        json_times.from_list(parts)
