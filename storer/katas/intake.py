"""Takes in katas: brings a staged one into the storer's form, as `storer.katas.normalize` does.

That reads every git object of the kata, and holds Python's lock for most of that time. So only a
small kata is taken in here now and then, and any other in a process of its own. So is a kata of a
saver's, whose whole history is recorded.
"""

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

from dojo import limits
from dojo.budget import Budget, BudgetExceeded
from dojo.processes import Process, Processes
from storer.fs import tree
from storer.git import libgit2
from storer.katas import from_saver, normalize, set_aside
from storer.katas.normalize import Normalized
from storer.saver.directory import SaverDirectory

_PACK = ".pack"


# For each second in which a kata is taken in here, none is for so many seconds: however many small
# ones come, they take no more than a tenth of Python's lock.
_REST = 9


class Intake:
    """Takes in katas. Any thread may use it."""

    def __init__(self, processes: Processes, clock: Callable[[], float] = time.monotonic) -> None:
        """Take in large katas, and most of many small ones, in `processes`."""
        self._processes = processes
        self._clock = clock
        self._lock = threading.Lock()
        self._here_from = 0.0  # when the next one may be taken in here

    def take(self, folder: Path, kata_id: str) -> list[str]:
        """Normalize the kata staged in `folder`; return the names of its avatars.

        A large one waits for a process, as long as a call about many katas waits for a lock: all of
        it has arrived already. Raises what `normalize.normalize` raises; and ProcessesExhausted,
        ProcessTooLarge or ProcessLost.
        """
        with self._turn(folder) as is_here:
            if is_here:
                found = normalize.normalize(folder, kata_id)
        if not is_here:
            with self._process() as process:
                found = process.call(_normalize, folder, kata_id)
        return _names(found, kata_id)

    def take_from_saver(self, saver: Path, kata_id: str, folder: Path) -> list[str]:
        """Make a kata of one in the directory `saver`, in the empty `folder`; do as `take` does.

        Every event is recorded anew, which takes about a millisecond each.
        """
        with self._process() as process:
            found = process.call(_from_saver, saver, kata_id, folder)
        return _names(found, kata_id)

    def _process(self) -> AbstractContextManager[Process]:
        return self._processes.one(limits.MANY_KATAS_LOCK_WAIT_SECONDS)

    @contextmanager
    def _turn(self, folder: Path) -> Iterator[bool]:
        """Say whether the kata in `folder` is taken in here, within the block."""
        begun = self._clock()
        is_small = _is_small(folder)
        with self._lock:
            is_here = is_small and self._here_from <= begun
            if is_here:
                self._here_from = math.inf
        try:
            yield is_here
        finally:
            if is_here:
                end = self._clock()
                self._here_from = end + _REST * (end - begun)


def _normalize(folder: Path, kata_id: str) -> Normalized:
    """Normalize a kata, in a process."""
    libgit2.configure()
    return normalize.normalize(folder, kata_id)


def _from_saver(saver: Path, kata_id: str, folder: Path) -> Normalized:
    """Make a kata of a saver's, in a process."""
    libgit2.configure()
    return from_saver.fill(SaverDirectory(saver), kata_id, folder)


def _names(found: Normalized, kata_id: str) -> list[str]:
    """Tell operators of the avatars that were set aside; return the names of all."""
    for avatar, reason in found.set_aside:
        set_aside.tell(kata_id, avatar, reason)
    return found.names


def _is_small(folder: Path) -> bool:
    """Say whether to normalize the kata in `folder` takes only milliseconds."""
    budget = Budget(max_entries=limits.SMALL_CHECKED_FILES, max_bytes=limits.SMALL_CHECKED_BYTES)
    try:
        with closing(tree.walk(folder)) as entries:
            for entry in entries:
                budget.take_entry()
                if tree.is_in_sandbox(entry.path):
                    continue  # its content is not read
                budget.take_bytes(entry.status.st_size)
                if entry.path.suffix == _PACK:  # it can have a hundred thousand objects
                    return False
    except BudgetExceeded:
        return False
    return True
