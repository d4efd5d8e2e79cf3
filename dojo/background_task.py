"""A task in the background of a block: the engine works while this machine does something else."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager


@contextmanager
def background_task(task: Callable[[], object]) -> Iterator[None]:
    """Do `task` in a thread during the block. The block ends when both are done.

    An error of the block is raised first, else one of the task.
    """
    with ThreadPoolExecutor(1, "background-task") as threads:
        done = threads.submit(task)
        yield
        done.result()
