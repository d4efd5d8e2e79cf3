"""`storer import`, `storer rm` and `storer archive`: what is done to katas, one after another."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable

import grpc

from cli import exits
from cli.client import Client
from cli.exits import Failed
from cli.parameters import kata_id
from cli.terminal.screen import Screen, complain, counted
from cyberdojo.storer.v1 import storer_pb2


def add_ids(parser: argparse.ArgumentParser) -> None:
    """Declare what the commands take."""
    parser.add_argument("kata_ids", type=kata_id, nargs="+", metavar="ID")


def add_ids_and_yes(parser: argparse.ArgumentParser) -> None:
    """Declare what a command takes that can't be taken back."""
    add_ids(parser)
    parser.add_argument("-y", "--yes", action="store_true", help="don't ask")


def import_(client: Client, told: argparse.Namespace, screen: Screen) -> int:
    """Bring katas into data-containers."""

    def one(kata: str) -> tuple[str, dict[str, object]]:
        done = client.stub.ImportKata(storer_pb2.ImportKataRequest(kata_id=kata))
        what = "was here already" if done.already_imported else "imported"
        return f"{what}, {counted(len(done.avatars), 'avatar')}", {
            "already_imported": done.already_imported,
            "avatars": list(done.avatars),
        }

    return _each(client, told.kata_ids, screen, one)


def remove(client: Client, told: argparse.Namespace, screen: Screen) -> int:
    """Delete katas, having asked."""
    if not told.yes:
        if not sys.stdin.isatty():
            raise Failed("nobody can be asked here: say --yes to delete", exits.USAGE)
        shown = ", ".join(told.kata_ids)
        sys.stderr.write(f"Delete {shown} for ever? [y/N] ")
        sys.stderr.flush()
        if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
            complain("nothing was deleted")
            return exits.REFUSED

    def one(kata: str) -> tuple[str, dict[str, object]]:
        client.stub.DeleteKata(storer_pb2.DeleteKataRequest(kata_id=kata))
        return "deleted", {"deleted": True}

    return _each(client, told.kata_ids, screen, one)


def archive(client: Client, told: argparse.Namespace, screen: Screen) -> int:
    """Put katas away into the archive."""

    def one(kata: str) -> tuple[str, dict[str, object]]:
        client.stub.ArchiveKata(storer_pb2.ArchiveKataRequest(kata_id=kata))
        return "archived", {"archived": True}

    return _each(client, told.kata_ids, screen, one)


def _each(
    client: Client,
    ids: Iterable[str],
    screen: Screen,
    one: Callable[[str], tuple[str, dict[str, object]]],
) -> int:
    """Do it with each; what can't be done with one is told, and the others get their turn."""
    worst = exits.GOOD
    for kata in ids:
        try:
            text, value = one(kata)
        except grpc.RpcError as error:
            if exits.code_of(error) == exits.UNAVAILABLE:
                raise
            worst = max(worst, exits.code_of(error))
            complain(exits.message_of(error, client.address))
            continue
        if screen.as_json:
            screen.record({"id": kata, **value})
        else:
            screen.say(f"{kata}  {text}")
            sys.stdout.flush()
    return worst
