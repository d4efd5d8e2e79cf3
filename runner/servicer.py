"""The RPCs of the runner: each validates, calls the domain in a thread, and adapts."""

import asyncio
import datetime as dt
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio
import structlog

from cyberdojo.colour.v1 import colour_pb2
from cyberdojo.runner.v1 import runner_pb2, runner_pb2_grpc
from dojo import avatars, kata_ids, visible_files
from dojo.errors import InvalidArgument
from runner import images, runs
from runner.admission import Admission
from runner.colour import Colour, ColourRule, Pattern, Stream
from runner.images import Images, Progress
from runner.output import Capture

_log = structlog.get_logger()

MIN_SECONDS, MAX_SECONDS = 1, 60

_Context = grpc.aio.ServicerContext[Any, Any]

_COLOURS = {
    Colour.RED: colour_pb2.COLOUR_RED,
    Colour.AMBER: colour_pb2.COLOUR_AMBER,
    Colour.GREEN: colour_pb2.COLOUR_GREEN,
    Colour.TIMED_OUT: colour_pb2.COLOUR_TIMED_OUT,
    Colour.FAULTY: colour_pb2.COLOUR_FAULTY,
}
_STREAMS = {
    colour_pb2.STREAM_UNSPECIFIED: Stream.BOTH,
    colour_pb2.STREAM_STDOUT: Stream.STDOUT,
    colour_pb2.STREAM_STDERR: Stream.STDERR,
}


class RunnerServicer(runner_pb2_grpc.RunnerServiceServicer):
    """cyberdojo.runner.v1.RunnerService; runner.proto says what each RPC does."""

    def __init__(self, makes_runs: runs.Runs, has_images: Images, max_concurrent_runs: int) -> None:
        self._runs = makes_runs
        self._images = has_images
        self._admission = Admission(max_concurrent_runs)
        self._tasks: set[asyncio.Task[runs.Result]] = set()

    async def Run(
        self, request: runner_pb2.RunRequest, context: _Context
    ) -> runner_pb2.RunResponse:
        """Run an avatar's tests."""
        submission = await asyncio.to_thread(_submission, request)
        run = self._runs.new(submission)
        # A task of its own, which outlives a cancelled call: the avatar's turn and the slot are
        # given back when the container has gone, and not when the caller has.
        task = asyncio.create_task(self._perform(run, submission))
        self._tasks.add(task)
        task.add_done_callback(self._done)
        try:
            return _run_response(await asyncio.shield(task))
        except asyncio.CancelledError:
            run.cancel()
            raise

    async def PullImage(
        self, request: runner_pb2.PullImageRequest, context: _Context
    ) -> AsyncIterator[runner_pb2.PullImageResponse]:
        """Pull an image."""
        pull = self._images.pull(images.check_name(request.image_name))
        progress = pull.progress()
        step: asyncio.Future[Progress | None] | None = None
        try:
            while True:
                step = asyncio.ensure_future(asyncio.to_thread(next, progress, None))
                if (found := await asyncio.shield(step)) is None:
                    break
                yield _pull_response(found)
        finally:
            # Nobody reads on, or all was read. The thread ends before its iterator goes.
            pull.cancel()
            if step is not None and not step.done():
                step.add_done_callback(_forget)
        yield runner_pb2.PullImageResponse(status="the image is here", done=True)

    async def ListImages(
        self, request: runner_pb2.ListImagesRequest, context: _Context
    ) -> runner_pb2.ListImagesResponse:
        """List the language images."""
        page = await asyncio.to_thread(self._images.page, request.page_size, request.page_token)
        response = runner_pb2.ListImagesResponse(next_page_token=page.next_page_token)
        for image in page.images:
            listed = response.images.add(image_name=image.name, size_bytes=image.size_bytes)
            listed.created.FromDatetime(image.created)
        return response

    async def _perform(self, run: runs.Run, submission: runs.Submission) -> runs.Result:
        async with self._admission.admitted(submission.kata_id, submission.avatar):
            return await asyncio.to_thread(run.perform)

    def _done(self, task: asyncio.Task[runs.Result]) -> None:
        self._tasks.discard(task)
        # When the call was cancelled nobody else looks at how its run ended.
        if not task.cancelled() and isinstance(task.exception(), runs.RunCancelled):
            _log.info("run cancelled")


def _forget(step: "asyncio.Future[Progress | None]") -> None:
    """Look at how a step of a cancelled pull ended, which nobody else does."""
    if not step.cancelled():
        step.exception()


def _submission(request: runner_pb2.RunRequest) -> runs.Submission:
    """Return the request as the domain wants it; raise InvalidArgument naming a bad field."""
    kata_ids.check(request.kata_id)
    avatars.check(request.avatar)
    images.check_name(request.image_name)
    files = dict(request.files)
    visible_files.check(files)
    if visible_files.CYBER_DOJO_SH not in files:
        raise InvalidArgument("files", f"{visible_files.CYBER_DOJO_SH} is not among them")
    if not MIN_SECONDS <= request.max_seconds <= MAX_SECONDS:
        reason = f"{request.max_seconds} is not from {MIN_SECONDS} to {MAX_SECONDS}"
        raise InvalidArgument("max_seconds", reason)
    return runs.Submission(
        kata_id=request.kata_id,
        avatar=request.avatar,
        image_name=request.image_name,
        files=files,
        max_seconds=request.max_seconds,
        colour_rule=_colour_rule(request.colour_rule),
    )


def _colour_rule(rule: colour_pb2.ColourRule) -> ColourRule | None:
    if rule.WhichOneof("rule") != "patterns":
        return None
    colours = {number: colour for colour, number in _COLOURS.items()}
    patterns = [
        Pattern(colours.get(each.colour), each.pattern, _STREAMS.get(each.stream))
        for each in rule.patterns.patterns
    ]
    return ColourRule(patterns, "colour_rule.patterns.patterns")


def _run_response(result: runs.Result) -> runner_pb2.RunResponse:
    response = runner_pb2.RunResponse(
        stdout=_output(result.exit.stdout),
        stderr=_output(result.exit.stderr),
        status=result.exit.status,
        outcome=_COLOURS[result.outcome],
        reason=result.reason,
        changed_files=result.changes.files,
        changed_files_truncated=result.changes.is_truncated,
        deleted_filenames=result.changes.deleted_filenames,
    )
    response.duration.FromTimedelta(dt.timedelta(seconds=result.exit.duration_seconds))
    return response


def _output(capture: Capture) -> runner_pb2.Output:
    return runner_pb2.Output(content=capture.content, truncated=capture.is_truncated)


def _pull_response(progress: Progress) -> runner_pb2.PullImageResponse:
    return runner_pb2.PullImageResponse(
        layer=progress.layer,
        status=progress.status,
        current_bytes=progress.current_bytes,
        total_bytes=progress.total_bytes,
    )
