"""`python -m storer serve`, the same as `cyber-dojo storer serve`."""

import click

from dojo.service.serve_options import take_over_option


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Run the service that keeps katas."""


@command.command()
@take_over_option
def serve(*, take_over_seconds: float) -> None:
    """Serve until told to stop.

    Settings are environment variables, or in the file .env: docs/running.md lists them.
    """
    from storer import app  # noqa: PLC0415 - imported late, so that --help is fast

    app.main(take_over_seconds)


if __name__ == "__main__":
    command(prog_name="python -m storer")
