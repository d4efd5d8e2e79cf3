"""Kata ids: 10 characters, of which the first two name a folder.

An old id, of a saver, has 6 characters. A kata that came from a saver has the id that follows from
the old one: the old id is its beginning, so whoever knows the old id can complete it.
"""

import hashlib
import re
import secrets

from dojo.errors import InvalidArgument

LENGTH = 10
SHORTEST_PARTIAL = 6  # fewer would let people guess their way into others' sessions

OLD_LENGTH = 6
# What follows an old id. No storer makes an id with such letters.
_OF_OLD = "dojo"

# A saver's 58 characters: digits and letters without I, O, i and o.
_OLD_CHARACTERS = "0123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghjklmnpqrstuvwxyz"
_OLD = re.compile(r"[0-9A-HJ-NP-Za-hj-np-z]{6}\Z")
_WHOLE = re.compile(r"[0-9A-Za-z]{10}\Z")
_PARTIAL = re.compile(r"[0-9A-Za-z]{6,10}\Z")
_PREFIX = re.compile(r"[0-9A-Za-z]{0,10}\Z")


def new() -> str:
    """Return a random id: 10 upper-case hexadecimal digits (40 bits)."""
    return secrets.token_hex(LENGTH // 2).upper()


def of_request(request_id: str, attempt: int) -> str:
    """Return the id of the kata that a request creates; `attempt` counts those that others have.

    It looks as random as the request's id is.
    """
    return hashlib.sha256(f"{attempt} {request_id}".encode()).hexdigest()[:LENGTH].upper()


def check(kata_id: str, field: str = "kata_id") -> str:
    """Return `kata_id` if it is a whole id; raise InvalidArgument if not."""
    if not is_whole(kata_id):
        raise InvalidArgument(field, f"{_shown(kata_id)} is not 10 letters and digits")
    return kata_id


def is_whole(text: str) -> bool:
    """Say whether `text` has the form of a whole id."""
    return _WHOLE.match(text) is not None


def is_old(text: str) -> bool:
    """Say whether `text` has the form of an old id."""
    return _OLD.match(text) is not None


def of_old(old_id: str) -> str:
    """Return the id that the kata of an old id has here."""
    return old_id + _OF_OLD


def old_of(kata_id: str) -> str | None:
    """Return the old id that an id follows from; None if it follows from none."""
    old_id = kata_id[:OLD_LENGTH]
    return old_id if is_old(old_id) and kata_id == of_old(old_id) else None


def old_from(text: str) -> str:
    """Return an old id for something that has none. It follows from a text that nobody else has."""
    number = int.from_bytes(hashlib.sha256(text.encode()).digest())
    digits = []
    for _ in range(OLD_LENGTH):
        number, digit = divmod(number, len(_OLD_CHARACTERS))
        digits.append(_OLD_CHARACTERS[digit])
    return "".join(digits)


def check_whole_or_old(kata_id: str, field: str = "kata_id") -> str:
    """Return `kata_id` if it is a whole id or an old one; raise InvalidArgument if not."""
    return kata_id if is_old(kata_id) else check(kata_id, field)


def check_partial(partial_id: str, shortest: int = SHORTEST_PARTIAL) -> str:
    """Return `partial_id` if it is long enough to be completed; raise InvalidArgument if not."""
    if not _PARTIAL.match(partial_id) or len(partial_id) < shortest:
        reason = f"{_shown(partial_id)} is not {shortest} to {LENGTH} letters and digits"
        raise InvalidArgument("partial_id", reason)
    return partial_id


def check_prefix(prefix: str) -> str:
    """Return `prefix` if an id can begin with it; raise InvalidArgument if not."""
    if not _PREFIX.match(prefix):
        raise InvalidArgument("prefix", f"{_shown(prefix)} is not 0 to 10 letters and digits")
    return prefix


def outer(kata_id: str) -> str:
    """Return the name of the folder that holds the kata's folder (`49` of `493A06504A`)."""
    return kata_id[:2]


def inner(kata_id: str) -> str:
    """Return the name of the kata's folder (`3A06504A` of `493A06504A`)."""
    return kata_id[2:]


def _shown(text: str) -> str:
    return ascii(text) if len(text) <= 40 else f"{text[:40]!a}... ({len(text)} characters)"
