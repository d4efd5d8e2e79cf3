"""Restore many katas from a tar: a backup's, or that of any katas directory. It is untrusted.

Each kata is published as soon as it is known to be whole. In a backup, the digest in the kata's
seal proves that. In any other tar, a kata is whole if another kata or the tar's end follows.
"""

import json
from collections.abc import Collection, Generator, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from itertools import pairwise
from pathlib import Path, PurePosixPath

from dojo import kata_ids, waits
from dojo.errors import (
    InvalidArgument,
    KataDamaged,
    KataNotFound,
    LockHeld,
    ProcessesExhausted,
    ProcessLost,
    ProcessTooLarge,
)
from dojo.shares import Holding
from storer.backup import catalog
from storer.backup.backup import COMMENT, MANIFEST
from storer.backup.catalog import BadManifest, Entry, State
from storer.backup.restore import KataBudget
from storer.kata import options as kata_options
from storer.kata.ancestry import is_ancestor, lights_only_in
from storer.kata.head import head_of
from storer.kata.kata import Kata
from storer.katas.repository import Katas
from storer.tar.untrusted_reader import InvalidKata, LeftOut, Tar, translate_tar_errors
from storer.verify.katas import Verifier

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
    SOUND = auto()


@dataclass(frozen=True)
class Report:
    """What happened to a kata, and why.

    `lost_lights` is how many lights the existing kata had, or has, that the backup has not.
    """

    kata_id: str
    outcome: Outcome
    reason: str = ""
    lost_lights: int = 0
    left_out: LeftOut = field(default_factory=LeftOut)


@dataclass(frozen=True)
class Finished:
    """The end of the reports; `token` is the backup's, or "" for any other tar."""

    token: str


@dataclass(frozen=True)
class RestoreOptions:
    """What the caller allows; `protos/cyberdojo/storer/v1/storer.proto` explains the fields."""

    overwrite: bool = False
    apply_deletions: bool = False
    discard_lights: bool = False
    kata_ids: frozenset[str] = frozenset()
    only_damaged: bool = False
    dry_run: bool = False

    def selects(self, kata_id: str) -> bool:
        """Return whether the caller wants this kata."""
        return not self.kata_ids or kata_id in self.kata_ids


def restore_katas(
    katas: Katas, verifier: Verifier, pieces: Iterator[bytes], options: RestoreOptions
) -> Generator[Report | Finished, None, None]:
    """Restore katas from the tar whose bytes are `pieces`; yield what happened to each.

    `verifier` tells which katas are damaged here.

    `pieces` must raise if the stream is incomplete. Raises InvalidArgument where the tar breaks
    off, or MemoryExhausted: the katas reported until then are restored, and nothing of the others
    is.
    """
    with Holding() as holding:
        with translate_tar_errors():
            tar_katas = _KatasInTar(Tar(pieces, holding))
        token = ""
        told: set[str] = set()
        unseen = set(options.kata_ids)
        while (kata_id := tar_katas.next_kata()) is not None:
            if kata_id and not options.selects(kata_id):
                tar_katas.skip(kata_id)
            elif kata_id:
                report = _restore(katas, verifier, tar_katas, kata_id, options)
                if report.outcome is Outcome.REFUSED or options.dry_run:
                    told.add(kata_id)
                unseen.discard(kata_id)
                yield report
            else:
                token = yield from _apply_manifest(katas, tar_katas, options, told, unseen)
        tar_katas.finish()
        for kata_id in sorted(unseen):
            yield Report(kata_id, Outcome.MISSING, "the backup has no such kata")
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


def _restore(
    katas: Katas,
    verifier: Verifier,
    tar_katas: _KatasInTar,
    kata_id: str,
    options: RestoreOptions,
) -> Report:
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
        is_to_be_published = decided[0].outcome in {Outcome.RESTORED, Outcome.REPLACED}
        return is_to_be_published and not options.dry_run

    try:
        if options.only_damaged and not _is_damaged(verifier, kata_id):
            tar_katas.skip(kata_id)
            return Report(kata_id, Outcome.SOUND)
        if tar_katas.kata_and_path()[1] is None:  # only a seal, which says why the kata is missing
            with translate_tar_errors():
                tar_katas.check_seal()
        is_forced = options.overwrite or options.only_damaged
        katas.restore_if_wanted(kata_id, fill, is_wanted, overwrite=is_forced)
    except (InvalidKata, LockHeld) as error:
        if not is_read:
            tar_katas.skip(kata_id)
        return Report(kata_id, Outcome.REFUSED, error.reason)
    except (KataDamaged, ProcessesExhausted, ProcessLost, ProcessTooLarge) as error:
        return Report(kata_id, Outcome.REFUSED, str(error))
    report = decided[0]
    is_new = report.outcome in {Outcome.RESTORED, Outcome.REPLACED}
    return replace(report, left_out=tar_katas.tar.left_out) if is_new else report


def _is_damaged(verifier: Verifier, kata_id: str) -> bool:
    try:
        return bool(verifier.damage_of(kata_id))
    except (KataNotFound, FileNotFoundError):  # it is not here, or was deleted meanwhile
        return False


def _decide(kata_id: str, incoming: Kata, existing: Kata | None, options: RestoreOptions) -> Report:
    """Decide what to do with an incoming kata."""
    damaged = "; ".join(map(str, incoming.lights()[1]))
    if existing is None:
        return Report(kata_id, Outcome.RESTORED, damaged)
    damage, is_same, is_same_manifest, is_continued = "", False, False, False
    keeps_options = kata_options.go_on(existing.folder, incoming.folder)
    try:
        here, there = head_of(existing), head_of(incoming)
        is_same = here == there
        is_same_manifest = here.manifest_sha256 == there.manifest_sha256
        is_continued = not is_same and is_ancestor(existing, incoming)
        existing.read_manifest()
        if not is_same:
            damage = "; ".join(map(str, existing.lights()[1]))
    except (KataDamaged, KataNotFound) as error:
        damage = str(error)
    if is_same and not (damage or options.only_damaged):
        return Report(kata_id, Outcome.UNCHANGED)
    lost = lights_only_in(existing, incoming)
    count = sum(len(numbers) for numbers in lost.values())
    without = f"{_counted(count)} that the backup has not: {_listed(lost)}" if lost else ""
    if lost and not options.discard_lights:
        reason, outcome = f"it has {without}", Outcome.SKIPPED
    elif options.overwrite or options.only_damaged or (is_continued and not damage):
        reason, outcome = f"without {without}" if lost else "", Outcome.REPLACED
    else:
        differs = "its manifest.json differs from that in the backup, and its lights do not"
        if not damage and is_same_manifest and not keeps_options:
            differs = "its options were set later than those in the backup, or in another way"
        elif not damage and is_same_manifest:
            differs = "it has edits after its lights that the backup has not"
        reason, outcome = f"{damage or differs}. Restore it with overwrite", Outcome.SKIPPED
    reasons = [reason, f"in the backup, {damaged}" if damaged else ""]
    return Report(kata_id, outcome, "; ".join(filter(None, reasons)), count)


def _counted(lights: int) -> str:
    return "1 light" if lights == 1 else f"{lights} lights"


def _listed(lights: Mapping[str, range]) -> str:
    """Return lights in words, such as `whale 400 to 469, zebra 3`."""
    return ", ".join(
        f"{avatar} {numbers[0]}" + (f" to {numbers[-1]}" if len(numbers) > 1 else "")
        for avatar, numbers in lights.items()
    )


def _apply_manifest(
    katas: Katas,
    tar_katas: _KatasInTar,
    options: RestoreOptions,
    told: Collection[str],
    unseen: set[str],
) -> Generator[Report, None, str]:
    """Apply the backup's manifest to katas that are not in its tar; return the backup's token.

    Katas in `told` have a report already and get no other. Those that the manifest has are removed
    from `unseen`.
    """
    try:
        with translate_tar_errors():
            manifest = catalog.read(tar_katas.tar.content())
            for entry in tar_katas.tar.in_turns(manifest.entries()):
                if not options.selects(entry.kata_id):
                    continue
                report = _apply_entry(katas, entry, options, is_wanted=entry.kata_id in unseen)
                unseen.discard(entry.kata_id)
                if report is not None and entry.kata_id not in told:
                    yield report
            token = manifest.token
    except BadManifest as error:
        raise InvalidArgument("data", f"{MANIFEST}: {error}") from error
    with translate_tar_errors():
        tar_katas.tar.advance()
    return token


def _apply_entry(
    katas: Katas, entry: Entry, options: RestoreOptions, *, is_wanted: bool
) -> Report | None:
    """Apply an entry; `is_wanted`: the caller named the kata, and it was not in the tar."""
    is_stored = katas.is_stored(entry.kata_id)
    if entry.state is not State.DELETED:
        if (is_stored or options.only_damaged) and not is_wanted:
            return None
        return Report(entry.kata_id, Outcome.MISSING, entry.reason or "an earlier backup has it")
    if not is_stored:
        return None
    if not options.apply_deletions:
        return Report(entry.kata_id, Outcome.KEPT, "the request does not apply deletions")
    if not options.discard_lights and not _is_unchanged(katas, entry):
        return Report(entry.kata_id, Outcome.KEPT, "it changed after the backup that deletes it")
    if options.dry_run:
        return Report(entry.kata_id, Outcome.DELETED)
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
