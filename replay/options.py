"""What `python -m runner replay` is told."""

import argparse
import os
import re
from dataclasses import dataclass
from pathlib import Path

from dojo import avatars, kata_ids

_ABOUT = """Run recorded lights again, in their images, and compare the colours.

Each SOURCE is a katas directory (49/3A06504A/...), a tar of katas, or a folder of such tars; or
--storer names a storer that runs. Nothing of the sources is changed, and the runs happen in
katas of their own, in a namespace of their own. An interrupted replay goes on where it stopped.
"""


@dataclass(frozen=True)
class Light:
    """The light that --show names."""

    kata_id: str
    avatar: str
    number: int


@dataclass(frozen=True)
class Options:
    """What a replay is told."""

    sources: list[Path]
    storer: str
    images: list[str]
    katas: list[str]
    replacements: dict[str, str]
    start_points: Path | None
    jobs: int
    json: Path | None
    state: Path
    is_fresh: bool
    show: Light | None
    min_same: float
    min_seconds: int


def parse(arguments: list[str]) -> Options:
    """Return the options; exits with 2, saying why, where they can't be used."""
    parser = argparse.ArgumentParser(
        prog="python -m runner replay",
        description=_ABOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Exits with 0 if --min-same is reached, 1 if not, 2 if called wrongly, 3 if it "
        "could not go on, 130 if interrupted.",
    )
    add = parser.add_argument
    add("sources", nargs="*", type=Path, metavar="SOURCE", help="where recorded katas are")
    add("--storer", default="", metavar="HOST:PORT", help="read from a storer that runs")
    add(
        "--image",
        action="append",
        default=[],
        metavar="PATTERN",
        help="only the lights of images that match, such as '*/java_*' (may be repeated)",
    )
    add(
        "--kata",
        action="append",
        default=[],
        type=_kata_id,
        metavar="ID",
        help="only this kata (may be repeated)",
    )
    add(
        "--replace",
        action="append",
        default=[],
        type=_replacement,
        metavar="IMAGE=OTHER",
        help="run the lights of IMAGE in OTHER, a candidate for it (may be repeated)",
    )
    add("--start-points", type=Path, metavar="FOLDER", help="whose rules old katas get")
    add("--jobs", type=_jobs, default=os.cpu_count() or 1, metavar="N", help="avatars at once")
    add("--json", type=Path, metavar="FILE", help="write the report as JSON")
    add(
        "--state",
        type=Path,
        default=Path("replay.jsonl"),
        metavar="FILE",
        help="the journal that it goes on from (default: %(default)s)",
    )
    add("--fresh", action="store_true", help="begin the journal anew")
    add(
        "--show",
        type=_light,
        metavar="KATA/AVATAR/NUMBER",
        help="show a light's recorded output and its new one side by side; it is run, with "
        "those before it, unless it is in the journal",
    )
    add(
        "--min-same",
        type=_percent,
        default=95.0,
        metavar="PERCENT",
        help="how many of the lights that ran have to have the recorded colour "
        "(default: %(default)g)",
    )
    add(
        "--min-seconds",
        type=_seconds,
        default=1,
        metavar="SECONDS",
        help="let every run take so long at least, on a slow or a busy machine: 1 to 60",
    )
    told = parser.parse_args(arguments)
    if told.storer and told.sources:
        parser.error("either SOURCE or --storer")
    if not (told.storer or told.sources or told.show):
        parser.error("a SOURCE or --storer is required")
    return Options(
        sources=told.sources,
        storer=told.storer,
        images=told.image,
        katas=told.kata,
        replacements=dict(told.replace),
        start_points=told.start_points,
        jobs=told.jobs,
        json=told.json,
        state=told.state,
        is_fresh=told.fresh,
        show=told.show,
        min_same=told.min_same,
        min_seconds=told.min_seconds,
    )


def _kata_id(text: str) -> str:
    if not kata_ids.is_whole(text):
        raise argparse.ArgumentTypeError(f"{text!a} is not 10 letters and digits")
    return text


def _replacement(text: str) -> tuple[str, str]:
    image, equals, other = text.partition("=")
    if not (image and equals and other):
        raise argparse.ArgumentTypeError(f"{text!a} is not IMAGE=OTHER")
    return image, other


def _jobs(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 256):
        raise argparse.ArgumentTypeError(f"{text!a} is not from 1 to 256")
    return int(text)


def _seconds(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 60):
        raise argparse.ArgumentTypeError(f"{text!a} is not from 1 to 60")
    return int(text)


def _percent(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,3}(\.[0-9]+)?", text) or float(text) > 100:
        raise argparse.ArgumentTypeError(f"{text!a} is not from 0 to 100")
    return float(text)


def _light(text: str) -> Light:
    kata_id, _, rest = text.partition("/")
    avatar, _, number = rest.partition("/")
    is_number = number.isascii() and number.isdigit() and len(number) < 7 and int(number) > 0
    if not (kata_ids.is_whole(kata_id) and avatars.is_name(avatar) and is_number):
        raise argparse.ArgumentTypeError(f"{text!a} is not like 493A06504A/whale/17")
    return Light(kata_id, avatar, int(number))
