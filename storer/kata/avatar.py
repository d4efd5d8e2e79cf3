"""An avatar: its folder, its lights, and the recording of tests."""

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import structlog

from dojo import locks
from dojo.errors import DiskFull, DiskReadOnly, KataDamaged, LightNotFound, StaleNumber
from storer.fs import durable, in_place, json_files
from storer.fs.checkpointer import Checkpointer
from storer.fs.json_files import Unreadable
from storer.fs.write_ahead_log import Entry, WriteAheadLog
from storer.kata import sandbox
from storer.kata.history import GIT, LIGHT_JSON, History
from storer.kata.light import Light, Submission
from storer.kata.lights import INCREMENTS, Lights, LightsCache
from storer.kata.recorder import Recorder, Tip

MANIFEST = "manifest.json"
NEWEST = -1

_log = structlog.get_logger()

# Others may pass through on their way to their own sandbox, and see nothing.
PASSAGE = 0o711


class Avatar:
    """One participant of a kata. Any number of these may stand for the same avatar.

    Recording holds the lock on the avatar's folder, which makes writers of the same avatar
    take turns, in this process and in others. Reading holds none.
    """

    def __init__(
        self,
        folder: Path,
        kata_id: str,
        name: str,
        created: Callable[[], datetime],
        *,
        cache: LightsCache,
        checkpointer: Checkpointer,
    ) -> None:
        """Stand for the avatar `name` in `folder`; `created` tells when its kata was."""
        self.folder = folder
        self.kata_id = kata_id
        self.name = name
        self._created = created
        self._cache = cache
        self._checkpointer = checkpointer
        self._opened: Recorder | None = None

    def open_history(self) -> History:
        """Open the avatar's git repository; the first time, replay its log if that is foreign.

        Replaying takes the lock on the avatar's folder, and writes.
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
        # Almost always a light is where its number says; old histories can have gaps.
        if 0 <= number < len(lights) and lights[number].number == number:
            return lights[number]
        for each in lights:
            if each.number == number:
                return each
        raise LightNotFound(self.kata_id, self.name, number, lights[-1].number)

    def submission(self, number: int) -> tuple[Light, Submission]:
        """Return light `number` (-1 is the newest) with its files and output."""
        light = self.light(number)
        return light, self.open_history().submission(light.number)

    def record(self, light: Light, submission: Submission, expected: int | None) -> Light:
        """Record a test as the next light and return it; its number is given here.

        `expected` is the number that the caller believes it gets, or None. Raises StaleNumber
        if that is taken. A `request_id` that was recorded before records nothing and returns
        the light of then.
        """
        with locks.locked(self.folder):
            recorder = self._recover()
            lights = self._lights()
            if recorder.has_file_of(lights.newest.number + 1):
                # Recorded, by a process that got no further, since increments.json was read.
                self._cache.forget(self.folder)
                lights = self._lights()
            if (before := lights.by_request.get(light.request_id)) is not None:
                return before
            number = lights.newest.number + 1
            if expected is not None and expected != number:
                raise StaleNumber(self.kata_id, self.name, expected, lights.newest.number)
            numbered = replace(light, number=number)
            with self._checkpointer.tracking(self.folder, self.rewrite):
                log = WriteAheadLog(self.folder)
                tip = recorder.record(numbered, submission, lights.tip, log)
            self._list(lights, submission, tip, [numbered])
            return numbered

    def mend(self) -> None:
        """Write what git knows and the other files don't. For the lock's holder.

        Recording leaves it to this what is of use only to who gets the folder as a whole.
        """
        recorder = self._recover()
        lights = self._lights()
        number = lights.newest.number
        if number > lights.newest_in_file:
            self._list(lights, recorder.submission(number), lights.tip)
        if recorder.is_legacy(number):
            return
        try:
            with durable.translate_disk_errors():
                self._check_out(recorder, number)
        except (DiskFull, DiskReadOnly) as error:
            # Somebody may want the kata for just that reason, and git can make its index anew.
            _log.warning("not checked out", number=number, reason=str(error))

    def rewrite(self, entries: list[Entry]) -> None:
        """Write the log's entries, whatever git's files seem to have. For the lock's holder.

        After a failure of the disk's, what can be read may be in memory alone, or not be what
        was written.
        """
        # The start is in the log only if all of the repository was made just before.
        is_new = any(entry.number == 0 for entry in entries)
        self._opened = Recorder.create(self.folder, self.kata_id, self.name, overwrite=is_new)
        self._opened.replay(entries, overwrite=True)
        if self._refresh().are_in_git:  # else it was put on disk by itself
            increments = self.folder / INCREMENTS
            durable.replace(increments, increments.read_bytes(), sync=False)

    def _refresh(self) -> Lights:
        """Have the files beside git, and the sandbox if no run was in it, be as git says."""
        self._cache.forget(self.folder)
        lights = self._lights()
        newest = self.open_history().submission(lights.newest.number)
        self._list(lights, newest, None)
        sandbox.mend(self.folder, self.name, newest.files)
        return lights

    def _recover(self) -> Recorder:
        """Open the repository to write to, after a foreign log was replayed. For the lock's holder.

        After this `open_history` waits for no lock that is held already.
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

    def _list(
        self, before: Lights, newest: Submission, tip: Tip | None, added: Sequence[Light] = ()
    ) -> None:
        """Have the files beside git tell of the newest light, if the disk takes that.

        If it is full, say: git has the light, so it is recorded, and has to be told as such. Who
        reads finds it there, other caches and processes too, and the next writing adds it.
        """
        try:
            self._write(before, list(added), newest, tip)
        except OSError as error:
            number = (*before.all, *added)[-1].number
            _log.warning("not listed yet", number=number, reason=str(error))
            self._cache.forget(self.folder)
            with suppress(OSError):
                os.utime(self.folder / INCREMENTS)

    def _check_out(self, recorder: Recorder, number: int) -> None:
        """Have git's index and light.json be those of a light, if they are not."""
        path = self.folder / LIGHT_JSON
        described = recorder.described(number)
        has_index = (self.folder / GIT / "index").exists()
        if not has_index or not path.exists() or path.read_bytes() != described:
            recorder.check_out(number)
            durable.replace(path, described)

    def _write(
        self, before: Lights, added: list[Light], newest: Submission, tip: Tip | None
    ) -> None:
        # In this order: when increments.json has a light, manifest.json has its files.
        content = json_files.dumps(json_files.files_json(newest.files))
        # What a power cut leaves of it is rewritten only if the log has an entry then.
        is_logged = bool(added or WriteAheadLog(self.folder).read_position().used)
        if before.are_in_git and is_logged:
            in_place.swap(self.folder / MANIFEST, content)
        else:
            durable.replace(self.folder / MANIFEST, content)
        self._cache.append(self.folder, before, added, tip)

    def _lights(self) -> Lights:
        found = self._cache.get(self.folder)
        if found is not None:
            return found
        # Commits of old do not hold the start's time; it was the kata's, give or take a minute.
        history = self.open_history()
        start = history.light(0)
        old = Light(number=0, colour="", time=start.time if start else self._created())
        try:
            return self._cache.read(self.folder, history, start, old)
        except Unreadable as error:
            path = f"{self.name}/{INCREMENTS}"
            raise KataDamaged(self.kata_id, path, str(error)) from error


def start(folder: Path, kata_id: str, name: str, files: dict[str, bytes], time: datetime) -> None:
    """Fill an empty `folder` with what an avatar starts with: light 0 and its sandbox.

    When this returns, all of it is on disk, or is in the write-ahead log, which is.
    """
    recorder = Recorder.create(folder, kata_id, name)
    sandbox.create(folder, name, files)
    for filename, content in (
        (INCREMENTS, b"[]\n"),
        (MANIFEST, json_files.dumps(json_files.files_json(files))),
    ):
        path = folder / filename
        path.write_bytes(content)
        path.chmod(durable.PRIVATE)
    folder.chmod(PASSAGE)
    light = Light(number=0, colour="", time=time)
    recorder.record(light, Submission(files), log=WriteAheadLog(folder))
