"""What a failed call raises: a type for each reason that a program acts on, with its fields.

Each of them is a `grpc.RpcError` with `code()`, `details()` and `trailing_metadata()`, so code that
catches gRPC's own errors catches these.
"""

from __future__ import annotations

from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2

from cyberdojo.refusal.v1 import refusal_pb2

_DETAILS = "grpc-status-details-bin"
_DOMAIN = "cyber-dojo"


class CallFailed(grpc.RpcError):
    """A call failed.

    `reason` is the service's word for it, such as STALE_NUMBER, or empty where gRPC itself ended
    the call; `facts` are the reason's facts, by name; `fields` the malformed fields, each with what
    is wrong with it; `retry_after` is in seconds, None where the service named no pause. `ran` is
    the run's result, where press_test could not record it.
    """

    def __init__(self, error: Any) -> None:
        super().__init__(error.details())
        self._error = error
        self.reason = ""
        self.facts: dict[str, str] = {}
        self.fields: dict[str, str] = {}
        self.retry_after: float | None = None
        self.ran: Any = None
        for detail in _details(error):
            info, bad, retry = (
                error_details_pb2.ErrorInfo(),
                error_details_pb2.BadRequest(),
                error_details_pb2.RetryInfo(),
            )
            if detail.Unpack(info) and info.domain == _DOMAIN:
                self.reason, self.facts = info.reason, dict(info.metadata)
            elif detail.Unpack(bad):
                self.fields = {each.field: each.description for each in bad.field_violations}
            elif detail.Unpack(retry):
                self.retry_after = retry.retry_delay.ToNanoseconds() / 1e9

    def __str__(self) -> str:
        return f"{self.code().name}: {self.details()}"

    def code(self) -> grpc.StatusCode:
        """Return the gRPC status."""
        code: grpc.StatusCode = self._error.code()
        return code

    def details(self) -> str:
        """Return what happened, for people."""
        return self._error.details() or ""

    def trailing_metadata(self) -> Any:
        """Return what gRPC's error has."""
        return self._error.trailing_metadata()

    @property
    def is_temporary(self) -> bool:
        """Whether the same call may succeed later, without anybody's doing."""
        broke = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
        return self.code() in broke or self.retry_after is not None


class Unreachable(CallFailed):
    """There is no connection, or it broke: whether the service got the call is not known."""


class TimedOut(CallFailed):
    """The deadline is over: whether the service did what was asked is not known."""


class MalformedField(CallFailed):
    """A field of the request is malformed; `fields` says which."""


class CallerUnknown(CallFailed):
    """The call has no token or certificate that the service knows."""


class CallerNotAllowed(CallFailed):
    """The caller's role may not make this call."""


class TooManyGuesses(CallFailed):
    """The caller named too many ids that no kata has; `retry_after` says when to go on."""


class NoSuchKata(CallFailed):
    """No kata has this id."""


class NoSuchAvatar(CallFailed):
    """The avatar was not started in this kata."""


class _WithNewest(CallFailed):
    @property
    def newest(self) -> int:
        """The number of the avatar's newest light."""
        return int(self.facts["newest_number"])


class NoSuchLight(_WithNewest):
    """The avatar has no light of this number."""


class StaleNumber(_WithNewest):
    """Another browser of the same avatar recorded a light since."""


class RequestIdReused(CallFailed):
    """The same request id came before, with another request."""


class KataExists(CallFailed):
    """A kata to restore is here already."""


class AvatarsTaken(CallFailed):
    """Every avatar that would do is started."""


class ImageMissing(CallFailed):
    """The image is not on the runner's host: PullImage brings it."""


class QueueFull(CallFailed):
    """Too many runs wait; `retry_after` says when to try again."""


class MessageTooLarge(CallFailed):
    """A message has more bytes than it may."""


class DiskFull(CallFailed):
    """No room is left on the service's disk."""


class KataDamaged(CallFailed):
    """The kata, or the avatar that the call is about, can't be read."""


OF_REASON: dict[str, type[CallFailed]] = {
    "MALFORMED_FIELD": MalformedField,
    "CALLER_UNKNOWN": CallerUnknown,
    "CALLER_NOT_ALLOWED": CallerNotAllowed,
    "TOO_MANY_GUESSES": TooManyGuesses,
    "NO_SUCH_KATA": NoSuchKata,
    "NO_SUCH_AVATAR": NoSuchAvatar,
    "NO_SUCH_LIGHT": NoSuchLight,
    "STALE_NUMBER": StaleNumber,
    "REQUEST_ID_REUSED": RequestIdReused,
    "KATA_EXISTS": KataExists,
    "AVATARS_TAKEN": AvatarsTaken,
    "IMAGE_MISSING": ImageMissing,
    "QUEUE_FULL": QueueFull,
    "MESSAGE_TOO_LARGE": MessageTooLarge,
    "DISK_FULL": DiskFull,
    "KATA_DAMAGED": KataDamaged,
}
_OF_CODE: dict[grpc.StatusCode, type[CallFailed]] = {
    grpc.StatusCode.UNAVAILABLE: Unreachable,
    grpc.StatusCode.CANCELLED: Unreachable,
    grpc.StatusCode.DEADLINE_EXCEEDED: TimedOut,
}


class Incomplete(Exception):
    """A download ended early, or is not what its digest says: nothing of it was kept."""


def translated(error: Any) -> CallFailed:
    """Return a gRPC error as the type of its reason."""
    if isinstance(error, CallFailed):
        return error
    found = CallFailed(error)
    kind = OF_REASON.get(found.reason, CallFailed)
    if not _details(error):
        kind = _OF_CODE.get(found.code(), CallFailed)
    return kind(error)


def refused(refusal: refusal_pb2.Refusal) -> CallFailed:
    """Return a refusal that an answer has for one part, as what a call about it alone raises."""
    return translated(_Refused(refusal))


class _Refused:
    """A refusal in the form of gRPC's error."""

    def __init__(self, refusal: refusal_pb2.Refusal) -> None:
        self._status = status_pb2.Status(code=refusal.status, message=refusal.message)
        is_known = refusal.reason in refusal_pb2.Reason.values()
        name = refusal_pb2.Reason.Name(refusal.reason) if is_known else ""
        info = error_details_pb2.ErrorInfo(
            reason=name.removeprefix("REASON_"), domain=_DOMAIN, metadata=refusal.metadata
        )
        self._status.details.add().Pack(info)
        if refusal.HasField("retry_after"):
            retry = error_details_pb2.RetryInfo(retry_delay=refusal.retry_after)
            self._status.details.add().Pack(retry)

    def code(self) -> grpc.StatusCode:
        return next(each for each in grpc.StatusCode if each.value[0] == self._status.code)

    def details(self) -> str:
        return str(self._status.message)

    def trailing_metadata(self) -> Any:
        return ((_DETAILS, self._status.SerializeToString()),)


def _details(error: Any) -> list[Any]:
    """Return the details of an error, for programs; none where gRPC itself ended the call."""
    for key, value in error.trailing_metadata() or ():
        if key == _DETAILS:
            return list(status_pb2.Status.FromString(value).details)
    return []
