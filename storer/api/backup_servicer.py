"""The RPCs BackupKatas and RestoreKatas."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import aclosing
from itertools import islice

from cyberdojo.storer.v1 import storer_pb2
from dojo import kata_ids, shares
from dojo.access.audit import Audit
from dojo.chunks import Digest
from dojo.errors import InvalidArgument
from dojo.service.call_threads import CallThreads
from storer.api import converters
from storer.api.streaming import Streams
from storer.backup import backup
from storer.backup.backup import Backup
from storer.backup.catalog import Catalog, State
from storer.backup.plan import plan
from storer.backup.restore_many import Finished, Outcome, Report, RestoreOptions, restore_katas
from storer.katas.repository import Katas
from storer.verify.katas import Verifier

_PLANNED_AT_ONCE = 200  # katas for each turn of a thread

_OUTCOMES = {
    Outcome.RESTORED: storer_pb2.RESTORE_OUTCOME_RESTORED,
    Outcome.REPLACED: storer_pb2.RESTORE_OUTCOME_REPLACED,
    Outcome.UNCHANGED: storer_pb2.RESTORE_OUTCOME_UNCHANGED,
    Outcome.SKIPPED: storer_pb2.RESTORE_OUTCOME_SKIPPED,
    Outcome.REFUSED: storer_pb2.RESTORE_OUTCOME_REFUSED,
    Outcome.DELETED: storer_pb2.RESTORE_OUTCOME_DELETED,
    Outcome.KEPT: storer_pb2.RESTORE_OUTCOME_KEPT,
    Outcome.MISSING: storer_pb2.RESTORE_OUTCOME_MISSING,
    Outcome.SOUND: storer_pb2.RESTORE_OUTCOME_SOUND,
}

# What a restore does to a kata that is here. The audit log names each such kata.
_CHANGES = {Outcome.RESTORED, Outcome.REPLACED, Outcome.DELETED}


async def answer_backup_katas(
    threads: CallThreads,
    streams: Streams,
    katas: Katas,
    catalog: Catalog,
    request: storer_pb2.BackupKatasRequest,
    *,
    audit: Audit,
) -> AsyncIterator[storer_pb2.BackupKatasResponse]:
    """Yield the responses of BackupKatas.

    Raises InvalidArgument, UnknownBackup or ArchiveUnavailable.
    """
    compression = converters.compression_from(request.compression)
    if request.dry_run:
        async for part in _plan(threads, katas, catalog, request):
            yield part
        return
    shares.check_downloading(backup.MAX_HELD_BYTES)  # to begin one takes long
    with audit.doing("BackupKatas", prefix=request.prefix) as deed:
        begun = await threads.run_long(_begin, katas, catalog, request)
        filename = backup.filename(compression)
        header = storer_pb2.BackupKatasHeader(filename=filename, token=begun.token)
        message = storer_pb2.BackupKatasResponse
        sent = streams.send(
            begun.tar(compression), header, message, held_bytes=backup.MAX_HELD_BYTES
        )
        async with aclosing(sent) as parts:
            async for part in parts:
                is_end = isinstance(part, message) and part.HasField("end")
                if not is_end:
                    yield part
                for failed in begun.take_failures():
                    failure = storer_pb2.BackupFailure(kata_id=failed.kata_id, reason=failed.reason)
                    yield message(failure=failure)
                if is_end:
                    end = part
        deed.about.update(sent=begun.counts[State.SENT], failed=begun.counts[State.FAILED])
    # It is done: a caller who leaves as soon as it has the end interrupts nothing.
    yield message(summary=_backup_summary_to(begun.counts))
    yield end


async def _plan(
    threads: CallThreads, katas: Katas, catalog: Catalog, request: storer_pb2.BackupKatasRequest
) -> AsyncIterator[storer_pb2.BackupKatasResponse]:
    message = storer_pb2.BackupKatasResponse
    for field in ("resume_token", "after_kata_id"):
        if getattr(request, field):
            raise InvalidArgument(field, "can't be given with dry_run")
    prefix = kata_ids.check_prefix(request.prefix)
    planned = plan(katas, catalog, prefix, request.since_token)
    counts = Counter[State]()
    yield message(header=storer_pb2.BackupKatasHeader())
    while batch := await threads.run_long(lambda: list(islice(planned, _PLANNED_AT_ONCE))):
        counts.update(each.state for each in batch)
        for each in batch:
            if each.state is State.SENT:
                candidate = storer_pb2.BackupCandidate(kata_id=each.kata_id, is_new=each.is_new)
                if each.lacks_since is not None:
                    candidate.lacks_since.CopyFrom(converters.time_to(each.lacks_since))
                yield message(candidate=candidate)
            elif each.state is State.FAILED:
                failure = storer_pb2.BackupFailure(
                    kata_id=each.kata_id, reason=converters.text(each.reason)
                )
                yield message(failure=failure)
    yield message(summary=_backup_summary_to(counts))
    digest = Digest()
    yield message(end=storer_pb2.StreamEnd(sha256=digest.sha256))


async def answer_list_backups(
    threads: CallThreads, catalog: Catalog
) -> storer_pb2.ListBackupsResponse:
    """Return the response of ListBackups."""
    found = await threads.run_long(lambda: list(catalog.listed()))
    response = storer_pb2.ListBackupsResponse()
    for each in found:
        listed = response.backups.add(
            token=each.token,
            since_token=each.since,
            prefix=each.prefix,
            summary=_backup_summary_to(each.counts),
            failures=(
                storer_pb2.BackupFailure(kata_id=failed.kata_id, reason=failed.reason)
                for failed in each.failed
            ),
        )
        if each.begun is not None:
            listed.begun.CopyFrom(converters.time_to(each.begun))
        if each.finished is not None:
            listed.finished.CopyFrom(converters.time_to(each.finished))
    return response


async def answer_restore_katas(
    streams: Streams,
    katas: Katas,
    verifier: Verifier,
    requests: AsyncIterator[storer_pb2.RestoreKatasRequest],
    *,
    audit: Audit,
) -> AsyncIterator[storer_pb2.RestoreKatasResponse]:
    """Yield the responses of RestoreKatas. Raises InvalidArgument."""
    options = _restore_options((await streams.header(requests)).header)
    counts = Counter[Outcome]()
    with audit.doing("RestoreKatas", dry_run=options.dry_run, overwrite=options.overwrite) as deed:
        async for each in streams.exchange(
            requests, lambda pieces: restore_katas(katas, verifier, pieces, options)
        ):
            if isinstance(each, Report):
                counts[each.outcome] += 1
                if each.outcome in _CHANGES and not options.dry_run:
                    audit.record("RestoreKatas", each.outcome.name.lower(), kata=each.kata_id)
                yield storer_pb2.RestoreKatasResponse(report=_report_to(each))
            else:
                summary = _summary_to(each, counts)
        deed.about["counts"] = {outcome.name.lower(): counts[outcome] for outcome in counts}
    yield storer_pb2.RestoreKatasResponse(summary=summary)  # as with the end of a backup


def _begin(katas: Katas, catalog: Catalog, request: storer_pb2.BackupKatasRequest) -> Backup:
    prefix = kata_ids.check_prefix(request.prefix)
    if not request.resume_token:
        if request.after_kata_id:
            raise InvalidArgument("after_kata_id", "requires resume_token")
        return backup.begin(katas, catalog, prefix, request.since_token)
    for field in ("prefix", "since_token"):
        if getattr(request, field):
            raise InvalidArgument(field, "can't be given with resume_token")
    if request.after_kata_id:
        kata_ids.check(request.after_kata_id, "after_kata_id")
    return backup.resume(katas, catalog, request.resume_token, request.after_kata_id)


def _restore_options(header: storer_pb2.RestoreKatasHeader) -> RestoreOptions:
    is_forced = header.overwrite or header.only_damaged or header.apply_deletions
    if header.discard_lights and not is_forced:
        raise InvalidArgument(
            "header.discard_lights", "requires overwrite, only_damaged or apply_deletions"
        )
    return RestoreOptions(
        overwrite=header.overwrite,
        apply_deletions=header.apply_deletions,
        discard_lights=header.discard_lights,
        kata_ids=frozenset(kata_ids.check(each, "header.kata_ids") for each in header.kata_ids),
        only_damaged=header.only_damaged,
        dry_run=header.dry_run,
    )


def _report_to(report: Report) -> storer_pb2.RestoreReport:
    return storer_pb2.RestoreReport(
        kata_id=report.kata_id,
        outcome=_OUTCOMES[report.outcome],
        reason=report.reason,
        lost_light_count=report.lost_lights,
        left_out=converters.left_out_to(report.left_out),
    )


def _backup_summary_to(counts: Counter[State]) -> storer_pb2.BackupSummary:
    return storer_pb2.BackupSummary(
        sent_count=counts[State.SENT],
        unchanged_count=counts[State.UNCHANGED],
        deleted_count=counts[State.DELETED],
        failed_count=counts[State.FAILED],
    )


def _summary_to(ended: Finished, counts: Counter[Outcome]) -> storer_pb2.RestoreSummary:
    return storer_pb2.RestoreSummary(
        counts=(
            storer_pb2.RestoreCount(outcome=_OUTCOMES[outcome], katas=counts[outcome])
            for outcome in Outcome
            if counts[outcome]
        ),
        token=ended.token,
    )
