"""The dashboard, in a browser: it follows people as they practise, and goes on by itself."""

import re
from collections.abc import Callable

import grpc
import pytest
from playwright.sync_api import Locator, Page, expect

from cyberdojo.storer.v1 import storer_pb2_grpc
from support.services import Service, free_ports
from support.web.accessibility import findings, overflow
from support.web.practised import AMBER, ATTACKS, GREEN, RED, Practised

PHONE = {"width": 400, "height": 800}
TWICE_AS_LARGE = {"width": 640, "height": 400}


@pytest.fixture
def practised(new_practised: Callable[..., Practised]) -> Practised:
    """A kata, with two people who have joined."""
    made = new_practised(exercise="Fizz_Buzz")
    made.join("lion", "whale", ago=40)
    return made


def open_dashboard(page: Page, web: str, kata_id: str, query: str = "") -> None:
    page.goto(f"{web}/kata/{kata_id}/dashboard{query}")
    expect(page.get_by_role("heading", level=1)).to_contain_text(kata_id)


def row(page: Page, avatar: str) -> Locator:
    return page.get_by_role("row").filter(has=page.get_by_role("rowheader", name=avatar))


def lights(page: Page, avatar: str) -> Locator:
    return row(page, avatar).locator("td.minute .light")


def animals(page: Page) -> list[str]:
    names = page.locator("tbody th").all_inner_texts()
    return [name.split()[-1] for name in names]


def test_a_dashboard_follows_two_people_as_they_press_test(
    person: Page, web: str, practised: Practised
) -> None:
    open_dashboard(person, web, practised.kata_id)
    expect(lights(person, "whale")).to_have_count(0)
    practised.press("whale", RED, tests=(1, 3))
    expect(lights(person, "whale")).to_have_count(1)
    expect(row(person, "whale").locator("td.passed")).to_have_text("1/3")
    practised.press("whale", GREEN, tests=(3, 3))
    practised.press("lion", AMBER)
    expect(lights(person, "whale")).to_have_count(2)
    expect(lights(person, "whale").last).to_have_attribute(
        "aria-label", "whale 2: green, 3 of 3 tests passed"
    )
    expect(lights(person, "lion")).to_have_count(1)
    expect(person.locator("#totals")).to_contain_text("3 tests")
    expect(person.locator("#totals")).to_contain_text("33 % of all lights green")
    practised.join("zebra")
    expect(row(person, "zebra")).to_contain_text("no test")


def test_time_in_which_nobody_pressed_test_is_one_fold(
    person: Page, web: str, practised: Practised
) -> None:
    practised.press("whale", RED, ago=39)
    practised.press("lion", GREEN, ago=1)
    open_dashboard(person, web, practised.kata_id)
    expect(person.locator("thead .fold")).to_have_text(re.compile(r"3[5-8] min"))
    expect(row(person, "whale").locator("td.quiet-for")).to_have_text("quiet 39 min")
    expect(row(person, "lion").locator("td.quiet-for")).to_have_text("1 min ago")


def test_people_are_sorted_and_chosen_and_the_address_keeps_how(
    person: Page, web: str, practised: Practised
) -> None:
    practised.press("whale", RED, ago=20)
    practised.press("lion", GREEN, ago=30)
    practised.press("lion", GREEN, ago=2)
    practised.join("bee")
    open_dashboard(person, web, practised.kata_id)
    assert animals(person) == ["bee", "lion", "whale"]
    person.get_by_label("Sort by").select_option("quiet for longest first")
    assert animals(person) == ["whale", "lion", "bee"]
    person.get_by_label("Show").select_option("green now")
    assert animals(person) == ["lion"]
    person.reload()
    assert animals(person) == ["lion"]
    practised.press("lion", RED)
    expect(person.locator("#nobody")).to_be_visible()
    assert animals(person) == []


def test_a_dashboard_without_script_is_sorted_and_chosen_by_the_server(
    new_person: Callable[..., Page], web: str, practised: Practised
) -> None:
    practised.press("whale", RED, ago=20)
    practised.press("lion", GREEN, ago=2)
    page = new_person(java_script_enabled=False)
    open_dashboard(page, web, practised.kata_id)
    page.get_by_label("Show").select_option("red now")
    page.get_by_role("button", name="Arrange").click()
    assert animals(page) == ["whale"]
    expect(lights(page, "whale")).to_have_count(1)
    open_dashboard(page, web, practised.kata_id, "?order=<b>&show='")
    assert animals(page) == ["lion", "whale"]


def test_of_many_lights_in_a_minute_a_dashboard_draws_a_few(
    person: Page, web: str, practised: Practised
) -> None:
    for _ in range(20):
        practised.press("whale", RED, ago=5)
    open_dashboard(person, web, practised.kata_id)
    expect(row(person, "whale").locator(".more")).to_have_text("+13")
    practised.press("whale", GREEN)
    expect(lights(person, "whale")).to_have_count(8)


def test_a_dashboard_can_stay_open_for_two_hours(
    person: Page, web: str, practised: Practised
) -> None:
    person.clock.install()
    open_dashboard(person, web, practised.kata_id)
    practised.press("whale", RED)
    expect(lights(person, "whale")).to_have_count(1)
    elements = "() => document.querySelectorAll('*').length"
    before = person.evaluate(elements)
    for _ in range(24):
        person.clock.fast_forward("05:00")  # each is longer than the page waits for a ping
    expect(row(person, "whale").locator("td.quiet-for")).to_contain_text("quiet 2 h")
    practised.press("whale", GREEN)
    expect(lights(person, "whale")).to_have_count(2)
    expect(person.locator("#away")).to_be_hidden()
    assert person.evaluate(elements) < before + 100


def test_titles_are_text(person: Page, web: str, new_practised: Callable[..., Practised]) -> None:
    title = " ".join(ATTACKS)
    practised = new_practised(exercise=title[:200], display_name=title)
    practised.join("whale")
    practised.press("whale", RED, reason=title)
    open_dashboard(person, web, practised.kata_id)
    expect(lights(person, "whale")).to_have_count(1)
    expect(person.get_by_role("heading", level=1)).to_contain_text(ATTACKS[0])
    assert person.evaluate("() => window.attacked") is None


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everybody_can_use_a_dashboard(
    new_person: Callable[..., Page], web: str, practised: Practised, scheme: str
) -> None:
    practised.press("whale", RED, tests=(1, 3), ago=39)
    practised.press("lion", GREEN, ago=1)
    for viewport in ({"width": 1280, "height": 720}, TWICE_AS_LARGE, PHONE):
        page = new_person(color_scheme=scheme, viewport=viewport)
        open_dashboard(page, web, practised.kata_id)
        expect(row(page, "lion")).to_be_visible()
        expect(page.locator("#clock")).not_to_be_empty()
        assert findings(page) == []
        assert overflow(page) <= 0


def test_a_dashboard_says_that_the_storer_is_away_and_goes_on_by_itself(
    new_person: Callable[..., Page],
    start_service: Callable[..., Service],
    start_web: Callable[..., Service],
    connect: Callable[[str], grpc.Channel],
) -> None:
    (port,) = free_ports(1)
    address = f"127.0.0.1:{port.rpartition(':')[2]}"
    storer = start_service("storer", CYBER_DOJO_STORER_LISTEN=address)
    web = start_web(storer.address, "127.0.0.1:1")
    practised = Practised(storer_pb2_grpc.StorerServiceStub(connect(storer.address)))
    practised.join("whale")
    page = new_person(network_fails=True)
    open_dashboard(page, f"http://{web.address}", practised.kata_id)
    practised.press("whale", RED)
    expect(lights(page, "whale")).to_have_count(1)
    storer.stop()
    expect(page.locator("#away")).to_contain_text("Not up to date since")
    expect(page.locator("#away")).to_contain_text("goes on by itself")
    expect(lights(page, "whale")).to_have_count(1)
    web.stop()
    expect(page.locator("#away")).to_contain_text("The web server can't be reached")
    web = start_web(storer.address, "127.0.0.1:1", CYBER_DOJO_WEB_LISTEN=web.address)
    expect(page.locator("#away")).to_contain_text("The server is away for a moment")
    expect(lights(page, "whale")).to_have_count(1)  # what was known stays
    storer = start_service("storer", CYBER_DOJO_STORER_LISTEN=address)
    expect(page.locator("#away")).to_be_hidden()
    practised.press("whale", GREEN)
    expect(lights(page, "whale")).to_have_count(2)
    practised.delete()
    expect(page.locator("#away")).to_contain_text("No such kata")
    web.stop()
    storer.stop()


def test_a_dashboard_goes_on_when_the_web_tier_was_restarted(
    new_person: Callable[..., Page],
    start_web: Callable[..., Service],
    storer_service: Service,
    runner_service: Service,
    practised: Practised,
) -> None:
    web = start_web(storer_service.address, runner_service.address)
    page = new_person(network_fails=True)
    open_dashboard(page, f"http://{web.address}", practised.kata_id)
    practised.press("whale", RED)
    expect(lights(page, "whale")).to_have_count(1)
    clock = page.locator("#clock")
    web.stop()
    expect(page.locator("#away")).to_contain_text("The web server can't be reached")
    before = clock.inner_text()
    expect(clock).not_to_have_text(before)
    practised.press("whale", GREEN)
    again = start_web(
        storer_service.address, runner_service.address, CYBER_DOJO_WEB_LISTEN=web.address
    )
    expect(lights(page, "whale")).to_have_count(2)
    expect(page.locator("#away")).to_be_hidden()
    again.stop()
