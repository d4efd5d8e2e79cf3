import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from web.session.timeline import MAX_COLUMNS, Column, fold, for_people

CASES = json.loads(Path(__file__).with_name("timeline_cases.json").read_text())
TIMES = st.lists(st.floats(1e9, 2e9), max_size=60)


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_time_folds_as_the_cases_say(case: dict[str, Any]) -> None:
    timeline = fold(case["times"], case["now"], max_columns=case.get("max_columns", MAX_COLUMNS))
    expected = [Column(each[0], each[1], "fold" in each) for each in case["columns"]]
    assert list(timeline.columns) == expected
    assert timeline.column_seconds == case["column_seconds"]


@given(TIMES, st.floats(1e9, 2e9))
def test_every_light_is_in_a_column_that_is_no_fold(times: list[float], now: float) -> None:
    timeline = fold(times, now)
    assert len(timeline.columns) <= MAX_COLUMNS
    for time in times:
        column = timeline.columns[timeline.column_of(time)]
        assert column.start <= time < column.start + column.seconds
        assert not column.is_fold


@given(TIMES, st.floats(1e9, 2e9))
def test_columns_follow_each_other_without_a_gap(times: list[float], now: float) -> None:
    columns = fold(times, now).columns
    for before, after in pairwise(columns):
        assert before.start + before.seconds == after.start
        assert not (before.is_fold and after.is_fold)


def test_a_session_of_years_with_a_test_each_day_fits() -> None:
    timeline = fold([day * 86400.0 for day in range(4000)], 4000 * 86400.0)
    assert len(timeline.columns) <= MAX_COLUMNS


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-3, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (3599, "59 min"),
        (3600, "1 h"),
        (3900, "1 h 5 min"),
        (86400, "1 d"),
        (2 * 86400 + 3 * 3600 + 59, "2 d 3 h"),
    ],
)
def test_durations_are_told_in_two_units_at_most(seconds: float, words: str) -> None:
    assert for_people(seconds) == words
