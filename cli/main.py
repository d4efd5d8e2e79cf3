"""What is typed, and what becomes of it."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import grpc

from cli import each_kata, exits, outputs
from cli.client import Client, connect
from cli.commands import backup, diff, download, ls, restore, show, verify
from cli.exits import Failed
from cli.terminal.screen import Screen, complain
from dojo.service.settings import address

ADDRESS = "127.0.0.1:4577"
ADDRESS_VARIABLE = "CYBER_DOJO_STORER"

_EPILOG = """\
without a command the storer serves, with settings from the environment

exit codes: 0 good; 1 something was found, or not restored; 2 usage; 3 not found;
4 the storer or its engine does not answer; 5 refused; 6 damaged; 7 no room; 8 a defect;
130 interrupted
"""


@dataclass(frozen=True)
class Command:
    """A command: what it is called, what it does in a sentence, what it takes."""

    name: str
    does: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[Client, argparse.Namespace, Screen], int]


COMMANDS = (
    Command("ls", "list katas", ls.add_arguments, ls.run),
    Command("show", "show a kata, an avatar's lights, or a light", show.add_arguments, show.run),
    Command("diff", "show what changed between two lights", diff.add_arguments, diff.run),
    Command("import", "bring katas into data-containers", each_kata.add_ids, each_kata.import_),
    Command("archive", "put katas away into the archive", each_kata.add_ids, each_kata.archive),
    Command("rm", "delete katas", each_kata.add_ids_and_yes, each_kata.remove),
    Command("download", "download a kata as a tar", download.add_arguments, download.run),
    Command("verify", "check katas, and mend them", verify.add_arguments, verify.run),
    Command("backup", "back katas up", backup.add_arguments, backup.run),
    Command("restore", "restore katas from a backup", restore.add_arguments, restore.run),
)


def main(arguments: Sequence[str]) -> int:
    """Run a command; return what to exit with."""
    # A reader who has seen enough ends us quietly, as it ends every other command.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that nothing half done is left
    with contextlib.ExitStack() as opened:
        for name, mode in (("stdin", "r"), ("stderr", "w")):
            if getattr(sys, name) is None:  # whoever called closed it
                stream = opened.enter_context(open(os.devnull, mode, encoding="utf-8"))
                setattr(sys, name, stream)
        if sys.stdout is None:
            sys.stderr.write("storer: standard output is closed\n")
            return exits.USAGE
        for stream in (sys.stdout, sys.stderr):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")  # type: ignore[union-attr]
        return _run(_parser().parse_args(arguments))


def _run(told: argparse.Namespace) -> int:
    try:
        client = connect(told.address)
        try:
            code: int = told.command.run(client, told, Screen(as_json=told.json))
            sys.stdout.flush()
        finally:
            client.channel.close()
    except KeyboardInterrupt:
        return exits.INTERRUPTED
    except Failed as failed:
        complain(str(failed))
        code = failed.code
    except grpc.RpcError as error:
        complain(exits.message_of(error, told.address))
        code = exits.code_of(error)
    except OSError as error:  # what else is read or written is told of where that is done
        complain(f"standard output: {error.strerror or error}")
        code = outputs.code_of(error)
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        return code
    # What could not be written would fail once more as the process ends.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
    return code


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--address",
        type=_address,
        metavar="HOST:PORT",
        default=os.environ.get(ADDRESS_VARIABLE) or ADDRESS,
        help=f"where the storer is; by default {ADDRESS_VARIABLE}, or {ADDRESS}",
    )
    common.add_argument("--json", action="store_true", help="write JSON, a line for each thing")
    common.add_argument(
        "--progress", action="store_true", help="tell the progress of long work everywhere"
    )
    parser = argparse.ArgumentParser(
        prog="storer",
        description="Keep katas. The commands are for whoever runs a storer.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND", title="commands")
    for command in COMMANDS:
        added = commands.add_parser(
            command.name,
            help=command.does,
            description=f"{command.does.capitalize()}.",
            parents=[common],
        )
        command.add_arguments(added)
        added.set_defaults(command=command)
    return parser


def _address(text: str) -> str:
    try:
        return address(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!a} {error}") from None
