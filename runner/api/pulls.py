"""The pulls of images: one for each image, however many callers wait for it."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncGenerator, Callable

from dojo import image_names, limits
from dojo.errors import PullsExhausted
from runner.engine.images import How, Images, Progress, Pull


class Pulls:
    """The pulls in progress. Belongs to one event loop.

    Each has a thread of its own, so pulls from slow registries keep nothing else waiting.
    """

    def __init__(self, images: Images) -> None:
        self._images = images
        self._running: set[_SharedPull] = set()
        self._joinable: dict[tuple[str, How], _SharedPull] = {}

    async def progress(
        self, image_name: str, how: How | None = None
    ) -> AsyncGenerator[Progress, None]:
        """Pull the image, or follow the pull that goes on; yield the progress.

        A caller that is slow misses steps of a layer, but not the newest one. The pull ends with
        its last caller. Raises PullsExhausted, and what Pull.progress() raises.
        """
        how = how or How()
        key = image_names.tagged(image_name), how
        shared = self._joinable.get(key)
        if shared is None:
            if len(self._running) >= limits.MAX_PULLS:
                raise PullsExhausted(len(self._running))
            shared = _SharedPull(self._images.pull(image_name, how), self._running.discard)
            self._running.add(shared)
            self._joinable[key] = shared
            shared.start()
        follower = _Follower(shared)
        shared.followers.add(follower)
        try:
            while (step := await follower.next()) is not None:
                yield step
        finally:
            shared.followers.discard(follower)
            if (not shared.followers or shared.has_ended) and self._joinable.get(key) is shared:
                del self._joinable[key]
                # A thread waits in the pull. Cancelling makes it return.
                shared.pull.cancel()


class _SharedPull:
    """A pull, its thread, and the newest step of each layer. Belongs to one event loop."""

    def __init__(self, pull: Pull, on_end: "Callable[[_SharedPull], None]") -> None:
        self.pull = pull
        self.followers: set[_Follower] = set()
        self.newest: dict[tuple[str, str], Progress] = {}
        self.has_ended = False
        self.error: BaseException | None = None
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()

    def start(self) -> None:
        threading.Thread(target=self._pull, name="pull", daemon=True).start()

    def _pull(self) -> None:
        error: BaseException | None = None
        try:
            for step in self.pull.progress():
                self._call(self._add, step)
        except Exception as raised:  # noqa: BLE001 - it is raised where the pull is followed
            error = raised
        self._call(self._end, error)

    def _call(self, function: Callable[..., None], *arguments: object) -> None:
        with contextlib.suppress(RuntimeError):  # the service has ended, and its loop with it
            self._loop.call_soon_threadsafe(function, *arguments)

    def _add(self, step: Progress) -> None:
        key = step.layer, step.status
        self.newest[key] = step
        for follower in self.followers:
            follower.add(key, step)

    def _end(self, error: BaseException | None) -> None:
        self.error = error
        self.has_ended = True
        self._on_end(self)
        for follower in self.followers:
            follower.changed.set()


class _Follower:
    """A caller that waits for a pull, and the steps that it has not been told yet."""

    def __init__(self, shared: _SharedPull) -> None:
        self.changed = asyncio.Event()
        self._shared = shared
        self._untold = dict(shared.newest)

    def add(self, key: tuple[str, str], step: Progress) -> None:
        self._untold.pop(key, None)
        self._untold[key] = step
        self.changed.set()

    async def next(self) -> Progress | None:
        """Wait for a step; None if the pull has ended well. Raises the pull's error."""
        while not self._untold:
            if self._shared.error is not None:
                raise self._shared.error
            if self._shared.has_ended:
                return None
            self.changed.clear()
            await self.changed.wait()
        return self._untold.pop(next(iter(self._untold)))
