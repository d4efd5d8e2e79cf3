"""`python -m web serve`."""

import click


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Run the pages for people in browsers."""


@command.command()
def serve() -> None:
    """Serve until told to stop.

    Settings are environment variables, or in the file .env: docs/running.md lists them.
    """
    from web import app  # noqa: PLC0415 - help needs nothing of it

    app.main()


if __name__ == "__main__":
    command(prog_name="python -m web")
