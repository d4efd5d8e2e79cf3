"""Ruby lambdas: the colour rules of katas of old, evaluated where they can do nothing else.

A few containers, each with a Ruby in it, live as long as the runner and are started when they
are first needed. One evaluates one lambda at a time; who comes when all are busy waits. The
container that was used last is used first, so that the others are started only under load.

State: the containers that nobody uses, in a queue. One that was taken is its taker's.
"""

import queue
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from dojo.engine.data_containers import DataContainers
from dojo.errors import EngineUnavailable, ImageMissing, Stopping
from runner.colour.ruby_container import Answer, ContainerLost, Kind, RubyContainer
from runner.colour.rules import Colour, Judgement, RubyLambda, utf8
from runner.engine.container_remover import ContainerRemover
from runner.settings import CORES, KIB, RunnerSettings

_log = structlog.get_logger()

# With two, one lambda that hangs does not keep all others waiting.
_CONTAINERS = max(2, CORES)
# What a lambda gets of one stream: as much of its beginning, and of its end.
_HALF_OUTPUT_BYTES = 512 * KIB
_MAX_REASON = 400
_COLOURS = {each.value: each for each in (Colour.RED, Colour.AMBER, Colour.GREEN)}


class RubyLambdas:
    """Evaluates lambdas. Any thread may use it."""

    def __init__(
        self, data_containers: DataContainers, leftovers: ContainerRemover, settings: RunnerSettings
    ) -> None:
        self._data_containers = data_containers
        self._leftovers = leftovers
        self._settings = settings
        self._is_closed = False
        # None stands for a container that is not started yet, or was lost.
        self._unused: queue.LifoQueue[RubyContainer | None] = queue.LifoQueue()
        for _ in range(_CONTAINERS):
            self._unused.put(None)

    def tell_if_missing(self) -> None:
        """Say in the log if the image is not here, without which each lambda is faulty."""
        image_name = self._settings.ruby_image
        if not self._data_containers.engine.has_image(image_name):
            _log.info("no image for Ruby lambdas", image=image_name)

    def judge(self, rule: RubyLambda, stdout: bytes, stderr: bytes, status: int) -> Judgement:
        """Return the colour that a lambda gives to an output, or why it gives none.

        Raises EngineUnavailable.
        """
        given = (rule.source.encode(), _both_ends(utf8(stdout)), _both_ends(utf8(stderr)), status)
        try:
            answer = self._evaluated(*given)
        except ImageMissing:
            image_name = self._settings.ruby_image
            reason = f"the image {image_name}, which evaluates it, is not on this host"
            return _faulty(reason)
        if answer is None:
            return _faulty("it ended its container")
        if answer.kind is Kind.COLOUR and answer.text in _COLOURS:
            return Judgement(_COLOURS[answer.text])
        return _faulty(answer.text)

    def close(self) -> None:
        """Remove the containers, as each becomes unused, and start no more."""
        self._is_closed = True
        for _ in range(_CONTAINERS):
            container = self._unused.get()
            if container is not None:
                container.close()
        for _ in range(_CONTAINERS):
            self._unused.put(None)

    def _evaluated(self, source: bytes, stdout: bytes, stderr: bytes, status: int) -> Answer | None:
        """Return what a container answers; None if one ended, and the one after it too."""
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
        """Give a container that is ready, waiting for one to be unused; remove it if it fails."""
        container = self._unused.get()
        is_good = False
        try:
            if container is not None and not container.is_ready():
                container.close()
                container = None
            if container is None:
                if self._is_closed:
                    raise Stopping
                container = RubyContainer(self._data_containers, self._leftovers, self._settings)
                container.start()
            yield container
            is_good = True
        finally:
            if container is not None and not is_good:
                container.close()
            self._unused.put(container if is_good else None)


def _faulty(reason: str) -> Judgement:
    words = " ".join(reason.split())[:_MAX_REASON]
    shown = "".join(each if each.isprintable() else "?" for each in words)
    return Judgement(Colour.FAULTY, f"the Ruby lambda gave no colour: {shown}")


def _both_ends(output: bytes) -> bytes:
    if len(output) <= 2 * _HALF_OUTPUT_BYTES:
        return output
    first, last = output[:_HALF_OUTPUT_BYTES], output[-_HALF_OUTPUT_BYTES:]
    # A character that was cut in two is dropped.
    return (first.decode(errors="ignore") + last.decode(errors="ignore")).encode()
