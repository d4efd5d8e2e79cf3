"""`cyber-dojo rm`: delete katas."""

from __future__ import annotations

import sys
from typing import Any

import click

from cli import exits
from cli.client import Client
from cli.commands.ls import show
from cli.each_kata import for_each_kata
from cli.kata_list import Filters, Selection, filter_options, filters_of, pages, to_json
from cli.parameters import KataId
from cli.storer_command import Session, storer_command
from cli.terminal.complaint import CommandFailed, complain
from cli.terminal.quantities import counted, size
from cyberdojo.storer.v1 import storer_pb2

_NAMED = 10  # katas that a question names; of more it says how many


@storer_command
@click.argument("ids", type=KataId(), nargs=-1, metavar="[ID...]")
@filter_options
@click.option("--dry-run", is_flag=True, help="Delete nothing; show what would be deleted.")
@click.option("-y", "--yes", is_flag=True, help="Don't ask.")
def command(session: Session, ids: tuple[str, ...], **options: Any) -> int:
    """Delete katas for ever, after asking: those with an ID, or those that the options select.

    None is brought back from the archive. A kata of which it is not certain that the options select
    it is left out.
    """
    filters = filters_of(options)
    if bool(ids) == (filters != Filters()):
        raise click.UsageError("name katas, or select them by options such as --before")
    if ids and not options["dry_run"]:
        return _delete(session, ids, Filters(), is_asked=not options["yes"])
    katas = _named(session.client, ids) if ids else _selected(session.client, filters)
    if session.screen.as_json and options["dry_run"]:
        for kata in katas:
            session.screen.record(to_json(kata))
    elif katas and not session.screen.as_json:
        show(session.screen, katas, with_sizes=True)
    total = sum(kata.details.size_bytes for kata in katas)
    found = f"{counted(len(katas), 'kata')}, {size(total)}"
    if options["dry_run"]:
        complain(f"{found}; nothing was deleted: a dry run")
        return exits.GOOD if len(katas) >= len(ids) else exits.NOT_FOUND
    if not katas:
        complain("no kata is selected")
        return exits.GOOD
    selected = tuple(kata.kata_id for kata in katas)
    return _delete(session, selected, filters, is_asked=not options["yes"])


def _selected(client: Client, filters: Filters) -> list[storer_pb2.ListedKata]:
    """Return the katas that the filters select for certain."""
    selection = Selection(filters)
    found = []
    for page in pages(client, "", with_sizes=True, check_index=True):
        found += selection.of(page)
    selection.complain_of_left_out()
    return found


def _named(client: Client, ids: tuple[str, ...]) -> list[storer_pb2.ListedKata]:
    """Return these katas; complain of each that is nowhere."""
    found = []
    for kata_id in ids:
        listed = _listed(client, kata_id, with_sizes=True)
        if listed is None:
            complain(f"kata {kata_id}: no kata has this id")
        else:
            found.append(listed)
    return found


def _listed(
    client: Client, kata_id: str, *, with_sizes: bool = False
) -> storer_pb2.ListedKata | None:
    request = storer_pb2.ListKatasRequest(
        prefix=kata_id, page_size=1, with_sizes=with_sizes, check_index=True
    )
    return next(iter(client.stub.ListKatas(request).katas), None)


def _delete(session: Session, ids: tuple[str, ...], filters: Filters, *, is_asked: bool) -> int:
    if is_asked:
        if not sys.stdin.isatty():
            raise CommandFailed("there is no terminal to ask on: delete with --yes", exits.USAGE)
        named = ", ".join(ids) if len(ids) <= _NAMED else counted(len(ids), "kata")
        if not _confirmed(f"Delete {named} for ever?"):
            complain("nothing was deleted")
            return exits.REFUSED

    def act(kata_id: str) -> tuple[str, dict[str, object]]:
        # While it was asked, somebody may have used the kata.
        if filters != Filters():
            listed = _listed(session.client, kata_id)
            if listed is None or not Selection(filters).of([listed]):
                return "stays: it is another now", {"deleted": False}
        done = session.client.stub.DeleteKata(storer_pb2.DeleteKataRequest(kata_id=kata_id))
        stays = done.stays_in_katas_directory
        note = "; its files stay in the katas directory, which is read-only" if stays else ""
        return f"deleted{note}", {"deleted": True, "stays_in_katas_directory": stays}

    return for_each_kata(session, ids, act)


def _confirmed(question: str) -> bool:
    try:
        return click.confirm(question, prompt_suffix=" ", err=True)
    except click.Abort:
        click.echo(err=True)  # the cursor is still behind the question
        raise
