"""One light's recorded output and its output now, side by side."""

import difflib
import textwrap
from itertools import zip_longest

from replay.outcomes import Ran, place
from replay.report.painting import Painter, printable

_GAP = 3


def side_by_side(ran: Ran, columns: int, paint: Painter) -> list[str]:
    """Return the lines that show a light, in so many columns.

    Between the two outputs stands what became of a line: `|` another, `<` gone, `>` new.
    """
    width = max(20, (columns - _GAP) // 2)
    lines = [
        paint(f"{place(ran)} in {ran.image_name} ({ran.image_id[:19]})", "bold"),
        f"recorded {paint(ran.recorded, ran.recorded)}, now {paint(ran.now, ran.now)}"
        f" after {ran.seconds:.2f} of {ran.max_seconds} seconds, status {ran.status}"
        + (f": {ran.reason}" if ran.reason else ""),
        "",
        paint(f"{'recorded':{width}}   now", "bold"),
    ]
    old = _wrapped(ran.recorded_output, width)
    new = _wrapped(ran.stdout, width)
    if ran.stderr:
        new += ["--- standard error", *_wrapped(ran.stderr, width)]
    matcher = difflib.SequenceMatcher(a=old, b=new, autojunk=False)
    for tag, old_from, old_to, new_from, new_to in matcher.get_opcodes():
        pairs = zip_longest(old[old_from:old_to], new[new_from:new_to])
        for left, right in pairs:
            sign = " " if tag == "equal" else "<" if right is None else ">" if left is None else "|"
            line = f"{left or '':{width}} {sign} {right or ''}".rstrip()
            lines.append(line if tag == "equal" else paint(line, "bold"))
    return lines


def _wrapped(text: str, width: int) -> list[str]:
    """Return the lines of an output, none wider than `width`."""
    lines: list[str] = []
    for line in text.splitlines():
        shown = printable(line)
        lines += textwrap.wrap(
            shown, width, drop_whitespace=False, replace_whitespace=False, break_on_hyphens=False
        ) or [""]
    return lines
