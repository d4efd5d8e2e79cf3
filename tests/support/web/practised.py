"""A kata in which people have practised: their lights are recorded without a run."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from cyberdojo.colour.v1 import colour_pb2
from cyberdojo.results.v1 import results_pb2
from cyberdojo.storer.v1 import storer_pb2, storer_pb2_grpc
from support.storer.storing import FILES, a_manifest, a_test, timestamp

RED, AMBER, GREEN = colour_pb2.COLOUR_RED, colour_pb2.COLOUR_AMBER, colour_pb2.COLOUR_GREEN

# What participants may type or have printed, and is to be text and nothing else.
ATTACKS = (
    "<script>window.attacked = 1</script>",
    "</script><script>window.attacked = 1</script>",
    "\"><img src=x onerror='window.attacked = 1'>",
    "' onmouseover='window.attacked = 1",
    "<svg onload=window.attacked=1>",
    "<iframe srcdoc='<script>parent.attacked = 1</script>'>",
    "javascript:window.attacked=1",
    "{{ 7 * 7 }}{% raw %}${7*7}",
    "--><!--<b>bold</b>",
    "]]></text><a href='//elsewhere'>link</a>",
    "&lt;i&gt;&amp;&#60;",
    "\u202eright to left\u202c\u2066",
)


class Practised:
    """A kata of a storer, at times of our own: `ago` is in minutes."""

    def __init__(
        self, storer: storer_pb2_grpc.StorerServiceStub, kata_id: str = "", **manifest: Any
    ) -> None:
        """Create the kata, unless there is one."""
        self._storer = storer
        if not kata_id:
            asked = storer_pb2.CreateKataRequest(manifest=a_manifest(**manifest))
            kata_id = storer.CreateKata(asked).kata_id
        self.kata_id = kata_id

    def join(self, *avatars: str, ago: float = 0) -> None:
        """Start these avatars."""
        for avatar in avatars:
            asked = storer_pb2.StartAvatarRequest(kata_id=self.kata_id, avatars=[avatar])
            asked.time.CopyFrom(_time(ago))
            self._storer.StartAvatar(asked)

    def press(
        self,
        avatar: str,
        colour: colour_pb2.Colour.ValueType,
        files: Mapping[str, bytes] = FILES,
        *,
        ago: float = 0,
        tests: tuple[int, int] | None = None,
        **fields: Any,
    ) -> int:
        """Record a light; return its number. Of `tests`, so many passed and so many there are."""
        if tests is not None:
            counts = results_pb2.TestCounts(passed=tests[0], failed=tests[1] - tests[0])
            fields["test_results"] = results_pb2.TestResults(counts=counts)
        asked = a_test(self.kata_id, avatar, files, colour=colour, time=_time(ago), **fields)
        return self._storer.RecordTest(asked).light.number

    def delete(self) -> None:
        """Delete the kata."""
        self._storer.DeleteKata(storer_pb2.DeleteKataRequest(kata_id=self.kata_id))


def _time(ago: float) -> Any:
    return timestamp(datetime.now(UTC) - timedelta(minutes=ago))
