"""Comparisons of lights: small ones in a thread, large ones in a process of their own.

libgit2 holds Python's lock while it compares, so a large comparison in this process would stop all
other calls. A process can also be ended: at the caller's deadline, and when the caller leaves.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import BinaryIO

import structlog

from dojo import limits
from dojo.budget import NotSmall
from dojo.errors import ComparisonLost, ComparisonsExhausted, ComparisonTooLarge
from dojo.processes import KILLS, held_bytes
from dojo.service.call_threads import CallThreads
from storer.api import comparer
from storer.api.comparer import Output
from storer.kata.diff import Comparison

_log = structlog.get_logger()

_WATCH_SECONDS = 0.01

# Reads two lights. Raises NotSmall if they have more bytes than the given number.
Read = Callable[[int | None], Comparison]


class Comparisons:
    """Compares lights. Belongs to the event loop's thread."""

    def __init__(self, threads: CallThreads) -> None:
        self._threads = threads
        self._processes = asyncio.Semaphore(limits.MAX_COMPARING_PROCESSES)

    async def compare(self, output: Output, read: Read) -> bytes:
        """Return the comparison of what `read` returns; a thread calls `read`.

        Raises what `read` raises; ComparisonsExhausted if all processes stay busy,
        ComparisonTooLarge if one exceeds its memory or its time, and ComparisonLost if somebody
        kills it.
        """
        answer = await self._threads.run(_compare_if_small, output, read)
        if answer is not None:
            return answer
        async with self._process():
            # Only the holder of a process keeps all of both lights in memory.
            return await self._compare_in_process(output, read)

    @asynccontextmanager
    async def _process(self) -> AsyncIterator[None]:
        """Wait until one more process may run, and count it."""
        try:
            async with asyncio.timeout(limits.COMPARING_WAIT_SECONDS):
                await self._processes.acquire()
        except TimeoutError:
            raise ComparisonsExhausted(limits.COMPARING_WAIT_SECONDS) from None
        try:
            yield
        finally:
            self._processes.release()

    async def _compare_in_process(self, output: Output, read: Read) -> bytes:
        # Files in memory: no folder is left over, and nobody has to feed a pipe.
        with _memory_file() as question, _memory_file() as answer:
            await self._threads.run(lambda: comparer.write(question, output, read(None)))
            question.seek(0)
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", comparer.__name__),
                *(str(os.getpid()), str(limits.COMPARING_PROCESS_BYTES)),
                stdin=question,
                stdout=answer,
                stderr=asyncio.subprocess.PIPE,
            )
            try:
                complaint = await _finish(process)
            finally:
                if process.returncode is None:
                    process.kill()
                status = await process.wait()
            _check(status, complaint)
            answer.seek(0)
            return await self._threads.run(answer.read)


async def _finish(process: Process) -> bytes:
    """Wait for a process to end; return what it complained of.

    Raises ComparisonTooLarge if it exceeds its memory or its time first.
    """
    ending = asyncio.create_task(process.communicate())
    watching = asyncio.create_task(_exceed_memory(process.pid))
    try:
        done, _ = await asyncio.wait(
            {ending, watching},
            timeout=limits.MAX_COMPARING_SECONDS,
            return_when=asyncio.FIRST_COMPLETED,
        )
        if ending in done:
            return ending.result()[1]
        if watching in done:
            watching.result()
            raise ComparisonTooLarge(f"{limits.COMPARING_PROCESS_BYTES} bytes of memory")
        raise ComparisonTooLarge(f"{limits.MAX_COMPARING_SECONDS} seconds")
    finally:
        ending.cancel()
        watching.cancel()


async def _exceed_memory(pid: int) -> None:
    """Wait until a process has more memory than it may have.

    A limit that the kernel sets would make functions of libgit2 and protobuf crash, and nobody
    could tell that from a defect.
    """
    while held_bytes(pid) <= limits.COMPARING_PROCESS_BYTES:  # noqa: ASYNC110 - as proc(5) is
        await asyncio.sleep(_WATCH_SECONDS)


def _check(status: int, complaint: bytes) -> None:
    """Raise what the exit status of a process says that has ended by itself."""
    if status == comparer.TOO_LARGE:
        raise ComparisonTooLarge(f"{limits.COMPARING_PROCESS_BYTES} bytes of memory")
    if -status in KILLS:
        _log.warning("comparison killed", signal=signal.Signals(-status).name)
        raise ComparisonLost
    if status:
        how = signal.Signals(-status).name if status < 0 else f"status {status}"
        raise RuntimeError(f"a comparing process failed: {how}: {complaint.decode()}")


def _compare_if_small(output: Output, read: Read) -> bytes | None:
    try:
        compared = read(limits.SMALL_COMPARED_BYTES)
    except NotSmall:
        return None
    return b"".join(comparer.answer(output, compared)) if compared.is_small else None


def _memory_file() -> BinaryIO:
    return open(os.memfd_create("comparison"), "w+b")
