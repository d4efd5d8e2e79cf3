"""The kernel's locks (flock) on folders and files, between threads and processes alike.

The kernel releases a lock when the process that holds it ends, however that ends.

A thread that works for a call (`dojo.waits`) does not wait in the kernel, where nothing can wake
it: it stands in a queue of this process, and tries again when another thread of this process
releases the lock. The first in the queue also tries by itself, as other processes tell nobody.
"""

import os
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import LOCK_EX, LOCK_NB, LOCK_SH, flock
from pathlib import Path

from dojo import limits, naming, waits
from dojo.errors import LockHeld

# The pauses of the first in a queue, which grow from the one to the other.
_FIRST_PAUSE_SECONDS = 0.001
_LAST_PAUSE_SECONDS = 0.05

# By the path of the lock: those who wait, in the order in which they came. Guarded by `_guard`.
_queues: dict[Path, deque[threading.Event]] = {}
_guard = threading.Lock()


@contextmanager
def locked(path: Path, *, shared: bool = False, for_call: bool = True) -> Iterator[None]:
    """Hold the lock of a folder or a file, waiting for it.

    A thread that takes the same lock twice waits for itself. Raises FileNotFoundError if the
    folder or file does not exist, or goes while this waits. A thread that works for a call raises
    LockHeld after a wait that is too long, and CallEnded when its call ends meanwhile; but not
    where the lock is not `for_call`, as what a call began has to be cleaned up after its end, too.
    """
    how = LOCK_SH if shared else LOCK_EX
    while True:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            try:
                flock(descriptor, how | LOCK_NB)
            except BlockingIOError:
                if for_call:
                    _wait(path, descriptor, how)
                else:
                    waits.let_others_work()
                    flock(descriptor, how)
            # Another one may have replaced it during the wait: then this lock guards nothing.
            if os.path.samestat(os.fstat(descriptor), os.lstat(path)):
                yield
                return
        finally:
            _release(path, descriptor)


@contextmanager
def locked_at_once(path: Path, *, shared: bool = False) -> Iterator[bool]:
    """Hold the lock of a folder or a file if no wait is needed; say whether it is held.

    False also if the folder or file does not exist, or was replaced at the same time.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        yield False
        return
    try:
        try:
            flock(descriptor, (LOCK_SH if shared else LOCK_EX) | LOCK_NB)
            is_held = os.path.samestat(os.fstat(descriptor), os.lstat(path))
        except (BlockingIOError, FileNotFoundError):
            is_held = False
        yield is_held
    finally:
        _release(path, descriptor)


def is_locked(path: Path) -> bool:
    """Say whether the lock of a folder or a file is held, or the folder or file is gone."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        flock(descriptor, LOCK_EX | LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)


def _release(path: Path, descriptor: int) -> None:
    os.close(descriptor)
    if _queues:
        with _guard:
            for waiting in _queues.get(path, ()):
                waiting.set()


def _wait(path: Path, descriptor: int, how: int) -> None:
    """Take a lock that somebody holds. Raises LockHeld or CallEnded."""
    work = waits.current()
    if work is None:
        flock(descriptor, how)
        return
    deadline = time.monotonic() + work.lock_seconds
    pause = _FIRST_PAUSE_SECONDS
    with _queued(path) as (queue, woken), work.woken_by(woken):
        if not work.give_up_place():
            raise LockHeld(
                naming.in_words(path), f"{limits.MAX_WAITING_CALLS} calls wait for katas already"
            )
        while True:
            woken.clear()  # before the attempt: a release after that ends the pause below
            work.check()
            try:
                flock(descriptor, how | LOCK_NB)
            except BlockingIOError:
                pass
            else:
                return
            seconds_left = deadline - time.monotonic()
            if seconds_left <= 0:
                raise LockHeld(
                    naming.in_words(path),
                    "another call, such as a slow fetch from the archive, has held its lock for "
                    f"more than {work.lock_seconds:g} s",
                )
            if queue[0] is woken:
                woken.wait(min(pause, seconds_left))
                pause = min(2 * pause, _LAST_PAUSE_SECONDS)
            else:
                woken.wait(seconds_left)


@contextmanager
def _queued(path: Path) -> Iterator[tuple[deque[threading.Event], threading.Event]]:
    """Stand in the queue for a lock; give the queue and what wakes this thread."""
    woken = threading.Event()
    with _guard:
        queue = _queues.setdefault(path, deque())
        if len(queue) >= limits.MAX_WAITING_FOR_ONE_LOCK:
            raise LockHeld(
                naming.in_words(path), f"{limits.MAX_WAITING_FOR_ONE_LOCK} calls wait for it"
            )
        queue.append(woken)
    try:
        yield queue, woken
    finally:
        with _guard:
            queue.remove(woken)
            if queue:
                queue[0].set()  # it is the first now
            else:
                del _queues[path]
