"""A real browser: Debian's Chromium, driven by Playwright."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

CHROMIUM = Path("/usr/bin/chromium")
_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# A busy machine needs a fraction of it.
PATIENCE_MILLISECONDS = 30_000

# What a test of faults expects the console to say.
NETWORK = "Failed to load resource"

# Chromium itself wants to give a style to what replaces a selection in an editor. The page's policy
# stops it, and the editor does not need it. Templates have no inline style: tests/unit/web says so.
_OF_CHROMIUM = "Applying inline style violates"

# An edit that is on its way while a light is recorded is refused, and sent again after the light.
_STALE = "the server responded with a status of 409"

_NO_COMPLAINTS = (_OF_CHROMIUM, _STALE)


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Run a browser."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=_FLAGS)
        try:
            yield browser
        finally:
            browser.close()


class Complaints:
    """What a browser complains of: errors of scripts, and what its policy stops."""

    def __init__(self, page: Page) -> None:
        self.lines: list[str] = []
        page.on("console", self._note)
        page.on("pageerror", lambda error: self.lines.append(str(error)))

    def _note(self, message: ConsoleMessage) -> None:
        is_complaint = not any(each in message.text for each in _NO_COMPLAINTS)
        if message.type in {"error", "warning"} and is_complaint:
            self.lines.append(message.text)

    def without_network(self) -> list[str]:
        """Return them without those of requests that failed or were refused."""
        return [line for line in self.lines if NETWORK not in line and "net::ERR" not in line]
