"""`python -m storer serve`, the same as `cyber-dojo storer serve`."""

import click

from dojo.service import memory


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Run the service that keeps katas."""


@command.command()
def serve() -> None:
    """Serve until told to stop.

    Settings are environment variables: docs/running.md lists them.
    """
    memory.use_large_pages()  # before the imports, which it has done again
    from storer import app  # noqa: PLC0415 - imported late, so that --help is fast

    app.main()


if __name__ == "__main__":
    command(prog_name="python -m storer")
