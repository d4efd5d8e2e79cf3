"""Normalize a kata from another source: bring it into the form in which the storer keeps katas.

It works on a staged copy, which nobody sees yet. A kata from a katas directory, in any legacy
layout, and one from a tar get the same form: a git repository per avatar, the storer's owners and
permissions, and no setting or hook that git would run. An avatar that is damaged is set aside, and
the others come in without it (`storer.katas.set_aside`).
"""

import shutil
import stat
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from dojo import avatars, visible_files, waits
from dojo.budget import Budget, BudgetExceeded
from dojo.engine.data_containers import MANIFEST
from dojo.errors import InvalidArgument, KataDamaged
from dojo.limits import GIT_BYTES, GIT_OBJECTS, GIT_SECONDS
from dojo.naming import SANDBOX
from dojo.shares import Holding
from storer.fs import durable, in_place, json_files
from storer.fs.json_files import Unreadable
from storer.fs.write_ahead_log import JOURNAL
from storer.kata import lights, options, sandbox
from storer.kata.avatar import PASSAGE
from storer.kata.history import GIT, LIGHT_JSON
from storer.kata.kata import RESTORED, Kata
from storer.kata.light import Light, Submission
from storer.kata.lights import INCREMENTS
from storer.kata.manifest import OUTPUT
from storer.kata.recorder import Recorder, Tip
from storer.katas import incoming_history, set_aside
from storer.katas.set_aside import Originals


class Normalized(NamedTuple):
    """The avatars of a kata that was normalized, and the damaged ones, each with the reason."""

    names: list[str]
    set_aside: list[tuple[str, str]]


def normalize(folder: Path, kata_id: str) -> Normalized:
    """Normalize the kata in `folder`.

    Raises KataDamaged, naming the file, if the kata can't be used without a file; and CallEnded if
    nobody waits for the kata any more.
    """
    files, started = read_manifest(folder, kata_id)
    _remove_restored(folder / RESTORED)
    if options.is_damaged(folder):
        options.put_aside(folder)
    names = sorted(path.name for path in folder.iterdir() if avatars.is_name(path.name))
    start = Light(number=0, colour="", time=started)
    with Holding() as holding:
        budget, wasted = git_budget(holding), git_budget(holding)
        incoming = _Incoming(kata_id, start, files, budget, wasted, [])
        for name in names:
            _take_avatar(folder / name, incoming)
    restrict_access(folder, names)
    return Normalized(names, incoming.set_aside)


def read_manifest(folder: Path, kata_id: str) -> tuple[dict[str, bytes], datetime]:
    """Return what avatars start with, and when they started, as `Kata.read_started` says.

    Raises KataDamaged.
    """
    kata = Kata.detached(folder, kata_id)
    files, started = kata.read_manifest().visible_files, kata.read_started()
    stated_id = kata.read_manifest_json().get("id", kata_id)
    if stated_id != kata_id:
        raise KataDamaged(kata_id, MANIFEST, f"its id is {stated_id!r:.80}")
    _check_files(files, kata_id, MANIFEST)
    return files, started


def _remove_restored(path: Path) -> None:
    """Remove the note of the request that restored the kata elsewhere."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def git_budget(holding: Holding) -> Budget:
    """Return what the histories of one kata that comes in may take."""
    return Budget(
        max_bytes=GIT_BYTES, max_entries=GIT_OBJECTS, max_seconds=GIT_SECONDS, holding=holding
    )


@dataclass(frozen=True, slots=True)
class _Incoming:
    """The kata that comes in: what avatars start with, and what its histories may expand to.

    `wasted` bounds the work for histories that are damaged, which leave the `budget` to the others.
    """

    kata_id: str
    start: Light
    files: dict[str, bytes]
    budget: Budget
    wasted: Budget
    set_aside: list[tuple[str, str]]


def _take_avatar(folder: Path, kata: _Incoming) -> None:
    """Normalize an avatar, or set it aside if it is damaged. Raises KataDamaged."""
    kata_id, budget, originals = kata.kata_id, kata.budget.share(), Originals(folder)
    try:
        _check_kinds(folder, kata_id)
        if (before := set_aside.find(folder, kata_id)) is not None:
            set_aside.keep(folder, kata_id, before)
        else:
            _normalize_avatar(folder, kata, budget, originals)
    except (KataDamaged, BudgetExceeded) as raised:
        error = (
            raised
            if isinstance(raised, KataDamaged)
            else KataDamaged(kata_id, f"{folder.name}/{GIT}", raised.reason)
        )
        kata.set_aside.append((folder.name, error.reason))
        originals.bring_back()
        set_aside.set_aside(folder, kata_id, error)
        _take(kata.wasted, budget, folder, kata_id, "damaged histories")
    else:
        _take(kata.budget, budget, folder, kata_id, "histories")
    finally:
        originals.forget()


def _take(whole: Budget, part: Budget, folder: Path, kata_id: str, what: str) -> None:
    """Take from a kata's budget what one avatar took. Raises KataDamaged, for the whole kata."""
    try:
        whole.take_all_of(part)
    except BudgetExceeded as error:
        raise KataDamaged(kata_id, folder.name, f"its {what} have {error.reason}") from error


def _check_kinds(folder: Path, kata_id: str) -> None:
    """Raise KataDamaged if there is a file in the place of a folder, or the reverse."""
    if not folder.is_dir():
        raise KataDamaged(kata_id, folder.name, "is not a folder")
    for name in (MANIFEST, INCREMENTS, LIGHT_JSON, f"{GIT}/index"):
        if (folder / name).is_dir():
            raise KataDamaged(kata_id, f"{folder.name}/{name}", "is not a file")
    sandbox_folder = folder / SANDBOX
    if sandbox_folder.exists() and not sandbox_folder.is_dir():
        raise KataDamaged(kata_id, f"{folder.name}/{SANDBOX}", "is not a folder")


def _normalize_avatar(folder: Path, kata: _Incoming, budget: Budget, originals: Originals) -> None:
    name, kata_id, start = folder.name, kata.kata_id, kata.start
    # Another storer's write-ahead log would be replayed here.
    originals.remove(folder / JOURNAL)
    originals.remove(in_place.spare_of(folder / MANIFEST))
    if (folder / GIT).is_dir():
        history, tags = incoming_history.take(folder, kata_id, name, budget, originals.remove)
        has_more = any(history.is_legacy(number) for number in tags if number > 0)
        _read_list(folder, kata_id, start, history.time, originals, has_more=has_more)
    else:
        originals.remove(folder / GIT)
        has_more = lights.has_light_folders(folder)
        listed = _read_list(folder, kata_id, start, None, originals, has_more=has_more)
        history = _history_from_folders(folder, kata, [start, *listed], originals)
        tags = [0, *(each.number for each in listed)]
    read = incoming_history.lights(folder, history, tags, start, originals.remove)
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
    originals: Originals,
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
        originals.remove(path)
        durable.write(path, b"[]\n")
    try:
        value = json_files.read(path, list)
        is_complete = not lights.complete_times(value, start.time, committed)
        found = lights.parse(value)
    except Unreadable as error:
        raise KataDamaged(kata_id, f"{folder.name}/{INCREMENTS}", str(error)) from error
    if not is_complete:
        originals.remove(path)
        durable.write(path, json_files.dumps(value) + b"\n")
    return found


def _check_files(files: dict[str, bytes], kata_id: str, path: str) -> None:
    """Raise KataDamaged if these can't be visible files: for a name, such as `../a`, or a size."""
    if (fault := _fault(files)) is not None:
        raise KataDamaged(kata_id, path, fault)


def _has_valid_files(manifest: Path) -> bool:
    """Say whether an avatar's manifest.json can be read, and has files that a light may have."""
    try:
        return _fault(json_files.read_files(json_files.read(manifest, dict))) is None
    except Unreadable:
        return False


def _fault(files: dict[str, bytes]) -> str | None:
    """Say why these can't be the visible files of a light; None if they can."""
    try:
        visible_files.check(files)
    except InvalidArgument as error:
        return f"{error.field}: {error.reason}"
    return None


def _history_from_folders(
    folder: Path, kata: _Incoming, listed: list[Light], originals: Originals
) -> Recorder:
    """Convert a folder per light (`17/manifest.json`) to git history; remove the folders."""
    kata_id = kata.kata_id
    history = Recorder.create(folder, kata_id, folder.name)
    tip: Tip | None = None
    for index, each in enumerate(listed):
        waits.check()
        light_folder = folder / str(each.number)
        if each.number == 0 and not light_folder.exists():
            submission = Submission(kata.files)
        else:
            submission = _read_light_folder(light_folder, kata_id)
        if index and each.number != listed[index - 1].number + 1:
            reason = f"light {each.number} follows light {listed[index - 1].number}"
            raise KataDamaged(kata_id, f"{folder.name}/{INCREMENTS}", reason)
        tip = history.record(each, submission, tip)
    for each in listed:
        originals.remove(folder / str(each.number))
    return history


def _read_light_folder(light_folder: Path, kata_id: str) -> Submission:
    waits.check()  # each of them can be large, and there can be many
    path = f"{light_folder.parent.name}/{light_folder.name}/{MANIFEST}"
    try:
        files = json_files.read_files(json_files.read(light_folder / MANIFEST, dict))
    except Unreadable as error:
        raise KataDamaged(kata_id, path, str(error)) from error
    output = files.pop(OUTPUT, b"")
    _check_files(files, kata_id, path)
    return Submission(files=files, stdout=output)


def restrict_access(folder: Path, names: list[str]) -> None:
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
