"""`cyber-dojo`: find the command that was typed, and run it."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from importlib import import_module

import click
from click.shell_completion import CompletionItem

from cli.terminal.complaint import PROGRAM, complain
from dojo.service import settings_file
from dojo.service.settings import BadSettings

# Where each command is, and its help in one line. A command is loaded when it is called, so no
# command waits for the imports of another. The services are named here and imported nowhere else
# in the command line.
COMMANDS = {
    "Katas": {
        "ls": ("cli.commands.ls:command", "List katas."),
        "show": ("cli.commands.show:command", "Show a kata, an avatar's lights, or a light."),
        "diff": ("cli.commands.diff:command", "Show what changed between two lights."),
        "create": ("cli.commands.create:command", "Create a kata from files of your own."),
        "import": ("cli.commands.import_:command", "Import katas into data-containers."),
        "archive": ("cli.commands.archive:command", "Move katas to the archive."),
        "rm": ("cli.commands.rm:command", "Delete katas."),
        "download": ("cli.commands.download:command", "Download a kata as a tar."),
        "verify": ("cli.commands.verify:command", "Check katas and mend them."),
        "backup": ("cli.commands.backup:command", "Back katas up."),
        "backups": ("cli.commands.backups:command", "List and check backups."),
        "restore": ("cli.commands.restore:command", "Restore katas from a backup."),
        "replay": ("cli.commands.replay:command", "Run recorded lights again."),
    },
    "Services": {
        "status": ("cli.commands.status:command", "Show how both services are."),
        "cluster": ("cli.commands.cluster:command", "Show several machines, and drain one."),
        "storer": ("storer.__main__:command", "The service that keeps katas."),
        "runner": ("runner.__main__:command", "The service that runs their tests."),
    },
    "Callers": {
        "token": ("cli.commands.token:command", "Make, list and revoke tokens of callers."),
        "certificates": ("cli.commands.certificates:command", "Make a CA and certificates."),
    },
    "Shell": {
        "completion": ("cli.commands.completion:command", "Print a shell's completion script."),
    },
}


_BAD_SETTINGS = 2  # as wrong usage; cli.exits would load grpc


class _Commands(click.Group):
    """The group of the commands in COMMANDS."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands' names, in the order of the help."""
        return [name for found in COMMANDS.values() for name in found]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load a command."""
        for found in COMMANDS.values():
            if cmd_name in found:
                module, _, attribute = found[cmd_name][0].partition(":")
                command: click.Command = getattr(import_module(module), attribute)
                return command
        return None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands, without loading them."""
        for title, found in COMMANDS.items():
            with formatter.section(title):
                formatter.write_dl([(name, does) for name, (_, does) in found.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the commands that begin with `incomplete`, without loading them."""
        return [
            *(
                CompletionItem(name, help=does)
                for found in COMMANDS.values()
                for name, (_, does) in found.items()
                if name.startswith(incomplete)
            ),
            *click.Command.shell_complete(self, ctx, incomplete),
        ]


@click.command(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 good; 1 something was found or not restored; 2 usage; 3 not found; "
    "4 the storer or its engine does not answer; 5 refused; 6 damaged; 7 no room; 8 a defect; "
    "9 a backup that lacks katas; 130 interrupted.",
)
@click.version_option(package_name=PROGRAM, prog_name=PROGRAM, message="%(prog)s %(version)s")
def command() -> None:
    """Keep katas and run their tests.

    The commands for katas call a running storer, on this machine or another.
    """


def main() -> None:
    """Run the command that was typed, and exit."""
    with _usable_streams():
        try:
            settings_file.apply(os.environ)
        except BadSettings as error:
            for problem in error.problems:
                complain(problem)
            sys.exit(_BAD_SETTINGS)
        command(prog_name=PROGRAM)


@contextlib.contextmanager
def _usable_streams() -> Iterator[None]:
    """Open standard streams that the caller closed, and let them all take any text."""
    with contextlib.ExitStack() as opened:
        for name, mode in (("stdin", "r"), ("stderr", "w")):
            if getattr(sys, name) is None:
                stream = opened.enter_context(open(os.devnull, mode, encoding="utf-8"))
                setattr(sys, name, stream)
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.reconfigure(encoding="utf-8", errors="backslashreplace")  # type: ignore[union-attr]
        yield
