"""The RPC VerifyKatas, which works slowly on purpose and streams its findings."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from functools import partial
from itertools import chain

from cyberdojo.storer.v1 import storer_pb2
from dojo import kata_ids
from dojo.access.audit import Audit
from dojo.engine.data_containers import DataContainers
from dojo.errors import InvalidArgument
from dojo.processes import Processes
from dojo.service.call_threads import CallThreads
from storer import metrics
from storer.api import converters
from storer.katas.repository import Katas
from storer.verify.findings import DAMAGE, Kind
from storer.verify.katas import KataFinding, Progress, Verifier, check_ids

DEFAULT_SHARE_PERCENT = 50
PROGRESS_SECONDS = 1.0

# Shorter pauses are saved up: the overhead of each would exceed the pause.
_MIN_PAUSE_SECONDS = 0.02

_KINDS = {
    Kind.MANIFEST: storer_pb2.FINDING_KIND_MANIFEST,
    Kind.HISTORY: storer_pb2.FINDING_KIND_HISTORY,
    Kind.LIGHTS: storer_pb2.FINDING_KIND_LIGHTS,
    Kind.STALE: storer_pb2.FINDING_KIND_STALE,
    Kind.OWNERSHIP: storer_pb2.FINDING_KIND_OWNERSHIP,
    Kind.HANDLE: storer_pb2.FINDING_KIND_HANDLE,
    Kind.LEFTOVER: storer_pb2.FINDING_KIND_LEFTOVER,
    Kind.DANGLING: storer_pb2.FINDING_KIND_DANGLING,
    Kind.ARCHIVE: storer_pb2.FINDING_KIND_ARCHIVE,
    Kind.DAMAGED: storer_pb2.FINDING_KIND_DAMAGED,
    Kind.LARGE: storer_pb2.FINDING_KIND_LARGE,
    Kind.OPTIONS: storer_pb2.FINDING_KIND_OPTIONS,
}

for _kind in Kind:
    for _mended in ("yes", "no"):
        metrics.FINDINGS.labels(_kind.value, _mended)


async def answer_verify_katas(
    threads: CallThreads,
    containers: DataContainers,
    katas: Katas,
    processes: Processes,
    request: storer_pb2.VerifyKatasRequest,
    *,
    audit: Audit,
) -> AsyncGenerator[storer_pb2.VerifyKatasResponse, None]:
    """Yield the responses of VerifyKatas.

    Raises InvalidArgument, KataNotFound or EngineUnavailable.
    """
    prefix = kata_ids.check_prefix(request.prefix)
    share = _share(request.share_percent)
    if request.kata_ids and prefix:
        raise InvalidArgument("kata_ids", "can't be given with a prefix")
    verifier = Verifier(containers, katas, processes, mend=request.mend)
    if request.kata_ids:
        ids = await threads.run_long(check_ids, containers, katas, request.kata_ids)
    else:
        ids = await threads.run_long(verifier.ids, prefix)
    summary = storer_pb2.VerifySummary()
    found = verifier.katas(ids)
    if not request.skip_archive:
        found = chain(found, verifier.archived(prefix, ids if request.kata_ids else []))
    async for each in _paced(threads, found, share):
        if isinstance(each, Progress):
            progress = storer_pb2.VerifyProgress(
                kata_id=each.kata_id, done_count=verifier.done_count, total_count=len(ids)
            )
            yield storer_pb2.VerifyKatasResponse(progress=progress)
        else:
            _tell(each, katas, audit)
            summary.finding_count += 1
            summary.mended_count += each.mended
            summary.harmless_count += each.finding.kind is Kind.DANGLING
            yield storer_pb2.VerifyKatasResponse(finding=_finding_to(each))
    for kata_id in request.kata_ids:
        katas.damaged.changed(kata_id)  # what was broken may be whole, and have no finding
    if not request.kata_ids:
        katas.damaged.suspect_all_broken()
        left_out = partial(verifier.left_out, prefix, skips_archive=request.skip_archive)
        summary.left_out_count = await threads.run_long(left_out)
    summary.kata_count = verifier.counts.katas
    summary.archived_count = verifier.counts.archived
    summary.avatar_count = verifier.counts.avatars
    summary.light_count = verifier.counts.lights
    summary.size_bytes = verifier.counts.size_bytes
    if request.mend:
        audit.record("VerifyKatas", "done", katas=len(ids), mended=summary.mended_count)
    yield storer_pb2.VerifyKatasResponse(summary=summary)


def _tell(found: KataFinding, katas: Katas, audit: Audit) -> None:
    """Tell operators of a finding, besides the caller."""
    metrics.FINDINGS.labels(found.finding.kind.value, "yes" if found.mended else "no").inc()
    if found.finding.kind in DAMAGE:
        katas.damaged.suspect(found.kata_id)
    if found.mended:
        audit.record("VerifyKatas", "mended", kata=found.kata_id, **_where(found))


async def _paced(
    threads: CallThreads, found: Iterator[KataFinding | Progress], share: float
) -> AsyncIterator[KataFinding | Progress]:
    """Yield findings, and sometimes progress; work for `share` of the time and pause for the rest.

    Each part of the work runs in a thread. No thread waits during a pause.
    """
    worked = 0.0
    reported = time.monotonic()
    while True:
        started = time.monotonic()
        each = await threads.run_long(next, found, None)
        now = time.monotonic()
        worked += now - started
        if each is None:
            return
        if not isinstance(each, Progress):
            yield each
            continue
        if now - reported >= PROGRESS_SECONDS:
            reported = now
            yield each
        pause = worked * (1 / share - 1)
        if pause >= _MIN_PAUSE_SECONDS:
            worked = 0.0
            await asyncio.sleep(pause)


def _where(found: KataFinding) -> dict[str, str]:
    return {"avatar": found.avatar, "what": converters.text(found.finding.what)}


def _finding_to(found: KataFinding) -> storer_pb2.KataFinding:
    return storer_pb2.KataFinding(
        kata_id=found.kata_id,
        avatar=found.avatar,
        path=converters.text(found.finding.path),
        kind=_KINDS[found.finding.kind],
        what=converters.text(found.finding.what),
        mended=found.mended,
    )


def _share(percent: int) -> float:
    if not 0 <= percent <= 100:
        raise InvalidArgument("share_percent", f"{percent} is not from 1 to 100")
    return (percent or DEFAULT_SHARE_PERCENT) / 100
