"""Details of a kata from its small files, for lists: reading them fetches no kata."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from dojo.errors import KataDamaged, KataNotFound
from storer.fs import json_files
from storer.fs.json_files import Unreadable
from storer.kata import damaged
from storer.kata.history import GIT
from storer.kata.kata import Kata
from storer.kata.light import Light
from storer.kata.lights import INCREMENTS, complete_times, has_light_folders, parse

# Of lights without a time, if the kata's manifest.json has none either.
_UNKNOWN = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Details:
    """What is in a kata. `problem` names unreadable files; what they would say is left empty."""

    display_name: str = ""
    exercise: str = ""
    created: datetime | None = None
    avatar_count: int = 0
    light_count: int = 0
    newest: datetime | None = None
    problem: str = ""


def read(folder: Path, kata_id: str) -> Details | None:
    """Return the details of the kata in `folder`, in a data-container or a katas directory.

    Takes no lock and opens no repository: a light that is being recorded can be missing. Returns
    None if the kata has just been removed.
    """
    kata = Kata.detached(folder, kata_id)
    problems = []
    display_name, exercise, created = "", "", None
    try:
        found = kata.read_manifest()
        display_name, exercise = found.display_name, found.exercise
        created = kata.read_created()
    except KataDamaged as error:
        problems.append(f"{error.path}: {error.reason}")
    light_count, newest = 0, None
    start = created or _UNKNOWN
    try:
        names = kata.avatar_names()
    except KataNotFound:
        return None
    for name in names:
        try:
            damaged.check(folder / name, kata_id)
            lights = _lights(folder / name, start)
        except KataDamaged as error:
            problems.append(f"{error.path}: {error.reason}")
            continue
        except (Unreadable, OSError) as error:
            problems.append(f"{name}/{INCREMENTS}: {error}")
            continue
        light_count += len(lights)
        if lights:
            newest = max(newest or lights[-1].time, lights[-1].time)
    return Details(
        display_name, exercise, created, len(names), light_count, newest, "; ".join(problems)
    )


def _lights(folder: Path, start: datetime) -> list[Light]:
    """Return the lights of an avatar, as an import would complete them. Raises Unreadable."""
    if not (folder / INCREMENTS).exists() and not _has_tests(folder):
        return []
    value = json_files.read(folder / INCREMENTS, list)
    complete_times(value, start)
    return parse(value)


def _has_tests(folder: Path) -> bool:
    """Say whether an avatar's folder has lights besides the start."""
    tags, packed = folder / GIT / "refs" / "tags", folder / GIT / "packed-refs"
    return (
        has_light_folders(folder)
        or (tags.is_dir() and any(path.name != "0" for path in tags.iterdir()))
        or (packed.is_file() and b" refs/tags/1\n" in packed.read_bytes())
    )
