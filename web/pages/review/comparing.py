"""What a review shows of two lights: how their files differ, and the output of the later one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from cyber_dojo_client import CallFailed
from cyberdojo.results.v1 import results_pb2
from cyberdojo.storer.v1 import storer_pb2
from web.differences.lines import FileLines, answered, compared, unchanged
from web.differences.side_by_side import CONTEXT, MAX_ROWS, FileView, side_by_side
from web.parts import Parts
from web.session.moves import Pair
from web.shown_text import ends, without_colours

MAX_PAGE_ROWS = 4000
"""The rows of all files of a page; files beyond are a link each."""

MAX_OUTPUT_CHARACTERS = 40_000
"""What a page shows of an output: both its ends."""

MAX_TESTS = 100
"""The tests that did not pass, of which a page says why."""

_TOO_LARGE = "COMPARISON_TOO_LARGE"


@dataclass(frozen=True)
class Output:
    """An output, or both its ends; `is_truncated` says that the run had written more."""

    name: str
    begin: str
    left_out: int
    end: str
    is_truncated: bool


@dataclass(frozen=True)
class Compared:
    """Two lights. `views` are the files that differ, or the one that was asked for.

    `others` are the names of files that both have, `is_too_large` says that the storer would not
    compare them. A file whose view is None differs, and is not on this page.
    """

    views: tuple[tuple[FileLines, FileView | None], ...]
    others: tuple[str, ...]
    is_too_large: bool
    outputs: tuple[Output, ...]
    reason: str
    tests: results_pb2.TestResults | None

    @property
    def not_passed(self) -> list[results_pb2.TestResult]:
        """The first of the tests that failed or could not be finished."""
        if self.tests is None:
            return []
        statuses = (results_pb2.TEST_STATUS_FAILED, results_pb2.TEST_STATUS_ERROR)
        return [test for test in self.tests.tests if test.status in statuses][:MAX_TESTS]


class Comparing:
    """Reads and compares lights, a few at a time: two of them can be 100 MB.

    It belongs to the event loop.
    """

    def __init__(self, parts: Parts) -> None:
        self._storer = parts.client.storer
        self._few = asyncio.Semaphore(4)

    async def compare(
        self, kata_id: str, pair: Pair, *, file: str = "", is_whole: bool = False
    ) -> Compared:
        """Compare two lights.

        `file` is the name of the one file that is wanted, `is_whole` says that nothing may fold.
        Raises what the client raises.
        """
        async with self._few:
            now = await self._files(kata_id, pair.avatar, pair.now)
            files, is_too_large = await self._differences(kata_id, pair, now)
            return await asyncio.to_thread(
                _compared, now, files, file, is_whole=is_whole, is_too_large=is_too_large
            )

    async def output(self, kata_id: str, avatar: str, number: int) -> str:
        """Return the whole output of a light as text."""
        found = await self._files(kata_id, avatar, number)
        both = found.stdout.content + found.stderr.content
        return both.decode("utf-8", "replace")

    async def _files(self, kata_id: str, avatar: str, number: int) -> storer_pb2.GetFilesResponse:
        found: storer_pb2.GetFilesResponse = await self._storer.GetFiles(
            storer_pb2.GetFilesRequest(kata_id=kata_id, avatar=avatar, light_number=number)
        )
        return found

    async def _differences(
        self, kata_id: str, pair: Pair, now: storer_pb2.GetFilesResponse
    ) -> tuple[list[FileLines], bool]:
        if pair.was_avatar:
            was = await self._files(kata_id, pair.was_avatar, pair.was)
            return await asyncio.to_thread(compared, was.files, now.files), False
        asked = storer_pb2.DiffLightsRequest(
            kata_id=kata_id,
            avatar=pair.avatar,
            was_number=pair.was,
            now_number=pair.now,
            changed_only=True,
        )
        try:
            answer = await self._storer.DiffLights(asked)
        except CallFailed as error:
            if error.reason != _TOO_LARGE:
                raise
            return [], True
        return await asyncio.to_thread(answered, answer.files), False


def _compared(
    now: storer_pb2.GetFilesResponse,
    files: Sequence[FileLines],
    file: str,
    *,
    is_whole: bool,
    is_too_large: bool,
) -> Compared:
    changed = {each.name for each in files}
    others = tuple(sorted(name for name in now.files if name not in changed))
    if file in others:
        files = [unchanged(file, now.files[file]), *files]
    outputs = (("Output", now.stdout), ("Errors", now.stderr))
    return Compared(
        views=tuple(_views(files, file, None if is_whole else CONTEXT)),
        others=others,
        is_too_large=is_too_large,
        outputs=tuple(
            _output(name, each.content, is_truncated=each.truncated)
            for name, each in outputs
            if each.content
        ),
        reason=now.light.reason,
        tests=now.test_results if now.HasField("test_results") else None,
    )


def _views(
    files: Sequence[FileLines], file: str, context: int | None
) -> list[tuple[FileLines, FileView | None]]:
    left = MAX_PAGE_ROWS
    found: list[tuple[FileLines, FileView | None]] = []
    for each in files:
        if (file and each.name != file) or left <= 0:
            found.append((each, None))
            continue
        view = side_by_side(each, context=context, max_rows=min(MAX_ROWS, left))
        left -= len(view.rows)
        found.append((each, view))
    return found


def _output(name: str, content: bytes, *, is_truncated: bool) -> Output:
    said = without_colours(content.decode("utf-8", "replace"))
    begin, left_out, end = ends(said, MAX_OUTPUT_CHARACTERS)
    return Output(name, begin, left_out, end, is_truncated)
