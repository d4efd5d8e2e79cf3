"""The options of a kata: what its editor looks like, and what it does with tests.

They are in a small file of the kata, beside its manifest.json; as long as nobody sets one there is
no such file. Its `revision` counts the changes: of two copies of a kata, which are on two machines
or in a backup, the one with the higher revision has the later options. Keys that are not known here
are kept. A file that can't be read leaves the kata without options, and is put aside by whoever
writes the next one, which is later than any that was lost.
"""

import hashlib
import os
import shutil
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from dojo import avatars, limits, regular_files
from storer.fs import durable, json_files
from storer.fs.json_files import Unreadable
from storer.kata.manifest import fits_message

OPTIONS = "options.json"

# Where a file goes that can't be read.
PUT_ASIDE = "options.json.damaged"

THEMES = ("light", "dark")

# A count that JSON readers of any language have as it is.
_MAX_REVISION = 2**53 - 1

# Of the keys that are not known here: then all options of 64 avatars have room beside them.
_MAX_UNKNOWN_BYTES = limits.MAX_OPTIONS_BYTES // 2

# In place of the digest of a file that can't be read.
UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class Options:
    """Options of a kata or an avatar, None where they are not set."""

    theme: str | None = None
    syntax_colour: bool | None = None
    predict: bool | None = None
    revert_red: bool | None = None
    revert_amber: bool | None = None
    revert_green: bool | None = None

    def values(self) -> dict[str, Any]:
        """Return those that are set, by their names."""
        found = ((name, getattr(self, name)) for name in NAMES)
        return {name: value for name, value in found if value is not None}


NAMES = tuple(each.name for each in fields(Options))

DEFAULTS = Options(
    theme="light",
    syntax_colour=True,
    predict=False,
    revert_red=False,
    revert_amber=False,
    revert_green=False,
)
"""What holds where an option is not set."""


@dataclass(frozen=True, slots=True)
class KataOptions:
    """All options of a kata: those of the kata, and those that avatars have of their own.

    `kept` is the JSON that they were read from. Those with the same options are equal, whatever
    their revision.
    """

    kata: Options = Options()
    avatars: Mapping[str, Options] = field(default_factory=dict)
    revision: int = field(default=0, compare=False)
    kept: Mapping[str, Any] = field(default_factory=dict, compare=False)

    def of(self, avatar: str) -> Options:
        """Return the options that are set for an avatar, by itself or by the kata."""
        return replace(self.kata, **self.avatars.get(avatar, Options()).values())

    def changed(self, avatar: str, given: Options, unset: Collection[str] = ()) -> "KataOptions":
        """Return the options after the `given` ones are set, and others set no longer.

        They are those of an avatar, or of the kata if `avatar` is "".
        """
        before = self.avatars.get(avatar, Options()) if avatar else self.kata
        after = replace(before, **given.values(), **dict.fromkeys(unset))
        revision = min(self.revision + 1, _MAX_REVISION)
        if not avatar:
            return replace(self, kata=after, revision=revision)
        others = {name: each for name, each in self.avatars.items() if name != avatar}
        own = {avatar: after} if after.values() else {}
        return replace(self, avatars=dict(sorted({**others, **own}.items())), revision=revision)


def content(folder: Path) -> bytes:
    """Return the content of a kata's file of options, b"" if there is none. Raises Unreadable."""
    try:
        with regular_files.open_to_read(folder / OPTIONS, follows_links=False) as file:
            found = file.read(limits.MAX_OPTIONS_BYTES + 1)
    except FileNotFoundError:
        return b""
    except OSError as error:
        is_file = error.errno not in regular_files.NO_FILE
        reason = error.strerror if is_file else "it is not a file"
        raise Unreadable(f"can't be read: {reason}") from error
    if len(found) > limits.MAX_OPTIONS_BYTES:
        raise Unreadable(f"has more than {limits.MAX_OPTIONS_BYTES} bytes")
    return found


def digest(folder: Path) -> str:
    """Return a digest of a kata's options, "" if there are none."""
    try:
        return digest_of(content(folder))
    except Unreadable:
        return UNREADABLE


def digest_of(content: bytes) -> str:
    """Return the digest of options whose file has this content."""
    return hashlib.sha256(content).hexdigest() if content else ""


def read(folder: Path) -> KataOptions:
    """Return a kata's options. Raises Unreadable."""
    found = content(folder)
    return parse(json_files.loads(found, dict)) if found else KataOptions()


def parse(value: Mapping[str, Any]) -> KataOptions:
    """Return the options that a JSON object stands for. Raises Unreadable."""
    of_avatars = value.get("avatars", {})
    if not isinstance(of_avatars, dict):
        raise Unreadable("avatars: is not an object")
    revision = value.get("revision", 0)
    if not isinstance(revision, int) or isinstance(revision, bool):
        raise Unreadable(f"revision: {revision!a:.80} is not a whole number")
    if not 0 <= revision <= _MAX_REVISION:
        raise Unreadable(f"revision: {revision} is not from 0 to {_MAX_REVISION}")
    each = {name: _parse_one(of_avatars[name], name) for name in sorted(of_avatars)}
    found = KataOptions(
        kata=_parse_one(value.get("kata", {}), "kata"),
        avatars={name: own for name, own in each.items() if avatars.is_name(name) and own.values()},
        revision=revision,
        kept=value,
    )
    if not fits_message(value):  # such as one that is too deep to be written
        raise Unreadable("has a key or a value that does not fit into a message")
    if len(dump(KataOptions(kept=value))) > _MAX_UNKNOWN_BYTES:
        raise Unreadable(f"has more than {_MAX_UNKNOWN_BYTES} bytes of keys that are not known")
    return found


def dump(options: KataOptions) -> bytes:
    """Return options as the content of their file, with a line for each key."""
    kept = options.kept.get("avatars", {})
    value = {
        **options.kept,
        "revision": options.revision,
        "kata": _to_json(options.kata, options.kept.get("kata", {})),
        "avatars": {
            name: own
            for name in sorted({*kept, *options.avatars})
            if (own := _to_json(options.avatars.get(name, Options()), kept.get(name, {})))
        },
    }
    lines = (json_files.dumps(key) + b":" + json_files.dumps(each) for key, each in value.items())
    return b"{\n" + b",\n".join(lines) + b"\n}\n"


def write(folder: Path, content: bytes) -> None:
    """Replace a kata's file of options, durably. For the holder of the lock that guards it."""
    if is_damaged(folder):
        put_aside(folder)
    durable.write(folder / OPTIONS, content)


def write_chosen(folder: Path, chosen: Options) -> None:
    """Write the file of options of a new kata, durably, if there are any."""
    if chosen.values():
        write(folder, dump(KataOptions().changed("", chosen)))


def read_to_change(folder: Path) -> KataOptions:
    """Return a kata's options, for whoever sets others; lock as for `write`.

    If they are lost, there are none, of a revision that no lost ones had.
    """
    try:
        found = read(folder)
    except Unreadable:
        return _lost()
    is_lost = not found.revision and os.path.lexists(folder / PUT_ASIDE)
    return _lost() if is_lost else found


def _lost() -> KataOptions:
    """Return no options, later than any: nobody can set options each microsecond since 1970."""
    return KataOptions(revision=time.time_ns() // 1000)


def mend(folder: Path) -> None:
    """Put a file of options aside that can't be read, for one without any; lock as for `write`.

    Without that one, those of an old backup would be taken for later ones.
    """
    write(folder, dump(_lost()))


def is_damaged(folder: Path) -> bool:
    """Say whether a kata has a file of options that can't be read."""
    return fault(folder) is not None


def fault(folder: Path) -> str | None:
    """Say why a kata's file of options can't be read; None if it can, or there is none."""
    try:
        read(folder)
    except Unreadable as error:
        return str(error)
    return None


def put_aside(folder: Path) -> None:
    """Give another name to a file of options that can't be read; it goes wherever the kata goes."""
    aside = folder / PUT_ASIDE
    if aside.is_dir() and not aside.is_symlink():
        shutil.rmtree(aside)
    else:
        aside.unlink(missing_ok=True)
    (folder / OPTIONS).rename(aside)
    durable.sync_folder(folder)


def go_on(was: Path, now: Path) -> bool:
    """Say whether the options of a kata are those that another copy of it has, or later ones.

    The arguments are the folders of the copies. Options that can't be read are none.
    """
    before, after = read_or_none(was), read_or_none(now)
    return before.revision < after.revision or (before.revision, before) == (after.revision, after)


def read_or_none(folder: Path) -> KataOptions:
    """Return a kata's options; none if their file can't be read, as verifying tells."""
    try:
        return read(folder)
    except Unreadable:
        return KataOptions()


def _parse_one(value: object, where: str) -> Options:
    if not isinstance(value, dict):
        raise Unreadable(f"{where!a:.80}: is not an object")
    found = {name: value[name] for name in NAMES if value.get(name) is not None}
    for name, each in found.items():
        is_valid = each in THEMES if name == "theme" else isinstance(each, bool)
        if not is_valid:
            raise Unreadable(f"{where!a:.80}: {name}: can't be {each!a:.80}")
    return Options(**found)


def _to_json(options: Options, kept: Mapping[str, Any]) -> dict[str, Any]:
    unknown = {name: value for name, value in kept.items() if name not in NAMES}
    return {**unknown, **options.values()}
