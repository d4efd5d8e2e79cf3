"""`python -m runner serve`, which is `cyber-dojo runner serve`."""

import click

from dojo.service.serve_options import take_over_option


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Run the service that runs tests."""


@command.command()
@take_over_option
def serve(*, take_over_seconds: float) -> None:
    """Serve until told to stop.

    Settings are environment variables, or in the file .env: docs/running.md lists them.
    """
    from runner import app  # noqa: PLC0415 - help needs nothing of it

    app.main(take_over_seconds)


if __name__ == "__main__":
    command(prog_name="python -m runner")
