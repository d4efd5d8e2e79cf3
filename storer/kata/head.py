"""The head of a kata: where its history ends. Katas with the same head have the same history.

They have the same options, too.

A head is quick to read, from a few small files for each avatar: a nightly backup reads the heads
of all katas to find those that changed.
"""

import hashlib
import os
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from dojo import regular_files
from dojo.engine.data_containers import MANIFEST
from dojo.errors import KataDamaged, KataNotFound
from storer.fs.json_files import Unreadable
from storer.fs.write_ahead_log import WriteAheadLog
from storer.git.reader import packed_references
from storer.kata import damaged, edit, options
from storer.kata.avatar import Avatar
from storer.kata.history import GIT
from storer.kata.kata import Kata
from storer.kata.lights import INCREMENTS

DAMAGED = -1

# Few lights in increments.json are longer.
_TAIL_BYTES = 4096
# Matches only a key: inside a string, a backslash would precede its last quote.
_NUMBER = re.compile(rb'"number"\s*:\s*(\d{1,8})\b')
_ID = re.compile(rb"[0-9a-f]{40}\n?\Z")


@dataclass(frozen=True)
class Head:
    """The newest light of each avatar, and what the kata was created from.

    `lights` holds, in alphabetical order, each avatar with the number of its newest light and
    the git object that the light's tag names: a commit, or in legacy katas an annotated tag. A
    damaged avatar has the number DAMAGED, and the digest of what came of it, "" if it was whole
    when it came.
    `manifest_sha256` is the digest of the kata's manifest.json, and `options` that of its options,
    "" if it has none. `edits` has each avatar that edited something after its newest light, with
    the number of the newest edit and its commit; when there
    is a newer light, the edits before that can't change.
    """

    lights: tuple[tuple[str, int, str], ...]
    manifest_sha256: str
    edits: tuple[tuple[str, int, str], ...] = ()
    options: str = ""

    @cached_property
    def digest(self) -> str:
        """The digest of the whole head, as 64 hexadecimal digits."""
        lines = [self.manifest_sha256, *(f"{name} {at} {tag}" for name, at, tag in self.lights)]
        lines += [f"{name} .{minor} {commit}" for name, minor, commit in self.edits]
        lines += [f"{options.OPTIONS} {self.options}"] if self.options else []
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def head_of(
    kata: Kata, names: Iterable[str] | None = None, options_digest: str | None = None
) -> Head:
    """Read a kata's head, of all avatars or of those in `names`.

    With an `options_digest`, that is the digest of its options, and they are not read.
    Raises KataNotFound. Needs no lock: a light that is being recorded at this moment may or may not
    be in the head.
    """
    try:
        manifest = (kata.folder / MANIFEST).read_bytes()
    except FileNotFoundError:
        raise KataNotFound(kata.kata_id) from None
    names = kata.avatar_names() if names is None else names
    lights = tuple((name, *newest(kata, name)) for name in names)
    edits = tuple(
        (name, *edit)
        for name, number, _ in lights
        if number != DAMAGED and (edit := newest_edit(kata.folder / name, number)) is not None
    )
    if options_digest is None:
        options_digest = options.digest(kata.folder)
    return Head(lights, hashlib.sha256(manifest).hexdigest(), edits, options_digest)


def newest(kata: Kata, name: str) -> tuple[int, str]:
    """Return the number of an avatar's newest light, and the object that its tag names.

    Of a damaged avatar, return what `Head` has of it.
    """
    found = _newest_from_files(kata.folder / name)
    if found is not None:
        return found
    try:
        return _newest_from_git(kata.avatar(name))
    except KataDamaged:
        return DAMAGED, _digest_of_damage(kata.folder / name)


def newest_edit(folder: Path, number: int) -> tuple[int, str] | None:
    """Return the number and the commit of the newest edit after a light; None if there is none."""
    git = folder / GIT
    minor, commit = 0, ""
    with (
        suppress(FileNotFoundError),
        regular_files.open_to_read(git / "packed-refs") as lines,
    ):
        for name, target in packed_references(lines):
            found = edit.number_of(name)
            if found is not None and found[0] == number and found[1] > minor:
                minor, commit = found[1], target
    while (path := git / edit.tag_of(number, minor + 1)).exists():
        minor, commit = minor + 1, path.read_text(errors="replace").strip()
    return (minor, commit) if minor else None


def _digest_of_damage(folder: Path) -> str:
    try:
        damage = damaged.read(folder)
    except Unreadable:
        return ""
    return "" if damage is None else damage.sha256


def _newest_from_files(folder: Path) -> tuple[int, str] | None:
    """Return the same from increments.json and the tag's file; None if git may have more."""
    tags = folder / GIT / "refs" / "tags"
    try:
        number = _last_number(folder / INCREMENTS)
        if number is None or (tags / str(number + 1)).exists():
            return None  # git has a newer light, or a legacy tag that is no light
        tag = (tags / str(number)).read_bytes()
    except OSError:
        return None
    is_logged = WriteAheadLog(folder).read_position().used
    is_complete = not (folder / GIT / "packed-refs").exists() and not is_logged
    return (number, tag[:40].decode()) if is_complete and _ID.match(tag) else None


def _last_number(increments: Path) -> int | None:
    with open(increments, "rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        file.seek(max(0, size - _TAIL_BYTES))
        tail = file.read(_TAIL_BYTES)
    if size <= _TAIL_BYTES and tail.strip() == b"[]":
        return 0
    numbers = _NUMBER.findall(tail)
    return int(numbers[-1]) if numbers else None


def _newest_from_git(avatar: Avatar) -> tuple[int, str]:
    number = avatar.lights()[-1].number
    name = f"refs/tags/{number}"
    tag = avatar.open_history().open_repository().references.get(name)
    if tag is None:
        raise KataDamaged(avatar.kata_id, f"{avatar.name}/{GIT}/{name}", "is missing")
    return number, str(tag.target)
