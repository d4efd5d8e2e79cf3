"""`storer verify`: what is not as it should be."""

from __future__ import annotations

import argparse
import sys

from cli import exits
from cli.client import Client
from cli.exits import Failed
from cli.terminal.progress import Progress
from cli.terminal.screen import Screen, clean, counted, size
from cyberdojo.storer.v1 import storer_pb2
from dojo import kata_ids

_SERIOUS = {
    storer_pb2.FINDING_KIND_MANIFEST,
    storer_pb2.FINDING_KIND_HISTORY,
    storer_pb2.FINDING_KIND_LIGHTS,
    storer_pb2.FINDING_KIND_ARCHIVE,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("prefix", nargs="?", default="", help="how the ids begin; all by default")
    parser.add_argument("--mend", action="store_true", help="mend what loses nothing by it")
    parser.add_argument(
        "--share",
        type=int,
        default=0,
        metavar="PERCENT",
        help="how much of the time to be at work, 1 to 100; by default 50: a class can go on",
    )
    parser.add_argument("--skip-archive", action="store_true", help="leave the archive out")


def run(client: Client, told: argparse.Namespace, screen: Screen) -> int:
    """Verify them; exit with 1 if anything is left that does harm."""
    request = storer_pb2.VerifyKatasRequest(
        prefix=told.prefix,
        mend=told.mend,
        share_percent=told.share,
        skip_archive=told.skip_archive,
    )
    left = 0
    with Progress(forced=told.progress) as progress:
        for part in client.stub.VerifyKatas(request):
            if part.HasField("progress"):
                done = part.progress
                if done.done_count < done.total_count:
                    progress.tell(f"{done.kata_id}  {done.done_count} of {done.total_count}")
                else:
                    progress.tell(f"{done.kata_id}  in the archive")
            elif part.HasField("finding"):
                progress.clear()
                harmless = part.finding.kind == storer_pb2.FINDING_KIND_DANGLING
                left += not part.finding.mended and not harmless
                _tell(screen, part.finding)
            elif part.HasField("summary"):
                progress.clear()
                found = part.summary.kata_count + part.summary.finding_count
                if not found and kata_ids.is_whole(told.prefix):
                    raise Failed(f"kata {told.prefix}: it is not kept here", exits.NOT_FOUND)
                _summarize(screen, part.summary)
                return exits.FOUND if left else exits.GOOD
    raise Failed("the storer did not come to the end: verify again", exits.UNAVAILABLE)


def _tell(screen: Screen, finding: storer_pb2.KataFinding) -> None:
    kind = storer_pb2.FindingKind.Name(finding.kind).removeprefix("FINDING_KIND_").lower()
    if screen.as_json:
        screen.record(
            {
                "id": finding.kata_id,
                "avatar": finding.avatar or None,
                "path": finding.path or None,
                "kind": kind,
                "what": finding.what,
                "mended": finding.mended,
            }
        )
        return
    colour = "red" if finding.kind in _SERIOUS else "amber"
    if finding.kind == storer_pb2.FINDING_KIND_DANGLING:
        colour = "dim"
    mended = screen.painted("  mended", "green") if finding.mended else ""
    where = f"{finding.kata_id}  {clean(finding.path)}".rstrip()
    screen.say(f"{screen.painted(f'{kind:<9}', colour)}  {where}: {clean(finding.what)}{mended}")
    sys.stdout.flush()


def _summarize(screen: Screen, summary: storer_pb2.VerifySummary) -> None:
    if screen.as_json:
        screen.record(
            {
                "katas": summary.kata_count,
                "avatars": summary.avatar_count,
                "lights": summary.light_count,
                "bytes": summary.size_bytes,
                "findings": summary.finding_count,
                "mended": summary.mended_count,
                "harmless": summary.harmless_count,
            }
        )
        return
    looked_at = (
        f"{counted(summary.kata_count, 'kata')}, {counted(summary.avatar_count, 'avatar')}, "
        f"{counted(summary.light_count, 'light')}, {size(summary.size_bytes)}"
    )
    if not summary.finding_count:
        screen.say(f"{looked_at}: all as it should be")
        return
    screen.say(
        f"{looked_at}: {counted(summary.finding_count, 'finding')}, "
        f"{summary.mended_count} mended, {summary.harmless_count} harmless"
    )
