"""One light's recorded output and its output now, side by side."""

import difflib
from collections.abc import Iterator
from itertools import zip_longest

from cli.terminal.clean import line
from cli.terminal.screen import Screen
from cli.terminal.tables import Side, side_by_side
from replay.outcomes import Ran, place

_PLAIN_COLUMNS = 120  # of a comparison that does not go to a terminal


def show(screen: Screen, ran: Ran) -> None:
    """Write a light's two outputs side by side.

    The mark between two lines says: `|` changed, `<` gone, `>` new.
    """
    screen.say(f"{place(ran)} in {ran.image_name} ({ran.image_id[:19]})", style="bold")
    screen.say(
        "recorded ",
        (ran.recorded, ran.recorded),
        ", now ",
        (ran.now, ran.now),
        f" after {ran.seconds:.2f} of {ran.max_seconds} seconds, status {ran.status}",
        f": {ran.reason}" if ran.reason else "",
    )
    screen.say()
    side_by_side(screen, _rows(ran), screen.width if screen.is_terminal else _PLAIN_COLUMNS)


def _rows(ran: Ran) -> Iterator[tuple[Side, str, Side]]:
    yield ("", ("recorded", "bold")), " ", ("", ("now", "bold"))
    old = [line(each) for each in ran.recorded_output.splitlines()]
    new = [line(each) for each in ran.stdout.splitlines()]
    if ran.stderr:
        new += ["--- standard error", *(line(each) for each in ran.stderr.splitlines())]
    matcher = difflib.SequenceMatcher(a=old, b=new, autojunk=False)
    for tag, old_from, old_to, new_from, new_to in matcher.get_opcodes():
        style = "" if tag == "equal" else "bold"
        for left, right in zip_longest(old[old_from:old_to], new[new_from:new_to]):
            mark = "<" if right is None else ">" if left is None else "|" if style else " "
            yield ("", (left or "", style)), mark, ("", (right or "", style))
