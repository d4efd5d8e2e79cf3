"""Restore many katas from a tar: a backup's, or that of any katas directory. It is untrusted.

Each kata is published as soon as it is known to be whole. In a backup, the digest in the kata's
seal proves that. In any other tar, a kata is whole if another kata or the tar's end follows.
"""

import json
from collections.abc import Collection, Generator, Iterator
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from itertools import pairwise
from pathlib import Path, PurePosixPath

from dojo import kata_ids, waits
from dojo.errors import InvalidArgument, KataDamaged, KataNotFound, LockHeld
from dojo.shares import Holding
from storer.backup import catalog
from storer.backup.backup import COMMENT, MANIFEST
from storer.backup.catalog import BadManifest, Entry, State
from storer.backup.restore import KataBudget
from storer.kata.ancestry import is_ancestor
from storer.kata.head import head_of
from storer.kata.kata import Kata
from storer.katas.repository import Katas
from storer.tar.untrusted_reader import InvalidKata, LeftOut, Tar, translate_tar_errors

_SEAL = ".json"
_MAX_SEAL_BYTES = 64 * 1024
_MAX_OUTER_FOLDERS = 3  # folders that can contain the katas directory


class Outcome(Enum):
    """What happened to a kata."""

    RESTORED = auto()
    REPLACED = auto()
    UNCHANGED = auto()
    SKIPPED = auto()
    REFUSED = auto()
    DELETED = auto()
    KEPT = auto()
    MISSING = auto()


@dataclass(frozen=True)
class Report:
    """What happened to a kata, and why."""

    kata_id: str
    outcome: Outcome
    reason: str = ""
    left_out: LeftOut = field(default_factory=LeftOut)


@dataclass(frozen=True)
class Finished:
    """The end of the reports; `token` is the backup's, or "" for any other tar."""

    token: str


@dataclass(frozen=True)
class RestoreOptions:
    """What the caller allows; `protos/cyberdojo/storer/v1/storer.proto` explains the fields."""

    overwrite: bool
    apply_deletions: bool


def restore_katas(
    katas: Katas, pieces: Iterator[bytes], options: RestoreOptions
) -> Generator[Report | Finished, None, None]:
    """Restore katas from the tar whose bytes are `pieces`; yield what happened to each.

    `pieces` must raise if the stream is incomplete. Raises InvalidArgument where the tar breaks
    off, or MemoryExhausted: the katas reported until then are restored, and nothing of the others
    is.
    """
    with Holding() as holding:
        with translate_tar_errors():
            tar_katas = _KatasInTar(Tar(pieces, holding))
        token = ""
        refused: set[str] = set()
        while (kata_id := tar_katas.next_kata()) is not None:
            if kata_id:
                report = _restore(katas, tar_katas, kata_id, options)
                if report.outcome is Outcome.REFUSED:
                    refused.add(kata_id)
                yield report
            else:
                token = yield from _apply_manifest(katas, tar_katas, options, refused)
        tar_katas.finish()
        yield Finished(token)


class _KatasInTar:
    """The katas in a tar, read one after another."""

    def __init__(self, tar: Tar) -> None:
        self.tar = tar
        self.is_finished = False
        self.is_sealed = tar.comment.startswith(COMMENT)
        self._top: tuple[str, ...] | None = None

    def next_kata(self) -> str | None:
        """Advance to the next kata and return its id; "" for the manifest, None at the end."""
        with translate_tar_errors():
            while self.tar.member is not None:
                kata_id, _ = self.kata_and_path()
                if kata_id or self._is_manifest():
                    self.tar.renew_budget()
                    return kata_id
                self.tar.advance()
        return None

    def kata_and_path(self) -> tuple[str, PurePosixPath | None]:
        """Return the id of the current member's kata and the member's path in the kata.

        The path is None for the kata's seal. The id is "" if the member belongs to no kata.
        """
        parts = self.tar.parts()
        if self._top is None:
            self._top = _top(parts)
        if self._top is None or parts[: len(self._top)] != self._top:
            return "", None
        outer, inner, *rest = (*parts[len(self._top) :], "", "")
        rest = [part for part in rest if part]
        is_seal = not rest and inner.endswith(_SEAL) and len(outer) == 2
        kata_id = outer + (inner.removesuffix(_SEAL) if is_seal else inner)
        if len(outer) != len(kata_ids.outer(kata_id)) or not kata_ids.is_whole(kata_id):
            return "", None
        return kata_id, None if is_seal else PurePosixPath(*rest)

    def unpack(self, kata_id: str, folder: Path) -> None:
        """Unpack the current kata into `folder`; raise InvalidKata if the kata is incomplete."""
        self._unpack_members(kata_id, folder)
        self.tar.finish_kata()

    def _unpack_members(self, kata_id: str, folder: Path) -> None:
        budget = KataBudget()
        while self.tar.member is not None:
            found, path = self.kata_and_path()
            if found == kata_id and path is None:
                self.check_seal()
                return
            if found not in {"", kata_id} or self._is_manifest():
                break
            budget.take(self.tar.member)
            if path is not None and path.parts:
                self.tar.unpack(folder, path)
            elif path is not None and not self.tar.member.isdir():
                raise InvalidKata(f"{self.tar.member.shown} is not a folder")
            self.tar.advance()
        if self.is_sealed:
            raise InvalidKata("its seal is missing, so it is incomplete")
        if self.tar.member is None:
            self.finish()

    def skip(self, kata_id: str) -> None:
        """Advance past the rest of a kata."""
        with translate_tar_errors():
            while self.tar.member is not None:
                found, path = self.kata_and_path()
                if found == kata_id and path is None:
                    self._skip_seal()
                    return
                if found not in {"", kata_id} or self._is_manifest():
                    return
                self.tar.advance()

    def finish(self) -> None:
        """Read the tar to its end, once."""
        if not self.is_finished:
            self.is_finished = True
            with translate_tar_errors():
                self.tar.finish()

    def check_seal(self) -> None:
        """Check the current seal, and advance past it; raise InvalidKata if its digest is wrong."""
        digest = self.tar.digest_before()
        is_file = self.tar.member is not None and self.tar.member.isreg()
        content = self.tar.content().read(_MAX_SEAL_BYTES) if is_file else b""
        self._skip_seal()
        try:
            seal = json.loads(content)
            error, sha256 = str(seal.get("error", "")), seal.get("sha256")
        except (ValueError, AttributeError, RecursionError):
            raise InvalidKata("its seal can't be read") from None
        if error:
            raise InvalidKata(f"it is incomplete in the backup: {error}")
        if sha256 != digest:
            raise InvalidKata("its digest does not match its seal: it is not what was backed up")

    def _skip_seal(self) -> None:
        self.is_sealed = True
        self.tar.restart_digest()
        self.tar.advance()

    def _is_manifest(self) -> bool:
        return self.tar.parts() == (*(self._top or ()), MANIFEST)


def _top(parts: tuple[str, ...]) -> tuple[str, ...] | None:
    """Return the folders that contain the first kata (49/3A06504A); None if this is not a kata."""
    for depth, (outer, inner) in enumerate(pairwise(parts)):
        kata_id = outer + inner.removesuffix(_SEAL)
        if depth <= _MAX_OUTER_FOLDERS and len(outer) == 2 and kata_ids.is_whole(kata_id):
            return parts[:depth]
    return None


def _restore(katas: Katas, tar_katas: _KatasInTar, kata_id: str, options: RestoreOptions) -> Report:
    """Restore the current kata, and advance past it."""
    waits.wait_longer()
    decided: list[Report] = []
    is_read = False

    def fill(folder: Path) -> None:
        nonlocal is_read
        with translate_tar_errors():
            tar_katas.unpack(kata_id, folder)
        is_read = True

    def is_wanted(incoming: Kata, existing: Kata | None) -> bool:
        decided.append(_decide(kata_id, incoming, existing, options))
        return decided[0].outcome in {Outcome.RESTORED, Outcome.REPLACED}

    try:
        if tar_katas.kata_and_path()[1] is None:  # only a seal, which says why the kata is missing
            with translate_tar_errors():
                tar_katas.check_seal()
        katas.restore_if_wanted(kata_id, fill, is_wanted, overwrite=options.overwrite)
    except (InvalidKata, LockHeld) as error:
        if not is_read:
            tar_katas.skip(kata_id)
        return Report(kata_id, Outcome.REFUSED, error.reason)
    except KataDamaged as error:
        return Report(kata_id, Outcome.REFUSED, str(error))
    report = decided[0]
    is_new = report.outcome in {Outcome.RESTORED, Outcome.REPLACED}
    return replace(report, left_out=tar_katas.tar.left_out) if is_new else report


def _decide(kata_id: str, incoming: Kata, existing: Kata | None, options: RestoreOptions) -> Report:
    """Decide what to do with an incoming kata."""
    damaged = "; ".join(map(str, incoming.lights()[1]))
    if existing is None:
        return Report(kata_id, Outcome.RESTORED, damaged)
    if head_of(existing) == head_of(incoming):
        return Report(kata_id, Outcome.UNCHANGED)
    if options.overwrite:
        return Report(kata_id, Outcome.REPLACED, damaged)
    try:
        if is_ancestor(existing, incoming):
            return Report(kata_id, Outcome.REPLACED, damaged)
        is_newer = is_ancestor(incoming, existing)
    except KataDamaged as error:
        return Report(kata_id, Outcome.SKIPPED, f"the existing kata stays: {error}")
    reason = "the existing kata is newer" if is_newer else "the existing kata has other lights"
    if damaged:
        reason += f"; of the incoming one, {damaged}"
    return Report(kata_id, Outcome.SKIPPED, reason)


def _apply_manifest(
    katas: Katas, tar_katas: _KatasInTar, options: RestoreOptions, refused: Collection[str]
) -> Generator[Report, None, str]:
    """Apply the backup's manifest to katas that are not in its tar; return the backup's token.

    Katas that were `refused` have a report already and get no other.
    """
    try:
        with translate_tar_errors():
            manifest = catalog.read(tar_katas.tar.content())
            for entry in manifest.entries():
                report = _apply_entry(katas, entry, options)
                if report is not None and entry.kata_id not in refused:
                    yield report
            token = manifest.token
    except BadManifest as error:
        raise InvalidArgument("data", f"{MANIFEST}: {error}") from error
    with translate_tar_errors():
        tar_katas.tar.advance()
    return token


def _apply_entry(katas: Katas, entry: Entry, options: RestoreOptions) -> Report | None:
    is_stored = katas.is_stored(entry.kata_id)
    if entry.state is not State.DELETED:
        if is_stored:
            return None
        return Report(entry.kata_id, Outcome.MISSING, entry.reason or "an earlier backup has it")
    if not is_stored:
        return None
    if not options.apply_deletions:
        return Report(entry.kata_id, Outcome.KEPT, "the request does not apply deletions")
    if not options.overwrite and not _is_unchanged(katas, entry):
        return Report(entry.kata_id, Outcome.KEPT, "it changed after the backup that deletes it")
    try:
        katas.delete(entry.kata_id)
    except KataNotFound:
        return None
    except LockHeld as error:
        return Report(entry.kata_id, Outcome.KEPT, error.reason)
    return Report(entry.kata_id, Outcome.DELETED)


def _is_unchanged(katas: Katas, entry: Entry) -> bool:
    try:
        with katas.reading(entry.kata_id) as kata:
            return bool(entry.head) and head_of(kata).digest == entry.head
    except (KataNotFound, KataDamaged):
        return False
