"""Types of arguments: they check what was typed, and complete it in a shell."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

import click
from click.shell_completion import CompletionItem

from dojo import avatars, kata_ids
from dojo.errors import InvalidArgument
from dojo.service.settings import BadSettings, CallerSettings, address, load


class Place(NamedTuple):
    """A place in an avatar's history: a light, or with an `edit` an edit after it."""

    light: int
    edit: int = 0

    def __str__(self) -> str:
        return f"{self.light}.{self.edit}" if self.edit else f"{self.light}"

    @property
    def title(self) -> str:
        """The place, for people: `light 3`, `edit 3.1`."""
        return f"{'edit' if self.edit else 'light'} {self}"


NEWEST = Place(-1)

_PLACE = re.compile(r"([0-9]{1,8})(?:\.([0-9]{1,8}))?", re.ASCII)
_COMPLETED_IDS = 100
_COMPLETION_SECONDS = 1.0


class KataId(click.ParamType[str]):
    """A whole id of a kata."""

    name = "id"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the id."""
        if not kata_ids.is_whole(value):
            self.fail(f"{value!a} is not an id: 10 letters and digits", param, ctx)
        return value

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Return the ids that the storer lists; none if the storer does not answer."""
        import grpc  # noqa: PLC0415 - only a shell that completes needs it

        from cli.client import connect  # noqa: PLC0415
        from cyberdojo.storer.v1 import storer_pb2  # noqa: PLC0415

        request = storer_pb2.ListKatasRequest(prefix=incomplete, page_size=_COMPLETED_IDS)
        try:
            client = connect(ctx.params["address"], load(CallerSettings, os.environ))
        except BadSettings:
            return []  # a shell can't show an error here; the command itself will
        try:
            found = client.stub.ListKatas(request, timeout=_COMPLETION_SECONDS).katas
        except grpc.RpcError:
            return []  # as above
        finally:
            client.channel.close()
        return [CompletionItem(each.kata_id) for each in found]


class AnyKataId(KataId):
    """A whole id of a kata, or an old one of a saver, which leads to a kata."""

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the id."""
        return value if kata_ids.is_old(value) else super().convert(value, param, ctx)


class AvatarName(click.ParamType[str]):
    """An avatar's name."""

    name = "avatar"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name."""
        try:
            return avatars.check(value)
        except InvalidArgument as error:
            self.fail(error.reason, param, ctx)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Return the names that begin with `incomplete`."""
        return [CompletionItem(each) for each in avatars.NAMES if each.startswith(incomplete)]


class LightPlace(click.ParamType[Place]):
    """A light's number, an edit's (`3.1`), or `newest`, which becomes NEWEST."""

    name = "light"

    def convert(
        self, value: str | Place, param: click.Parameter | None, ctx: click.Context | None
    ) -> Place:
        """Return the place."""
        if isinstance(value, Place):  # click converts a default value twice
            return value
        if value == "newest":
            return NEWEST
        found = _PLACE.fullmatch(value)
        if found is None or found[2] == "0":
            self.fail(
                f"{value!a} is not a light: 0, 1, 2 ..., 2.1 for an edit, or newest", param, ctx
            )
        return Place(int(found[1]), int(found[2] or 0))

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Return `newest`, the only word."""
        return [CompletionItem("newest")] if "newest".startswith(incomplete) else []


class Address(click.ParamType[str]):
    """A service's address: `host:port`."""

    name = "host:port"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the address."""
        try:
            return address(value)
        except ValueError as error:
            self.fail(f"{value!a} {error}", param, ctx)
