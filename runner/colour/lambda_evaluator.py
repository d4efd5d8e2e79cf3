"""Evaluates Ruby lambdas, the colour rules of legacy katas, where they can do nothing else.

A few containers, with Ruby in each, live as long as the runner. A container evaluates one lambda
at a time, and a lambda waits when all containers are busy. The container that was used last is
used first. So a container is started only when all that run are busy.

State: a queue of the idle containers. A container that was taken belongs to the thread that took
it.
"""

import queue
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

from dojo.errors import EngineUnavailable, ImageMissing, Stopping
from runner.colour.colour import Colour, Judgement
from runner.colour.ruby_container import Answer, AnswerKind, ContainerLost, RubyContainer
from runner.colour.rules import RubyLambda, utf8
from runner.settings import KIB

_log = structlog.get_logger()

# A lambda gets this much of a stream's beginning, and as much of its end.
_HALF_OUTPUT_BYTES = 512 * KIB
_MAX_REASON = 400
_COLOURS = {each.value: each for each in (Colour.RED, Colour.AMBER, Colour.GREEN)}


class LambdaEvaluator:
    """Evaluates lambdas, as many at once as there may be containers. Any thread may use it."""

    def __init__(
        self, new_container: Callable[[], RubyContainer], image_name: str, max_containers: int
    ) -> None:
        """`new_container` returns a container of the image, not started yet."""
        self._new_container = new_container
        self._image_name = image_name
        self._max_containers = max_containers
        self._is_closed = False
        # None stands for a container that is still to be started.
        self._idle: queue.LifoQueue[RubyContainer | None] = queue.LifoQueue()
        for _ in range(max_containers):
            self._idle.put(None)

    def judge(self, rule: RubyLambda, stdout: bytes, stderr: bytes, status: int) -> Judgement:
        """Return the colour that a lambda gives to an output, or why it gives none.

        Raises EngineUnavailable.
        """
        given = (rule.source.encode(), _both_ends(utf8(stdout)), _both_ends(utf8(stderr)), status)
        try:
            answer = self._evaluate(*given)
        except ImageMissing:
            return _faulty(f"the image {self._image_name}, which evaluates it, is not on this host")
        if answer is None:
            return _faulty("it ended its container")
        if answer.kind is AnswerKind.COLOUR and answer.text in _COLOURS:
            return Judgement(_COLOURS[answer.text])
        return _faulty(answer.text)

    def close(self) -> None:
        """Remove the containers, as each becomes idle, and start no more."""
        self._is_closed = True
        for _ in range(self._max_containers):
            container = self._idle.get()
            if container is not None:
                container.close()
        for _ in range(self._max_containers):
            self._idle.put(None)

    def _evaluate(self, source: bytes, stdout: bytes, stderr: bytes, status: int) -> Answer | None:
        """Return a container's answer; None if the lambda ended one container, and another one."""
        ended_by_itself = False
        for _ in range(2):
            try:
                with self._container() as container:
                    try:
                        return container.evaluate(source, stdout, stderr, status)
                    except ContainerLost:
                        ended_by_itself = container.ended_by_itself()
                        raise
            except ContainerLost as error:
                _log.info("ruby container lost", reason=str(error))
        if ended_by_itself:
            return None
        raise EngineUnavailable("a container for Ruby lambdas was lost twice, or does not answer")

    @contextmanager
    def _container(self) -> Iterator[RubyContainer]:
        """Wait for an idle container, and start it if need be. Remove it if the block raises."""
        container = self._idle.get()
        is_good = False
        try:
            if container is not None and not container.is_ready():
                container.close()
                container = None
            if container is None:
                if self._is_closed:
                    raise Stopping
                container = self._new_container()
                container.start()
            yield container
            is_good = True
        finally:
            if container is not None and not is_good:
                container.close()
            self._idle.put(container if is_good else None)


def _faulty(reason: str) -> Judgement:
    words = " ".join(reason.split())[:_MAX_REASON]
    shown = "".join(each if each.isprintable() else "?" for each in words)
    return Judgement(Colour.FAULTY, f"the Ruby lambda gave no colour: {shown}")


def _both_ends(output: bytes) -> bytes:
    if len(output) <= 2 * _HALF_OUTPUT_BYTES:
        return output
    first, last = output[:_HALF_OUTPUT_BYTES], output[-_HALF_OUTPUT_BYTES:]
    # Drops a character that was cut in two.
    return (first.decode(errors="ignore") + last.decode(errors="ignore")).encode()
