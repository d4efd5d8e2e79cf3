"""Patterns: the regular expressions of a colour rule, in RE2 syntax.

RE2 (https://github.com/google/re2/wiki/Syntax) takes time linear in the text that it searches, so
no output can stall a rule.
"""

import re2

MAX_PATTERNS = 32
MAX_PATTERN_BYTES = 1000

# For a compiled pattern and RE2's cache of states, which RE2 empties when it is full.
_MAX_MEMORY_BYTES = 2 * 1024 * 1024


class BadPattern(ValueError):
    """The pattern can't be used; the message says why."""


def compiled(pattern: str) -> re2._Regexp:
    """Return the compiled pattern; raise BadPattern if it can't be used."""
    encoded = pattern.encode()
    if len(encoded) > MAX_PATTERN_BYTES:
        raise BadPattern(f"{len(encoded)} bytes are more than {MAX_PATTERN_BYTES}")
    if not encoded:
        raise BadPattern("is empty, which every output matches")
    options = re2.Options()
    options.log_errors = False
    options.never_capture = True
    options.max_mem = _MAX_MEMORY_BYTES
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0]
        text = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
        raise BadPattern(text) from None
