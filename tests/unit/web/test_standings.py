from web.session.lights import Light
from web.session.standings import QUIET_SECONDS, Standing, arranged, standings, total

START = Light(0, "start", 1000.0)
NOW = 5000.0


def standing(avatar: str, *colours: str, at: float = NOW) -> Standing:
    lights = [Light(place, colour, at) for place, colour in enumerate(colours, 1)]
    return standings({avatar: [START, *lights]})[0]


def test_the_start_is_no_test() -> None:
    whale = standing("whale")
    assert (whale.newest, whale.colour, whale.green_percent) == (None, "start", None)
    assert whale.quiet_seconds(NOW) == 4000


def test_an_avatar_of_which_nothing_is_known_yet_is_left_out() -> None:
    assert standings({"whale": []}) == []


def test_the_share_of_green_lights_is_100_only_if_all_are_green() -> None:
    assert standing("whale", *["green"] * 299, "red").green_percent == 99
    assert standing("whale", "green").green_percent == 100


def test_tests_passed_are_those_of_the_newest_light_that_tells_them() -> None:
    lights = [
        START,
        Light(1, "red", NOW, 2, 5),
        Light(2, "green", NOW, 5, 5),
        Light(3, "amber", NOW),
    ]
    whale = standings({"whale": lights})[0]
    assert (whale.passed, whale.passed_percent) == ((5, 5), 100)


def test_whoever_has_not_pressed_test_for_ten_minutes_is_quiet() -> None:
    assert standing("whale", "red", at=NOW - QUIET_SECONDS).is_quiet(NOW)
    assert not standing("whale", "red", at=NOW - QUIET_SECONDS + 1).is_quiet(NOW)


def test_a_light_of_a_clock_that_is_ahead_is_not_quiet_for_less_than_no_time() -> None:
    assert standing("whale", "red", at=NOW + 60).quiet_seconds(NOW) == 0


def test_all_together() -> None:
    lights = [START, Light(1, "red", NOW, 1, 4), Light(2, "green", NOW, 4, 4)]
    everybody = [*standings({"bee": lights}), standing("whale", "amber", at=0), standing("zebra")]
    together = total(everybody, NOW)
    assert (together.avatars, together.lights, together.quiet) == (3, 3, 2)
    assert together.newest == {"green": 1, "amber": 1, "start": 1}
    assert (together.green_percent, together.passed_percent) == (33, 100)


def names(found: list[Standing]) -> list[str]:
    return [each.avatar for each in found]


def test_standings_are_sorted_and_those_that_are_equal_by_name() -> None:
    everybody = [
        standing("whale", "green", at=NOW - 10),
        standing("bee", "red", "red", at=NOW - 2000),
        standing("zebra"),
        standings({"lion": [START, Light(1, "red", NOW - 10, 3, 4)]})[0],
        standings({"crab": [START, Light(1, "green", NOW - 20, 4, 4)]})[0],
    ]
    assert names(arranged(everybody, NOW)) == ["bee", "crab", "lion", "whale", "zebra"]
    assert names(arranged(everybody, NOW, order="newest")) == [
        "lion",
        "whale",
        "crab",
        "bee",
        "zebra",
    ]
    assert names(arranged(everybody, NOW, order="quiet")) == [
        "zebra",
        "bee",
        "crab",
        "lion",
        "whale",
    ]
    assert names(arranged(everybody, NOW, order="tests")) == [
        "bee",
        "crab",
        "lion",
        "whale",
        "zebra",
    ]
    assert names(arranged(everybody, NOW, order="passed")) == [
        "crab",
        "lion",
        "bee",
        "whale",
        "zebra",
    ]


def test_standings_are_chosen_by_their_newest_colour_or_by_quiet() -> None:
    everybody = [standing("bee", "green", "red"), standing("crab", "green"), standing("whale")]
    assert names(arranged(everybody, NOW, show="red")) == ["bee"]
    assert names(arranged(everybody, NOW, show="green")) == ["crab"]
    assert names(arranged(everybody, NOW, show="quiet")) == ["whale"]
    assert names(arranged(everybody, NOW, show="all")) == ["bee", "crab", "whale"]


def test_unknown_words_in_an_address_sort_by_name_and_leave_nobody_out() -> None:
    everybody = [standing("whale"), standing("bee")]
    assert names(arranged(everybody, NOW, order="<b>", show="<i>")) == ["bee", "whale"]
