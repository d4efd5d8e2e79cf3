"""How a call that failed ended: refused, and so surely not done, or nobody knows."""

from dataclasses import dataclass

import grpc

from cyber_dojo_client.errors import translated
from support.histories.attempts import STALE_NUMBER, Outcome

# The statuses of refusals that come before anything is done. A service gives a reason with them;
# without one they are gRPC's or a proxy's, who do not know what the service did.
_REFUSALS = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.ALREADY_EXISTS,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
}

# The disk may fail in the middle of the work, and then fail what would undo it.
_NOT_BEFORE = {"DISK_FULL"}


@dataclass(frozen=True, slots=True)
class Failure:
    """How a call failed: as the fields of an Attempt."""

    outcome: Outcome
    reason: str
    newest: int | None = None


def of_error(error: BaseException) -> Failure:
    """Return how a call ended that raised this; whatever is no refusal has an unknown outcome.

    Takes the errors of gRPC and those of `cyber_dojo_client`.
    """
    if not isinstance(error, grpc.RpcError) or not hasattr(error, "code"):
        return Failure(Outcome.UNKNOWN, type(error).__name__)
    found = translated(error)
    if found.code() not in _REFUSALS or found.reason in {"", *_NOT_BEFORE}:
        return Failure(Outcome.UNKNOWN, found.reason or found.code().name)
    newest = int(found.facts["newest_number"]) if found.reason == STALE_NUMBER else None
    return Failure(Outcome.REFUSED, found.reason, newest)
