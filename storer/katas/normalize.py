"""Normalize a kata from another source: bring it into the form in which the storer keeps katas.

It works on a staged copy, which nobody sees yet. A kata from a katas directory, in any legacy
layout, and one from a tar get the same form: a git repository per avatar, the storer's owners and
permissions, and no setting or hook that git would run.
"""

import contextlib
import shutil
import stat
from pathlib import Path

import pygit2

from dojo import avatars, visible_files
from dojo.engine.data_containers import MANIFEST
from dojo.errors import KataDamaged
from dojo.naming import SANDBOX
from storer.fs import durable, in_place, json_files
from storer.fs.json_files import Unreadable
from storer.fs.write_ahead_log import JOURNAL
from storer.kata import sandbox
from storer.kata.avatar import PASSAGE
from storer.kata.history import GIT, LIGHT_JSON, History
from storer.kata.kata import Kata
from storer.kata.light import Light, Submission
from storer.kata.lights import INCREMENTS, parse
from storer.kata.manifest import OUTPUT
from storer.kata.recorder import Recorder, Tip

# The settings that a repository's config keeps. Others could make git run a program, or write
# outside the repository, on the machine of somebody who downloads the kata.
_SAFE_CONFIG = {
    "core.repositoryformatversion",
    "core.filemode",
    "core.bare",
    "core.logallrefupdates",
    "core.ignorecase",
    "core.precomposeunicode",
    "core.symlinks",
    "user.name",
    "user.email",
}

# Files that make git look for objects, references or its index outside the repository.
_REDIRECTS = ("commondir", "gitdir", "worktrees", "modules", "info/sparse-checkout")
_OBJECT_REDIRECTS = ("objects/info/alternates", "objects/info/http-alternates")


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
    _check_names(manifest.visible_files, kata_id, MANIFEST)
    names = kata.avatar_names()
    _check_kinds(folder, kata_id)
    for name in names:
        start = Light(number=0, colour="", time=created)
        _normalize_avatar(folder / name, kata_id, start, manifest.visible_files)
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


def _normalize_avatar(folder: Path, kata_id: str, start: Light, files: dict[str, bytes]) -> None:
    name = folder.name
    _remove(folder / JOURNAL)  # another storer's write-ahead log, which would be replayed here
    _remove(in_place.spare_of(folder / MANIFEST))
    path = f"{name}/{INCREMENTS}"
    try:
        lights = parse(json_files.read(folder / INCREMENTS, list))
    except Unreadable as error:
        raise KataDamaged(kata_id, path, str(error)) from error
    numbers = [0, *(light.number for light in lights)]
    if (folder / GIT).is_dir():
        _clean_repository(folder / GIT)
        history: History = History(folder, kata_id, name)
        history.verify(numbers)
    else:
        with contextlib.suppress(FileNotFoundError):
            (folder / GIT).unlink()
        history = _history_from_folders(folder, kata_id, [start, *lights], files)
    newest = history.submission(numbers[-1])
    _check_names(newest.files, kata_id, f"{name}/{GIT}/refs/tags/{numbers[-1]}")
    if not (folder / SANDBOX).is_dir():
        sandbox.create(folder, name, newest.files)
    sandbox.chown(folder / SANDBOX, name)
    if not _has_valid_names(folder / MANIFEST):
        content = json_files.dumps(json_files.files_json(newest.files))
        durable.write(folder / MANIFEST, content)


def _check_names(files: dict[str, bytes], kata_id: str, path: str) -> None:
    """Raise KataDamaged if a name, such as `../a`, can't be that of a visible file."""
    if (fault := _name_fault(files)) is not None:
        raise KataDamaged(kata_id, path, fault)


def _has_valid_names(manifest: Path) -> bool:
    """Say whether an avatar's manifest.json exists, and a sandbox can hold the files it names."""
    if not manifest.exists():
        return False
    try:
        return _name_fault(json_files.read_files(json_files.read(manifest, dict))) is None
    except Unreadable:
        return True  # it is read, and reported as damaged, when a caller needs it


def _name_fault(files: dict[str, bytes]) -> str | None:
    """Say which name can't be that of a visible file beside the others, and why; else None."""
    for name in files:
        if (fault := visible_files.name_fault(name)) is not None:
            return f"{visible_files.shown(name)}: {fault}"
    if (folder := visible_files.name_that_is_a_folder(files)) is not None:
        return f"{visible_files.shown(folder)} is the folder of another file as well"
    return None


def _history_from_folders(
    folder: Path, kata_id: str, lights: list[Light], files: dict[str, bytes]
) -> History:
    """Convert a folder per light (`17/manifest.json`) to git history; remove the folders."""
    history = Recorder.create(folder, kata_id, folder.name)
    tip: Tip | None = None
    for index, light in enumerate(lights):
        light_folder = folder / str(light.number)
        if light.number == 0 and not light_folder.exists():
            submission = Submission(files)
        else:
            submission = _read_light_folder(light_folder, kata_id)
        if index and light.number != lights[index - 1].number + 1:
            reason = f"light {light.number} follows light {lights[index - 1].number}"
            raise KataDamaged(kata_id, f"{folder.name}/{INCREMENTS}", reason)
        tip = history.record(light, submission, tip)
    for light in lights:
        shutil.rmtree(folder / str(light.number), ignore_errors=True)
    return history


def _read_light_folder(light_folder: Path, kata_id: str) -> Submission:
    try:
        files = json_files.read_files(json_files.read(light_folder / MANIFEST, dict))
    except Unreadable as error:
        path = Path(light_folder.parent.name) / light_folder.name / MANIFEST
        raise KataDamaged(kata_id, path, str(error)) from error
    return Submission(files=files, stdout=files.pop(OUTPUT, b""))


def _clean_repository(git: Path) -> None:
    """Remove from a repository what git would run, or follow to other places."""
    _remove(git / "hooks")  # git's samples too: a sixth of the files of a legacy kata
    for name in (*_REDIRECTS, *_OBJECT_REDIRECTS):
        _remove(git / name)
    config = git / "config"
    try:
        entries = [(entry.name, entry.value) for entry in pygit2.Config(str(config))]
    except pygit2.GitError:
        entries = [("include.path", None)]  # an unreadable config is replaced by an empty one
    if any(name not in _SAFE_CONFIG for name, _ in entries):
        _remove(config)
        clean = pygit2.Config(str(config))
        for name, value in entries:
            if name in _SAFE_CONFIG and value is not None:
                clean[name] = value


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
