"""`cyber-dojo replay`: its options. The package `replay` does the work."""

from __future__ import annotations

import os
from pathlib import Path

import click

from cli.parameters import Address, KataId
from dojo import avatars, kata_ids
from replay.options import Light, Options


class _Replacement(click.ParamType[tuple[str, str]]):
    """`IMAGE=OTHER`."""

    name = "image=other"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        """Return the two names."""
        image, equals, other = value.partition("=")
        if not (image and equals and other):
            self.fail(f"{value!a} is not IMAGE=OTHER", param, ctx)
        return image, other


class _Light(click.ParamType[Light]):
    """`KATA/AVATAR/NUMBER`."""

    name = "light"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> Light:
        """Return the light."""
        kata_id, _, rest = value.partition("/")
        avatar, _, number = rest.partition("/")
        is_number = number.isascii() and number.isdigit() and len(number) < 7 and int(number) > 0
        if not (kata_ids.is_whole(kata_id) and avatars.is_name(avatar) and is_number):
            self.fail(f"{value!a} is not like 493A06504A/whale/17", param, ctx)
        return Light(kata_id, avatar, int(number))


_PATH = click.Path(path_type=Path)


@click.command(
    epilog="Exit codes: 0 --min-same and --min-ran are reached; 1 one of them is not; 2 usage; "
    "3 the replay could not continue; 130 interrupted."
)
@click.argument("sources", type=_PATH, nargs=-1, metavar="[SOURCE]...")
@click.option("--storer", type=Address(), metavar="HOST:PORT", help="Read from a running storer.")
@click.option(
    "--image",
    "images",
    multiple=True,
    metavar="PATTERN",
    help="Only the lights of images that match, such as '*/java_*'. May be repeated.",
)
@click.option(
    "--kata",
    "katas",
    type=KataId(),
    multiple=True,
    metavar="ID",
    help="Only this kata. May be repeated.",
)
@click.option(
    "--replace",
    "replacements",
    type=_Replacement(),
    multiple=True,
    metavar="IMAGE=OTHER",
    help="Run the lights of IMAGE in OTHER, a candidate for it. May be repeated.",
)
@click.option("--start-points", type=_PATH, metavar="FOLDER", help="Whose rules legacy katas get.")
@click.option(
    "--jobs",
    type=click.IntRange(1, 256),
    default=lambda: os.cpu_count() or 1,
    show_default="one for each core",
    metavar="N",
    help="Avatars at once.",
)
@click.option("--json", type=_PATH, metavar="FILE", help="Write the report as JSON.")
@click.option(
    "--state",
    type=_PATH,
    default="replay.jsonl",
    show_default=True,
    metavar="FILE",
    help="The journal that an interrupted replay resumes from.",
)
@click.option("--fresh", "is_fresh", is_flag=True, help="Begin a new journal.")
@click.option(
    "--show",
    type=_Light(),
    metavar="KATA/AVATAR/NUMBER",
    help="Show a light's recorded output and its new output side by side. Unless the light is in "
    "the journal, its avatar's lights are run.",
)
@click.option(
    "--min-same",
    type=click.FloatRange(0, 100),
    default=95.0,
    show_default=True,
    metavar="PERCENT",
    help="The percentage of the lights that ran which must have the recorded colour.",
)
@click.option(
    "--min-ran",
    type=click.FloatRange(0, 100),
    default=100.0,
    show_default=True,
    metavar="PERCENT",
    help="The percentage of the lights which must run; lower it where images are missing.",
)
@click.option(
    "--min-seconds",
    type=click.IntRange(1, 60),
    default=1,
    show_default=True,
    metavar="SECONDS",
    help="Allow every run this time at least, on a slow or a busy machine.",
)
@click.pass_context
def command(
    ctx: click.Context,
    *,
    sources: tuple[Path, ...],
    storer: str | None,
    images: tuple[str, ...],
    katas: tuple[str, ...],
    replacements: tuple[tuple[str, str], ...],
    start_points: Path | None,
    jobs: int,
    json: Path | None,
    state: Path,
    show: Light | None,
    min_same: float,
    min_ran: float,
    min_seconds: int,
    is_fresh: bool,
) -> None:
    """Run recorded lights again, in their images, and compare the colours.

    Each SOURCE is a katas directory (49/3A06504A/...), a tar of katas, or a folder of such tars.
    --storer names a running storer instead. The sources are not changed: the runs happen in katas
    of their own, in a namespace of their own. An interrupted replay resumes where it stopped.
    """
    if storer and sources:
        raise click.UsageError("SOURCE and --storer exclude each other")
    if not (storer or sources or show):
        raise click.UsageError("a SOURCE or --storer is required")
    from replay.command import main  # noqa: PLC0415 - help and completion do not need it

    options = Options(
        sources=list(sources),
        storer=storer or "",
        images=list(images),
        katas=list(katas),
        replacements=dict(replacements),
        start_points=start_points,
        jobs=jobs,
        json=json,
        state=state,
        is_fresh=is_fresh,
        show=show,
        min_same=min_same,
        min_ran=min_ran,
        min_seconds=min_seconds,
    )
    ctx.exit(main(options))
