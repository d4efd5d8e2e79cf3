"""What people do in the pages, as steps of tests."""

import re

from playwright.sync_api import Locator, Page, expect


def join(page: Page, web: str, kata_id: str) -> str:
    """Join a kata by its page; return the animal."""
    page.goto(f"{web}/kata/{kata_id}")
    page.get_by_role("button", name=re.compile("^Join as")).click()
    page.wait_for_url(re.compile(r"/as/\w+$"))
    expect(tabs(page).first).to_be_visible()
    return page.url.rpartition("/")[2]


def tabs(page: Page) -> Locator:
    """The tabs of the files."""
    return page.locator("#tabs [role=tab]")


def open_file(page: Page, name: str) -> None:
    """Open a file in the editor."""
    page.get_by_role("tab", name=name, exact=True).click()
    expect(page.get_by_role("tab", name=name, exact=True)).to_have_attribute(
        "aria-selected", "true"
    )


def write(page: Page, name: str, text: str) -> None:
    """Replace a file's text, by keys, as people do."""
    open_file(page, name)
    page.locator(".cm-content").click()
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.insert_text(text)


def text_of(page: Page) -> str:
    """Return what the editor shows, line by line."""
    lines = page.locator(".cm-line").all_inner_texts()
    return "\n".join("" if line == "\n" else line for line in lines)


def lights(page: Page) -> Locator:
    """The buttons in the row of lights."""
    return page.locator("#lights button")


def press_test(page: Page, word: str, number: int) -> None:
    """Press *test*, and wait for a light of this colour and number."""
    page.get_by_role("button", name="Test").first.click()
    expect(page.locator("#run-state")).to_contain_text(f"Light {number}, {word}")


def save_state(page: Page) -> Locator:
    """What says where the files are kept: its attribute data-state has a word for it."""
    return page.locator("#save-state")


def expect_saved(page: Page, state: str) -> None:
    """Wait until the files are kept in such a way: recorded, saved, unsaved or pending."""
    expect(save_state(page)).to_have_attribute("data-state", state)
