"""Records the calls of many clients while they are made."""

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from support.histories import outcomes
from support.histories.attempts import Answer, Attempt, Call, Outcome, check_attempt


class Recorder:
    """A history that grows. Any thread may use it.

    What is recorded has to be sent once: with gRPC's own retries (`grpc.enable_retries`) a second
    DeleteKata would be refused with NOT_FOUND in the name of the first one.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` returns the time in seconds; all recorders of a history need the same one."""
        self._clock = clock
        self._lock = threading.Lock()
        self._ended: list[Attempt] = []
        self._going: set[Sending] = set()

    @contextmanager
    def sending(self, call: Call, client: str = "") -> Iterator["Sending"]:
        """Record a call that the block sends; the block tells the answer to what it is given.

        What the block raises instead says how the call failed, and is raised again. Raises
        ValueError if no answer was told, or one that such a call can't have. `client` names the
        sender.
        """
        sending = Sending(call, client, self._clock)
        with self._lock:
            self._going.add(sending)
        try:
            yield sending
            if not sending.is_over:
                raise ValueError(f"nobody told the answer of a {call.kind}")
        except BaseException as error:
            sending.fail(error)
            raise
        finally:
            with self._lock:
                self._going.remove(sending)
                self._ended.append(sending.attempt)

    def attempts(self) -> list[Attempt]:
        """Return all attempts so far; those that have not ended have an unknown outcome."""
        with self._lock:
            return [*self._ended, *(each.attempt for each in self._going)]


class Sending:
    """A call that was sent. It belongs to the thread that sent it."""

    def __init__(self, call: Call, client: str, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.attempt = Attempt(call, clock(), math.inf, Outcome.UNKNOWN, client=client)

    @property
    def is_over(self) -> bool:
        """Whether the call has ended."""
        return self.attempt.ended < math.inf

    def acknowledge(self, answer: Answer) -> None:
        """Tell the answer that came."""
        ended = self._clock()
        attempt = replace(self.attempt, ended=ended, outcome=Outcome.ACKNOWLEDGED, answer=answer)
        check_attempt(attempt)
        self.attempt = attempt

    def fail(self, error: BaseException) -> None:
        """Tell the error that came; what comes after the answer is none of the call's."""
        if not self.is_over:
            failure = outcomes.of_error(error)
            self.attempt = replace(
                self.attempt,
                ended=self._clock(),
                outcome=failure.outcome,
                reason=failure.reason,
                newest=failure.newest,
            )
