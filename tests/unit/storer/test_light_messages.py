"""Pages of lights and edits fit, and cached messages never hide that the lights changed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from cyberdojo.storer.v1 import storer_pb2
from dojo import avatars, limits
from dojo.visible_files import MAX_NAME_BYTES
from storer.api import converters, page_tokens
from storer.api.light_messages import LightMessages
from storer.kata.edit import MAX_CHANGES, RENAMED, Change, Edit
from storer.kata.light import MAX_NUMBER, Light
from storer.kata.light_facts import MAX_COUNT, MAX_WRITER, Facts, Source, TestCounts

KATA = "ABCDE12345"
DEFAULT_MESSAGE_BYTES = 4 * 1024 * 1024  # what gRPC's clients take

Edits = dict[str, tuple[Edit, ...]]
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


# --- Pages that fit


def edits(*places: tuple[int, int]) -> tuple[Edit, ...]:
    changes = (Change(RENAMED, "new.c", "old.c"),)
    return tuple(Edit(number, minor, TIME, changes) for number, minor in places)


def pages(
    page: Callable[[tuple[str, int, int]], storer_pb2.ListLightsResponse],
) -> list[storer_pb2.ListLightsResponse]:
    found: list[storer_pb2.ListLightsResponse] = []
    token = ""
    while not found or token:
        found.append(page(page_tokens.after_light(token)))
        token = found[-1].next_page_token
    return found


def edits_of(
    edits: Mapping[str, Sequence[Edit]],
) -> Callable[[str, Sequence[Light]], Sequence[Edit]]:
    """Return what reads the edits of an avatar."""
    return lambda name, _: edits[name]


def listed_with_edits(
    found: list[storer_pb2.ListLightsResponse],
) -> dict[str, tuple[list[storer_pb2.Light], list[storer_pb2.Edit]]]:
    """Return all lights and edits on some pages; check that each edit comes after its light."""
    told: dict[str, tuple[list[storer_pb2.Light], list[storer_pb2.Edit]]] = {}
    for page in found:
        for each in page.avatars:
            of_avatar = told.setdefault(each.avatar, ([], []))
            numbers = {light.number for light in (*of_avatar[0][-1:], *each.lights)}
            assert numbers >= {edit.light_number for edit in each.edits}
            of_avatar[0].extend(each.lights)
            of_avatar[1].extend(each.edits)
    return told


DASHBOARD = {"bear": lights(0, 1, 2, 5), "owl": lights(0), "whale": lights(0, 1, 2)}
EDITS: Edits = {
    "bear": edits((0, 1), (2, 1), (2, 2), (2, 3), (5, 1)),
    "owl": edits((0, 1), (0, 2)),
    "whale": (),
}


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 8, 100])
@pytest.mark.parametrize("page_bytes", [1, 50, 100, 200, 300, 10_000])
def test_lights_and_edits_come_once_in_pages_of_any_size(size: int, page_bytes: int) -> None:
    messages, read = LightMessages(page_bytes=page_bytes), edits_of(EDITS)
    for _ in range(2):
        found = pages(lambda after: messages.page_with_edits(KATA, DASHBOARD, read, after, size))
        told = listed_with_edits(found)
        assert {name: each for name, (each, _) in told.items()} == wanted(DASHBOARD)
        assert {name: each for name, (_, each) in told.items()} == {
            name: [converters.edit_to(edit) for edit in each] for name, each in EDITS.items()
        }
        for page in found:
            assert sum(len(each.lights) for each in page.avatars) <= size


@pytest.mark.parametrize("edits_too", ["", "with edits"])
@pytest.mark.parametrize("page_bytes", [1, 40, 50, 100, 200, 10_000])
def test_a_page_has_no_more_bytes_than_it_may(edits_too: str, page_bytes: int) -> None:
    messages = LightMessages(page_bytes=page_bytes)

    def page(after: tuple[str, int, int]) -> storer_pb2.ListLightsResponse:
        if edits_too:
            return messages.page_with_edits(KATA, DASHBOARD, edits_of(EDITS), after, 100)
        return messages.page(KATA, DASHBOARD, after, 100)

    found = pages(page)
    told = listed_with_edits(found)
    assert {name: each for name, (each, _) in told.items()} == wanted(DASHBOARD)
    for each in found:
        parts = [*(part for one in each.avatars for part in (*one.lights, *one.edits))]
        assert len(parts) == 1 or sum(part.ByteSize() for part in parts) <= page_bytes
    assert len(found) == 1 or page_bytes < 10_000


def test_the_edits_of_the_page_alone_are_read() -> None:
    asked: list[str] = []

    def read(name: str, _: Sequence[Light]) -> Sequence[Edit]:
        asked.append(name)
        return EDITS[name]

    messages = LightMessages(page_bytes=1)
    messages.page_with_edits(KATA, DASHBOARD, read, page_tokens.FIRST_PAGE, 9)
    assert len(set(asked)) <= 2 < len(DASHBOARD)


def largest_light(number: int) -> Light:
    facts = Facts(
        predicted="amber",
        source=Source(KATA, "hummingbird", MAX_NUMBER),
        writer="\U0001f433" * MAX_WRITER,
        is_special=True,
        is_stdout_truncated=True,
        is_stderr_truncated=True,
        added=MAX_COUNT,
        deleted=MAX_COUNT,
        test_counts=TestCounts(MAX_COUNT, MAX_COUNT, MAX_COUNT, MAX_COUNT),
    )
    # A kata from elsewhere can have more of a reason than RecordTest takes.
    reason = "\U0001f433" * 5 * converters.MAX_REASON
    return Light(number, "faulty", TIME, 999_999.999, 255, reason, facts=facts)


def largest_edit(number: int, minor: int) -> Edit:
    changes = (Change(RENAMED, "n" * MAX_NAME_BYTES, "w" * MAX_NAME_BYTES),) * MAX_CHANGES
    return Edit(number, minor, TIME, changes, is_truncated=True, writer="\U0001f433" * MAX_WRITER)


def test_the_largest_lights_and_edits_of_64_avatars_fit_into_a_message() -> None:
    light, edit = largest_light(1), largest_edit(1, 1)
    dashboard = {
        name: tuple(replace(light, number=number) for number in range(1, 51))
        for name in avatars.NAMES
    }
    many = {
        name: tuple(replace(edit, minor=minor) for minor in range(1, 11)) for name in avatars.NAMES
    }
    messages, read = LightMessages(), edits_of(many)
    plain = pages(lambda after: messages.page(KATA, dashboard, after, 5000))
    both = pages(lambda after: messages.page_with_edits(KATA, dashboard, read, after, 5000))
    for found in (plain, both):
        assert all(page.ByteSize() < DEFAULT_MESSAGE_BYTES for page in found)
        assert all(page.ByteSize() > limits.PAGE_BYTES * 3 // 4 for page in found[:-1])
        told = listed_with_edits(found)
        assert {name: len(each) for name, (each, _) in told.items()} == dict.fromkeys(dashboard, 50)
    assert len(plain) > 1
    assert {name: len(each) for name, (_, each) in told.items()} == dict.fromkeys(dashboard, 10)


def test_the_newest_lights_of_64_avatars_fit_into_a_message() -> None:
    newest = converters.light_to(largest_light(MAX_NUMBER))
    response = storer_pb2.ListAvatarsResponse(
        avatars=(storer_pb2.ListedAvatar(avatar=name, newest=newest) for name in avatars.NAMES)
    )
    assert response.ByteSize() < DEFAULT_MESSAGE_BYTES // 4


def test_5000_usual_lights_are_one_page() -> None:
    facts = Facts(predicted="red", writer="5f0c9a1e-7f3b-4a86", test_counts=TestCounts(12, 3))
    dashboard = {"whale": tuple(replace(each, facts=facts) for each in lights(*range(5000)))}
    assert len(pages(lambda after: LightMessages().page(KATA, dashboard, after, 5000))) == 1
