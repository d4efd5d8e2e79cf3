"""The owner of the avatars' write-ahead logs: tracks the state of each, and empties it.

The checkpointer alone decides which state a log is in:

- empty: the log has no entries;
- foreign: the log has entries that this process neither appended nor replayed. A process that
  died left them, or another storer of the same namespace appended them. The avatar is not read or
  written before they are replayed (`recovering`);
- pending: git's files have the entries, and the next checkpoint syncs these files;
- doubtful: git's files seem to have the entries and may have lost them. The process that appended
  them died, and the machine may have gone down with it; or the disk failed since. The next
  checkpoint rewrites git's files from the log, and only then is the log pending.

A checkpoint, every few seconds, syncs whole file systems: git's files of all avatars are on disk
after one wait. Then it empties the pending logs. The kernel reports a failed write only once and
does not retry it; the lost data can still be read from the page cache. So a failed sync makes all
logs of that file system doubtful.
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
from storer import metrics
from storer.fs import durable
from storer.fs.write_ahead_log import EMPTY, Entry, Position, WriteAheadLog

# How long a log may wait for a checkpoint, and how large it may grow.
CHECKPOINT_SECONDS = 10.0
MAX_BYTES = 4 * 1024 * 1024

_log = structlog.get_logger()


# Rewrites git's files from a log's entries, whatever these files seem to have. The caller holds the
# avatar's lock.
Rewrite = Callable[[list[Entry]], None]


class _Tracked(NamedTuple):
    """A log that is pending or doubtful; git's files have its entries up to `position`."""

    position: Position
    device: int
    rewrite: Rewrite
    is_doubtful: bool


class Checkpointer:
    """Owns the write-ahead logs of avatars. Any thread may use it.

    `_lock` guards the state. `_syncing` is held while a file system is synced: a thread that waited
    for it finds the logs doubtful if that sync failed. `_checkpointing` admits one checkpoint at a
    time.
    """

    def __init__(self) -> None:
        """Track no log yet."""
        self._lock = threading.Lock()
        self._tracked: dict[Path, _Tracked] = {}
        # By device: of the tracked logs, and of those that are being written.
        self._file_systems: dict[int, durable.FileSystem] = {}
        self._writers: Counter[int] = Counter()
        self._failures = 0  # failed syncs, of all file systems
        self._syncing = threading.Lock()
        self._checkpointing = threading.Lock()
        self._is_due = threading.Event()
        self._is_stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="checkpointer", daemon=True)

    def start(self) -> None:
        """Start the thread that makes checkpoints."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread, then empty all logs by a last checkpoint."""
        self._is_stopped.set()
        self._is_due.set()
        if self._thread.is_alive():
            self._thread.join()
        self.checkpoint()

    def count(self, *, doubtful: bool) -> int:
        """Return how many logs are doubtful, or how many are pending."""
        with self._lock:
            return sum(each.is_doubtful is doubtful for each in self._tracked.values())

    def is_foreign(self, folder: Path) -> bool:
        """Return whether the log in `folder` has entries that this process has to replay first."""
        position = WriteAheadLog(folder).read_position()
        return bool(position.used) and self._known_position(folder) != position

    @contextmanager
    def recovering(self, folder: Path, rewrite: Rewrite) -> Iterator[list[Entry]]:
        """Yield the entries of a foreign log for the block to replay, then track the log.

        Entries that this process replayed before are left out. The caller holds the avatar's lock.
        """
        with self.tracking(folder, rewrite):
            yield WriteAheadLog(folder).recover(self._known_position(folder))

    @contextmanager
    def tracking(self, folder: Path, rewrite: Rewrite) -> Iterator[None]:
        """Track the log in `folder`, up to the position that it has when the block ends.

        The block appends to the log and writes git's files. The caller holds the avatar's lock.
        """
        device = os.stat(folder.parent).st_dev  # noqa: PTH116 - faster than Path.stat
        position = WriteAheadLog(folder).read_position()
        if position.used > MAX_BYTES:
            self._checkpoint_at_once(folder)
            position = WriteAheadLog(folder).read_position()
        is_doubtful = self._is_doubtful(folder, position)
        with self._lock:
            # Opened before the block writes: the kernel reports failed writes only to descriptors
            # that were open then.
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
        """Sync git's files of the tracked logs, and empty the logs that got no entry meanwhile.

        A log that could not be synced keeps its entries until the next checkpoint.
        """
        with self._checkpointing:
            self._try_to_checkpoint()
            with self._lock:
                is_any_doubtful = any(each.is_doubtful for each in self._tracked.values())
            if is_any_doubtful:  # a rewrite allocates other blocks, which the disk may take
                self._try_to_checkpoint()
            self._close_unused()

    def _is_doubtful(self, folder: Path, position: Position) -> bool:
        """Return whether git's files may have lost entries that the log has up to `position`."""
        tracked = self._get(folder)
        if tracked is None:
            return bool(position.used)  # another process appended them, or the log was forgotten
        # In a generation that this process tracks, another storer's entries are not doubtful: that
        # storer rewrites them if its sync fails.
        is_other = bool(position.used) and position.generation != tracked.position.generation
        return tracked.is_doubtful or is_other

    def _checkpoint_at_once(self, folder: Path) -> None:
        """Empty the log in `folder`, or let it grow. The caller holds the avatar's lock."""
        tracked = self._get(folder)
        if tracked and not tracked.is_doubtful and self._is_synced(tracked.device, folder):
            self._reset(folder, tracked.position)

    def _try_to_checkpoint(self) -> None:
        # A copy: an entry that is tracked later may miss the sync, so its log is not emptied.
        with self._lock:
            tracked = dict(self._tracked)
        for folder, each in tracked.items():
            if each.is_doubtful:
                self._rewrite_if_free(folder, each)
            else:
                # Waits for the thread that appended: it holds the lock until increments.json and
                # manifest.json are written.
                self._with_lock(folder, each, lambda: None)
        devices = {each.device: folder for folder, each in tracked.items()}
        synced = {device for device, folder in devices.items() if self._is_synced(device, folder)}
        for folder, each in tracked.items():
            if each.device in synced:
                self._with_lock(folder, each, partial(self._reset, folder, each.position))

    def _known_position(self, folder: Path) -> Position:
        """Return the position up to which this process wrote or replayed the log in `folder`."""
        tracked = self._get(folder)
        return tracked.position if tracked else EMPTY

    def _get(self, folder: Path) -> _Tracked | None:
        with self._lock:
            return self._tracked.get(folder)

    def _rewrite_if_free(self, folder: Path, tracked: _Tracked) -> None:
        """Rewrite git's files from a doubtful log, unless the kata is being replaced or deleted.

        Holding the kata's lock, shared, keeps the kata from being replaced or deleted meanwhile.
        """
        with locks.locked_at_once(folder.parent, shared=True) as is_held:
            if is_held:
                self._with_lock(folder, tracked, partial(self._rewrite, folder))
            elif folder.exists():
                self._is_due.set()
            else:
                self._forget(folder, tracked)

    def _with_lock(self, folder: Path, tracked: _Tracked, work: Callable[[], None]) -> None:
        """Call `work` with the avatar's lock held; schedule a retry if the disk fails."""
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
                    # The avatar is damaged. A retry would fail too, and must not delay other
                    # avatars. The log keeps its entries, and is foreign to the next use.
                    _log.warning(
                        "write-ahead log not applied", folder=str(folder), reason=str(error)
                    )
                    self._forget(folder, self._get(folder))
        except FileNotFoundError:  # the kata was deleted
            self._forget(folder, tracked)
        except OSError as error:
            self._try_later(folder, error)

    def _rewrite(self, folder: Path) -> None:
        """Rewrite git's files from a doubtful log. The caller holds the avatar's lock."""
        wal = WriteAheadLog(folder)
        with self._lock:
            tracked, failures = self._tracked.get(folder), self._failures
        if tracked is None:
            return
        if not tracked.position.used or wal.read_position() != tracked.position:
            # The log is empty, or another storer appended to it: it is foreign to the next use.
            self._forget(folder, tracked)
            return
        tracked.rewrite(wal.entries())
        with self._lock:
            if failures == self._failures:
                self._tracked[folder] = tracked._replace(is_doubtful=False)

    def _is_synced(self, device: int, folder: Path) -> bool:
        """Sync the file system of a folder; return whether that succeeded.

        If not, all logs of that file system become doubtful, and the sync is retried later.
        """
        with self._syncing:
            with self._lock:
                file_system = self._file_systems.get(device)
            if file_system is None:
                return False
            try:
                file_system.sync()
            except OSError as error:
                metrics.CHECKPOINT_FAILURES.inc()
                with self._lock:
                    self._failures += 1
                    for each, tracked in self._tracked.items():
                        if tracked.device == device:
                            self._tracked[each] = tracked._replace(is_doubtful=True)
                self._try_later(folder, error)
                return False
        return True

    def _try_later(self, folder: Path, error: OSError) -> None:
        _log.warning("not synced", folder=str(folder), reason=str(error))
        self._is_due.set()

    def _reset(self, folder: Path, synced: Position) -> None:
        """Empty a log if it has no entry behind `synced`. The caller holds the avatar's lock."""
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
            except Exception:  # noqa: BLE001 - a defect of ours must not end checkpoints for all katas
                _log.exception("defect")
                self._is_due.set()
