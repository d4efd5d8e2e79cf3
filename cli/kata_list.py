"""The katas that a storer lists, and the options that select and sort them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

import click

import cyber_dojo_client
from cli.client import Client
from cli.terminal.complaint import complain
from cli.terminal.lights import time_json
from cli.terminal.quantities import counted
from cyberdojo.storer.v1 import storer_pb2

F = TypeVar("F", bound=Callable[..., Any])

PAGE = 1000
WHERE = {
    storer_pb2.KATA_SOURCE_DATA_CONTAINER: "container",
    storer_pb2.KATA_SOURCE_ARCHIVE: "archive",
    storer_pb2.KATA_SOURCE_KATAS_DIRECTORY: "directory",
}
_NEVER = datetime.min.replace(tzinfo=UTC)


class Date(click.ParamType[datetime]):
    """A date, or a date with a time, in UTC unless it says otherwise."""

    name = "date"

    def convert(
        self, value: str | datetime, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        """Return the moment; of a date alone, its beginning."""
        if isinstance(value, datetime):
            return value
        try:
            found = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!a} is no date: 2024-09-30, or 2024-09-30T18:00", param, ctx)
        return found if found.tzinfo else found.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Filters:
    """Which katas are selected; what is None or empty selects all."""

    before: datetime | None = None
    after: datetime | None = None
    language: str = ""
    exercise: str = ""
    where: str = ""
    max_lights: int | None = None

    @property
    def need_details(self) -> bool:
        """Whether a kata without details can't be judged."""
        return bool(
            self.before
            or self.after
            or self.language
            or self.exercise
            or self.max_lights is not None
        )

    def match(self, kata: storer_pb2.ListedKata) -> bool:
        """Return whether a kata is selected."""
        found = kata.details
        used = last_used(kata)
        return (
            (not self.where or WHERE.get(kata.source) == self.where)
            and (self.before is None or used < self.before)
            and (self.after is None or used >= self.after)
            and self.language.lower() in found.display_name.lower()
            and self.exercise.lower() in found.exercise.lower()
            and (self.max_lights is None or found.light_count <= self.max_lights)
        )


def filter_options(command: F) -> F:
    """Add the options that select katas."""
    options = (
        click.option(
            "--before",
            type=Date(),
            metavar="DATE",
            help="Only those whose newest light, or creation, is before this date.",
        ),
        click.option("--after", type=Date(), metavar="DATE", help="Only those of then or later."),
        click.option(
            "--language",
            default="",
            metavar="TEXT",
            help="Only those whose language has this in its name, in any case.",
        ),
        click.option(
            "--exercise", default="", metavar="TEXT", help="Only those of such an exercise."
        ),
        click.option(
            "--where", type=click.Choice(list(WHERE.values())), help="Only those that are there."
        ),
        click.option(
            "--max-lights",
            type=click.IntRange(0),
            metavar="NUMBER",
            help="Only those with at most so many lights.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def filters_of(options: dict[str, Any]) -> Filters:
    """Take the values of the options that select katas."""
    names = ("before", "after", "language", "exercise", "where", "max_lights")
    taken = {name: options.pop(name) for name in names}
    return Filters(**{**taken, "where": taken["where"] or ""})


def pages(
    client: Client,
    prefix: str,
    *,
    with_details: bool = True,
    with_sizes: bool = False,
    check_index: bool = False,
) -> Iterator[list[storer_pb2.ListedKata]]:
    """Yield the katas whose ids begin with `prefix` in any case, in pages."""
    request = storer_pb2.ListKatasRequest(
        prefix=prefix,
        page_size=PAGE,
        with_details=with_details,
        with_sizes=with_sizes,
        check_index=check_index,
        ignore_case=True,
    )
    for page in cyber_dojo_client.pages(client.stub.ListKatas, request):
        yield list(page.katas)


class Selection:
    """The katas that filters select, and how many they can't judge: those are left out."""

    def __init__(self, filters: Filters) -> None:
        self._filters = filters
        self._not_in_index = 0
        self._damaged = 0

    def of(self, page: list[storer_pb2.ListedKata]) -> list[storer_pb2.ListedKata]:
        """Return the katas of a page that are selected."""
        selected = []
        for kata in page:
            has_place = not self._filters.where or WHERE.get(kata.source) == self._filters.where
            if self._filters.need_details and not kata.HasField("details"):
                self._not_in_index += has_place
            elif self._filters.need_details and kata.details.problem:
                self._damaged += has_place  # it may be newer than what can be read of it
            elif self._filters.match(kata):
                selected.append(kata)
        return selected

    def complain_of_left_out(self) -> None:
        """Say how many katas could not be judged, if any."""
        if self._not_in_index:
            complain(
                f"left out: {counted(self._not_in_index, 'archived kata')} without an entry in the "
                "archive's index; cyber-dojo verify --mend writes it"
            )
        if self._damaged:
            complain(
                f"left out: {counted(self._damaged, 'kata')} that can't be read whole; "
                "cyber-dojo ls shows why"
            )


def last_used(kata: storer_pb2.ListedKata) -> datetime:
    """Return the time of a kata's newest light, or of its creation if it has none."""
    found = kata.details
    if found.HasField("newest"):
        return found.newest.ToDatetime(UTC)
    return found.created.ToDatetime(UTC) if found.HasField("created") else _NEVER


def to_json(kata: storer_pb2.ListedKata) -> dict[str, Any]:
    """Return a kata for JSON; what is unknown is null."""
    found = kata.details
    known = kata.HasField("details")
    return {
        "id": kata.kata_id,
        "created": time_json(found.created) if found.HasField("created") else None,
        "language": found.display_name or None,
        "exercise": found.exercise or None,
        "avatars": found.avatar_count if known else None,
        "lights": found.light_count if known else None,
        "newest": time_json(found.newest) if found.HasField("newest") else None,
        "bytes": found.size_bytes if found.HasField("size_bytes") else None,
        "where": WHERE.get(kata.source, "unknown"),
        "in_archive": kata.in_archive,
        "problem": found.problem or None,
    }


FIELDS = tuple(to_json(storer_pb2.ListedKata()))
