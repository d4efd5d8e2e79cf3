"""Limits: how often, how much, and how many streams."""

import pytest

from web.access.limits import Rate, Streams, TooOften


def test_a_rate_lets_a_burst_through_and_then_so_many_an_hour() -> None:
    now = 0.0
    rate = Rate("too much", per_hour=60, burst=3, now=lambda: now)
    for _ in range(3):
        rate.spend("whale")
    with pytest.raises(TooOften) as refused:
        rate.spend("whale")
    assert refused.value.retry_after == pytest.approx(60)
    rate.spend("zebra")
    now = 60.0
    rate.spend("whale")
    with pytest.raises(TooOften):
        rate.spend("whale")


def test_streams_are_bounded_for_each_address_and_in_all() -> None:
    streams = Streams(most=3, most_of_address=2)
    with streams.open("one"), streams.open("one"):
        with pytest.raises(TooOften), streams.open("one"):
            pass
        with streams.open("two"), pytest.raises(TooOften), streams.open("three"):
            pass
    with streams.open("one"):
        pass
