"""QR codes, as SVG that is part of a page."""

import segno
from markupsafe import Markup


def svg(text: str, label: str) -> Markup:
    """Return a QR code of a text; `label` is its name for screen readers."""
    code = segno.make(text, error="m", micro=False)
    drawn = code.svg_inline(
        scale=1, border=4, dark="#000", light="#fff", omitsize=True, title=label, svgclass="qr"
    )
    return Markup(drawn)  # noqa: S704 - segno escapes the title; all else is numbers
