"""Verify an avatar: its git repository, its lights, its files, its sandbox."""

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from dojo import avatars, limits, locks, waits
from dojo.budget import Budget, BudgetExceeded
from dojo.errors import KataDamaged
from dojo.naming import DAMAGED_JSON, SANDBOX
from storer.fs import tree
from storer.fs.json_files import Unreadable
from storer.git import libgit2
from storer.kata import damaged, sandbox
from storer.kata.avatar import PASSAGE
from storer.kata.damaged import DAMAGED, Damage
from storer.kata.history import GIT, MANIFEST_JSON, History
from storer.kata.lights import INCREMENTS
from storer.verify import git_objects
from storer.verify.findings import Finding, Kind
from storer.verify.git_objects import ObjectsCheck
from storer.verify.lights import LightsCheck

_OPEN_TO_OTHERS = 0o077
_CLOSED = 0o700
_UNFINISHED = ".*.new"  # the names that storer.fs.durable gives to incomplete files
_AVATARS_UIDS = range(avatars.FIRST_UID, avatars.FIRST_UID + len(avatars.NAMES))


@dataclass(frozen=True, slots=True)
class AvatarResult:
    """The result of verifying an avatar: the findings, and whether each was mended."""

    findings: list[tuple[Finding, bool]]
    light_count: int
    size_bytes: int
    object_count: int = 0


def check(folder: Path, kata_id: str, *, mend: bool) -> AvatarResult:
    """Check the avatar in `folder`, as `AvatarCheck` does; return a result that can be pickled."""
    libgit2.configure()
    waits.wait_longer()
    checked = AvatarCheck(folder, kata_id).check(mend=mend)
    findings = [(replace(finding, mend=None), mended) for finding, mended in checked.findings]
    return replace(checked, findings=findings)


def is_small(folder: Path) -> bool:
    """Say whether the check of the avatar in `folder` takes only milliseconds."""
    files = Budget(
        max_entries=limits.SMALL_CHECKED_FILES, max_bytes=limits.SMALL_CHECKED_BYTES, max_depth=3
    )
    try:
        for path in (folder / MANIFEST_JSON, folder / INCREMENTS):
            files.take_bytes(path.stat().st_size)
        _take(folder / GIT, files)
    except BudgetExceeded:
        return False
    except OSError:  # the check says so
        return True
    return True


def _take(folder: Path, budget: Budget) -> None:
    with budget.one_deeper(), os.scandir(folder) as entries:
        for entry in entries:
            budget.take_entry()
            if entry.is_dir(follow_symlinks=False):
                _take(Path(entry.path), budget)
            else:
                budget.take_bytes(entry.stat(follow_symlinks=False).st_size)


class AvatarCheck:
    """The check of the avatar in `folder`.

    For the holder of the lock on the kata's folder, shared. The avatar's lock is taken only to
    confirm or mend a finding.
    """

    def __init__(self, folder: Path, kata_id: str) -> None:
        self._folder = folder
        self._kata_id = kata_id
        self._name = folder.name
        self._light_count = 0

    def check(self, *, mend: bool) -> AvatarResult:
        """Check everything; mend what can be mended if `mend` is set."""
        if (damage := self._damage()) is not None:
            return self._check_damaged(damage, mend=mend)
        git = self._folder / GIT
        objects = ObjectsCheck(git)
        found: list[tuple[Finding, bool]] = []
        broken = self._repository_fault()
        if broken is None:
            objects.read()
            broken_packs = list(git_objects.broken_packs(git))
            found += ((_of_git(each, Kind.HISTORY), False) for each in broken_packs)
        else:
            found.append((broken, False))
        readable = broken is None and not objects.is_broken()
        if objects.needs_recheck() or any(
            self._quick_findings(git=broken is None, lights=readable)
        ):
            with locks.locked(self._folder):
                if broken is None:
                    objects.recheck()
                # Other files repeat the history. They can be compared with it only if it is whole.
                readable = broken is None and not objects.is_broken()
                findings = list(self._quick_findings(git=broken is None, lights=readable))
                found += [(each, mend and _mend(each)) for each in findings]
            found += ((_of_git(each, Kind.HISTORY), False) for each in objects.broken())
            found += ((_of_git(each, Kind.DANGLING), False) for each in objects.dangling())
        found += self._check_sandbox(mend=mend and readable)
        return AvatarResult(found, self._light_count, objects.size_bytes, objects.count)

    def _damage(self) -> Damage | None:
        """Return what is wrong with an avatar that came in damaged. Raises KataDamaged."""
        try:
            return damaged.read(self._folder)
        except Unreadable as error:
            raise KataDamaged(self._kata_id, self._folder / DAMAGED_JSON, str(error)) from error

    def _check_damaged(self, damage: Damage, *, mend: bool) -> AvatarResult:
        """Check an avatar that came in damaged: whether what came is still as it came."""
        what = f"the avatar came in damaged: {damage.reason}"
        findings = [(Finding(damage.path, Kind.DAMAGED, what), False)]
        kept = self._folder / DAMAGED
        if not kept.is_dir() or damaged.digest(kept) != damage.sha256:
            changed = "what came of the avatar is not any more as it came"
            findings.append((Finding(DAMAGED, Kind.DAMAGED, changed), False))
        findings += [(each, mend and _mend(each)) for each in self._check_modes()]
        if os.path.lexists(self._folder / SANDBOX):
            findings += self._check_sandbox(mend=mend)
        return AvatarResult(findings, 0, 0)

    def _repository_fault(self) -> Finding | None:
        try:
            History(self._folder, self._kata_id, self._name).open_repository()
        except KataDamaged as error:
            return Finding(GIT, Kind.HISTORY, f"there is no repository: {error.reason}")
        return None

    def _quick_findings(self, *, git: bool, lights: bool) -> Iterator[Finding]:
        """Yield what is quick to find. Without the lock, a light being recorded may be found."""
        if git:
            yield from self._leftovers()
        if lights:
            yield from self._check_lights()
        yield from self._check_modes()

    def _check_lights(self) -> Iterator[Finding]:
        try:
            check = LightsCheck(self._folder, self._kata_id, self._name)
            self._light_count = check.count
            yield from check.findings()
        except KataDamaged as error:
            path = str(error.path).removeprefix(f"{self._name}/")
            yield Finding(path, Kind.HISTORY, error.reason)

    def _leftovers(self) -> Iterator[Finding]:
        """Yield what a process left that died while it held the lock on the avatar's folder."""
        git = self._folder / GIT
        paths = sorted(self._folder.glob(_UNFINISHED))
        for found in tree.walk(git, lambda path: path.parts[0] == "refs"):
            is_reference = found.path.parts[0] == "refs" and found.path.match(_UNFINISHED)
            if found.path.match("*.lock") or is_reference:
                paths.append(git / found.path)
        for path in paths:
            name = str(path.relative_to(self._folder))
            what = "a process that died left it"
            yield Finding(name, Kind.LEFTOVER, what, partial(path.unlink, missing_ok=True))
        for path, unfinished in git_objects.stray_files(git):
            name = str(path.relative_to(self._folder))
            if unfinished:
                what = "a process that died left this object unfinished"
                yield Finding(name, Kind.LEFTOVER, what, partial(path.unlink, missing_ok=True))
            else:
                yield Finding(name, Kind.LEFTOVER, "it is not an object; it was not removed")

    def _check_modes(self) -> Iterator[Finding]:
        """Yield files and folders that are open to others than the storer."""
        # One that no run has been in since folders had their own group still is a passage.
        if not avatars.is_closed_to_others(self._folder.stat(), self._name):
            yield from check_passage(self._folder, "")
        for path in sorted(self._folder.iterdir()):
            if path.name != SANDBOX and not path.match(_UNFINISHED):
                yield from check_closed(path, path.name)

    def _check_sandbox(self, *, mend: bool) -> list[tuple[Finding, bool]]:
        """Return what is wrong with the sandbox; a sandbox in use is not checked."""
        path = self._folder / SANDBOX
        if not path.is_dir() or path.is_symlink():
            with locks.locked(self._folder):
                if path.is_dir() and not path.is_symlink():
                    return []
                is_absent = not os.path.lexists(path)
                finding = Finding(
                    SANDBOX,
                    Kind.OWNERSHIP,
                    "it is missing" if is_absent else "it is not a folder",
                    self._recreate_sandbox if is_absent else None,
                )
                return [(finding, mend and _mend(finding))]
        if self._sandbox_fault() is None:
            return []
        with locks.locked_at_once(path) as held:
            fault = self._sandbox_fault() if held else None
            if fault is None:
                return []
            finding = Finding(fault[0], Kind.OWNERSHIP, fault[1], self._restore_owner)
            return [(finding, mend and _mend(finding))]

    def _sandbox_fault(self) -> tuple[str, str] | None:
        """Return the first file that is not the avatar's own, and what is wrong with it."""
        path = self._folder / SANDBOX
        uid = avatars.uid(self._name)
        status = path.lstat()
        if (status.st_uid, status.st_gid) != (uid, uid):
            return SANDBOX, f"it belongs to {status.st_uid}:{status.st_gid}, not to {uid}"
        if stat.S_IMODE(status.st_mode) != _CLOSED:
            return SANDBOX, f"its mode is {stat.S_IMODE(status.st_mode):o}, not {_CLOSED:o}"
        with closing(tree.walk(path)) as files:
            for found in files:
                if found.status.st_uid != uid:
                    what = f"it belongs to {found.status.st_uid}, not to {uid}"
                    return f"{SANDBOX}/{found.path}", what
        return None

    def _recreate_sandbox(self) -> None:
        """Create the sandbox from the newest light. What runs had left in it is lost."""
        lights = LightsCheck(self._folder, self._kata_id, self._name)
        staged = self._folder.with_name(f".sandbox-{self._name}")
        shutil.rmtree(staged, ignore_errors=True)
        staged.mkdir(mode=0o700)
        try:
            sandbox.create(staged, self._name, lights.newest_files())
            sandbox.chown(staged / SANDBOX, self._name)
            (staged / SANDBOX).rename(self._folder / SANDBOX)
        finally:
            shutil.rmtree(staged, ignore_errors=True)

    def _restore_owner(self) -> None:
        sandbox.chown(self._folder / SANDBOX, self._name)


def check_passage(folder: Path, name: str) -> Iterator[Finding]:
    """Yield a finding unless everybody may pass through a folder, and do nothing else there."""
    status = folder.stat()
    if stat.S_IMODE(status.st_mode) != PASSAGE or status.st_uid in _AVATARS_UIDS:
        what = f"its mode is {stat.S_IMODE(status.st_mode):o}, not {PASSAGE:o}"
        if status.st_uid in _AVATARS_UIDS:
            what = f"it belongs to {status.st_uid}, whose programs could change it"
        yield Finding(name, Kind.OWNERSHIP, what, partial(_close, folder, PASSAGE))


def check_closed(path: Path, name: str) -> Iterator[Finding]:
    """Yield a finding if a file or folder is open to others than the storer."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return
    mode = stat.S_IMODE(status.st_mode)
    if stat.S_ISLNK(status.st_mode):
        yield Finding(name, Kind.OWNERSHIP, "it is a link; links are allowed only in sandboxes")
    elif mode & _OPEN_TO_OTHERS or status.st_uid in _AVATARS_UIDS:
        what = f"its mode is {mode:o}, which lets others use it"
        if status.st_uid in _AVATARS_UIDS:
            what = f"it belongs to {status.st_uid}, whose programs could change it"
        wanted = mode & ~_OPEN_TO_OTHERS
        yield Finding(name, Kind.OWNERSHIP, what, partial(_close, path, wanted))


def _close(path: Path, mode: int) -> None:
    os.chown(path, os.geteuid(), os.getegid(), follow_symlinks=False)
    path.chmod(mode)


def _mend(finding: Finding) -> bool:
    """Mend a finding if that is possible; say whether it was."""
    if finding.mend is None:
        return False
    finding.mend()
    return True


def _of_git(broken: git_objects.BrokenObject, kind: Kind) -> Finding:
    return Finding(f"{GIT}/{broken.path}", kind, broken.what)


def with_avatar_path(finding: Finding, avatar: str) -> Finding:
    """Return a finding with its path relative to the kata's folder."""
    return replace(finding, path=f"{avatar}/{finding.path}".rstrip("/"))
