"""A kata: the folder in its volume, its manifest and its avatars."""

import os
import shutil
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePath
from typing import Any, Self

from dojo import avatars, kata_ids, limits, locks, waits
from dojo.engine.data_containers import MANIFEST
from dojo.errors import (
    AvatarNotFound,
    AvatarsExhausted,
    KataDamaged,
    KataNotFound,
    MemoryExhausted,
)
from storer.fs import durable, json_files
from storer.fs.checkpointer import Checkpointer
from storer.fs.json_files import Unreadable
from storer.fs.write_ahead_log import Entry
from storer.kata import manifest, options
from storer.kata import request as request_json
from storer.kata.avatar import Avatar, start, start_from
from storer.kata.edit import Edit
from storer.kata.ledger import ALONE, Ledger
from storer.kata.light import Light
from storer.kata.light_facts import Source
from storer.kata.lights import LightsCache
from storer.kata.manifest import Manifest
from storer.kata.options import KataOptions, Options
from storer.kata.request import Request

STARTING = ".starting"

# The request that restored the kata, beside its manifest.json.
RESTORED = "restored.json"

# A large manifest takes several times the memory of its visible files.
_LARGE_MANIFESTS = threading.BoundedSemaphore(1)


@dataclass(frozen=True, slots=True)
class DamagedAvatar:
    """An avatar whose lights can't be read: which file of the kata is damaged, and why."""

    name: str
    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name} is damaged: {self.path}: {self.reason}"


class Kata:
    """A kata in its folder. Each call makes an instance; many may stand for the same kata.

    Starting an avatar and setting options hold the lock on manifest.json, because every call that
    uses the kata holds the lock on its folder, shared. A file or folder without a leading dot in
    its name is complete.
    """

    def __init__(
        self,
        folder: Path,
        kata_id: str,
        cache: LightsCache,
        checkpointer: Checkpointer,
        use: ExitStack | None = None,
        *,
        on_damage: Callable[[str, str], object] | None = None,
        ledger: Ledger = ALONE,
    ) -> None:
        """`use` ends with the use of the kata; with it, one large manifest is held at a time.

        `on_damage` is called with the kata's id and the path of a damaged file, where a call goes
        on without it.
        """
        self.folder = folder
        self.kata_id = kata_id
        self._cache = cache
        self._checkpointer = checkpointer
        self._use = use
        self._on_damage = on_damage
        self._ledger = ledger
        self._manifest_json: dict[str, Any] | None = None
        self._created: datetime | None = None
        self._started: datetime | None = None

    @classmethod
    def detached(cls, folder: Path, kata_id: str) -> Self:
        """Return a kata with a cache and a checkpointer of its own, for reading only."""
        return cls(folder, kata_id, LightsCache(), Checkpointer())

    def read_manifest_json(self) -> dict[str, Any]:
        """Return the content of manifest.json, which is read once.

        Raises KataDamaged, and MemoryExhausted if other calls hold large ones for too long.
        """
        if self._manifest_json is None:
            if self._use is not None and self.has_large_manifest():
                refusal = MemoryExhausted("other calls hold large manifests of katas")
                self._use.enter_context(waits.one_of(_LARGE_MANIFESTS, refusal))
            self._manifest_json = self._load_manifest_json()
        return self._manifest_json

    def read_manifest(self) -> Manifest:
        """Return how the kata was created. Raises KataDamaged."""
        try:
            return manifest.from_json(self.read_manifest_json())
        except Unreadable as error:
            raise KataDamaged(self.kata_id, MANIFEST, str(error)) from error

    def read_created(self) -> datetime:
        """Return when the kata was created. Raises KataDamaged, or MemoryExhausted.

        Does not wait for those who hold a large manifest, and holds none when it returns: the
        caller may hold the lock of an avatar, for which one of those could wait.
        """
        if self._created is None:
            self._created = self._load_time(manifest.created)
        return self._created

    def read_started(self) -> datetime:
        """Return when avatars started whose history does not say it, as `read_created` does."""
        if self._started is None:
            self._started = self._load_time(manifest.started)
        return self._started

    def avatar_names(self) -> list[str]:
        """Return the names of the started avatars, in alphabetical order."""
        try:
            with os.scandir(self.folder) as entries:
                return sorted(
                    entry.name
                    for entry in entries
                    if avatars.is_name(entry.name) and entry.is_dir(follow_symlinks=False)
                )
        except FileNotFoundError:
            raise KataNotFound(self.kata_id) from None

    def avatar(self, name: str) -> Avatar:
        """Return a started avatar; raise AvatarNotFound if it was not started."""
        folder = self.folder / name
        if not folder.is_dir():
            raise AvatarNotFound(self.kata_id, name)
        return self._avatar(folder, self.read_started)

    def avatars(self) -> list[Avatar]:
        """Return the started avatars, in alphabetical order of their names."""
        return [self.avatar(name) for name in self.avatar_names()]

    def lights(self) -> tuple[dict[str, tuple[Light, ...]], list[DamagedAvatar]]:
        """Return the lights of each avatar, and the avatars whose lights can't be read."""
        found: dict[str, tuple[Light, ...]] = {}
        damaged = []
        for avatar in self.avatars():
            try:
                found[avatar.name] = avatar.lights()
            except KataDamaged as error:
                damaged.append(DamagedAvatar(avatar.name, str(error.path), error.reason))
                self.tell_damage(error.path)
        return found, damaged

    def edits(self, name: str, lights: Sequence[Light]) -> tuple[Edit, ...]:
        """Return the edits of an avatar whose `lights` were read before.

        A light may have been recorded since, and an edit after it: such an edit is left out.
        """
        newest = lights[-1].number
        return tuple(each for each in self.avatar(name).edits() if each.number <= newest)

    def tell_damage(self, path: PurePath | str) -> None:
        """Tell that a file of the kata is damaged, and the call goes on without it."""
        if self._on_damage is not None:
            self._on_damage(self.kata_id, str(path))

    def start_avatar(
        self,
        order: Sequence[str],
        time: datetime,
        request: Request | None,
        source: Source | None = None,
        files: dict[str, bytes] | None = None,
    ) -> tuple[str, dict[str, bytes]]:
        """Start the first avatar of `order` that is not started; return its name and files.

        It starts with the kata's files, or with `files`, which are those of `source`. If the
        request has started one before, return that. Raises AvatarsExhausted if all are started,
        and RequestIdReused if another request with this id has started one.
        """
        if files is None:
            files = self.read_manifest().visible_files
        with locks.locked(self.folder / MANIFEST):
            if request is not None and (before := self.started_by(request)) is not None:
                return before
            taken = set(self.avatar_names())
            name = next((name for name in order if name not in taken), None)
            if name is None:
                raise AvatarsExhausted(self.kata_id, len(order))
            starting = self.folder / STARTING
            if starting.exists():  # left by a process that died: this call holds the lock
                shutil.rmtree(starting)
            # The checkpointer keeps this avatar. With `read_started` in it, the avatar would keep
            # the kata's manifest in memory too.
            avatar = self._avatar(self.folder / name, lambda: time)
            with self._checkpointer.tracking(avatar.folder, avatar.rewrite):
                try:
                    starting.mkdir()
                    start(
                        *(starting, self.kata_id, name, files, time),
                        request=request,
                        source=source,
                        ledger=self._ledger,
                    )
                    starting.rename(self.folder / name)
                except BaseException:  # such as a full disk
                    shutil.rmtree(starting, ignore_errors=True)
                    raise
                durable.sync_folder(self.folder)
        return name, files

    def read_options(self) -> KataOptions:
        """Return the options that are set; none if their file can't be read, as verifying tells."""
        return options.read_or_none(self.folder)

    def set_options(
        self, avatar: str, given: Options, unset: Collection[str]
    ) -> tuple[KataOptions, bool]:
        """Set options of an avatar, or of the kata if `avatar` is ""; and some no longer.

        Return all options, and whether they changed. Raises AvatarNotFound.
        """
        if avatar:
            self.avatar(avatar)
        with locks.locked(self.folder / MANIFEST):
            before = options.read_to_change(self.folder)
            after = before.changed(avatar, given, unset)
            if after == before:
                return before, False
            content = options.dump(after)
            self._ledger.keep_options(self.kata_id, content)
            options.write(self.folder, content)
        return after, True

    def add(self, entries: Mapping[str, Sequence[Entry]], options_json: bytes | None) -> None:
        """Add what was kept elsewhere: lights and edits of avatars, and options if there are any.

        What is here already stays. For the holder of the kata's lock, exclusively, who syncs the
        kata's folder afterwards. Raises KataDamaged.
        """
        for name, found in sorted(entries.items()):
            if not (self.folder / name).is_dir():
                starting = self.folder / STARTING
                shutil.rmtree(starting, ignore_errors=True)
                starting.mkdir()
                start_from(starting, self.kata_id, name, found)
                starting.rename(self.folder / name)
            self.avatar(name).add(found)
        if options_json is not None:
            options.write(self.folder, options_json)

    def read_request(self) -> Request | None:
        """Return the request that created the kata, None if that had no id. Raises KataDamaged."""
        return request_json.from_json(self.read_manifest_json().get(manifest.REQUEST))

    def read_old_ids(self) -> list[str]:
        """Return the old ids of a saver that avatars had, but the kata's. Raises KataDamaged."""
        if kata_ids.old_of(self.kata_id) is None:
            return []  # it is from no saver
        return manifest.old_ids(self.read_manifest_json(), self.kata_id)

    def read_restored(self) -> Request | None:
        """Return the request that restored the kata; None if there was none, or it had no id."""
        try:
            return request_json.from_json(json_files.read(self.folder / RESTORED, dict))
        except Unreadable:
            return None

    def write_restored(self, request: Request) -> None:
        """Note which request restored the kata. For a kata that is staged."""
        value = json_files.dumps(request_json.to_json(request))
        durable.replace(self.folder / RESTORED, value, sync=False)

    def started_by(self, request: Request) -> tuple[str, dict[str, bytes]] | None:
        """Return the avatar that the request has started before, with the files of its start.

        None if it has started none. Raises RequestIdReused.
        """
        for avatar in self.avatars():
            with suppress(KataDamaged):  # nobody can have it: another avatar is started
                before = avatar.lights()[0].request
                if before is not None and before.id == request.id:
                    request.check_repeats(before)
                    return avatar.name, avatar.submission(0)[1].files
        return None

    def _load_manifest_json(self) -> dict[str, Any]:
        try:
            value: dict[str, Any] = json_files.read(self.folder / MANIFEST, dict)
        except Unreadable as error:
            raise KataDamaged(self.kata_id, MANIFEST, str(error)) from error
        return value

    def _load_time(self, read: Callable[[dict[str, Any]], datetime]) -> datetime:
        is_kept = self._manifest_json is not None or not self.has_large_manifest()
        try:
            return read(self.read_manifest_json() if is_kept else self._load_manifest_json())
        except Unreadable as error:
            raise KataDamaged(self.kata_id, MANIFEST, str(error)) from error

    def has_large_manifest(self) -> bool:
        """Say whether manifest.json is so large that few may hold it."""
        with suppress(FileNotFoundError):  # who reads it says so
            return (self.folder / MANIFEST).stat().st_size > limits.LARGE_JSON_BYTES
        return False

    def _avatar(self, folder: Path, started: Callable[[], datetime]) -> Avatar:
        return Avatar(
            *(folder, self.kata_id, folder.name, started),
            cache=self._cache,
            checkpointer=self._checkpointer,
            ledger=self._ledger,
        )
