"""Cached messages of lights never hide that the lights changed."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from cyberdojo.storer.v1 import storer_pb2
from storer.api import converters, page_tokens
from storer.api.light_messages import LightMessages
from storer.kata.light import Light

KATA = "ABCDE12345"
TIME = datetime(2026, 2, 3, 4, 5, 6, 789, tzinfo=UTC)


def lights(*numbers: int, colour: str = "red") -> tuple[Light, ...]:
    return tuple(
        Light(number, colour if number else "", TIME, duration=number / 3, status=number % 256)
        for number in numbers
    )


def listed(
    messages: LightMessages, dashboard: dict[str, tuple[Light, ...]], size: int = 100
) -> dict[str, list[storer_pb2.Light]]:
    """Return all lights, page by page."""
    found: dict[str, list[storer_pb2.Light]] = {}
    token = ""
    while True:
        response = messages.page(KATA, dashboard, page_tokens.after_light(token), size)
        assert sum(len(each.lights) for each in response.avatars) <= size
        for each in response.avatars:
            found.setdefault(each.avatar, []).extend(each.lights)
        if not (token := response.next_page_token):
            return found


def wanted(dashboard: dict[str, tuple[Light, ...]]) -> dict[str, list[storer_pb2.Light]]:
    return {
        name: [converters.light_to(light) for light in each] for name, each in dashboard.items()
    }


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 8, 100])
def test_all_lights_come_in_pages_of_any_size(size: int) -> None:
    dashboard = {"bear": lights(0, 1, 2, 5), "owl": lights(0), "whale": lights(0, 1, 2)}
    messages = LightMessages()
    for _ in range(2):
        assert listed(messages, dashboard, size) == wanted(dashboard)


def test_lights_that_were_added_are_listed() -> None:
    messages = LightMessages()
    before = lights(0, 1)
    assert listed(messages, {"whale": before}) == wanted({"whale": before})
    after = (*before, *lights(2, 3))
    assert listed(messages, {"whale": after}) == wanted({"whale": after})
    # A caller that read the lights earlier may list them later.
    assert listed(messages, {"whale": before}) == wanted({"whale": before})


def test_lights_of_another_history_replace_the_cached_ones() -> None:
    messages = LightMessages()
    before = lights(0, 1, 2)
    listed(messages, {"whale": before})
    for other in (
        lights(0, 1, 2, colour="green"),
        lights(0, 1, 2, 3, colour="green"),
        lights(0),
        (*before[:2], replace(before[2], colour="amber")),
    ):
        assert listed(messages, {"whale": other}) == wanted({"whale": other})


def test_more_avatars_than_the_cache_holds_are_listed_correctly() -> None:
    messages = LightMessages(capacity=2)
    dashboard = {"bear": lights(0), "owl": lights(0, 1), "whale": lights(0, 2)}
    for _ in range(3):
        assert listed(messages, dashboard) == wanted(dashboard)
