"""A press of *test*: it runs to its end and is recorded, also if the browser goes meanwhile."""

import asyncio
import codecs
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import structlog

from cyber_dojo_client import AsyncClient, CallFailed
from cyberdojo.runner.v1 import runner_pb2
from cyberdojo.storer.v1 import storer_pb2
from dojo.lru_cache import LruCache
from web.pages import file_json
from web.rendering import as_json
from web.streams import told
from web.words import trouble_of

_log = structlog.get_logger()

# A page that hears nothing for some of these gives the connection up.
PING_SECONDS = 5.0

_MANIFESTS = 256
_MANIFEST_SECONDS = 60.0


@dataclass(frozen=True)
class Press:
    """What was submitted."""

    kata_id: str
    avatar: str
    files: dict[str, bytes]
    expected_number: int
    predicted: int
    writer: str


class Presses:
    """Performs presses. It belongs to the event loop."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client
        self._tasks: set[asyncio.Task[None]] = set()
        self._manifests: LruCache[str, tuple[storer_pb2.Manifest, float]] = LruCache(_MANIFESTS)

    async def parts(self, press: Press) -> AsyncIterator[bytes]:
        """Yield what happens, each as a line of JSON with one key.

        `waiting` with how many runs are ahead; `started`; `stdout` and `stderr` with text; `ran`
        with the colour, when the run is over and is being recorded. Last `recorded`, with the
        light and what the run changed, or `trouble`. `ping` when nothing else came.
        """
        told_parts: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        task = asyncio.create_task(self._perform(press, told_parts))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        while True:
            try:
                part = await asyncio.wait_for(told_parts.get(), PING_SECONDS)
            except TimeoutError:
                part = {"ping": True}
            if part is None:
                return
            yield json.dumps(part).encode() + b"\n"

    async def _manifest(self, kata_id: str) -> storer_pb2.Manifest:
        """Return a kata's manifest, as it was a minute ago at most: only a restore changes one."""
        known = self._manifests.get(kata_id)
        if known is not None and time.monotonic() - known[1] < _MANIFEST_SECONDS:
            return known[0]
        asked = storer_pb2.GetKataRequest(kata_id=kata_id)
        manifest: storer_pb2.Manifest = (await self._client.storer.GetKata(asked)).manifest
        # The files that everybody starts with are not needed here, and can be large.
        manifest.ClearField("files")
        self._manifests.put(kata_id, (manifest, time.monotonic()))
        return manifest

    async def _perform(self, press: Press, parts: asyncio.Queue[dict[str, Any] | None]) -> None:
        """Perform a press. What it tells is bounded by what the runner keeps of an output."""
        client = self._client
        listener = _Listener(parts)
        try:
            manifest = await self._manifest(press.kata_id)
            pressed = await client.press_test(
                press.kata_id,
                press.avatar,
                manifest,
                press.files,
                expected_number=press.expected_number,
                predicted=press.predicted,  # type: ignore[arg-type]
                writer=press.writer,
                on_part=listener.on_part,
            )
        except Exception as error:  # noqa: BLE001 - each is told to the page, and a defect logged
            trouble = trouble_of(error)
            if trouble.kind == "defect":
                _log.exception("defect", kata_id=press.kata_id, avatar=press.avatar)
            ran = error.ran if isinstance(error, CallFailed) else None
            output = told.output(ran.stdout, ran.stderr) if ran is not None else None
            parts.put_nowait({"trouble": as_json(trouble), "output": output})
        else:
            ran = pressed.ran
            changed = {
                name: pressed.files[name] for name in ran.changed_files if name in pressed.files
            }
            recorded = {
                "light": told.light(press.avatar, pressed.light),
                "output": told.output(ran.stdout, ran.stderr),
                "changed": file_json.to_json(changed, list(manifest.hidden_filenames)),
                "deleted": list(ran.deleted_filenames),
            }
            parts.put_nowait({"recorded": recorded})
        finally:
            parts.put_nowait(None)


class _Listener:
    """Tells a page of the parts of a run."""

    def __init__(self, parts: asyncio.Queue[dict[str, Any] | None]) -> None:
        self._parts = parts
        self._begin()

    def _begin(self) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")
        self._stdout, self._stderr = decoder("replace"), decoder("replace")

    def on_part(self, part: runner_pb2.RunStreamResponse) -> None:
        """Tell of a part. A piece of output can end within a character."""
        match part.WhichOneof("part"):
            case "waiting":
                self._parts.put_nowait({"waiting": part.waiting.ahead})
            case "started":
                self._begin()  # also of a run that was lost, and begins again
                self._parts.put_nowait({"started": True})
            case "stdout":
                self._parts.put_nowait({"stdout": self._stdout.decode(part.stdout)})
            case "stderr":
                self._parts.put_nowait({"stderr": self._stderr.decode(part.stderr)})
            case "result":
                colour = told.COLOURS.get(part.result.colour, "faulty")
                self._parts.put_nowait({"ran": colour})
