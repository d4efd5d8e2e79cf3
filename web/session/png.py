"""A picture as PNG, for those who can't use SVG.

The library holds Python's lock while it draws, for up to seconds, and nobody's page may wait for
that. So this module is also a program: it reads an SVG from its standard input and writes a PNG.
"""

from __future__ import annotations

import asyncio
import math
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import resvg_py

MAX_PIXELS = 12_000_000
"""What a picture may have, 4 bytes each while it is drawn: a large one gets a smaller scale."""

DRAW_SECONDS = 60.0
"""How long one may take; a session of 64 with 25,000 lights takes five on an idle machine."""

_SCALE = 2.0
_FONT = "DejaVu Sans"


class PictureFailed(Exception):
    """No PNG could be made; the SVG is there all the same."""


class Painter:
    """Draws pictures, one at a time, in a process each. It belongs to the event loop."""

    def __init__(self) -> None:
        self._one = asyncio.Semaphore(1)

    async def png(self, svg: str) -> bytes:
        """Return the PNG of one of our own pictures. Raises PictureFailed."""
        async with self._one:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                str(Path(__file__)),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            try:
                async with asyncio.timeout(DRAW_SECONDS):
                    drawn, complaint = await process.communicate(svg.encode())
            except TimeoutError as error:
                raise PictureFailed(f"it took longer than {DRAW_SECONDS:.0f} s") from error
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
            if process.returncode:
                raise PictureFailed(complaint.decode(errors="replace")[-500:])
            return drawn


def draw(svg: str) -> bytes:
    """Return the PNG of one of our own pictures, twice as large, so that it is sharp."""
    root = ET.fromstring(svg)  # noqa: S314 - our own
    pixels = int(root.attrib["width"]) * int(root.attrib["height"])
    scale = min(_SCALE, math.sqrt(MAX_PIXELS / pixels))
    return resvg_py.svg_to_bytes(
        svg_string=svg, zoom=scale, font_family=_FONT, sans_serif_family=_FONT
    )


if __name__ == "__main__":
    sys.stdout.buffer.write(draw(sys.stdin.buffer.read().decode()))
