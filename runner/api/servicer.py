"""The RPCs of the runner: each validates, calls the domain in a thread, and converts messages."""

import asyncio
import contextlib
import contextvars
import datetime as dt
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, TypeVar

import grpc.aio
import structlog

from cyberdojo.colour.v1 import colour_pb2
from cyberdojo.output.v1 import output_pb2
from cyberdojo.runner.v1 import runner_pb2, runner_pb2_grpc
from dojo import avatars, image_names, kata_ids, run_seconds, visible_files
from dojo.access import guesses
from dojo.errors import (
    DojoError,
    ImageMissing,
    ImageNotFound,
    InvalidArgument,
    RegistryUnavailable,
)
from dojo.machines.view import View
from dojo.service.receiving import request_bytes
from runner import metrics
from runner.api import results_message
from runner.api.admission import Admission
from runner.api.pulls import Pulls
from runner.api.stream_parts import StreamParts
from runner.colour.colour import Colour
from runner.colour.rules import ColourPatterns, ColourRule, Pattern, RubyLambda, Stream
from runner.engine.images import How, Images, Progress
from runner.launch.control_group import Usage
from runner.run.capture import Capture
from runner.run.container_config import RunKey
from runner.run.pool import Pool
from runner.run.run import Result, Run, RunCancelled, Submission
from runner.run.service import RunService
from runner.sandbox.changes import Why

_log = structlog.get_logger()

# Validating a submission up to this size takes less time than waking a thread for it.
SMALL_FILES, SMALL_PATTERNS, SMALL_BYTES = 64, 8, 256 * 1024
# How long to wait for the caller to receive the response, before the container is given back.
ANSWERED_SECONDS = 1.0
# How often to look whether a kata that is being fetched is this machine's.
_LOOK_SECONDS = 0.05
# Threads for preparations, which can wait for the storer to import a kata.
PREPARING = 16

A = TypeVar("A")
T = TypeVar("T")

_Context = grpc.aio.ServicerContext[Any, Any]
_Run = Run  # inside the servicer, Run is the RPC

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
_WHY = {
    Why.NOT_TEXT: runner_pb2.NAMED_CHANGE_REASON_NOT_TEXT,
    Why.TOO_LARGE: runner_pb2.NAMED_CHANGE_REASON_TOO_LARGE,
    Why.TOO_MANY: runner_pb2.NAMED_CHANGE_REASON_TOO_MANY,
    Why.ODD_NAME: runner_pb2.NAMED_CHANGE_REASON_ODD_NAME,
}


class RunnerServicer(runner_pb2_grpc.RunnerServiceServicer):
    """cyberdojo.runner.v1.RunnerService; runner.proto says what each RPC does."""

    def __init__(
        self,
        run_service: RunService,
        pool: Pool,
        language_images: Images,
        admission: Admission,
        view: View | None = None,
        *,
        machine: str = "",
    ) -> None:
        """With a `view` this is one of several machines: `machine`."""
        self._machine = machine
        self._view = view
        self._runs = run_service
        self._pool = pool
        self._images = language_images
        self._pulls = Pulls(language_images)
        # Each kind of work that can take long has threads of its own, and as many as it can use:
        # none waits for the threads of another.
        self._run_threads = ThreadPoolExecutor(admission.max_running, thread_name_prefix="run")
        self._prepare_threads = ThreadPoolExecutor(PREPARING, thread_name_prefix="prepare")
        self._admission = admission
        self._tasks: dict[asyncio.Task[None], _Run] = {}
        # The runs that are answered, and whose containers may be given back: one of each avatar.
        self._given_back: dict[RunKey, asyncio.Event] = {}

    async def Run(
        self, request: runner_pb2.RunRequest, context: _Context
    ) -> runner_pb2.RunResponse:
        """Run an avatar's tests."""
        async with self._performing(request, context) as result:
            return _run_response(await self._checked(request.kata_id, result))

    async def RunStream(
        self, request: runner_pb2.RunStreamRequest, context: _Context
    ) -> AsyncIterator[runner_pb2.RunStreamResponse]:
        """Run an avatar's tests, and send what they write while they run."""
        parts = StreamParts()
        async with self._performing(request.run, context, parts) as result:
            result.add_done_callback(lambda _: parts.end())
            async for part in parts:
                yield part
            done = await self._checked(request.run.kata_id, result)
            yield runner_pb2.RunStreamResponse(result=_run_response(done))

    async def Prepare(
        self, request: runner_pb2.PrepareRequest, context: _Context
    ) -> runner_pb2.PrepareResponse:
        """Have a container wait for an avatar's next run."""
        key = RunKey(
            kata_ids.check(request.kata_id),
            avatars.check(request.avatar),
            image_names.check(request.image_name),
        )
        await self._have_image(key)
        while (given_back := self._given_back.get(key)) is not None:
            await given_back.wait()
        future = await _in(self._prepare_threads, self._runs.prepare, key)
        if future is not None:
            warm = asyncio.wrap_future(future)
            warm.add_done_callback(_mark_retrieved)
            await asyncio.wait([warm])
            if not warm.cancelled():  # a run that came first cancels it, and starts its own
                warm.result()
        return runner_pb2.PrepareResponse(waiting=self._pool.is_warm(key))

    async def Release(
        self, request: runner_pb2.ReleaseRequest, context: _Context
    ) -> runner_pb2.ReleaseResponse:
        """Remove the containers that wait for an avatar."""
        kata_id, avatar = kata_ids.check(request.kata_id), avatars.check(request.avatar)
        for run in self._tasks.values():
            if (run.submission.kata_id, run.submission.avatar) == (kata_id, avatar):
                run.is_last = True
        await asyncio.to_thread(self._pool.release, kata_id, avatar)
        return runner_pb2.ReleaseResponse()

    async def PullImage(
        self, request: runner_pb2.PullImageRequest, context: _Context
    ) -> AsyncIterator[runner_pb2.PullImageResponse]:
        """Pull an image."""
        how = How(newest=request.newest)
        steps = self._pulls.progress(image_names.check(request.image_name), how)
        async with contextlib.aclosing(steps):
            async for step in steps:
                yield _pull_response(step)
        yield runner_pb2.PullImageResponse(status="the image is here", done=True)

    async def ListImages(
        self, request: runner_pb2.ListImagesRequest, context: _Context
    ) -> runner_pb2.ListImagesResponse:
        """List the language images."""
        page = await asyncio.to_thread(self._images.page, request.page_size, request.page_token)
        response = runner_pb2.ListImagesResponse(next_page_token=page.next_page_token)
        for image in page.images:
            listed = response.images.add(
                image_name=image.name, size_bytes=image.size_bytes, id=image.id
            )
            listed.created.FromDatetime(image.created)
        return response

    async def finish(self) -> None:
        """Wait until nothing is left of any run, also of those whose calls have ended."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _have_image(self, key: RunKey) -> None:
        """Have an image that is missing pulled, if the installation has a registry.

        A kata can come to a machine that never had its image. Raises ImageMissing or
        PullsExhausted.
        """
        if not self._images.has_registry or self._pool.is_warm(key):
            return
        if await asyncio.to_thread(self._images.has, key.image_name):
            return
        _log.info("pulling a missing image", image=key.image_name)
        steps = self._pulls.progress(key.image_name, How(only_registry=True))
        try:
            async with contextlib.aclosing(steps):
                async for _ in steps:
                    pass
        except (ImageNotFound, RegistryUnavailable) as error:
            raise ImageMissing(key.image_name, self._machine, str(error)) from error

    async def _checked(self, kata_id: str, result: asyncio.Future[Result]) -> Result:
        """Return the result of a run, unless another machine has taken the kata over by then.

        The two are waited for at once, so that the check takes no time of its own.
        """
        if self._view is None:
            return await result
        check = asyncio.create_task(self._check_once(self._view, kata_id, result))
        try:
            done = await result
            await check
        finally:
            check.cancel()
        return done

    async def _check_once(self, view: View, kata_id: str, result: asyncio.Future[Result]) -> None:
        """Ask etcd who owns a kata, once this machine should: it may have to fetch it before."""
        while not view.is_ours(kata_id) and not result.done():
            await asyncio.wait([result], timeout=_LOOK_SECONDS)
        await asyncio.to_thread(view.check_ours, kata_id)

    @asynccontextmanager
    async def _performing(
        self,
        request: runner_pb2.RunRequest,
        context: _Context,
        parts: StreamParts | None = None,
    ) -> AsyncIterator[asyncio.Future[Result]]:
        """Perform a run in a task of its own; give the future of its result.

        `parts` are told what happens meanwhile.

        The task outlives the call. It holds the slot until the program has ended, also after a
        cancellation, and the turn until the container waits for the next run or is to be removed.
        The request counts from before anything is waited for, until the task has ended.
        """
        with contextlib.ExitStack() as stack:
            held = self._admission.held(request.kata_id, request.avatar, request_bytes())
            stack.enter_context(held)
            on_output = None if parts is None else parts.add_output
            run = self._runs.new(await _submission(request), on_output)
            counted = stack.pop_all()
        result: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        admitted, answered = asyncio.Event(), asyncio.Event()
        context.add_done_callback(lambda _: answered.set())  # type: ignore[arg-type]  # the stubs'
        task = asyncio.create_task(self._perform(run, result, admitted, answered, parts))
        self._tasks[task] = run
        task.add_done_callback(self._tasks.pop)
        task.add_done_callback(lambda _: counted.close())
        try:
            yield result
        except (asyncio.CancelledError, GeneratorExit):
            run.cancel()
            result.cancel()
            if not admitted.is_set():
                task.cancel()
            raise

    async def _perform(
        self,
        run: _Run,
        result: asyncio.Future[Result],
        admitted: asyncio.Event,
        answered: asyncio.Event,
        parts: StreamParts | None,
    ) -> None:
        submission = run.submission
        on_waiting = None if parts is None else parts.add_waiting
        try:
            await self._have_image(submission.key)
            async with AsyncExitStack() as held:
                with metrics.step("queue") as waiting:
                    turn = self._admission.turn(submission.kata_id, submission.avatar, on_waiting)
                    answering = await held.enter_async_context(turn)
                    slot = await held.enter_async_context(AsyncExitStack())
                    await slot.enter_async_context(self._admission.slot(on_waiting))
                run.waited_seconds = waiting.seconds
                admitted.set()
                if parts is not None:
                    parts.add_started()
                with metrics.RUNS_IN_PROGRESS.track_inprogress():
                    done = await _in(self._run_threads, self._runs.perform, run)
                await slot.aclose()
                metrics.count_run(
                    submission.image_name, done.outcome, done.exit.usage, is_warm=done.is_warm
                )
                answering()
                has_more = await self._answer(run, done, result, answered)
            if has_more:
                await self._finish(run)
        except RunCancelled:
            metrics.count_cancelled(submission.image_name)
            _log.info("run cancelled")
        except DojoError as error:
            if result.cancelled():  # the kata may be gone, or the engine: nobody waits for it
                _log.info("run cancelled", reason=str(error))
            elif result.done():
                _log.error("defect", exc_info=error)
            else:
                result.set_exception(error)
        except Exception as error:  # noqa: BLE001 - the error is raised where the result is awaited
            if result.done():
                _log.error("defect", exc_info=error)
            else:
                result.set_exception(error)

    async def _answer(
        self, run: _Run, done: Result, result: asyncio.Future[Result], answered: asyncio.Event
    ) -> bool:
        """Have the result sent, and then the container given back; say if more is to be done."""
        with self._giving_back(run.submission.key):
            if not result.done():
                result.set_result(done)
            # Send the response first: what follows would slow it down.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ANSWERED_SECONDS):
                    await answered.wait()
            return await asyncio.to_thread(run.give_back, done)

    async def _finish(self, run: _Run) -> None:
        """Finish the run; if its container goes, have another one wait for the avatar's next."""
        if not (run.is_given_back or run.is_last):
            self._pool.warm(run.submission.key)
        await asyncio.to_thread(run.finish)

    @contextlib.contextmanager
    def _giving_back(self, key: RunKey) -> Iterator[None]:
        """Have preparations of `key` wait during the block: a container of it may be given back."""
        given_back = self._given_back[key] = asyncio.Event()
        try:
            yield
        finally:
            del self._given_back[key]
            given_back.set()


async def _in(threads: ThreadPoolExecutor, call: Callable[[A], T], argument: A) -> T:
    """Call in one of the threads, with the fields of the call's log, as asyncio.to_thread does."""
    context = contextvars.copy_context()

    def work() -> T:
        guesses.check()
        return call(argument)

    return await asyncio.get_running_loop().run_in_executor(threads, context.run, work)


def _mark_retrieved(future: "asyncio.Future[Any]") -> None:
    """Retrieve a future's exception: asyncio logs those of a cancelled call that nothing awaits."""
    if not future.cancelled():
        future.exception()


async def _submission(request: runner_pb2.RunRequest) -> Submission:
    """Return the request's submission; raise InvalidArgument, naming the field that is bad."""
    is_small = (
        len(request.files) <= SMALL_FILES
        and len(request.colour_rule.patterns.patterns) <= SMALL_PATTERNS
        and request_bytes() <= SMALL_BYTES  # to add up the files would copy each
    )
    return _validated(request) if is_small else await asyncio.to_thread(_validated, request)


def _validated(request: runner_pb2.RunRequest) -> Submission:
    kata_ids.check(request.kata_id)
    avatars.check(request.avatar)
    image_names.check(request.image_name)
    files = dict(request.files)
    visible_files.check(files)
    if visible_files.CYBER_DOJO_SH not in files:
        raise InvalidArgument("files", f"{visible_files.CYBER_DOJO_SH} is not among them")
    filename = request.results_filename
    if filename and (fault := visible_files.name_fault(filename)) is not None:
        raise InvalidArgument("results_filename", fault)
    return Submission(
        kata_id=request.kata_id,
        avatar=request.avatar,
        image_name=request.image_name,
        files=files,
        max_seconds=run_seconds.check(request.max_seconds, "max_seconds"),
        colour_rule=_colour_rule(request.colour_rule),
        results_filename=filename,
    )


def _colour_rule(rule: colour_pb2.ColourRule) -> ColourRule | None:
    kind = rule.WhichOneof("rule")
    if kind is None:
        return None
    if kind == "ruby_lambda":
        return RubyLambda(rule.ruby_lambda.source).check("colour_rule.ruby_lambda.source")
    colours = {number: colour for colour, number in _COLOURS.items()}
    patterns = [
        Pattern(colours.get(each.colour), each.pattern, _STREAMS.get(each.stream))
        for each in rule.patterns.patterns
    ]
    return ColourPatterns(patterns, "colour_rule.patterns.patterns")


def _run_response(result: Result) -> runner_pb2.RunResponse:
    response = runner_pb2.RunResponse(
        stdout=_output(result.exit.stdout),
        stderr=_output(result.exit.stderr),
        status=result.exit.status,
        colour=_COLOURS[result.outcome],
        reason=result.reason,
        special=result.is_special,
        changed_files=result.changes.files,
        changed_files_truncated=result.changes.is_truncated,
        deleted_filenames=result.changes.deleted_filenames,
        named_changes=(
            runner_pb2.NamedChange(filename=each.filename, reason=_WHY[each.why])
            for each in result.changes.named
        ),
    )
    response.duration.FromTimedelta(dt.timedelta(seconds=result.exit.duration_seconds))
    response.waited.FromTimedelta(dt.timedelta(seconds=result.waited_seconds))
    if result.test_results is not None:
        results_message.write(result.test_results, response.test_results)
    if result.exit.usage is not None:
        response.usage.CopyFrom(_usage(result.exit.usage))
    return response


def _usage(usage: Usage) -> runner_pb2.Usage:
    message = runner_pb2.Usage(
        peak_memory_bytes=usage.peak_memory_bytes, written_bytes=usage.written_bytes
    )
    if usage.processor_seconds is not None:
        message.processor_time.FromTimedelta(dt.timedelta(seconds=usage.processor_seconds))
    return message


def _output(capture: Capture) -> output_pb2.Output:
    return output_pb2.Output(content=capture.content, truncated=capture.is_truncated)


def _pull_response(progress: Progress) -> runner_pb2.PullImageResponse:
    return runner_pb2.PullImageResponse(
        layer=progress.layer,
        status=progress.status,
        current_bytes=progress.current_bytes,
        total_bytes=progress.total_bytes,
    )
