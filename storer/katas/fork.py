"""What a kata is created from that starts with the files of another one's light.

It has the options that hold for the avatar of the light, as those of the kata.
"""

from collections.abc import Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dojo import limits, process_main
from dojo.budget import NotSmall
from dojo.processes import Processes
from storer.fs import json_files
from storer.git import libgit2
from storer.kata.history import History
from storer.kata.kata import Kata
from storer.kata.light import Submission
from storer.kata.manifest import FORKED_FROM, SAVER, UNUSABLE, Manifest
from storer.kata.options import Options


@dataclass(frozen=True)
class Described:
    """What a kata is created from: its manifest, its options, and the JSON of its files.

    `files` is None where the manifest has the files.
    """

    manifest: Manifest
    options: Options = Options()
    files: Iterable[bytes] | None = None


def describe(
    kata: Kata, name: str, number: int, processes: Processes, held: ExitStack
) -> Described:
    """Return what a fork of a light (-1: the newest) is created from.

    Large files are read in one of the `processes`, which is in use until `held` ends; their JSON
    has to be read before.
    """
    avatar = kata.avatar(name)
    light = avatar.light(number)
    chosen = kata.read_options().of(name)
    forked_from = {"id": kata.kata_id, "avatar": name, "number": light.number}
    if not kata.has_large_manifest():
        with suppress(NotSmall):
            submission = avatar.submission(light.number, limits.LARGE_LIGHT_BYTES)[1]
            return Described(_fork(kata, submission, forked_from), chosen)
    avatar.open_history()  # replays its log, if need be
    process = held.enter_context(processes.one())
    large = process.call(_describe_large, kata.folder, kata.kata_id, forked_from)
    return Described(large, chosen, process.pieces())


def _describe_large(folder: Path, kata_id: str, forked_from: dict[str, Any]) -> Manifest:
    """Return the manifest of a fork, and leave the JSON of its files, in a process."""
    libgit2.configure()
    name, number = forked_from["avatar"], forked_from["number"]
    submission = History(folder / name, kata_id, name).submission(number)
    whole = _fork(Kata.detached(folder, kata_id), submission, forked_from)
    process_main.leave(json_files.file_pieces(submission.files))
    return replace(whole, visible_files={})


def _fork(parent: Kata, submission: Submission, forked_from: dict[str, Any]) -> Manifest:
    return replace(described(parent, forked_from), visible_files=submission.files)


def described(parent: Kata, forked_from: dict[str, Any]) -> Manifest:
    """Return the manifest of a kata, with where a fork of it is from.

    What a saver had of the kata's avatars, such as their options, is theirs alone.
    """
    found = parent.read_manifest()
    other = {**found.other, FORKED_FROM: forked_from}
    about = other.pop(SAVER, None)
    if isinstance(about, dict) and UNUSABLE in about:
        other[SAVER] = {UNUSABLE: about[UNUSABLE]}
    return replace(found, other=other)
