"""Errors, each as one line on standard error."""

import sys
from typing import IO, Any

import click

from cli.terminal.clean import clean

PROGRAM = "cyber-dojo"


class CommandFailed(click.ClickException):
    """A command can't continue. The message is one line for people, and says what to do."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.exit_code = code  # type: ignore[misc]  # a class attribute in click

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the message. Click calls this, and exits with `exit_code`."""
        complain(self.message)


def complain(text: str) -> None:
    """Write a line to standard error."""
    if sys.stdout is not None:
        sys.stdout.flush()
    sys.stderr.write(f"{PROGRAM}: {clean(text)}\n")
    sys.stderr.flush()
