"""TLS of a service: its certificate and key, which are read again when they change.

gRPC asks for them at each handshake. Connections that exist keep what they have, so no call is lost
when a certificate is replaced.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import structlog
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from dojo.access.watched_files import WatchedFiles, content_of

_log = structlog.get_logger()


class BadCertificate(Exception):
    """A certificate or a key can't be used; the message names the file and the reason."""


@dataclass(frozen=True)
class TlsFiles:
    """The files of a service's TLS, all PEM.

    `client_ca` has the CAs of which each caller has to have a certificate; None: no caller needs
    one.
    """

    certificate: Path
    key: Path
    client_ca: Path | None = None


def credentials(files: TlsFiles) -> grpc.ServerCredentials:
    """Return a server's credentials, for TLS 1.2 and later. Raises BadCertificate or OSError."""
    paths = [files.certificate, files.key, *([files.client_ca] if files.client_ca else [])]
    watched = WatchedFiles(paths, lambda: _read(files), BadCertificate)
    return grpc.dynamic_ssl_server_credentials(
        watched.get(), _fetcher(watched), require_client_authentication=files.client_ca is not None
    )


def _fetcher(watched: WatchedFiles[Any]) -> Callable[[], Any]:
    """Return what gRPC calls at each handshake: it returns None while nothing changed."""
    told = watched.get()

    def fetch() -> Any:
        nonlocal told
        found = watched.get()
        if found is told:
            return None
        told = found
        return found

    return fetch


def _read(files: TlsFiles) -> Any:
    """Return gRPC's configuration of the files."""
    chain, key = content_of(files.certificate), content_of(files.key)
    certificate = certificates_of(files.certificate, chain)[0]
    if certificate.public_key() != key_of(files.key, key).public_key():
        raise BadCertificate(f"{files.key} is not the key of {files.certificate}")
    client_ca = None
    if files.client_ca is not None:
        client_ca = content_of(files.client_ca)
        certificates_of(files.client_ca, client_ca)
    _log.info(
        "certificate read",
        file=str(files.certificate),
        subject=certificate.subject.rfc4514_string(),
        expires=f"{certificate.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}",
    )
    return grpc.ssl_server_certificate_configuration([(key, chain)], client_ca)


def certificates_of(path: Path, content: bytes) -> list[x509.Certificate]:
    """Return the certificates that a file has. Raises BadCertificate."""
    try:
        return x509.load_pem_x509_certificates(content)
    except ValueError:
        raise BadCertificate(f"{path} has no certificate in PEM") from None


def key_of(path: Path, content: bytes) -> Any:
    """Return the private key that a file has. Raises BadCertificate."""
    try:
        return load_pem_private_key(content, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise BadCertificate(f"{path} has no key in PEM without a password") from None
