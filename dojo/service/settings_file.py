"""The file with an installation's settings: `.env` in the checkout, which git does not track.

It has lines of `NAME=value`, empty lines, and comments, which begin with `#`. docker compose,
`scripts/lib.sh` and this module read the same of it: what they would read differently, such as
quotes, is refused. A variable of the environment counts before the file.
"""

import re
from collections.abc import Iterator, Mapping, MutableMapping
from pathlib import Path

from dojo.service import setting_names
from dojo.service.settings import BadSettings

# The setting that names another file, and the variable in which those who read it note what it set.
# An older version would refuse that if it were called like a setting.
FILE = "CYBER_DOJO_SETTINGS_FILE"
SET_BY_FILE = "SETTINGS_SET_BY_FILE"

_CHECKOUT = Path(__file__).resolve().parents[2]
_MAX_BYTES = 64 * 1024

_LINE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)\Z")
# Of docker, compose and the archive's store.
_FOREIGN = re.compile(r"(COMPOSE|DOCKER|AWS)_[A-Z0-9_]+\Z")
# Quotes, escapes, substitutions and comments behind a value.
_AMBIGUOUS = re.compile(r"""["'\\$`]|\s#|^#""")


def apply(environ: MutableMapping[str, str]) -> None:
    """Add to `environ` what the file sets and `environ` has not, and note which that is.

    Without the file nothing happens, unless `environ` names it. Raises BadSettings.
    """
    named = environ.get(FILE)
    path = Path(named) if named else _CHECKOUT / ".env"
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        if named:
            raise BadSettings([f"{FILE}={named!r}: there is no such file"]) from None
        return
    except OSError as error:
        raise BadSettings([f"{path}: can't be read: {error.strerror}"]) from error
    added = {name: value for name, value in _parse(path, text).items() if name not in environ}
    if added:
        environ.update(added)
        environ[SET_BY_FILE] = " ".join(added)


def names_set_by_file(environ: Mapping[str, str]) -> set[str]:
    """Return the names of the settings that came from the file."""
    return set(environ.get(SET_BY_FILE, "").split())


def _parse(path: Path, content: bytes) -> dict[str, str]:
    if len(content) > _MAX_BYTES:
        raise BadSettings([f"{path}: is larger than {_MAX_BYTES} bytes"])
    try:
        lines = content.decode().splitlines()
    except UnicodeDecodeError:
        raise BadSettings([f"{path}: is not text in UTF-8"]) from None
    found: dict[str, str] = {}
    problems: list[str] = []
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = _LINE.match(line)
        reasons = list(_reasons(match[1], match[2], found)) if match else ["is not NAME=value"]
        problems += [f"{path}:{number}: {reason}" for reason in reasons]
        if match and not reasons:
            found[match[1]] = match[2]
    if problems:
        raise BadSettings(problems)
    return found


def _reasons(name: str, value: str, found: Mapping[str, str]) -> Iterator[str]:
    """Yield why a line can't be used. Values are left out: they can be secrets."""
    if name.startswith(setting_names.PREFIX):
        yield from setting_names.unknown({name: "set"})
    elif not _FOREIGN.match(name):
        yield f"{name} is no setting"
    if name == FILE:
        yield f"{name} can't be in the file"
    if name in found:
        yield f"{name} is set above"
    if value != value.strip():
        yield f"{name}: there are blanks around its value"
    elif _AMBIGUOUS.search(value):
        yield f"{name}: write the value as it is, without quotes, backslashes, $, ` or a comment"
