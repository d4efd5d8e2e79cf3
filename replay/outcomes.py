"""The outcomes of a replay: lights that ran, and what could not be run."""

import re
from dataclasses import dataclass, replace

from cyberdojo.colour.v1 import colour_pb2
from replay.causes import cause

COLOURS = ("red", "amber", "green", "timed_out", "faulty")

# How much of an output's beginning is kept, and as much again of its end, where summaries are.
CLIPPED_CHARACTERS = 16 * 1024

_TIMED_OUT = re.compile(
    rb"Terminated by the cyber-dojo server after \d+ seconds?"
    rb"|Unable to complete the tests? in \d+ seconds"
    rb"|execution terminated after \d+ seconds"
)


@dataclass(frozen=True)
class Ran:
    """A light that ran again.

    `recorded` and `now` are names of colours. The outputs are clipped, with a replacement
    character for bytes that are not UTF-8. The recorded output ends with its standard error.
    `cause` explains another colour, once the outputs are left out.
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
    cause: str = ""

    @property
    def is_same(self) -> bool:
        """Whether the light has the recorded colour."""
        return self.recorded == self.now

    def without_outputs(self) -> "Ran":
        """Return a copy for the report, which needs the cause, no outputs, and so little memory."""
        explained = "" if self.is_same else self.reason or self._cause()
        return replace(self, recorded_output="", stdout="", stderr="", cause=explained)

    def _cause(self) -> str:
        return cause(self.now, self.recorded_output, self.stdout, self.stderr)


@dataclass(frozen=True)
class Skipped:
    """A light, an avatar (number 0) or a kata (no avatar) that could not be run, and why.

    `lights` is None if the number of lights is unknown. `image_name` is empty if it is unknown.
    """

    kata_id: str
    avatar: str
    number: int
    image_name: str
    lights: int | None
    reason: str


Outcome = Ran | Skipped


def place(outcome: Outcome) -> str:
    """Return the light, avatar or kata of an outcome: `493A06504A/whale/17` or less."""
    parts = (outcome.kata_id, outcome.avatar, str(outcome.number or ""))
    return "/".join(part for part in parts if part)


def colour_name(number: int) -> str:
    """Return a colour's name; an empty one if the number is no colour."""
    name = colour_pb2.Colour.Name(number).removeprefix("COLOUR_").lower()  # type: ignore[arg-type]
    return name if name in COLOURS else ""


def recorded_colour(number: int, output: bytes) -> str:
    """Return a light's recorded colour; `none` if it has none.

    Until 2014 a run that took too long had no colour of its own: it was recorded amber, and before
    that red, with a sentence in its output. Such a light counts as `timed_out`.
    """
    name = colour_name(number) or "none"
    return "timed_out" if name in {"red", "amber"} and _TIMED_OUT.search(output) else name


def clipped(output: bytes) -> str:
    """Return an output as text; a long one without its middle."""
    text = output.decode("utf-8", errors="replace")
    if len(text) <= 2 * CLIPPED_CHARACTERS:
        return text
    left_out = len(text) - 2 * CLIPPED_CHARACTERS
    note = f"\n... {left_out} characters left out ...\n"
    return text[:CLIPPED_CHARACTERS] + note + text[-CLIPPED_CHARACTERS:]
