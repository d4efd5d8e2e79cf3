"""What goes wrong, told in a line on standard error."""

import sys
from typing import IO, Any

import click

from cli.terminal.clean import clean

PROGRAM = "cyber-dojo"


class Failed(click.ClickException):
    """A command can't go on; the message is one line for a person, and says what to do."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.exit_code = code  # type: ignore[misc]  # the class has another's

    def show(self, file: IO[Any] | None = None) -> None:
        """Tell the person. Click calls this, and exits with `exit_code`."""
        complain(self.message)


def complain(text: str) -> None:
    """Write a line to standard error."""
    if sys.stdout is not None:
        sys.stdout.flush()
    sys.stderr.write(f"{PROGRAM}: {clean(text)}\n")
    sys.stderr.flush()
