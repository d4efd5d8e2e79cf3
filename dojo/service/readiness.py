"""Whether a service takes calls, as routers ask by HTTP: 200 yes, 404 not any more, 503 it can't.

404 is for a service that is being drained: a router sends it no new calls, and lets those that it
has end. HAProxy calls this `http-check disable-on-404`.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any


@dataclass(frozen=True)
class Readiness:
    """Whether a service takes calls, and in words why not."""

    status: HTTPStatus
    reason: str


READY = Readiness(HTTPStatus.OK, "ready")
DRAINING = Readiness(HTTPStatus.NOT_FOUND, "this machine is being drained")


def not_ready(reason: str) -> Readiness:
    """Return what a service is that can't take calls."""
    return Readiness(HTTPStatus.SERVICE_UNAVAILABLE, reason)


def application(readiness: Callable[[], Readiness]) -> Any:
    """Return the WSGI application that answers every request by the readiness of that moment."""

    def answer(_: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        now = readiness()
        body = f"{now.reason}\n".encode()
        kind = ("Content-Type", "text/plain; charset=utf-8")
        start_response(
            f"{now.status.value} {now.status.phrase}", [kind, ("Content-Length", str(len(body)))]
        )
        return [body]

    return answer
