"""Which gRPC status each error of the domain becomes, and which reason programs are told."""

import datetime as dt
import errno
import secrets
from collections.abc import Mapping
from typing import TypeVar

import grpc
import structlog
from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from cyberdojo.refusal.v1 import refusal_pb2
from dojo import errors

_log = structlog.get_logger()

T = TypeVar("T")

DOMAIN = "cyber-dojo"
_PREFIX = "REASON_"

STATUSES: Mapping[type[errors.DojoError], grpc.StatusCode] = {
    errors.InvalidArgument: grpc.StatusCode.INVALID_ARGUMENT,
    errors.Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    errors.NotAllowed: grpc.StatusCode.PERMISSION_DENIED,
    errors.NotFound: grpc.StatusCode.NOT_FOUND,
    errors.RequestIdReused: grpc.StatusCode.ALREADY_EXISTS,
    errors.AlreadyExists: grpc.StatusCode.ALREADY_EXISTS,
    errors.StaleNumber: grpc.StatusCode.ABORTED,
    errors.ImageMissing: grpc.StatusCode.FAILED_PRECONDITION,
    errors.Exhausted: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.UnknownBackup: grpc.StatusCode.FAILED_PRECONDITION,
    errors.DiskReadOnly: grpc.StatusCode.FAILED_PRECONDITION,
    errors.DiskFailed: grpc.StatusCode.FAILED_PRECONDITION,
    errors.EngineUnavailable: grpc.StatusCode.UNAVAILABLE,
    errors.ArchiveUnavailable: grpc.StatusCode.UNAVAILABLE,
    errors.StorerUnavailable: grpc.StatusCode.UNAVAILABLE,
    errors.EtcdUnavailable: grpc.StatusCode.UNAVAILABLE,
    errors.ArchiveDamaged: grpc.StatusCode.DATA_LOSS,
    errors.Busy: grpc.StatusCode.UNAVAILABLE,
    errors.KataInUse: grpc.StatusCode.FAILED_PRECONDITION,
    errors.ArchiveMissing: grpc.StatusCode.FAILED_PRECONDITION,
    errors.EtcdBehind: grpc.StatusCode.FAILED_PRECONDITION,
    errors.OnlyMachine: grpc.StatusCode.FAILED_PRECONDITION,
    errors.ArchiveOfAnother: grpc.StatusCode.FAILED_PRECONDITION,
    errors.ArchiveConflict: grpc.StatusCode.FAILED_PRECONDITION,
    errors.Stopping: grpc.StatusCode.UNAVAILABLE,
    errors.RunLost: grpc.StatusCode.UNAVAILABLE,
    errors.RegistryUnavailable: grpc.StatusCode.UNAVAILABLE,
    errors.KataDamaged: grpc.StatusCode.DATA_LOSS,
    errors.StartPointDamaged: grpc.StatusCode.DATA_LOSS,
}
"""Has every DojoError, or one of its bases; the nearest base decides."""

REASONS: Mapping[type[errors.DojoError], refusal_pb2.Reason.ValueType] = {
    errors.InvalidArgument: refusal_pb2.REASON_MALFORMED_FIELD,
    errors.MessageTooLarge: refusal_pb2.REASON_MESSAGE_TOO_LARGE,
    errors.Unauthenticated: refusal_pb2.REASON_CALLER_UNKNOWN,
    errors.NotAllowed: refusal_pb2.REASON_CALLER_NOT_ALLOWED,
    errors.TooManyGuesses: refusal_pb2.REASON_TOO_MANY_GUESSES,
    errors.RequestIdReused: refusal_pb2.REASON_REQUEST_ID_REUSED,
    errors.KataNotFound: refusal_pb2.REASON_NO_SUCH_KATA,
    errors.AvatarNotFound: refusal_pb2.REASON_NO_SUCH_AVATAR,
    errors.LightNotFound: refusal_pb2.REASON_NO_SUCH_LIGHT,
    errors.EditNotFound: refusal_pb2.REASON_NO_SUCH_EDIT,
    errors.ImageNotFound: refusal_pb2.REASON_NO_SUCH_IMAGE,
    errors.StartPointNotFound: refusal_pb2.REASON_NO_SUCH_START_POINT,
    errors.AlreadyExists: refusal_pb2.REASON_KATA_EXISTS,
    errors.StaleNumber: refusal_pb2.REASON_STALE_NUMBER,
    errors.AvatarsExhausted: refusal_pb2.REASON_AVATARS_TAKEN,
    errors.KataInUse: refusal_pb2.REASON_KATA_IN_USE,
    errors.ArchiveMissing: refusal_pb2.REASON_NO_ARCHIVE,
    errors.ArchiveConflict: refusal_pb2.REASON_ARCHIVE_CONFLICT,
    errors.ArchiveOfAnother: refusal_pb2.REASON_ARCHIVE_OF_ANOTHER,
    errors.UnknownBackup: refusal_pb2.REASON_UNKNOWN_BACKUP,
    errors.ImageMissing: refusal_pb2.REASON_IMAGE_MISSING,
    errors.ImageUnusable: refusal_pb2.REASON_IMAGE_UNUSABLE,
    errors.RunsExhausted: refusal_pb2.REASON_QUEUE_FULL,
    errors.PullsExhausted: refusal_pb2.REASON_PULLS_FULL,
    errors.ComparisonsExhausted: refusal_pb2.REASON_COMPARISONS_FULL,
    errors.ComparisonTooLarge: refusal_pb2.REASON_COMPARISON_TOO_LARGE,
    errors.ComparisonLost: refusal_pb2.REASON_COMPARISON_LOST,
    errors.MemoryExhausted: refusal_pb2.REASON_MEMORY_FULL,
    errors.ProcessesExhausted: refusal_pb2.REASON_PROCESSES_FULL,
    errors.ProcessTooLarge: refusal_pb2.REASON_PROCESS_TOO_LARGE,
    errors.HistoryTooLarge: refusal_pb2.REASON_HISTORY_TOO_LARGE,
    errors.ProcessLost: refusal_pb2.REASON_PROCESS_LOST,
    errors.NothingRead: refusal_pb2.REASON_ANSWERS_NOT_READ,
    errors.LockHeld: refusal_pb2.REASON_KATA_BUSY,
    errors.DiskFull: refusal_pb2.REASON_DISK_FULL,
    errors.DiskReadOnly: refusal_pb2.REASON_DISK_READ_ONLY,
    errors.DiskFailed: refusal_pb2.REASON_DISK_FAILED,
    errors.EngineUnavailable: refusal_pb2.REASON_ENGINE_UNAVAILABLE,
    errors.ArchiveUnavailable: refusal_pb2.REASON_ARCHIVE_UNAVAILABLE,
    errors.StorerUnavailable: refusal_pb2.REASON_STORER_UNAVAILABLE,
    errors.MachineNotFound: refusal_pb2.REASON_NO_SUCH_MACHINE,
    errors.EtcdBehind: refusal_pb2.REASON_ETCD_BEHIND,
    errors.OnlyMachine: refusal_pb2.REASON_ONLY_MACHINE,
    errors.EtcdUnavailable: refusal_pb2.REASON_ETCD_UNAVAILABLE,
    errors.EtcdFull: refusal_pb2.REASON_ETCD_FULL,
    errors.KataMoved: refusal_pb2.REASON_KATA_MOVED,
    errors.RegistryUnavailable: refusal_pb2.REASON_REGISTRY_UNAVAILABLE,
    errors.Stopping: refusal_pb2.REASON_STOPPING,
    errors.RunLost: refusal_pb2.REASON_RUN_LOST,
    errors.KataDamaged: refusal_pb2.REASON_KATA_DAMAGED,
    errors.ArchiveDamaged: refusal_pb2.REASON_ARCHIVE_DAMAGED,
    errors.StartPointDamaged: refusal_pb2.REASON_START_POINTS_DAMAGED,
}
"""Has every error that is raised, or one of its bases; the nearest base decides."""

# A status is sent in trailers, and gRPC fails a call whose trailers exceed 8 KiB. A text of this
# size stays below that when it is percent-encoded and sent a second time inside the details.
MAX_TEXT_BYTES = 1000
MAX_FACT_BYTES = 100

# The operating system's errors for a disk, or a quota, that is full.
_DISK_FULL = {errno.ENOSPC, errno.EDQUOT}

# Those for a disk that fails, and for a file system that is damaged.
_DISK_FAILED = {errno.EIO, errno.EUCLEAN, errno.EBADMSG}


def status_of(error: Exception) -> status_pb2.Status:
    """Return the status, with its details, that a caller gets for `error`.

    An error that is no DojoError, and does not tell of the disk, is a defect of ours. It
    becomes INTERNAL: the caller gets a reference to the log, and no details.
    """
    if isinstance(error, OSError) and error.errno in _DISK_FULL:
        error = errors.DiskFull(str(error.strerror))
    elif isinstance(error, OSError) and error.errno == errno.EROFS:
        error = errors.DiskReadOnly(str(error.strerror))
    elif isinstance(error, OSError) and error.errno in _DISK_FAILED:
        _log.error("disk failed", exc_info=error)
        error = errors.DiskFailed(str(error.strerror))
    if isinstance(error, errors.DojoError):
        code, reason = _nearest(STATUSES, type(error)), _nearest(REASONS, type(error))
        return _status(code, str(error), [_info(reason, error.facts), *_details(error)])
    reference = secrets.token_hex(4)
    _log.error("defect", reference=reference, exc_info=error)
    info = _info(refusal_pb2.REASON_DEFECT, {"reference": reference})
    return _status(grpc.StatusCode.INTERNAL, f"a defect, logged as {reference}", [info])


def refusal_of(error: Exception) -> refusal_pb2.Refusal:
    """Return what a caller gets for `error` whose call goes on for others: see `status_of`."""
    status = status_of(error)
    refusal = refusal_pb2.Refusal(status=status.code, message=status.message)
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    for detail in status.details:
        if detail.Unpack(info):
            refusal.reason = refusal_pb2.Reason.Value(f"{_PREFIX}{info.reason}")
            refusal.metadata.update(info.metadata)
        elif detail.Unpack(retry):
            refusal.retry_after.CopyFrom(retry.retry_delay)
    return refusal


def reason_name(reason: refusal_pb2.Reason.ValueType) -> str:
    """Return what an ErrorInfo says for a reason, such as NO_SUCH_KATA."""
    return refusal_pb2.Reason.Name(reason).removeprefix(_PREFIX)


def _nearest(table: Mapping[type[errors.DojoError], T], kind: type[errors.DojoError]) -> T:
    """Return what a table has for an error's class, or for the nearest of its bases."""
    return next(table[each] for each in kind.__mro__ if each in table)


def _info(reason: refusal_pb2.Reason.ValueType, facts: Mapping[str, str]) -> Message:
    metadata = {name: _clipped(value, MAX_FACT_BYTES) for name, value in facts.items()}
    info: Message = error_details_pb2.ErrorInfo(
        reason=reason_name(reason), domain=DOMAIN, metadata=metadata
    )
    return info


def _details(error: errors.DojoError) -> list[Message]:
    """Return an error's details for programs, besides its reason."""
    if isinstance(error, errors.InvalidArgument):
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=_clipped(error.field), description=_clipped(error.reason)
        )
        return [error_details_pb2.BadRequest(field_violations=[violation])]
    if isinstance(error, errors.Busy):
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromTimedelta(dt.timedelta(seconds=error.retry_seconds))
        return [retry]
    return []


def _status(code: grpc.StatusCode, text: str, details: list[Message]) -> status_pb2.Status:
    packed = []
    for detail in details:
        packed.append(any_pb2.Any())
        packed[-1].Pack(detail)
    number, _ = code.value
    return status_pb2.Status(code=number, message=_clipped(text), details=packed)


def _clipped(text: str, most_bytes: int = MAX_TEXT_BYTES) -> str:
    """Cut a text to what a status can carry. Messages quote requests, so they can be long."""
    encoded = text.encode("utf-8", "replace")
    if len(encoded) > most_bytes:
        encoded = encoded[:most_bytes] + b"..."
    return encoded.decode("utf-8", "ignore")
