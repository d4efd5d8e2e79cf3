"""What comes of replaying: lights that ran, and what could not be run."""

import re
from dataclasses import dataclass, replace

from cyberdojo.colour.v1 import colour_pb2

COLOURS = ("red", "amber", "green", "timed_out", "faulty")

# Of each output so much is kept: its beginning, and as much of its end, where a summary is.
KEPT_CHARACTERS = 16 * 1024

_TIMED_OUT = re.compile(
    rb"Terminated by the cyber-dojo server after \d+ seconds?"
    rb"|Unable to complete the tests? in \d+ seconds"
    rb"|execution terminated after \d+ seconds"
)


@dataclass(frozen=True)
class Ran:
    """A light that ran again.

    `recorded` and `now` are names of colours. The outputs are clipped, with a replacement
    character for what is not UTF-8; what was recorded has one output, standard error at its end.
    """

    kata_id: str
    avatar: str
    number: int
    image_name: str
    image_id: str
    recorded: str
    now: str
    reason: str
    status: int
    seconds: float
    max_seconds: int
    recorded_output: str = ""
    stdout: str = ""
    stderr: str = ""

    @property
    def is_same(self) -> bool:
        """Whether it has the colour that was recorded."""
        return self.recorded == self.now

    def without_outputs(self) -> "Ran":
        """Return what a report needs of it, which takes little memory."""
        return replace(self, recorded_output="", stdout="", stderr="")


@dataclass(frozen=True)
class Skipped:
    """What could not be run: a light, an avatar (number 0) or a kata (no avatar), and why.

    `lights` is None where it could not be found out how many there are. `image_name` is empty
    where it is not known.
    """

    kata_id: str
    avatar: str
    number: int
    image_name: str
    lights: int | None
    reason: str


Outcome = Ran | Skipped


def place(outcome: Outcome) -> str:
    """Return where an outcome belongs: `493A06504A/whale/17`, or as much of it as it is about."""
    parts = (outcome.kata_id, outcome.avatar, str(outcome.number or ""))
    return "/".join(part for part in parts if part)


def colour_name(number: int) -> str:
    """Return a colour's name; an empty one for none."""
    name = colour_pb2.Colour.Name(number).removeprefix("COLOUR_").lower()  # type: ignore[arg-type]
    return name if name in COLOURS else ""


def recorded_colour(number: int, output: bytes) -> str:
    """Return the colour that a light was recorded with; `none` where it has none.

    What took too long had no colour of its own until 2014: it was amber, and before that red,
    with a sentence in its output. That is what `timed_out` means.
    """
    name = colour_name(number) or "none"
    return "timed_out" if name in {"red", "amber"} and _TIMED_OUT.search(output) else name


def clipped(output: bytes) -> str:
    """Return an output as text, without its middle where it is long."""
    text = output.decode("utf-8", errors="replace")
    if len(text) <= 2 * KEPT_CHARACTERS:
        return text
    left_out = len(text) - 2 * KEPT_CHARACTERS
    note = f"\n... {left_out} characters left out ...\n"
    return text[:KEPT_CHARACTERS] + note + text[-KEPT_CHARACTERS:]
