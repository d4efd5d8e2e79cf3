"""Normalize a kata from another source: bring it into the form in which the storer keeps katas.

It works on a staged copy, which nobody sees yet. A kata from a katas directory, in any legacy
layout, and one from a tar get the same form: a git repository per avatar, the storer's owners and
permissions, and no setting or hook that git would run.
"""

import contextlib
import shutil
import stat
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from dojo import avatars, visible_files, waits
from dojo.budget import Budget, BudgetExceeded
from dojo.engine.data_containers import MANIFEST
from dojo.errors import InvalidArgument, KataDamaged
from dojo.limits import GIT_BYTES, GIT_OBJECTS
from dojo.naming import SANDBOX
from storer.fs import durable, in_place, json_files, json_times
from storer.fs.json_files import Unreadable
from storer.fs.write_ahead_log import JOURNAL
from storer.kata import light, sandbox
from storer.kata.avatar import PASSAGE
from storer.kata.history import GIT, LIGHT_JSON
from storer.kata.kata import Kata
from storer.kata.light import Light, Submission
from storer.kata.lights import INCREMENTS, parse
from storer.kata.manifest import OUTPUT
from storer.kata.recorder import Recorder, Tip
from storer.katas import incoming_history


def normalize(folder: Path, kata_id: str) -> list[str]:
    """Normalize the kata in `folder`; return the names of its avatars.

    Raises KataDamaged, naming the file, if a file is unreadable or contradicts another.
    """
    kata = Kata.detached(folder, kata_id)
    manifest = kata.read_manifest()
    created = kata.read_created()
    if kata.read_manifest_json().get("id", kata_id) != kata_id:
        stated_id = kata.read_manifest_json()["id"]
        raise KataDamaged(kata_id, MANIFEST, f"its id is {stated_id!r}")
    _check_files(manifest.visible_files, kata_id, MANIFEST)
    names = kata.avatar_names()
    _check_kinds(folder, kata_id)
    budget = Budget(max_bytes=GIT_BYTES, max_entries=GIT_OBJECTS)
    for name in names:
        start = Light(number=0, colour="", time=created)
        try:
            _normalize_avatar(folder / name, kata_id, start, manifest.visible_files, budget)
        except BudgetExceeded as error:
            raise KataDamaged(kata_id, f"{name}/{GIT}", error.reason) from None
    _restrict_access(folder, names)
    return names


def _check_kinds(folder: Path, kata_id: str) -> None:
    """Raise KataDamaged if there is a file in the place of a folder, or the reverse."""
    for path in folder.iterdir():
        if not avatars.is_name(path.name):
            continue
        if not path.is_dir():
            raise KataDamaged(kata_id, path.name, "is not a folder")
        for name in (MANIFEST, INCREMENTS, LIGHT_JSON, f"{GIT}/index"):
            if (path / name).is_dir():
                raise KataDamaged(kata_id, f"{path.name}/{name}", "is not a file")
        sandbox_folder = path / SANDBOX
        if sandbox_folder.exists() and not sandbox_folder.is_dir():
            raise KataDamaged(kata_id, f"{path.name}/{SANDBOX}", "is not a folder")


def _normalize_avatar(
    folder: Path, kata_id: str, start: Light, files: dict[str, bytes], budget: Budget
) -> None:
    name = folder.name
    _remove(folder / JOURNAL)  # another storer's write-ahead log, which would be replayed here
    _remove(in_place.spare_of(folder / MANIFEST))
    if (folder / GIT).is_dir():
        history, tags = incoming_history.take(folder, kata_id, name, budget)
        has_more = any(history.is_legacy(number) for number in tags if number > 0)
        _read_list(folder, kata_id, start, history.time, has_more=has_more)
    else:
        with contextlib.suppress(FileNotFoundError):
            (folder / GIT).unlink()
        has_more = any(path.name.isdecimal() and path.name != "0" for path in folder.iterdir())
        lights = _read_list(folder, kata_id, start, None, has_more=has_more)
        history = _history_from_folders(folder, kata_id, [start, *lights], files)
        tags = [0, *(each.number for each in lights)]
    read = incoming_history.lights(folder, history, tags, start)
    newest = history.submission(read[-1].number)
    history.check_out(read[-1].number)
    if not (folder / SANDBOX).is_dir():
        sandbox.create(folder, name, newest.files)
    sandbox.chown(folder / SANDBOX, name)
    if not _has_valid_files(folder / MANIFEST):
        durable.write(folder / MANIFEST, json_files.dump_files(newest.files))


def _read_list(
    folder: Path,
    kata_id: str,
    start: Light,
    committed: Callable[[int], datetime] | None,
    *,
    has_more: bool,
) -> list[Light]:
    """Read increments.json; complete what some legacy katas lack.

    Without the file, the avatar started and never tested, unless `has_more` says that there are
    lights which only the file would describe. A light whose time is null gets the time when it was
    `committed`, or that of the light before. Raises KataDamaged.
    """
    path = folder / INCREMENTS
    if not path.exists() and not has_more:
        durable.write(path, b"[]\n")
    try:
        value = json_files.read(path, list)
        is_complete = True
        before = start.time
        for each in value:
            if isinstance(each, dict) and "time" in each and each["time"] is None:
                number = each.get("number")
                if committed is not None and isinstance(number, int):
                    before = committed(number)
                each.update({"time": json_times.to_list(before), "time_was": None})
                is_complete = False
            before = light.from_json(each).time
        lights = parse(value)
    except Unreadable as error:
        raise KataDamaged(kata_id, f"{folder.name}/{INCREMENTS}", str(error)) from error
    if not is_complete:
        durable.write(path, json_files.dumps(value) + b"\n")
    return lights


def _check_files(files: dict[str, bytes], kata_id: str, path: str) -> None:
    """Raise KataDamaged if these can't be visible files: for a name, such as `../a`, or a size."""
    if (fault := _fault(files)) is not None:
        raise KataDamaged(kata_id, path, fault)


def _has_valid_files(manifest: Path) -> bool:
    """Say whether an avatar's manifest.json exists, and has files that a light may have."""
    if not manifest.exists():
        return False
    try:
        return _fault(json_files.read_files(json_files.read(manifest, dict))) is None
    except Unreadable:
        return True  # it is read, and reported as damaged, when a caller needs it


def _fault(files: dict[str, bytes]) -> str | None:
    """Say why these can't be the visible files of a light; None if they can."""
    try:
        visible_files.check(files)
    except InvalidArgument as error:
        return f"{error.field}: {error.reason}"
    return None


def _history_from_folders(
    folder: Path, kata_id: str, lights: list[Light], files: dict[str, bytes]
) -> Recorder:
    """Convert a folder per light (`17/manifest.json`) to git history; remove the folders."""
    history = Recorder.create(folder, kata_id, folder.name)
    tip: Tip | None = None
    for index, each in enumerate(lights):
        light_folder = folder / str(each.number)
        if each.number == 0 and not light_folder.exists():
            submission = Submission(files)
        else:
            submission = _read_light_folder(light_folder, kata_id)
        if index and each.number != lights[index - 1].number + 1:
            reason = f"light {each.number} follows light {lights[index - 1].number}"
            raise KataDamaged(kata_id, f"{folder.name}/{INCREMENTS}", reason)
        tip = history.record(each, submission, tip)
    for each in lights:
        shutil.rmtree(folder / str(each.number), ignore_errors=True)
    return history


def _read_light_folder(light_folder: Path, kata_id: str) -> Submission:
    waits.check()  # each of them can be large, and there can be many
    path = f"{light_folder.parent.name}/{light_folder.name}/{MANIFEST}"
    try:
        files = json_files.read_files(json_files.read(light_folder / MANIFEST, dict))
    except Unreadable as error:
        raise KataDamaged(kata_id, path, str(error)) from error
    _check_files(files, kata_id, path)
    return Submission(files=files, stdout=files.pop(OUTPUT, b""))


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _restrict_access(folder: Path, names: list[str]) -> None:
    """Deny everybody except the storer access to everything but the sandboxes.

    The files inside a folder keep their modes: nobody else can reach them.
    """
    for restricted in (folder, *(folder / name for name in names)):
        for path in restricted.iterdir():
            status = path.lstat()
            if path.name != SANDBOX and path.name not in names:
                path.chmod(0o700 if stat.S_ISDIR(status.st_mode) else durable.PRIVATE)
    folder.chmod(PASSAGE)
    for name in names:
        avatars.close_to_others(folder / name, name)
