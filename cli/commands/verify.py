"""`cyber-dojo verify`: check katas, and mend them."""

from __future__ import annotations

import click

from cli import exits
from cli.storer_command import Session, storer_command
from cli.terminal.complaint import CommandFailed
from cli.terminal.quantities import counted, size
from cli.terminal.screen import Screen
from cyberdojo.storer.v1 import storer_pb2
from dojo import kata_ids

_SERIOUS = {
    storer_pb2.FINDING_KIND_MANIFEST,
    storer_pb2.FINDING_KIND_HISTORY,
    storer_pb2.FINDING_KIND_LIGHTS,
    storer_pb2.FINDING_KIND_ARCHIVE,
    storer_pb2.FINDING_KIND_DAMAGED,
}


@storer_command
@click.argument("prefix", default="")
@click.option("--mend", is_flag=True, help="Mend what can be mended without a loss.")
@click.option(
    "--share",
    type=click.IntRange(1, 100),
    default=50,
    show_default=True,
    metavar="PERCENT",
    help="How much of the time to work. Half of the time leaves a class undisturbed.",
)
@click.option("--skip-archive", is_flag=True, help="Do not check the archive.")
def command(session: Session, prefix: str, *, mend: bool, share: int, skip_archive: bool) -> int:
    """Check all katas, or those whose ids begin with PREFIX, and mend them with --mend.

    Exits with 1 if a harmful finding was not mended.
    """
    request = storer_pb2.VerifyKatasRequest(
        prefix=prefix, mend=mend, share_percent=share, skip_archive=skip_archive
    )
    screen = session.screen
    left = 0
    lines = _Lines(screen)
    with session.progress() as progress:
        for part in session.client.stub.VerifyKatas(request):
            if part.HasField("progress"):
                done = part.progress
                if done.done_count < done.total_count:
                    text = f"{done.kata_id}  {done.done_count} of {done.total_count}"
                    progress.show(text, done.done_count, done.total_count)
                else:
                    progress.show(f"{done.kata_id}  in the archive")
            elif part.HasField("finding"):
                progress.clear()
                harmless = part.finding.kind == storer_pb2.FINDING_KIND_DANGLING
                left += not part.finding.mended and not harmless
                lines.add(part.finding)
            elif part.HasField("summary"):
                progress.clear()
                lines.flush()
                found = part.summary.kata_count + part.summary.finding_count
                if not found and kata_ids.is_whole(prefix):
                    raise CommandFailed(
                        f"kata {prefix}: the storer does not keep it", exits.NOT_FOUND
                    )
                _summarize(screen, part.summary, skip_archive=skip_archive)
                return exits.FOUND if left else exits.GOOD
    raise CommandFailed("the storer stopped before the end: verify again", exits.UNAVAILABLE)


class _Lines:
    """The findings as lines: one for each cause, however many files of an avatar it shows in."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._first: storer_pb2.KataFinding | None = None
        self._alike = 0  # findings like the first, with other paths

    def add(self, finding: storer_pb2.KataFinding) -> None:
        """Write a finding when the first comes that has another cause; as JSON at once."""
        if self._screen.as_json:
            self._screen.record(_json(finding))
        elif self._first is not None and _cause(finding) == _cause(self._first):
            self._alike += 1
        else:
            self.flush()
            self._first = finding

    def flush(self) -> None:
        """Write what was not written yet."""
        finding = self._first
        if finding is None:
            return
        colour = "red" if finding.kind in _SERIOUS else "amber"
        if finding.kind == storer_pb2.FINDING_KIND_DANGLING:
            colour = "dim"
        where = f"{finding.kata_id}  {finding.path}".rstrip()
        more = f", and {self._alike} more like it" if self._alike else ""
        mended = ("  mended" if finding.mended else "", "green")
        kind = f"{_kind(finding):<9}"
        self._screen.say((kind, colour), f"  {where}: {finding.what}{more}", mended)
        self._screen.flush()
        self._first, self._alike = None, 0


def _cause(finding: storer_pb2.KataFinding) -> tuple[object, ...]:
    # An archive of an earlier version has no index: that is one cause for all of its katas.
    is_of_index = finding.kind == storer_pb2.FINDING_KIND_STALE and not finding.path
    kata_id = "" if is_of_index else finding.kata_id
    return kata_id, finding.avatar, finding.kind, finding.what, finding.mended


def _kind(finding: storer_pb2.KataFinding) -> str:
    return storer_pb2.FindingKind.Name(finding.kind).removeprefix("FINDING_KIND_").lower()


def _json(finding: storer_pb2.KataFinding) -> dict[str, object]:
    return {
        "id": finding.kata_id,
        "avatar": finding.avatar or None,
        "path": finding.path or None,
        "kind": _kind(finding),
        "what": finding.what,
        "mended": finding.mended,
    }


def _summarize(screen: Screen, summary: storer_pb2.VerifySummary, *, skip_archive: bool) -> None:
    if screen.as_json:
        screen.record(
            {
                "katas": summary.kata_count,
                "archived": summary.archived_count,
                "left_out": summary.left_out_count,
                "avatars": summary.avatar_count,
                "lights": summary.light_count,
                "bytes": summary.size_bytes,
                "findings": summary.finding_count,
                "mended": summary.mended_count,
                "harmless": summary.harmless_count,
            }
        )
        return
    archived = f" ({summary.archived_count} in the archive)" if summary.archived_count else ""
    checked = (
        f"{counted(summary.kata_count, 'kata')}{archived}, "
        f"{counted(summary.avatar_count, 'avatar')}, "
        f"{counted(summary.light_count, 'light')}, {size(summary.size_bytes)}"
    )
    if summary.finding_count:
        screen.say(
            f"{checked}: {counted(summary.finding_count, 'finding')}, "
            f"{summary.mended_count} mended, {summary.harmless_count} harmless"
        )
    else:
        screen.say(f"{checked}: all as it should be")
    if summary.left_out_count:
        place = "the katas directory or in the archive" if skip_archive else "the katas directory"
        screen.say(f"left out: {counted(summary.left_out_count, 'kata')} only in {place}")
