"""Damaged avatars, for people and as JSON."""

from collections.abc import Iterable, Iterator

from cyberdojo.storer.v1 import storer_pb2


def lines(damaged: Iterable[storer_pb2.DamagedAvatar]) -> Iterator[str]:
    """Yield a line for each damaged avatar: which file is damaged, and why."""
    for each in damaged:
        yield f"{each.avatar} is damaged: {each.path}: {each.reason}"


def to_json(damaged: Iterable[storer_pb2.DamagedAvatar]) -> dict[str, dict[str, str]]:
    """Return damaged avatars as JSON, by name."""
    return {each.avatar: {"path": each.path, "reason": each.reason} for each in damaged}
