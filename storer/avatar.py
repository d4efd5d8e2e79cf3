"""An avatar: its folder, its lights, and the recording of tests."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from dojo import locks
from dojo.errors import KataDamaged, LightNotFound, StaleNumber
from storer import durable, json_files, sandbox
from storer.history import LIGHT_JSON, History
from storer.json_files import Unreadable
from storer.light import Light, Submission
from storer.lights import INCREMENTS, Lights, LightsCache

MANIFEST = "manifest.json"
NEWEST = -1

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
        cache: LightsCache,
    ) -> None:
        """Stand for the avatar `name` in `folder`; `created` tells when its kata was."""
        self.folder = folder
        self.kata_id = kata_id
        self.name = name
        self._created = created
        self._cache = cache
        self._opened: History | None = None

    @property
    def history(self) -> History:
        """The avatar's git repository."""
        if self._opened is None:
            self._opened = History(self.folder, self.kata_id, self.name)
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
        return light, self.history.submission(light.number)

    def record(self, light: Light, submission: Submission, expected: int | None) -> Light:
        """Record a test as the next light and return it; its number is given here.

        `expected` is the number that the caller believes it gets, or None. Raises StaleNumber
        if that is taken. A `request_id` that was recorded before records nothing and returns
        the light of then.
        """
        with locks.locked(self.folder):
            lights = self._lights()
            if self.history.has(lights.newest.number + 1):
                # Recorded, by a process that got no further, since increments.json was read.
                self._cache.forget(self.folder)
                lights = self._lights()
            if light.request_id:
                for each in reversed(lights.all):
                    if each.request_id == light.request_id:
                        return each
            number = lights.newest.number + 1
            if expected is not None and expected != number:
                raise StaleNumber(self.kata_id, self.name, expected, lights.newest.number)
            numbered = replace(light, number=number)
            described = self.history.record(numbered, submission)
            durable.replace(self.folder / LIGHT_JSON, described)
            self._write(lights, [numbered], submission)
            return numbered

    def mend(self) -> None:
        """Write what git knows and the other files don't. For the lock's holder."""
        lights = self._lights()
        if lights.newest.number > lights.newest_in_file:
            self._write(lights, [], self.history.submission(lights.newest.number))

    def _write(self, before: Lights, added: list[Light], newest: Submission) -> None:
        durable.write(self.folder / MANIFEST, json_files.dumps(json_files.files_json(newest.files)))
        self._cache.append(self.folder, before, added)

    def _lights(self) -> Lights:
        found = self._cache.get(self.folder)
        if found is not None:
            return found
        # Commits of old do not hold the start's time; it was the kata's, give or take a minute.
        start = self.history.light(0) or Light(number=0, colour="", time=self._created())
        try:
            return self._cache.read(self.folder, self.history, start)
        except Unreadable as error:
            path = f"{self.name}/{INCREMENTS}"
            raise KataDamaged(self.kata_id, path, str(error)) from error


def start(folder: Path, kata_id: str, name: str, files: dict[str, bytes], time: datetime) -> None:
    """Fill an empty `folder` with what an avatar starts with: light 0 and its sandbox."""
    light = Light(number=0, colour="", time=time)
    described = History.create(folder, kata_id, name).record(light, Submission(files))
    durable.replace(folder / LIGHT_JSON, described)
    sandbox.create(folder, name, files)
    durable.write(folder / INCREMENTS, b"[]\n")
    durable.write(folder / MANIFEST, json_files.dumps(json_files.files_json(files)))
    folder.chmod(PASSAGE)
