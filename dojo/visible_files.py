"""Visible files: the limits of their names and sizes.

Names are relative paths with `/` between folders. Refused names could lead out of the sandbox, or
mean something else to git or the file system.
"""

import re
from collections.abc import Mapping

from dojo.errors import InvalidArgument

CYBER_DOJO_SH = "cyber-dojo.sh"

MAX_FILES = 4096
MAX_NAME_BYTES = 255
MAX_FILE_BYTES = 16 * 1024 * 1024
MAX_TOTAL_BYTES = 48 * 1024 * 1024

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NOT_UTF_8 = re.compile(r"[\ud800-\udfff]")  # what a byte becomes that is no part of a character

# Matches most names quickly: letters, digits and few others, no part that starts with a dot.
_PART = r"[A-Za-z0-9_][A-Za-z0-9_.+-]*"
_PLAIN = re.compile(rf"{_PART}(?:/{_PART})*")


def check(files: Mapping[str, bytes], field: str = "files") -> None:
    """Raise InvalidArgument, naming the file, unless `files` can be the files of one avatar."""
    if len(files) > MAX_FILES:
        raise InvalidArgument(field, f"{len(files)} files are more than {MAX_FILES}")
    total_bytes = 0
    for name, content in files.items():
        reason = name_fault(name)
        if reason is None and len(content) > MAX_FILE_BYTES:
            reason = f"{len(content)} bytes are more than {MAX_FILE_BYTES}"
        if reason is not None:
            raise InvalidArgument(f"{field}[{shown(name)}]", reason)
        total_bytes += len(content)
    if total_bytes > MAX_TOTAL_BYTES:
        reason = f"{total_bytes} bytes together are more than {MAX_TOTAL_BYTES}"
        raise InvalidArgument(field, reason)
    if (folder := name_that_is_a_folder(files)) is not None:
        reason = "is the folder of another file as well"
        raise InvalidArgument(f"{field}[{shown(folder)}]", reason)


def name_fault(name: str) -> str | None:
    """Say what is wrong with a visible file's name; None if nothing is."""
    if len(name) <= MAX_NAME_BYTES and _PLAIN.fullmatch(name):
        return None
    if not name:
        return "the name is empty"
    try:
        encoded = name.encode("utf-8")
    except UnicodeEncodeError:
        return "the name is not UTF-8"
    if len(encoded) > MAX_NAME_BYTES:
        return f"the name has {len(encoded)} bytes, more than {MAX_NAME_BYTES}"
    if _CONTROL.search(name):
        return "the name has a control character"
    if name.startswith("/"):
        return "the name is absolute"
    for part in name.split("/"):
        if part in {"", ".", ".."}:
            return f"the name has the part {part!r}"
        if _is_git(part):
            return "the name has the part .git"
    return None


def is_text(name: str) -> bool:
    """Return whether a name is UTF-8 without control characters."""
    return not (_CONTROL.search(name) or _NOT_UTF_8.search(name))


def is_git_or_dots(part: str) -> bool:
    """Return whether a name without slashes is empty, `.`, `..`, or git's own folder."""
    return part in {"", ".", ".."} or _is_git(part)


def _is_git(part: str) -> bool:
    return part.rstrip(" .").lower() == ".git" or part.lower().startswith(("git~", ".git:"))


def name_that_is_a_folder(names: Mapping[str, object]) -> str | None:
    """Return a name that is also the folder of another (`a` beside `a/b`); None if none is."""
    for name in names:
        cut = name.rfind("/")
        while cut != -1:
            if name[:cut] in names:
                return name[:cut]
            cut = name.rfind("/", 0, cut)
    return None


def mode(name: str) -> int:
    """Return the permissions of a visible file, in the sandbox and in git."""
    return 0o755 if name.endswith(".sh") else 0o644


def shown(name: str) -> str:
    """Return a name in a form that is safe and short enough for an error message."""
    return ascii(name) if len(name) <= 80 else ascii(name[:80]) + "..."
