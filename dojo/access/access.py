"""What a service's settings say about who may call it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import grpc
import grpc.aio
import structlog

from dojo.access import tls, tokens
from dojo.access.gate import Gate
from dojo.access.guesses import Guesses
from dojo.access.tls import BadCertificate, TlsFiles
from dojo.access.tokens import BadCallers
from dojo.access.watched_files import WatchedFiles
from dojo.service.settings import BadSettings, CommonSettings, is_loopback

T = TypeVar("T")

_log = structlog.get_logger()

_CERTIFICATE, _KEY, _CLIENT_CA, _CALLERS = (
    "CYBER_DOJO_TLS_CERTIFICATE",
    "CYBER_DOJO_TLS_KEY",
    "CYBER_DOJO_TLS_CLIENT_CA",
    "CYBER_DOJO_CALLERS",
)


class Access:
    """How a service is protected."""

    def __init__(
        self, gate: Gate, guesses: Guesses, credentials: grpc.ServerCredentials | None
    ) -> None:
        self.gate = gate
        self.guesses = guesses
        self._credentials = credentials

    def add_port(self, server: grpc.aio.Server, listen: str) -> int:
        """Let a server listen, with TLS if there is any; return the port. Raises RuntimeError."""
        if self._credentials is None:
            return server.add_insecure_port(listen)
        return server.add_secure_port(listen, self._credentials)


def from_settings(settings: CommonSettings, listen: str) -> Access:
    """Return how a service that listens on host:port is protected.

    Raises BadSettings, for settings that others could misuse too.
    """
    problems = [*_missing(settings), *_unprotected(settings, listen)]
    if problems:
        raise BadSettings(problems)
    credentials = None
    if settings.tls_certificate and settings.tls_key:
        files = TlsFiles(settings.tls_certificate, settings.tls_key, settings.tls_client_ca)
        credentials = _used(_CERTIFICATE, files.certificate, lambda: tls.credentials(files))
    known = None
    if settings.callers:
        path = settings.callers
        watched = _used(
            _CALLERS, path, lambda: WatchedFiles([path], lambda: tokens.read(path), BadCallers)
        )
        known = watched.get
    _log.info("access", tls=credentials is not None, callers=known is not None)
    return Access(Gate(known), Guesses(settings.max_guesses_per_hour), credentials)


def _missing(settings: CommonSettings) -> list[str]:
    """Return what settings lack that others require."""
    problems = []
    if bool(settings.tls_certificate) != bool(settings.tls_key):
        problems.append(f"{_CERTIFICATE} and {_KEY} require each other")
    if settings.tls_client_ca and not settings.tls_certificate:
        problems.append(f"{_CLIENT_CA} requires {_CERTIFICATE} and {_KEY}")
    if settings.tls_client_ca and not settings.callers:
        problems.append(f"{_CLIENT_CA} requires {_CALLERS}, which gives certificates their roles")
    return problems


def _unprotected(settings: CommonSettings, listen: str) -> list[str]:
    """Return why nobody should listen there like that."""
    if is_loopback(listen) or settings.unprotected == "allow":
        return []
    if settings.callers and settings.tls_certificate:
        return []
    lacking = "TLS" if settings.callers else "knowing its callers"
    reason = (
        f"other machines can reach {listen}, and the service would listen there without {lacking}: "
        f"set {_CALLERS} (cyber-dojo token make), {_CERTIFICATE} and {_KEY} (cyber-dojo "
        "certificates make), or listen on 127.0.0.1; CYBER_DOJO_UNPROTECTED=allow starts it anyway"
    )
    return [reason]


def _used(setting: str, path: Path, use: Callable[[], T]) -> T:
    try:
        return use()
    except (BadCertificate, BadCallers) as error:
        raise BadSettings([f"{setting}='{path}' can't be used: {error}"]) from error
    except OSError as error:
        reason = f"can't be read: {error.filename}: {error.strerror}"
        raise BadSettings([f"{setting}='{path}' {reason}"]) from error
