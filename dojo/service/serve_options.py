"""The options of `serve`, which both services have."""

import click

take_over_option = click.option(
    "--take-over",
    "take_over_seconds",
    type=click.FloatRange(0, 3600),
    default=0.0,
    metavar="SECONDS",
    help="If another service has the address, wait so long for it, with everything ready.",
)
