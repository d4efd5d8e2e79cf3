"""A kata that one avatar of another one has to itself, with the avatar's history up to a light.

It has the same git objects, those alone that lead to its lights and edits. It is checked as a kata
that comes from elsewhere is, and all in one process: that holds Python's lock for most of the time.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pygit2

from dojo import limits
from dojo.budget import Budget, BudgetExceeded
from dojo.engine.data_containers import MANIFEST
from dojo.errors import HistoryTooLarge, KataDamaged
from dojo.processes import Processes
from storer.fs import durable, json_files, json_times
from storer.fs.json_files import Unreadable
from storer.git import bundle, libgit2, object_writer
from storer.git.libgit2 import in_words
from storer.git.reader import GitReader
from storer.kata import edit, light, manifest, options
from storer.kata.history import GIT, tag_of
from storer.kata.kata import Kata
from storer.kata.lights import INCREMENTS
from storer.kata.manifest import FORKED_START
from storer.kata.options import Options
from storer.kata.recorder import BRANCH, Recorder
from storer.kata.request import Request
from storer.katas import fork, normalize


@dataclass(frozen=True, slots=True)
class NewKata:
    """The kata that is made, in the folder in which it is staged."""

    folder: Path
    kata_id: str
    created: datetime
    request: Request | None


@dataclass(frozen=True, slots=True)
class _Forked:
    """What is forked: a kata's folder, an avatar in it, and its lights, edits and options."""

    folder: Path
    kata_id: str
    avatar: str
    chosen: Options
    lights: list[int]
    edits: list[tuple[int, int]]


def write(kata: Kata, name: str, number: int, new: NewKata, processes: Processes) -> list[str]:
    """Write a kata with one avatar, as that was at a light; return the names of its avatars.

    It is written in one of the `processes`. Raises AvatarNotFound, LightNotFound, KataDamaged or
    HistoryTooLarge.
    """
    avatar = kata.avatar(name)
    newest, start = avatar.light(number), avatar.light(0)
    forked_from = {"id": kata.kata_id, "avatar": name, "number": newest.number}
    if avatar.open_history().is_legacy(0):
        forked_from[FORKED_START] = json_times.to_list(start.time)
    forked = _Forked(
        kata.folder,
        kata.kata_id,
        name,
        kata.read_options().of(name),
        [each.number for each in avatar.lights() if each.number <= newest.number],
        [(each.number, each.minor) for each in avatar.edits() if each.number < newest.number],
    )
    return processes.call(_write, forked, forked_from, new)


def _write(forked: _Forked, forked_from: dict[str, Any], new: NewKata) -> list[str]:
    """Write a kata, and bring it into the storer's form, in a process."""
    libgit2.configure()
    described = fork.described(Kata.detached(forked.folder, forked.kata_id), forked_from)
    pieces = manifest.dump(described, new.kata_id, new.created, new.request)
    durable.replace(new.folder / MANIFEST, pieces, sync=False)
    options.write_chosen(new.folder, forked.chosen)
    try:
        with durable.translate_disk_errors():
            _write_avatar(forked, new)
    except (pygit2.GitError, KeyError, ValueError, OSError) as error:
        path = f"{forked.avatar}/{GIT}"
        raise KataDamaged(forked.kata_id, path, in_words(error)) from error
    except BudgetExceeded as error:
        raise HistoryTooLarge(forked.kata_id, forked.avatar, error.reason) from None
    try:
        found = normalize.normalize(new.folder, new.kata_id)
    except KataDamaged as error:  # the new kata is never seen
        raise KataDamaged(forked.kata_id, error.path, error.reason) from error
    for avatar, reason in found.set_aside:
        raise KataDamaged(forked.kata_id, f"{avatar}/{GIT}", reason)
    return found.names


def _write_avatar(forked: _Forked, new: NewKata) -> None:
    """Write the objects and references of an avatar's history, and its increments.json.

    Raises BudgetExceeded, and what a GitReader does.
    """
    folder = new.folder / forked.avatar
    folder.mkdir()
    Recorder.create(folder, new.kata_id, forked.avatar)
    budget = Budget(max_bytes=limits.FORKED_BYTES, max_entries=limits.FORKED_OBJECTS)
    reader = GitReader(forked.folder / forked.avatar / GIT, budget)
    tags = [tag_of(number) for number in forked.lights]
    targets = {tag: reader.target(tag) for tag in tags}
    targets |= {tag: reader.target(tag) for each in forked.edits if (tag := edit.tag_of(*each))}
    names = bundle.reachable(reader, targets.values(), budget)
    title = hashlib.sha1("".join(sorted(names)).encode(), usedforsecurity=False).hexdigest()
    with (folder / GIT / "objects" / "pack" / f"pack-{title}.pack").open("wb") as file:
        file.writelines(bundle.pack(reader, names))
    targets[BRANCH] = reader.commit(tags[-1])
    for reference, target in targets.items():
        object_writer.write_reference(folder / GIT, reference, target)
    listed = _listed(forked.folder / forked.avatar / INCREMENTS, forked.lights)
    durable.replace(folder / INCREMENTS, json_files.dumps(listed) + b"\n", sync=False)


def _listed(increments: Path, numbers: Iterable[int]) -> list[Any]:
    """Return what increments.json has of these lights.

    It can lack lights, or not be whole while one is appended: those are in git.
    """
    wanted = set(numbers)
    try:
        value = json_files.read(increments, list)
        return [each for each in value if light.from_json(each).number in wanted]
    except Unreadable:
        return []
