"""The journals of all avatars: what this process knows of them, and when they are emptied.

A journal is emptied when all that it has is on disk in git's own files too. They are put there
together, a whole file system at a time, every few seconds.

A disk that can't write something is told of once, and what it could not write is not written
again by itself: it is in memory still, and seems to be there. All journals of that file system
are doubtful then, as are those that another process left, and what they hold is written again
before they are emptied.
"""

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pygit2
import structlog

from dojo import locks
from dojo.errors import DojoError
from storer.fs import durable
from storer.fs.write_ahead_log import EMPTY, Entry, Journal, State

# How long git's files may wait for being put on disk, and how much may wait.
SYNC_SECONDS = 10.0
MAX_BYTES = 4 * 1024 * 1024

_log = structlog.get_logger()


# Writes what a journal has, whatever git seems to have of it. For the avatar's lock's holder.
WriteAgain = Callable[[list[Entry]], None]


class _Noted(NamedTuple):
    """What is known of a journal: git has all that it has in this state, for those who read it."""

    state: State
    device: int
    write_again: WriteAgain
    is_doubtful: bool


class Journals:
    """What this process knows of the journals of avatars. Any thread may use it.

    A lock guards what is known; a thread, which starts with the first entry, empties the journals.
    Another lock is held while a file system is put on disk: who waits for it finds in doubt what
    it could not be for the one before.
    """

    def __init__(self) -> None:
        """Know of none yet."""
        self._lock = threading.Lock()
        self._noted: dict[Path, _Noted] = {}
        # Of the noted journals, and of those that are written at this moment, by device.
        self._file_systems: dict[int, durable.FileSystem] = {}
        self._writers: Counter[int] = Counter()
        self._failures = 0  # of any of them
        self._syncing = threading.Lock()
        self._emptying = threading.Lock()
        self._has_new = threading.Event()
        self._thread: threading.Thread | None = None

    def is_known(self, folder: Path) -> bool:
        """Say whether git has, for this process, all that the journal in `folder` holds."""
        state = Journal(folder).state
        return not state.used or self.known(folder) == state

    def known(self, folder: Path) -> State:
        """Return the state of the journal in `folder` that this process wrote or read last."""
        noted = self._get(folder)
        return noted.state if noted else EMPTY

    @contextmanager
    def noting(
        self, folder: Path, write_again: WriteAgain, *, is_doubtful: bool = False
    ) -> Iterator[None]:
        """Take note, in the end, that git has what the journal in `folder` holds.

        For the lock's holder, around its writing. What `is_doubtful` will be written again.
        """
        self._start()
        device = os.stat(folder.parent).st_dev  # noqa: PTH116 - a path's own takes longer
        before = self._get(folder)
        if before is not None:
            is_doubtful = is_doubtful or before.is_doubtful
        elif Journal(folder).state.used:  # of somebody else's, or it was forgotten
            is_doubtful = True
        with self._lock:
            # Open before anything is written: then no failure to write it is missed.
            if device not in self._file_systems:
                self._file_systems[device] = durable.FileSystem(folder.parent)
            self._writers[device] += 1
            failures = self._failures
        try:
            yield
            state = Journal(folder).state
            with self._lock:
                doubts = is_doubtful or failures != self._failures
                self._noted[folder] = _Noted(state, device, write_again, doubts)
        finally:
            with self._lock:
                self._writers[device] -= 1
            self._has_new.set()

    def make_room(self, folder: Path) -> None:
        """Empty the journal in `folder`, which is known, or let it grow. For the lock's holder."""
        noted = self._get(folder)
        if noted is not None and not noted.is_doubtful and self._is_synced(noted.device, folder):
            self._clear(folder, noted.state)

    def empty(self) -> None:
        """Put all that was noted on disk, and empty the journals that had no entry since.

        Those for which that is not possible keep what they have until it is tried again.
        """
        with self._emptying:
            self._try_to_empty()
            with self._lock:
                is_left = any(each.is_doubtful for each in self._noted.values())
            if is_left:  # what the disk could not take in one place it may take in another
                self._try_to_empty()
            self._let_go()

    def _try_to_empty(self) -> None:
        # What is noted after this may not be on disk when they are emptied, and stays.
        with self._lock:
            noted = dict(self._noted)
        for folder, each in noted.items():
            if each.is_doubtful:
                self._settle(folder, each)
            else:
                # Whoever noted it holds the lock until the lists beside git are written.
                self._locked(folder, each, lambda: None)
        devices = {each.device: folder for folder, each in noted.items()}
        synced = {device for device, folder in devices.items() if self._is_synced(device, folder)}
        for folder, each in noted.items():
            if each.device in synced:
                self._locked(folder, each, partial(self._clear, folder, each.state))

    def _get(self, folder: Path) -> _Noted | None:
        with self._lock:
            return self._noted.get(folder)

    def _settle(self, folder: Path, noted: _Noted) -> None:
        """Write again what the disk may have lost of a journal's lights, if nobody is in the way.

        While the kata's lock is held, too, nobody puts another in its place, or takes it away.
        """
        with locks.locked_at_once(folder.parent, shared=True) as is_held:
            if is_held:
                self._locked(folder, noted, partial(self._write_again, folder))
            elif folder.exists():
                self._has_new.set()
            else:
                self._forget(folder, noted)

    def _locked(self, folder: Path, noted: _Noted, work: Callable[[], None]) -> None:
        """Do something with an avatar's lock held; later again if the disk does not take it."""
        try:
            with locks.locked(folder):
                try:
                    work()
                except (
                    FileNotFoundError,
                    DojoError,
                    pygit2.GitError,
                    ValueError,
                    KeyError,
                ) as error:
                    # Damage, which would be the same later, and may not be to others' loss. The
                    # journal has it still, and whoever reads it notes it.
                    _log.warning("not written again", folder=str(folder), reason=str(error))
                    self._forget(folder, self._get(folder))
        except FileNotFoundError:  # the kata was deleted
            self._forget(folder, noted)
        except OSError as error:
            self._try_later(folder, error)

    def _write_again(self, folder: Path) -> None:
        """Write again what the disk may have lost of a journal's lights. For the lock's holder."""
        journal = Journal(folder)
        with self._lock:
            noted, failures = self._noted.get(folder), self._failures
        if noted is None:
            return
        if not noted.state.used or journal.state != noted.state:
            # It is empty, or another storer added to it, which whoever reads it next will find.
            self._forget(folder, noted)
            return
        noted.write_again(journal.entries())
        with self._lock:
            if failures == self._failures:
                self._noted[folder] = noted._replace(is_doubtful=False)

    def _is_synced(self, device: int, folder: Path) -> bool:
        """Put the file system of a folder on disk, and say whether it is.

        If not, all that was not on it for certain is in doubt, and it is tried again later.
        """
        with self._syncing:
            with self._lock:
                file_system = self._file_systems.get(device)
            if file_system is None:
                return False
            try:
                file_system.sync()
            except OSError as error:
                with self._lock:
                    self._failures += 1
                    for each, noted in self._noted.items():
                        if noted.device == device:
                            self._noted[each] = noted._replace(is_doubtful=True)
                self._try_later(folder, error)
                return False
        return True

    def _try_later(self, folder: Path, error: OSError) -> None:
        _log.warning("not put on disk", folder=str(folder), reason=str(error))
        self._has_new.set()

    def _clear(self, folder: Path, synced: State) -> None:
        """Empty a journal, if what it has is what was put on disk. For the lock's holder."""
        noted = self._get(folder)
        if noted is None or noted.is_doubtful:
            return
        journal = Journal(folder)
        now = journal.state
        if now.used and now == synced:
            journal.clear()
        if not now.used or now == synced:
            self._forget(folder, noted)

    def _forget(self, folder: Path, noted: _Noted | None) -> None:
        with self._lock:
            if self._noted.get(folder) is noted:
                self._noted.pop(folder, None)

    def _start(self) -> None:
        """Start the thread that empties the journals, if it is not there."""
        with self._lock:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="journals", daemon=True)
                try:
                    thread.start()
                except RuntimeError as error:  # the next light tries it again
                    _log.warning("journals are not emptied", reason=str(error))
                else:
                    self._thread = thread

    def _let_go(self) -> None:
        with self._syncing, self._lock:
            needed = {each.device for each in self._noted.values()} | set(+self._writers)
            for device in self._file_systems.keys() - needed:
                self._file_systems.pop(device).close()

    def _run(self) -> None:
        pause = threading.Event()
        while True:
            self._has_new.wait()
            self._has_new.clear()
            pause.wait(SYNC_SECONDS)
            try:
                self.empty()
            except Exception:  # noqa: BLE001 - a defect of ours may not be to all katas' loss
                _log.exception("defect")
                self._has_new.set()
