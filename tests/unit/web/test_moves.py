import pytest

from web.session.lights import Light
from web.session.moves import Pair, around, chosen, moves


def lights(*times: float) -> list[Light]:
    return [Light(number, "red" if number else "start", time) for number, time in enumerate(times)]


SESSION = {"bee": lights(0), "lion": lights(0, 10, 20, 30), "whale": lights(0, 15, 40)}


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({}, Pair("lion", 2, 3)),
        ({"avatar": "whale"}, Pair("whale", 1, 2)),
        ({"avatar": "bee"}, Pair("bee", 0, 0)),
        ({"avatar": "lion", "now": 2}, Pair("lion", 1, 2)),
        ({"avatar": "lion", "now": -1, "was": 0}, Pair("lion", 0, 3)),
        ({"avatar": "lion", "now": 1, "was": -1}, Pair("lion", 3, 1)),
        ({"avatar": "lion", "was_avatar": "whale"}, Pair("lion", 2, 3, "whale")),
        ({"avatar": "lion", "was_avatar": "lion", "was": 1}, Pair("lion", 1, 3)),
        ({"avatar": "zebra"}, None),
        ({"was_avatar": "zebra"}, None),
        ({"avatar": "lion", "now": 4}, None),
        ({"avatar": "lion", "was": 4}, None),
        ({"avatar": "lion", "now": -2}, None),
    ],
)
def test_an_address_asks_for_two_lights(asked: dict[str, object], found: Pair | None) -> None:
    assert chosen(SESSION, **asked) == found  # type: ignore[arg-type]


def test_a_kata_without_avatars_has_nothing_to_compare() -> None:
    assert chosen({}) is None


def test_forward_and_back_keep_the_distance() -> None:
    found = moves(SESSION, Pair("lion", 0, 2))
    assert (found.back, found.forward) == (Pair("lion", 0, 1), Pair("lion", 1, 3))
    assert (found.first, found.newest) == (Pair("lion", 0, 1), Pair("lion", 2, 3))


def test_there_is_nothing_beyond_the_ends() -> None:
    last = moves(SESSION, Pair("lion", 2, 3))
    assert (last.forward, last.newest) == (None, None)
    start = moves(SESSION, Pair("lion", 0, 0))
    assert (start.back, start.first, start.forward) == (None, None, Pair("lion", 0, 1))


def test_the_avatars_beside_show_the_light_that_they_had_then() -> None:
    assert moves(SESSION, Pair("lion", 1, 2)).avatar_after == Pair("whale", 0, 1)
    assert moves(SESSION, Pair("lion", 0, 1)).avatar_after == Pair("whale", 0, 1)
    assert moves(SESSION, Pair("whale", 1, 2)).avatar_before == Pair("lion", 2, 3)
    assert moves(SESSION, Pair("lion", 0, 1)).avatar_before == Pair("bee", 0, 0)
    assert moves(SESSION, Pair("whale", 0, 1)).avatar_after is None


def test_another_avatar_s_light_stays_while_one_goes_forward() -> None:
    assert moves(SESSION, Pair("lion", 1, 1, "whale")).forward == Pair("lion", 1, 2, "whale")


def test_of_many_lights_those_around_one_are_shown() -> None:
    many = lights(*range(100))
    shown, before, after = around(many, 50, 10)
    assert ([light.number for light in shown], before, after) == (list(range(45, 55)), 45, 45)
    assert around(many, 99, 10)[1:] == (90, 0)
    assert around(many, 0, 10)[1:] == (0, 90)
    assert around(many[:3], 1, 10)[1:] == (0, 0)
