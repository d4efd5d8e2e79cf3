"""The owner of the avatars' write-ahead logs: what this process knows of each, and when it ends.

The checkpointer alone decides whether a log is

- empty: it has no entries;
- foreign: it has entries that this process neither appended nor replayed. A process that died
  left them, or another storer of the same namespace is at work. Nobody reads or writes the
  avatar before they are replayed (`recovering`);
- pending: git's files have its entries, and the next checkpoint syncs them;
- doubtful: git's files seem to have its entries, and may have lost them: a process left the log
  that died, and maybe the machine with it, or the disk failed since. The next checkpoint
  rewrites them from the log, and only then are they pending.

A checkpoint, every few seconds, syncs whole file systems: git's files of all avatars are on disk
after one wait. Then it empties the pending logs. The kernel tells of a failure to write only once,
and does not try again; what it could not write can still be read, from memory. So a sync that
fails makes all logs of that file system doubtful.
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
from storer.fs.write_ahead_log import EMPTY, Entry, Position, WriteAheadLog

# How long a log may wait for a checkpoint, and how much it may hold.
CHECKPOINT_SECONDS = 10.0
MAX_BYTES = 4 * 1024 * 1024

_log = structlog.get_logger()


# Writes a log's entries into git's files, whatever those seem to have. For the avatar's lock's
# holder.
Rewrite = Callable[[list[Entry]], None]


class _Tracked(NamedTuple):
    """A log that is pending or doubtful, in the position up to which git's files have it."""

    position: Position
    device: int
    rewrite: Rewrite
    is_doubtful: bool


class Checkpointer:
    """Owns the write-ahead logs of avatars. Any thread may use it.

    A lock guards what is known. Another is held while a file system is synced: whoever waits for
    it learns from the logs' doubts that the sync before failed. A third lets one checkpoint
    happen at a time.
    """

    def __init__(self) -> None:
        """Know of no log yet."""
        self._lock = threading.Lock()
        self._tracked: dict[Path, _Tracked] = {}
        # Of the tracked logs, and of those that are written at this moment, by device.
        self._file_systems: dict[int, durable.FileSystem] = {}
        self._writers: Counter[int] = Counter()
        self._failures = 0  # of any of them
        self._syncing = threading.Lock()
        self._checkpointing = threading.Lock()
        self._is_due = threading.Event()
        self._is_stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="checkpointer", daemon=True)

    def start(self) -> None:
        """Start the thread that makes checkpoints."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread, and make a last checkpoint: it leaves no log that is not empty."""
        self._is_stopped.set()
        self._is_due.set()
        if self._thread.is_alive():
            self._thread.join()
        self.checkpoint()

    def is_foreign(self, folder: Path) -> bool:
        """Say whether the log in `folder` has entries that have to be replayed first."""
        position = WriteAheadLog(folder).read_position()
        return bool(position.used) and self._known(folder) != position

    @contextmanager
    def recovering(self, folder: Path, rewrite: Rewrite) -> Iterator[list[Entry]]:
        """Give the entries of a foreign log, which the block replays: then the log is tracked.

        Without those that this process replayed before. For the holder of the avatar's lock.
        """
        with self.tracking(folder, rewrite):
            yield WriteAheadLog(folder).recover(self._known(folder))

    @contextmanager
    def tracking(self, folder: Path, rewrite: Rewrite) -> Iterator[None]:
        """Track the log in `folder`, to which the block appends, and what it has by then.

        The block writes git's files too. For the holder of the avatar's lock.
        """
        device = os.stat(folder.parent).st_dev  # noqa: PTH116 - a path's own takes longer
        position = WriteAheadLog(folder).read_position()
        if position.used > MAX_BYTES:
            self._checkpoint_at_once(folder)
            position = WriteAheadLog(folder).read_position()
        is_doubtful = self._is_doubtful(folder, position)
        with self._lock:
            # Open before anything is written: then no failure to write it is missed.
            if device not in self._file_systems:
                self._file_systems[device] = durable.FileSystem(folder.parent)
            self._writers[device] += 1
            failures = self._failures
        try:
            yield
            position = WriteAheadLog(folder).read_position()
            with self._lock:
                is_doubtful = is_doubtful or failures != self._failures
                self._tracked[folder] = _Tracked(position, device, rewrite, is_doubtful)
        finally:
            with self._lock:
                self._writers[device] -= 1
            self._is_due.set()

    def checkpoint(self) -> None:
        """Sync what the tracked logs have in git's files, and empty those without a new entry.

        Logs for which that is not possible keep their entries until the next checkpoint.
        """
        with self._checkpointing:
            self._try_to_checkpoint()
            with self._lock:
                is_left = any(each.is_doubtful for each in self._tracked.values())
            if is_left:  # what the disk could not take in one place it may take in another
                self._try_to_checkpoint()
            self._close_unused()

    def _is_doubtful(self, folder: Path, position: Position) -> bool:
        """Say whether git's files may have lost what the log has in this position."""
        tracked = self._get(folder)
        if tracked is None:
            return bool(position.used)  # somebody else's, or it was forgotten
        # Another storer's appends, since this one follows its log, are in that storer's hands.
        is_other = bool(position.used) and position.generation != tracked.position.generation
        return tracked.is_doubtful or is_other

    def _checkpoint_at_once(self, folder: Path) -> None:
        """Empty the log in `folder`, or let it grow. For the holder of the avatar's lock."""
        tracked = self._get(folder)
        if tracked and not tracked.is_doubtful and self._is_synced(tracked.device, folder):
            self._reset(folder, tracked.position)

    def _try_to_checkpoint(self) -> None:
        # What is tracked after this may not be on disk when the logs are emptied, and stays.
        with self._lock:
            tracked = dict(self._tracked)
        for folder, each in tracked.items():
            if each.is_doubtful:
                self._rewrite_if_free(folder, each)
            else:
                # Whoever tracked it holds the lock until the lists beside git are written.
                self._locked(folder, each, lambda: None)
        devices = {each.device: folder for folder, each in tracked.items()}
        synced = {device for device, folder in devices.items() if self._is_synced(device, folder)}
        for folder, each in tracked.items():
            if each.device in synced:
                self._locked(folder, each, partial(self._reset, folder, each.position))

    def _known(self, folder: Path) -> Position:
        """Return the position up to which this process wrote or replayed the log in `folder`."""
        tracked = self._get(folder)
        return tracked.position if tracked else EMPTY

    def _get(self, folder: Path) -> _Tracked | None:
        with self._lock:
            return self._tracked.get(folder)

    def _rewrite_if_free(self, folder: Path, tracked: _Tracked) -> None:
        """Rewrite what the disk may have lost of a log's entries, if nobody is in the way.

        While the kata's lock is held, too, nobody replaces the kata or deletes it.
        """
        with locks.locked_at_once(folder.parent, shared=True) as is_held:
            if is_held:
                self._locked(folder, tracked, partial(self._rewrite, folder))
            elif folder.exists():
                self._is_due.set()
            else:
                self._forget(folder, tracked)

    def _locked(self, folder: Path, tracked: _Tracked, work: Callable[[], None]) -> None:
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
                    # Damage, which would be the same later, and may not hold up other avatars. The
                    # log keeps its entries, and is foreign to whoever reads the avatar next.
                    _log.warning("not rewritten", folder=str(folder), reason=str(error))
                    self._forget(folder, self._get(folder))
        except FileNotFoundError:  # the kata was deleted
            self._forget(folder, tracked)
        except OSError as error:
            self._try_later(folder, error)

    def _rewrite(self, folder: Path) -> None:
        """Rewrite what the disk may have lost of a log. For the holder of the avatar's lock."""
        wal = WriteAheadLog(folder)
        with self._lock:
            tracked, failures = self._tracked.get(folder), self._failures
        if tracked is None:
            return
        if not tracked.position.used or wal.read_position() != tracked.position:
            # It is empty, or another storer appended to it: it is foreign to whoever comes next.
            self._forget(folder, tracked)
            return
        tracked.rewrite(wal.entries())
        with self._lock:
            if failures == self._failures:
                self._tracked[folder] = tracked._replace(is_doubtful=False)

    def _is_synced(self, device: int, folder: Path) -> bool:
        """Sync the file system that a folder is on; say whether that went well.

        If not, all logs of that file system are doubtful, and it is tried again later.
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
                    for each, tracked in self._tracked.items():
                        if tracked.device == device:
                            self._tracked[each] = tracked._replace(is_doubtful=True)
                self._try_later(folder, error)
                return False
        return True

    def _try_later(self, folder: Path, error: OSError) -> None:
        _log.warning("not put on disk", folder=str(folder), reason=str(error))
        self._is_due.set()

    def _reset(self, folder: Path, synced: Position) -> None:
        """Empty a log, if it has what was synced and no more. For the avatar's lock's holder."""
        tracked = self._get(folder)
        if tracked is None or tracked.is_doubtful:
            return
        wal = WriteAheadLog(folder)
        now = wal.read_position()
        if now.used and now == synced:
            wal.reset()
        if not now.used or now == synced:
            self._forget(folder, tracked)

    def _forget(self, folder: Path, tracked: _Tracked | None) -> None:
        with self._lock:
            if self._tracked.get(folder) is tracked:
                self._tracked.pop(folder, None)

    def _close_unused(self) -> None:
        with self._syncing, self._lock:
            needed = {each.device for each in self._tracked.values()} | set(+self._writers)
            for device in self._file_systems.keys() - needed:
                self._file_systems.pop(device).close()

    def _run(self) -> None:
        while self._is_due.wait():
            if self._is_stopped.wait(CHECKPOINT_SECONDS):
                return
            self._is_due.clear()
            try:
                self.checkpoint()
            except Exception:  # noqa: BLE001 - a defect of ours may not be to all katas' loss
                _log.exception("defect")
                self._is_due.set()
