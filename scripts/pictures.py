"""Takes the pictures of docs/web.md from the real pages of a web tier that runs.

    .venv/bin/python scripts/pictures.py http://127.0.0.1:4500

It makes a kata, has two people practise in it, and leaves it there.
"""

import re
import sys
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

FOLDER = Path(__file__).resolve().parent.parent / "docs/pictures"
CHROMIUM = "/usr/bin/chromium"
WIDE = {"width": 1120, "height": 700}
PATIENCE_MILLISECONDS = 60_000


def main(web: str) -> None:
    """Take all pictures of the pages at this address."""
    FOLDER.mkdir(exist_ok=True)
    expect.set_options(timeout=PATIENCE_MILLISECONDS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        whale, zebra = (browser.new_context(viewport=WIDE).new_page() for _ in range(2))
        kata = start(whale, web)
        practise(whale, f"{web}/kata/{kata}")
        join(zebra, f"{web}/kata/{kata}")
        press(zebra, 1)
        for name in ("dashboard", "review"):
            answer = whale.goto(f"{web}/kata/{kata}/{name}")
            if answer is not None and answer.ok:
                whale.wait_for_timeout(1000)  # for what comes as events
                take(whale, name)
        browser.close()


def start(page: Page, web: str) -> str:
    """Start a kata; return its id."""
    page.goto(web)
    page.get_by_label("Search: Language and test framework").fill("python")
    page.get_by_text("Python, pytest").click()
    page.get_by_text("Fizz Buzz").click()
    take(page, "start")
    page.get_by_role("button", name="Start").first.click()
    page.wait_for_url(re.compile(r"/kata/\w{10}\?new$"))
    take(page, "kata")
    return page.url.rpartition("/")[2].removesuffix("?new")


def join(page: Page, kata: str) -> None:
    """Join a kata."""
    page.goto(kata)
    page.get_by_role("button", name=re.compile("^Join as")).click()
    page.wait_for_url(re.compile(r"/as/\w+$"))
    page.get_by_role("button", name="Close").first.click()


def practise(page: Page, kata: str) -> None:
    """Press *test* until it is green, with an amber light on the way."""
    join(page, kata)
    press(page, 1)
    for number, text in ((2, "def answer(:\n"), (3, "def answer():\n    return 6 * 7\n")):
        page.locator(".cm-content").click()
        page.keyboard.press("ControlOrMeta+a")
        page.keyboard.insert_text(text)
        press(page, number)
    page.locator("#lights button").nth(2).hover()
    expect(page.locator("#light-details")).to_contain_text("+")
    take(page, "practise")


def press(page: Page, number: int) -> None:
    """Press *test*, and wait for the light."""
    page.get_by_role("button", name="Test").first.click()
    expect(page.locator("#run-state")).to_contain_text(f"Light {number},")


def take(page: Page, name: str) -> None:
    """Take a picture."""
    page.screenshot(path=FOLDER / f"{name}.png")


if __name__ == "__main__":
    main(*sys.argv[1:])
