import pytest

from parking import fee


def at(time):
    hours, minutes = time.split(":")
    return int(hours) * 60 + int(minutes)


@pytest.mark.parametrize(
    ("arrived", "left", "cents"),
    [
        ("9:00", "9:15", 0),
        ("9:00", "9:16", 200),
        ("9:00", "10:00", 200),
        ("9:00", "10:01", 350),
        ("9:00", "12:30", 650),
        ("9:00", "18:00", 1200),
        ("18:00", "18:50", 200),
        ("18:00", "23:00", 400),
    ],
)
def test_a_car_on_one_day(arrived, left, cents):
    assert fee("car", at(arrived), at(left)) == cents


@pytest.mark.parametrize(
    ("arrived", "left", "days", "cents"),
    [
        ("20:00", "8:00", 1, 1200),
        ("9:00", "9:00", 1, 1200),
        ("9:00", "11:30", 1, 1650),
        ("8:00", "20:00", 2, 3600),
    ],
)
def test_a_car_that_stays_overnight(arrived, left, days, cents):
    assert fee("car", at(arrived), at(left), days) == cents


@pytest.mark.parametrize(
    ("arrived", "left", "days", "cents"),
    [
        ("9:00", "9:30", 0, 0),
        ("9:00", "9:31", 0, 80),
        ("9:00", "12:30", 0, 320),
        ("9:00", "18:00", 0, 500),
        ("19:00", "23:00", 0, 200),
        ("9:00", "10:30", 1, 660),
    ],
)
def test_a_motorbike(arrived, left, days, cents):
    assert fee("motorbike", at(arrived), at(left), days) == cents


def test_members_pay_less():
    assert fee("car", at("9:00"), at("12:30"), member=True) == 520
    assert fee("motorbike", at("9:00"), at("12:30"), member=True) == 256


def test_others_have_no_fee():
    with pytest.raises(ValueError, match="no fee for a tank"):
        fee("tank", at("9:00"), at("12:30"))


def test_nobody_leaves_before_arriving():
    with pytest.raises(ValueError, match="left before it arrived"):
        fee("car", at("9:00"), at("8:59"))
