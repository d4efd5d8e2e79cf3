"""How a service gets into etcd, as its settings have it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import grpc

from dojo.access import named_file
from dojo.access.tls import BadCertificate, certificates_of, key_of
from dojo.etcd.client import Etcd
from dojo.service.settings import BadSettings, CommonSettings, is_loopback

_CA, _CERTIFICATE, _KEY = (
    "CYBER_DOJO_ETCD_CA",
    "CYBER_DOJO_ETCD_CERTIFICATE",
    "CYBER_DOJO_ETCD_KEY",
)


def connect(settings: CommonSettings) -> Etcd:
    """Return a client of the etcd that the settings name; nothing is sent yet.

    The files of TLS are read once. Raises BadSettings, also for an etcd that others could read and
    write too.
    """
    problems = [*_missing(settings), *_unprotected(settings)]
    if problems:
        raise BadSettings(problems)
    return Etcd(settings.etcd, _credentials(settings))


def _missing(settings: CommonSettings) -> list[str]:
    """Return what settings lack that others require."""
    problems = []
    if bool(settings.etcd_certificate) != bool(settings.etcd_key):
        problems.append(f"{_CERTIFICATE} and {_KEY} require each other")
    if settings.etcd_certificate and not settings.etcd_ca:
        problems.append(f"{_CERTIFICATE} requires {_CA}")
    return problems


def _unprotected(settings: CommonSettings) -> list[str]:
    """Return why nobody should call etcd like that."""
    if settings.etcd_ca or settings.unprotected == "allow":
        return []
    open_to_others = [each for each in settings.etcd if not is_loopback(each)]
    if not open_to_others:
        return []
    reason = (
        f"what is recorded would go to {', '.join(open_to_others)} unencrypted: name the CA of "
        f"etcd's certificates in {_CA}; CYBER_DOJO_UNPROTECTED=allow sends it as it is"
    )
    return [reason]


def _credentials(settings: CommonSettings) -> grpc.ChannelCredentials | None:
    """Return what TLS needs, None if there is none; raise BadSettings."""
    if settings.etcd_ca is None:
        return None
    roots = _checked(_CA, settings.etcd_ca, certificates_of)
    chain = _checked(_CERTIFICATE, settings.etcd_certificate, certificates_of)
    key = _checked(_KEY, settings.etcd_key, key_of)
    return grpc.ssl_channel_credentials(roots, key, chain)


def _checked(
    setting: str, path: Path | None, check: Callable[[Path, bytes], object]
) -> bytes | None:
    content = named_file.read(setting, path)
    if path is not None and content is not None:
        try:
            check(path, content)
        except BadCertificate as error:
            raise BadSettings([f"{setting}='{path}' can't be used: {error}"]) from error
    return content
