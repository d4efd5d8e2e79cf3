"""What is paced goes on so often in a second, whoever does it, and nothing is saved up."""

from dojo.pace import Pace


def test_each_waits_for_those_before_and_no_longer() -> None:
    now = 100.0
    slept: list[float] = []
    pace = Pace(10, lambda: now, slept.append)
    pace.take(5)
    assert slept == []
    pace.take(10)
    pace.take(1)
    assert slept == [0.5, 1.5]
    now = 200.0
    pace.take(10)
    assert slept == [0.5, 1.5]
    now = 200.75
    pace.take(10)
    assert slept == [0.5, 1.5, 0.25]
