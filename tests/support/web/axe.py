"""What axe finds in a page: what keeps some people from using it."""

from typing import Any

from playwright.sync_api import Page

from support.paths import TOP

_AXE = TOP / "web/script/node_modules/axe-core/axe.min.js"


def findings(page: Page) -> list[str]:
    """Return a line for each finding; an empty list for a page that everybody can use."""
    page.evaluate(_AXE.read_text())
    found: dict[str, Any] = page.evaluate(
        "() => axe.run(document, { resultTypes: ['violations'] })"
    )
    return [
        f"{violation['id']}: {violation['help']}: {node['html'][:200]}"
        for violation in found["violations"]
        for node in violation["nodes"]
    ]


def is_wider_than_the_screen(page: Page) -> bool:
    """Say whether people would have to scroll the whole page sideways."""
    return bool(page.evaluate("() => document.documentElement.scrollWidth > window.innerWidth"))
