"""A command's exit codes, and the line that explains a failed call."""

from __future__ import annotations

from typing import Any

import grpc

from cyber_dojo_client import Unreachable

GOOD = 0
FOUND = 1  # findings that were not mended, katas that were not restored, differences
USAGE = 2
NOT_FOUND = 3
UNAVAILABLE = 4
REFUSED = 5
DAMAGED = 6
FULL = 7
DEFECT = 8
PARTIAL = 9  # a backup is made, and lacks katas that could not be read
INTERRUPTED = 130

_CODES = {
    grpc.StatusCode.INVALID_ARGUMENT: USAGE,
    grpc.StatusCode.NOT_FOUND: NOT_FOUND,
    grpc.StatusCode.UNAVAILABLE: UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED: UNAVAILABLE,
    grpc.StatusCode.CANCELLED: UNAVAILABLE,  # by a storer that stops
    grpc.StatusCode.ALREADY_EXISTS: REFUSED,
    grpc.StatusCode.FAILED_PRECONDITION: REFUSED,
    grpc.StatusCode.ABORTED: REFUSED,
    grpc.StatusCode.DATA_LOSS: DAMAGED,
    grpc.StatusCode.RESOURCE_EXHAUSTED: FULL,
    grpc.StatusCode.UNIMPLEMENTED: REFUSED,
    grpc.StatusCode.UNAUTHENTICATED: REFUSED,
    grpc.StatusCode.PERMISSION_DENIED: REFUSED,
}


def code_of(error: Any) -> int:
    """Return the exit code for a failed call."""
    return _CODES.get(error.code(), DEFECT)


def message_of(error: Any, address: str, service: str = "storer") -> str:
    """Return why a call of a service failed and what to do, as one line."""
    if error.code() is grpc.StatusCode.CANCELLED:
        return f"the {service} stopped: try again"
    if isinstance(error, Unreachable):
        option = "--address" if service == "storer" else f"--{service}"
        return (
            f"no {service} answers at {address}: start it (make up), or name its address in "
            f"{option} or CYBER_DOJO_{service.upper()}; if it has TLS, CYBER_DOJO_CA names its CA"
        )
    if error.code() is grpc.StatusCode.UNAUTHENTICATED:
        return f"{' '.join(str(error.details()).split())}: name one in CYBER_DOJO_TOKEN_FILE"
    if error.code() is grpc.StatusCode.UNIMPLEMENTED:
        return f"the {service} at {address} is older than this command: update it"
    details = " ".join(str(error.details()).split())
    if error.code() is grpc.StatusCode.INTERNAL:
        return f"{details}: see the storer's log"
    return details
