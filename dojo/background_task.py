"""Two things at once: one that waits for the engine, and one that is for this machine to do."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager


@contextmanager
def meanwhile(work: Callable[[], object]) -> Iterator[None]:
    """Have a thread do `work` during the block, which does not end before it; raise what it raises.

    What the block itself raises comes first.
    """
    with ThreadPoolExecutor(1, "meanwhile") as threads:
        working = threads.submit(work)
        yield
        working.result()
