"""`storer restore`: katas from a backup, or from any tar of a katas directory."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator
from typing import IO

from cyberdojo.storer.v1 import storer_pb2
from dojo.chunks import CHUNK_BYTES, Digest
from storer.command_line import exits, outputs
from storer.command_line.client import Client
from storer.command_line.exits import Failed
from storer.command_line.progress import Progress
from storer.command_line.terminal import Screen, clean

_WRONG = {
    storer_pb2.RESTORE_OUTCOME_SKIPPED,
    storer_pb2.RESTORE_OUTCOME_REFUSED,
    storer_pb2.RESTORE_OUTCOME_MISSING,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument(
        "file", nargs="?", default=outputs.STDOUT, metavar="FILE", help="- (the default): a pipe"
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace katas that are newer, or went another way"
    )
    parser.add_argument(
        "--apply-deletions", action="store_true", help="delete katas that the backup says were"
    )


def run(client: Client, told: argparse.Namespace, screen: Screen) -> int:
    """Restore them; exit with 1 if a kata of the backup is not here now as the backup has it."""
    if told.file == outputs.STDOUT and sys.stdin.isatty():
        raise Failed("name a file, or let a pipe bring the backup", exits.USAGE)
    wrong = 0
    with contextlib.ExitStack() as opened:
        if told.file == outputs.STDOUT:
            source: IO[bytes] = sys.stdin.buffer
        else:
            with outputs.failing_clearly(told.file):
                source = opened.enter_context(open(told.file, "rb"))
        progress = opened.enter_context(Progress(forced=told.progress))
        for part in client.stub.RestoreKatas(_requests(source, told, progress)):
            progress.clear()
            if part.HasField("summary"):
                _summarize(screen, part.summary)
                return exits.FOUND if wrong else exits.GOOD
            wrong += part.report.outcome in _WRONG
            _tell(screen, part.report)
    raise Failed("the storer did not come to the end: restore again", exits.UNAVAILABLE)


def _requests(
    source: IO[bytes], told: argparse.Namespace, progress: Progress
) -> Iterator[storer_pb2.RestoreKatasRequest]:
    header = storer_pb2.RestoreKatasHeader(
        overwrite=told.overwrite, apply_deletions=told.apply_deletions
    )
    yield storer_pb2.RestoreKatasRequest(header=header)
    digest = Digest()
    while piece := source.read(CHUNK_BYTES):
        digest.update(piece)
        yield storer_pb2.RestoreKatasRequest(data=piece)
        progress.tell_bytes("restore", digest.size_bytes)
    end = storer_pb2.StreamEnd(size_bytes=digest.size_bytes, sha256=digest.sha256)
    yield storer_pb2.RestoreKatasRequest(end=end)


def _outcome(outcome: storer_pb2.RestoreOutcome.ValueType) -> str:
    return storer_pb2.RestoreOutcome.Name(outcome).removeprefix("RESTORE_OUTCOME_").lower()


def _tell(screen: Screen, report: storer_pb2.RestoreReport) -> None:
    outcome = _outcome(report.outcome)
    if screen.as_json:
        value = {"id": report.kata_id, "outcome": outcome, "reason": report.reason or None}
        screen.record(value)
        return
    colour = "red" if report.outcome in _WRONG else ""
    if report.outcome == storer_pb2.RESTORE_OUTCOME_UNCHANGED:
        colour = "dim"
    reason = f": {clean(report.reason)}" if report.reason else ""
    screen.say(f"{report.kata_id}  {screen.painted(outcome, colour)}{reason}")
    sys.stdout.flush()


def _summarize(screen: Screen, summary: storer_pb2.RestoreSummary) -> None:
    if screen.as_json:
        counts = {_outcome(each.outcome): each.katas for each in summary.counts}
        screen.record({"counts": counts, "token": summary.token or None})
        return
    counted = ", ".join(f"{each.katas} {_outcome(each.outcome)}" for each in summary.counts)
    screen.say(counted or "there was no kata in it")
