"""Regular expressions in Ruby's dialect: what can be told without Ruby.

Callers compile them. Other dialects refuse much that Ruby takes, and take much that it refuses. So
this looks only at what is certain: brackets, backslashes, and what is repeated.
"""

import re

_TOKEN = re.compile(
    r"(?P<comment>\(\?#(?:[^\\)]|\\.)*+(?P<end>\))?)"
    r"|(?P<escape>\\.)"
    r"|(?P<last_backslash>\\)"
    r"|(?P<opening>\(\??)"
    r"|(?P<closing>\))"
    r"|(?P<set>\[)"
    r"|(?P<bar>\|)"
    r"|(?P<repeat>[*+?])"
    r"|(?P<other>.)",
    re.DOTALL,
)
# What a set of characters, such as `[^a-z[:digit:]]`, consists of. A `]` that comes first stands
# for itself.
_IN_SET = re.compile(r"\[:\^?[a-z]+:\]|\\.|\[\^?\]?|\]|[^\\\[\]]++", re.DOTALL)

# From here on blanks and comments mean nothing; a comment may have any bracket.
_EXTENDED = re.compile(r"\(\?[a-wyz]*x")


def fault(pattern: str) -> str | None:
    """Say why Ruby refuses a pattern; None if it does not, or if only Ruby can tell."""
    if _EXTENDED.search(pattern):
        return None
    at = depth = 0
    repeatable = False
    while token := _TOKEN.match(pattern, at):
        at = token.end()
        match token.lastgroup:
            case "comment" if token["end"] is None:
                return "has a ( that is not closed"
            case "comment":
                continue
            case "last_backslash":
                return "ends in a backslash"
            case "opening":
                depth += 1
            case "closing" if depth == 0:
                return "has a ) without a ("
            case "closing":
                depth -= 1
            case "repeat" if not repeatable:
                return f"has a {token[0]} with nothing before it to repeat"
            case "set":
                end = _end_of_set(pattern, token.start())
                if end is None:
                    return "has a [ that is not closed"
                at = end
        repeatable = token.lastgroup not in {"opening", "bar"}
    return "has a ( that is not closed" if depth else None


def _end_of_set(pattern: str, at: int) -> int | None:
    depth = 0
    while token := _IN_SET.match(pattern, at):
        at = token.end()
        if token[0] == "]":
            depth -= 1
        elif token[0].startswith("[") and not token[0].startswith("[:"):
            depth += 1
        if depth == 0:
            return at
    return None
