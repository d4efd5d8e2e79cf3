"""What axe finds on a page: https://github.com/dequelabs/axe-core, installed beside our scripts."""

from functools import cache

from playwright.sync_api import Page

from support.paths import TOP

_AXE = TOP / "web/script/node_modules/axe-core/axe.min.js"


@cache
def _source() -> str:
    return _AXE.read_text()


def findings(page: Page) -> list[str]:
    """Return what is wrong on a page as it is now, a line for each element."""
    page.evaluate(_source())  # by the debugger, which the page's policy does not bind
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{rule['id']}: {rule['help']}: {node['html'][:200]} {node['failureSummary']}"
        for rule in found["violations"]
        for node in rule["nodes"]
    ]


def overflow(page: Page) -> int:
    """Return by how much a page is wider than its window, in pixels."""
    root = "document.documentElement"
    width: int = page.evaluate(f"{root}.scrollWidth - {root}.clientWidth")
    return width
