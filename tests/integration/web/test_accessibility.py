"""Everybody can use the pages: what axe finds, the keyboard alone, and large letters."""

import re
from collections.abc import Callable
from typing import Literal

import pytest
from playwright.sync_api import Page, expect

from support.web import steps
from support.web.accessibility import findings, overflow


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(
    new_person: Callable[..., Page], web: str, web_kata: str, scheme: Literal["light", "dark"]
) -> None:
    person = new_person(color_scheme=scheme, reduced_motion="reduce", network_fails=True)
    found: dict[str, list[str]] = {}

    def look(name: str) -> None:
        if wrong := findings(person):
            found[name] = wrong

    for path in ("/", "/help", "/join?id=00", "/nothing", f"/kata/{web_kata}"):
        person.goto(web + path)
        look(path)
    steps.join(person, web, web_kata)
    look("editor")
    steps.press_test(person, "red", 1)
    steps.lights(person).nth(1).focus()
    expect(person.locator("#light-details")).to_be_visible()
    look("a light's details")
    steps.lights(person).nth(1).click()
    look("a light's dialog")
    person.keyboard.press("Escape")
    for name in ("My link", "Others", "Options", "New file"):
        person.get_by_role("button", name=name).first.click()
        look(name)
        person.keyboard.press("Escape")
    person.goto(f"{web}/kata/{web_kata}")
    look("a kata with somebody in it")
    assert found == {}


def test_a_person_practises_with_the_keyboard_alone(person: Page, web: str, web_kata: str) -> None:
    person.goto(f"{web}/kata/{web_kata}")
    _tab_to(person, "Join as a new animal")
    person.keyboard.press("Enter")
    person.wait_for_url(re.compile(r"/as/\w+$"))
    expect(steps.tabs(person).first).to_be_visible()
    _tab_to(person, steps.tabs(person).first.inner_text())
    person.keyboard.press("ArrowRight")
    expect(steps.tabs(person).nth(1)).to_be_focused()
    person.keyboard.press("ArrowLeft")
    _tab_to(person, r".*leaves the editor\.")
    person.keyboard.press("ControlOrMeta+Home")
    person.keyboard.type("# typed")
    person.keyboard.press("Enter")
    person.keyboard.press("ControlOrMeta+Enter")
    expect(person.locator("#run-state")).to_contain_text("Light 1, red")
    # Escape, then Tab leaves the editor: the output is next.
    person.keyboard.press("Escape")
    person.keyboard.press("Tab")
    expect(person.locator("#output")).to_be_focused()
    _tab_to(person, r"Light 1, red.*", "Shift+Tab")
    person.keyboard.press("ArrowLeft")
    person.keyboard.press("Enter")
    expect(person.get_by_role("dialog", name="The start")).to_be_visible()
    person.keyboard.press("Escape")
    expect(steps.lights(person).first).to_be_focused()


@pytest.mark.parametrize("width", [400, 640])  # a phone, and 1280 at 200 %
def test_no_page_is_wider_than_a_narrow_window(
    new_person: Callable[..., Page], web: str, web_kata: str, width: int
) -> None:
    person = new_person(viewport={"width": width, "height": 700})
    for path in ("/", "/help", f"/kata/{web_kata}"):
        person.goto(web + path)
        assert overflow(person) <= 0, path
    steps.join(person, web, web_kata)
    steps.press_test(person, "red", 1)
    assert overflow(person) <= 0


def _tab_to(page: Page, name: str, key: str = "Tab") -> None:
    """Press Tab until what has the focus has this name, which is a regular expression."""
    for _ in range(40):
        page.keyboard.press(key)
        focused = page.evaluate(
            "document.activeElement.ariaLabel || document.activeElement.textContent.trim()"
        )
        if re.fullmatch(name, focused, re.DOTALL):
            return
    raise AssertionError(f"no {key} leads to {name}")
