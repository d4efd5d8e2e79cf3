"""Which gRPC status each error of the domain becomes."""

import datetime as dt
import errno
import secrets
from collections.abc import Mapping

import grpc
import structlog
from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from dojo import errors

_log = structlog.get_logger()

DOMAIN = "cyber-dojo"

STATUSES: Mapping[type[errors.DojoError], grpc.StatusCode] = {
    errors.InvalidArgument: grpc.StatusCode.INVALID_ARGUMENT,
    errors.Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    errors.NotAllowed: grpc.StatusCode.PERMISSION_DENIED,
    errors.NotFound: grpc.StatusCode.NOT_FOUND,
    errors.AlreadyExists: grpc.StatusCode.ALREADY_EXISTS,
    errors.StaleNumber: grpc.StatusCode.ABORTED,
    errors.ImageMissing: grpc.StatusCode.FAILED_PRECONDITION,
    errors.Exhausted: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.UnknownBackup: grpc.StatusCode.FAILED_PRECONDITION,
    errors.DiskReadOnly: grpc.StatusCode.FAILED_PRECONDITION,
    errors.EngineUnavailable: grpc.StatusCode.UNAVAILABLE,
    errors.ArchiveUnavailable: grpc.StatusCode.UNAVAILABLE,
    errors.StorerUnavailable: grpc.StatusCode.UNAVAILABLE,
    errors.ArchiveDamaged: grpc.StatusCode.DATA_LOSS,
    errors.Busy: grpc.StatusCode.UNAVAILABLE,
    errors.KataInUse: grpc.StatusCode.FAILED_PRECONDITION,
    errors.ArchiveMissing: grpc.StatusCode.FAILED_PRECONDITION,
    errors.ArchiveOfAnother: grpc.StatusCode.FAILED_PRECONDITION,
    errors.ArchiveConflict: grpc.StatusCode.FAILED_PRECONDITION,
    errors.Stopping: grpc.StatusCode.UNAVAILABLE,
    errors.RunLost: grpc.StatusCode.UNAVAILABLE,
    errors.RegistryUnavailable: grpc.StatusCode.UNAVAILABLE,
    errors.KataDamaged: grpc.StatusCode.DATA_LOSS,
    errors.StartPointDamaged: grpc.StatusCode.DATA_LOSS,
}
"""Has every DojoError, or one of its bases; the nearest base decides."""

# A status is sent in trailers, and gRPC fails a call whose trailers exceed 8 KiB. A text of this
# size stays below that when it is percent-encoded and sent a second time inside the details.
MAX_TEXT_BYTES = 1000

# The operating system's errors for a disk, or a quota, that is full.
_DISK_FULL = {errno.ENOSPC, errno.EDQUOT}


def status_of(error: Exception) -> status_pb2.Status:
    """Return the status, with its details, that a caller gets for `error`.

    An error that is no DojoError, and does not say that the disk can't be written to, is a defect
    of ours. It becomes INTERNAL: the caller gets a reference to the log, and no details.
    """
    if isinstance(error, OSError) and error.errno in _DISK_FULL:
        error = errors.DiskFull(str(error.strerror))
    elif isinstance(error, OSError) and error.errno == errno.EROFS:
        error = errors.DiskReadOnly(str(error.strerror))
    for kind in type(error).__mro__:
        if kind in STATUSES:
            return _status(STATUSES[kind], str(error), _details(error))
    reference = secrets.token_hex(4)
    _log.error("defect", reference=reference, exc_info=error)
    return _status(grpc.StatusCode.INTERNAL, f"a defect, logged as {reference}", [])


def _details(error: Exception) -> list[Message]:
    """Return an error's details, for programs."""
    if isinstance(error, errors.InvalidArgument):
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=_clipped(error.field), description=_clipped(error.reason)
        )
        return [error_details_pb2.BadRequest(field_violations=[violation])]
    if isinstance(error, errors.Busy):
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromTimedelta(dt.timedelta(seconds=error.retry_seconds))
        return [retry]
    if isinstance(error, errors.StaleNumber):
        metadata = {"newest_number": str(error.newest)}
        return [
            error_details_pb2.ErrorInfo(reason="STALE_NUMBER", domain=DOMAIN, metadata=metadata)
        ]
    return []


def _status(code: grpc.StatusCode, text: str, details: list[Message]) -> status_pb2.Status:
    packed = []
    for detail in details:
        packed.append(any_pb2.Any())
        packed[-1].Pack(detail)
    number, _ = code.value
    return status_pb2.Status(code=number, message=_clipped(text), details=packed)


def _clipped(text: str) -> str:
    """Cut a text to what a status can carry. Messages quote requests, so they can be long."""
    encoded = text.encode("utf-8", "replace")
    if len(encoded) > MAX_TEXT_BYTES:
        encoded = encoded[:MAX_TEXT_BYTES] + b"..."
    return encoded.decode("utf-8", "ignore")
