"""The web tier's settings: where it listens, and which services it calls."""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from dojo.service.settings import (
    LoggingSettings,
    absolute_path,
    address,
    setting,
    whole_number,
)

_TOP = Path(__file__).resolve().parent.parent


def public_url(text: str) -> str:
    """Parse `http://host` or `https://host`, with or without a port, and nothing behind it."""
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname or "@" in parts.netloc:
        raise ValueError("is not http://host or https://host")
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError("has something behind the host: the pages are at its top")
    return f"{parts.scheme}://{parts.netloc}"


@dataclass(frozen=True)
class WebSettings(LoggingSettings):
    """The settings of the web tier."""

    listen: str = setting(
        "CYBER_DOJO_WEB_LISTEN",
        address,
        "127.0.0.1:4500",
        "host:port that the web tier listens on; port 0: a free one, which is logged",
    )
    storer: str = setting(
        "CYBER_DOJO_STORER",
        address,
        "127.0.0.1:4577",
        "host:port of the storer",
    )
    runner: str = setting(
        "CYBER_DOJO_RUNNER",
        address,
        "127.0.0.1:4597",
        "host:port of the runner",
    )
    key_file: Path | None = setting(
        "CYBER_DOJO_WEB_KEY_FILE",
        absolute_path,
        None,
        "the file with the key that personal links are signed with, 32 bytes or more, for its "
        "owner alone; all web tiers of an installation need the same. Without it, a web tier makes "
        "a key for itself, and no personal link outlives it",
    )
    public_url: str = setting(
        "CYBER_DOJO_WEB_PUBLIC_URL",
        public_url,
        "",
        "how browsers reach the pages, such as https://dojo.example, for the links that people "
        "share; by default what the browser says",
    )
    proxies: str = setting(
        "CYBER_DOJO_WEB_PROXIES",
        str,
        "127.0.0.1",
        "the addresses, separated by commas, of proxies whose X-Forwarded-For and "
        "X-Forwarded-Proto are believed",
    )
    assets: Path = setting(
        "CYBER_DOJO_WEB_ASSETS",
        absolute_path,
        _TOP / "build/web",
        "the folder with the scripts and styles that `make web` has built",
    )
    max_katas_per_hour: int = setting(
        "CYBER_DOJO_WEB_MAX_KATAS_PER_HOUR",
        whole_number(1, 1_000_000),
        60,
        "katas that people at one address may make in an hour",
    )
    tls_certificate: Path | None = setting(
        "CYBER_DOJO_WEB_TLS_CERTIFICATE",
        absolute_path,
        None,
        "the certificate with which the web tier itself serves https, as PEM",
    )
    tls_key: Path | None = setting(
        "CYBER_DOJO_WEB_TLS_KEY",
        absolute_path,
        None,
        "the key of that certificate, as PEM without a password",
    )
