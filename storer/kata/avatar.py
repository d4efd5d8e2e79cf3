"""An avatar: its folder, its lights, and the recording of tests."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import structlog

from dojo import avatars, locks
from dojo.budget import SmallBudget
from dojo.errors import (
    Busy,
    DiskFull,
    DiskReadOnly,
    EditNotFound,
    Exhausted,
    KataDamaged,
    LightNotFound,
    StaleNumber,
)
from dojo.waits import CallEnded
from storer.fs import durable, in_place, json_files
from storer.fs.checkpointer import Checkpointer
from storer.fs.json_files import DumpFiles, Unreadable
from storer.fs.write_ahead_log import Entry, WriteAheadLog
from storer.git import object_writer
from storer.kata import damaged, sandbox
from storer.kata.edit import MAX_CHANGES, At, Edit, changes_between
from storer.kata.edits import Edits
from storer.kata.history import GIT, LIGHT_JSON, History
from storer.kata.ledger import ALONE, Ledger
from storer.kata.light import Light, Submission
from storer.kata.light_facts import NO_FACTS, Facts, Source
from storer.kata.lights import INCREMENTS, Lights, LightsCache
from storer.kata.recorder import Recorder, Tip
from storer.kata.request import Request

MANIFEST = "manifest.json"
NEWEST = -1

_log = structlog.get_logger()

# The mode of a kata's folder: a run passes through to its avatar's, but can't list the folder.
PASSAGE = 0o711


class Avatar:
    """One participant of a kata. Any number of instances may stand for the same avatar.

    Recording holds the lock on the avatar's folder: writers of the same avatar take turns, in this
    process and in others. Reading needs no lock, but for `open_history` where it replays a log.
    """

    def __init__(
        self,
        folder: Path,
        kata_id: str,
        name: str,
        started: Callable[[], datetime],
        *,
        cache: LightsCache,
        checkpointer: Checkpointer,
        ledger: Ledger = ALONE,
    ) -> None:
        """Stand for the avatar `name` in `folder`; `started` returns when it did."""
        self.folder = folder
        self.kata_id = kata_id
        self.name = name
        self._started = started
        self._cache = cache
        self._checkpointer = checkpointer
        self._ledger = ledger
        self._opened: Recorder | None = None

    def open_history(self) -> History:
        """Open the avatar's git repository; the first call replays its log if that is foreign.

        Replaying takes the lock on the avatar's folder, and writes git's files.
        """
        if self._opened is None:
            if self._checkpointer.is_foreign(self.folder):
                with locks.locked(self.folder):
                    return self._recover()
            self._opened = Recorder(self.folder, self.kata_id, self.name)
        return self._opened

    def lights(self) -> tuple[Light, ...]:
        """Return all lights, the start (number 0) first."""
        return self._lights().all

    def light(self, number: int) -> Light:
        """Return light `number`, or the newest for -1; raise LightNotFound if there is none."""
        lights = self.lights()
        if number == NEWEST:
            return lights[-1]
        # The fast path; legacy histories can have gaps.
        if 0 <= number < len(lights) and lights[number].number == number:
            return lights[number]
        for each in lights:
            if each.number == number:
                return each
        raise LightNotFound(self.kata_id, self.name, number, lights[-1].number)

    def edits(self) -> tuple[Edit, ...]:
        """Return all edits, in their order."""
        return self._edits().all

    def find(self, at: At) -> tuple[Light, Edit | None]:
        """Return the light at a place, and the edit if it is one.

        Raises LightNotFound or EditNotFound.
        """
        light = self.light(at.number)
        if not at.minor:
            return light, None
        edits = [each for each in self.edits() if each.number == light.number]
        if at.minor == NEWEST:
            return light, edits[-1] if edits else None
        if not 0 < at.minor <= len(edits):
            raise EditNotFound(self.kata_id, self.name, light.number, at.minor, len(edits))
        return light, edits[at.minor - 1]

    def submission(self, number: int, max_bytes: int | None = None) -> tuple[Light, Submission]:
        """Return light `number` (-1 is the newest) with its files and output.

        Raises NotSmall if these have more than `max_bytes`.
        """
        light = self.light(number)
        budget = None if max_bytes is None else SmallBudget(max_bytes=max_bytes)
        return light, self.open_history().submission(light.number, budget)

    def record(
        self,
        light: Light,
        submission: Submission,
        expected: int | None,
        dump_files: DumpFiles = json_files.dump_files,
    ) -> Light:
        """Record a test as the next light and return it, with its number.

        `expected` is the number that the caller expects, or None. Raises StaleNumber if that is not
        the next one. If the light's request was recorded before, its light is returned, and nothing
        is recorded; raises RequestIdReused if that was another request with the same id.
        `dump_files` makes the JSON of the files.
        """
        with locks.locked(self.folder):
            recorder = self._recover()
            lights = self._newest_lights(recorder)
            if light.request is not None:
                before = lights.by_request.get(light.request.id)
                if before is not None and before.request is not None:
                    light.request.check_repeats(before.request)
                    return before
            number = lights.newest.number + 1
            if expected is not None and expected != number:
                raise StaleNumber(self.kata_id, self.name, expected, lights.newest.number)
            numbered = replace(light, number=number)
            with self._checkpointer.tracking(self.folder, self.rewrite):
                log = self._ledger.log(self.kata_id, self.name, self.folder)
                tip = recorder.record(numbered, submission, lights.tip, log)
            self._write_lists(lights, submission, tip, [numbered], dump_files=dump_files)
            return numbered

    def record_edit(
        self,
        files: dict[str, bytes],
        time: datetime,
        *,
        after: int | None = None,
        writer: str = "",
        request: Request | None = None,
    ) -> Edit | None:
        """Record what was changed since the newest light or edit; `files` are all visible files.

        Return the edit; None if nothing was changed: then nothing is recorded. `after` is the
        number of the newest light that the caller knows of, or None; raises StaleNumber if there is
        a newer one. If the request was recorded before, its edit is returned, and nothing is
        recorded; raises RequestIdReused if that was another request with the same id.
        """
        with locks.locked(self.folder):
            recorder = self._recover()
            lights = self._newest_lights(recorder)
            edits = self._edits()
            if request is not None:
                before = edits.by_request.get(request.id)
                if before is not None and before.request is not None:
                    request.check_repeats(before.request)
                    return before
            number = lights.newest.number
            if after is not None and after != number:
                raise StaleNumber(self.kata_id, self.name, after + 1, number)
            newest = edits.newest_of(number)
            was = recorder.file_names(number, newest)
            now = {name: object_writer.blob_name(content) for name, content in files.items()}
            changes = changes_between(was, now)
            if not changes:
                return None
            edit = Edit(
                number,
                newest + 1,
                time,
                tuple(changes[:MAX_CHANGES]),
                is_truncated=len(changes) > MAX_CHANGES,
                writer=writer,
                request=request,
            )
            parent = recorder.edit_commit(number, newest) if newest else recorder.commit(number)
            tip = Tip(parent, frozenset(was.values()), None)
            with self._checkpointer.tracking(self.folder, self.rewrite):
                log = self._ledger.log(self.kata_id, self.name, self.folder)
                recorder.record_edit(edit, files, tip, log)
            return edit

    def write_derived_files(self) -> None:
        """Bring the files that derive from git up to date. The caller holds the avatar's lock.

        Recording does not write git's index and light.json, as only copies of the whole folder
        need them: a download, a backup, the archive.
        """
        recorder = self._recover()
        lights = self._lights()
        number = lights.newest.number
        if number > lights.newest_in_file:
            self._write_lists(lights, recorder.submission(number), lights.tip, is_tracked=False)
        if recorder.is_legacy(number):
            return
        try:
            with durable.translate_disk_errors():
                self._check_out(recorder, number)
        except (DiskFull, DiskReadOnly) as error:
            # A full disk must not prevent a download or a backup, and git can rebuild its index.
            _log.warning("not checked out", number=number, reason=str(error))

    def rewrite(self, entries: list[Entry]) -> None:
        """Rewrite git's files from a log's entries. The caller holds the avatar's lock.

        Existing files are not trusted: after a failed write, their content may be in memory alone,
        or be something else than was written.
        """
        # The log has light 0 only if the whole repository was created just before.
        is_new = any(entry.number == 0 and not entry.minor for entry in entries)
        self._opened = Recorder.create(self.folder, self.kata_id, self.name, overwrite=is_new)
        self._opened.replay(entries, overwrite=True)
        in_place.drop_spare(self.folder / MANIFEST)
        lights = self._refresh()
        in_place.drop_spare(self.folder / MANIFEST)  # it was manifest.json
        if lights.are_in_git:  # else increments.json was synced when it was written
            increments = self.folder / INCREMENTS
            durable.replace(increments, increments.read_bytes(), sync=False)

    def add(self, entries: Sequence[Entry]) -> None:
        """Add lights and edits that were kept elsewhere, but those that are here.

        For the holder of the kata's lock, exclusively, who syncs the kata's folder afterwards.
        """
        recorder = self._recover()
        missing = [each for each in entries if not recorder.has(each)]
        if missing:
            recorder.replay(missing, overwrite=True)
            self._refresh()

    def _refresh(self) -> Lights:
        """Bring the files beside git up to date, and the sandbox if no run has used it."""
        self._cache.forget(self.folder)
        lights = self._lights()
        newest = self.open_history().submission(lights.newest.number)
        self._write_lists(lights, newest, None)
        sandbox.repair(self.folder, self.name, newest.files)
        return lights

    def _recover(self) -> Recorder:
        """Replay a foreign log, and open the repository for writing.

        The caller holds the avatar's lock. After this, `open_history` does not take that lock: it
        would wait for the caller forever.
        """
        if not self._checkpointer.is_foreign(self.folder):
            self._opened = self._opened or Recorder(self.folder, self.kata_id, self.name)
            return self._opened
        with self._checkpointer.recovering(self.folder, self.rewrite) as entries:
            self._opened = Recorder.create(self.folder, self.kata_id, self.name)
            self._opened.replay(entries)
            _log.info("log replayed", kata=self.kata_id, avatar=self.name, lights=len(entries))
            self._refresh()
        return self._opened

    def _write_lists(
        self,
        before: Lights,
        newest: Submission,
        tip: Tip | None,
        added: Sequence[Light] = (),
        *,
        is_tracked: bool = True,
        dump_files: DumpFiles = json_files.dump_files,
    ) -> None:
        """Write manifest.json and increments.json, which list the files and the lights.

        `is_tracked` says that the log, if it has entries, is not emptied before a later checkpoint.

        A failure, such as a full disk or the end of the call, is logged and not raised: git has
        the light, so the light is recorded and the caller has to be told so. Readers find the light
        in git, in other processes too, and the next write lists it.
        """
        try:
            content = dump_files(newest.files)
            self._write(before, list(added), content, tip, is_tracked=is_tracked)
        except (OSError, Busy, Exhausted, CallEnded) as error:
            number = (*before.all, *added)[-1].number
            _log.warning("not listed yet", number=number, reason=str(error))
            self._cache.forget(self.folder)
            # Invalidates the caches of other processes, which compare the file's time.
            with suppress(OSError):
                os.utime(self.folder / INCREMENTS)

    def _check_out(self, recorder: Recorder, number: int) -> None:
        """Update git's index and light.json to a light, unless they are up to date."""
        path = self.folder / LIGHT_JSON
        light_json = recorder.light_json(number)
        has_index = (self.folder / GIT / "index").exists()
        if not has_index or not path.exists() or path.read_bytes() != light_json:
            recorder.check_out(number)
            durable.replace(path, light_json)

    def _write(
        self,
        before: Lights,
        added: list[Light],
        content: bytes | Iterator[bytes],
        tip: Tip | None,
        *,
        is_tracked: bool,
    ) -> None:
        # In this order: when increments.json has a light, manifest.json has its files.
        # A file that a power cut damages is restored only if the log has an entry; else the file
        # has to be synced.
        is_logged = bool(added or WriteAheadLog(self.folder).read_position().used)
        if before.are_in_git and is_logged and is_tracked:
            in_place.swap(self.folder / MANIFEST, content)
        else:
            durable.replace(self.folder / MANIFEST, content)
        self._cache.append(self.folder, before, added, tip)

    def _edits(self) -> Edits:
        return self._cache.edits.read(self.folder, self.open_history())

    def _newest_lights(self, recorder: Recorder) -> Lights:
        """Return the lights, also those that nobody has listed. The caller holds the lock."""
        lights = self._lights()
        if recorder.has_tag_file(lights.newest.number + 1):
            # Another process recorded a light since increments.json was read, and died before it
            # listed the light there.
            self._cache.forget(self.folder)
            lights = self._lights()
        return lights

    def _lights(self) -> Lights:
        found = self._cache.get(self.folder)
        if found is not None:
            return found
        damaged.check(self.folder, self.kata_id)
        # Legacy commits do not have the time of the start; the kata's is off by minutes at most.
        history = self.open_history()
        start = history.light(0)
        legacy_start = Light(number=0, colour="", time=start.time if start else self._started())
        try:
            return self._cache.read(self.folder, history, start, legacy_start)
        except Unreadable as error:
            path = f"{self.name}/{INCREMENTS}"
            raise KataDamaged(self.kata_id, path, str(error)) from error


def start(
    folder: Path,
    kata_id: str,
    name: str,
    files: dict[str, bytes],
    time: datetime,
    *,
    request: Request | None = None,
    source: Source | None = None,
    ledger: Ledger = ALONE,
) -> None:
    """Fill an empty `folder` with what an avatar starts with: light 0, its lists and its sandbox.

    When this returns, all of that can be restored from the log, which is on disk.
    """
    recorder = Recorder.create(folder, kata_id, name)
    _write_start(folder, name, files)
    facts = NO_FACTS if source is None else Facts(source=source)
    light = Light(number=0, colour="", time=time, request=request, facts=facts)
    recorder.record(light, Submission(files), log=ledger.log(kata_id, name, folder))


def start_from(folder: Path, kata_id: str, name: str, entries: Sequence[Entry]) -> None:
    """Fill an empty `folder` with what an avatar started with elsewhere, and its lights since then.

    The lists have nothing of the lights yet: `Avatar.add` brings them up to date.
    Raises KataDamaged if the entries do not begin with the start.
    """
    if not entries or (entries[0].number, entries[0].minor) != (0, 0):
        raise KataDamaged(kata_id, f"{name}/{GIT}", "the start of the avatar was not kept")
    recorder = Recorder.create(folder, kata_id, name)
    recorder.replay(entries[:1], overwrite=True)
    _write_start(folder, name, recorder.submission(0).files)


def _write_start(folder: Path, name: str, files: dict[str, bytes]) -> None:
    """Write an avatar's sandbox and lists, as it starts with."""
    sandbox.create(folder, name, files)
    for filename, content in ((INCREMENTS, b"[]\n"), (MANIFEST, json_files.dump_files(files))):
        path = folder / filename
        with path.open("wb") as file:
            file.writelines((content,) if isinstance(content, bytes) else content)
        path.chmod(durable.PRIVATE)
    avatars.close_to_others(folder, name)
