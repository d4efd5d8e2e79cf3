"""The file of callers: a line for each token or certificate, with its role.

    NAME ROLE HASH [EXPIRY]

HASH is `sha256:` and the digest of a token, or `certificate` for the caller whose client
certificate has this name. EXPIRY is a date or a time (2027-01-31, 2027-01-31T12:00:00Z), by default
in UTC. Empty lines, and lines that begin with `#`, mean nothing. A name may have several lines, so
that a token can be replaced while callers still use it.

The tokens are random and long, so a plain digest can't be turned back into one.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from dojo.access.roles import Role
from dojo.access.watched_files import content_of

PREFIX = "dojo_"  # tells people, and programs that look for leaked secrets, what they have found
TOKEN_BYTES = 32
MAX_TOKEN_CHARACTERS = 200
CERTIFICATE = "certificate"

_ALGORITHM = "sha256:"
_ID_CHARACTERS = 12
_NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z._@-]{0,63}\Z")
_DIGEST = re.compile(r"[0-9a-f]{64}\Z")


class BadCallers(Exception):
    """The file of callers can't be used; the message names the line and the reason."""


@dataclass(frozen=True)
class Entry:
    """A line of the file. `digest` is a token's, in hexadecimal; "" stands for a certificate."""

    name: str
    role: Role
    digest: str
    expires: datetime | None

    @property
    def id(self) -> str:
        """What a person calls this line: the begin of its digest, or `certificate`."""
        return self.digest[:_ID_CHARACTERS] or CERTIFICATE

    def line(self) -> str:
        """Return the line, without its end."""
        hashed = _ALGORITHM + self.digest if self.digest else CERTIFICATE
        expiry = f" {self.expires:%Y-%m-%dT%H:%M:%SZ}" if self.expires else ""
        return f"{self.name} {self.role.value} {hashed}{expiry}"

    def is_expired(self) -> bool:
        """Say whether the time of this line is over."""
        return self.expires is not None and self.expires <= datetime.now(UTC)


class Callers:
    """The lines of a file, to look callers up in. Does not change."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self.entries = tuple(entries)
        self._tokens = {entry.digest: entry for entry in self.entries if entry.digest}
        self._certificates = {entry.name: entry for entry in self.entries if not entry.digest}

    def with_token(self, token: str) -> Entry | None:
        """Return the line of a token, whether it is expired or not.

        How long this takes tells nothing of the tokens: what is looked up and compared is the
        digest of what the caller sent, and nobody can choose that.
        """
        digest = digest_of(token)
        entry = self._tokens.get(digest)
        if entry is None or not hmac.compare_digest(entry.digest, digest):
            return None
        return entry

    def with_certificate(self, name: str) -> Entry | None:
        """Return the line of a client certificate's name, whether it is expired or not."""
        return self._certificates.get(name)


def new_token() -> str:
    """Return a new token, which nobody can guess."""
    return PREFIX + secrets.token_urlsafe(TOKEN_BYTES)


def digest_of(token: str) -> str:
    """Return what the file has of a token."""
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


def check_name(name: str) -> str:
    """Return a caller's name; raise ValueError if it can't be one."""
    if not _NAME.match(name):
        raise ValueError(f"{name[:80]!a} is no name: letters, digits, and . _ @ - within, up to 64")
    return name


def parse_expiry(text: str) -> datetime:
    """Return the time that a date or a time stands for; raise ValueError."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text[:80]!a} is no date (2027-01-31)") from None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def parse(text: str) -> Callers:
    """Return the callers that a file's text has. Raises BadCallers."""
    entries = []
    for number, line in enumerate(text.splitlines(), 1):
        if not _is_entry(line):
            continue
        try:
            entries.append(_parse_line(line))
        except ValueError as error:
            raise BadCallers(f"line {number}: {error}") from None
    return Callers(entries)


def read(path: Path) -> Callers:
    """Return the callers of a file. Raises BadCallers or OSError."""
    return parse(read_text(path))


def read_text(path: Path) -> str:
    """Return the text of a file of callers. Raises BadCallers or OSError."""
    try:
        return content_of(path).decode("utf-8")
    except UnicodeDecodeError:
        raise BadCallers("it is not UTF-8") from None


def without(text: str, name_or_id: str) -> tuple[str, int]:
    """Return a file's text without the lines of a name or of an id, and how many those were.

    Raises BadCallers.
    """
    parse(text)
    kept = [
        line
        for line in text.splitlines(keepends=True)
        if not (_is_entry(line) and name_or_id in _names_of(_parse_line(line)))
    ]
    return "".join(kept), len(text.splitlines()) - len(kept)


def _names_of(entry: Entry) -> set[str]:
    return {entry.name, entry.id} if entry.digest else {entry.name}


def _is_entry(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")


def _parse_line(line: str) -> Entry:
    # No message quotes the hash: somebody may have put the token there.
    words = line.split()
    if not 3 <= len(words) <= 4:
        raise ValueError("it is not NAME ROLE HASH [EXPIRY]")
    name, role, hashed = words[:3]
    roles = {each.value: each for each in Role}
    if role not in roles:
        raise ValueError(f"the role is none of {', '.join(roles)}")
    digest = hashed.removeprefix(_ALGORITHM)
    if hashed == CERTIFICATE:
        digest = ""
    elif not (hashed.startswith(_ALGORITHM) and _DIGEST.match(digest)):
        raise ValueError(f"the hash is neither {_ALGORITHM} with 64 hex digits nor {CERTIFICATE}")
    expires = parse_expiry(words[3]) if len(words) == 4 else None
    return Entry(check_name(name), roles[role], digest, expires)
