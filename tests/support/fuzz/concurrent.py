"""Targets in which several things happen to one kata at the same time."""

import os
import shutil
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import grpc

from cyberdojo.runner.v1 import runner_pb2, runner_pb2_grpc
from dojo import locks
from support.fuzz import katas, messages
from support.fuzz.watched import CALL_SECONDS, World
from support.storer.calls import ALL_OF_A_KATA
from support.storer.copies import wait_until_copied

# More callers than the storer has working calls.
CALLERS = 80

# Between two changes of a sandbox. Without one, the thread would keep the others from work.
_PAUSE_SECONDS = 0.0005

OK = grpc.StatusCode.OK
_GONE_OR_IN_USE = {OK, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.FAILED_PRECONDITION}

_STORER = {method.name: method for method in messages.STORER}
_RUNNER = {method.name: method for method in messages.RUNNER}

# What may follow a run that was cancelled.
AFTER_A_RUN = ("DeleteKata", "ArchiveKata", "RecordTest", "DownloadKata", "GetKata")
# What reads a sandbox, or copies it.
OF_A_SANDBOX = ("DownloadKata", "StartAvatar", "RecordTest", "ForkKata", "GetFiles", "GetOutputs")
CHANGES = ("file", "folder", "link", "rename", "remove", "fifo", "tree")


def cancelled_run(world: World, given: Mapping[str, Any]) -> None:
    """Cancel a run after some seconds, and use its kata at once; then it can be run again."""
    world.katas.restore(katas.GOOD, overwrite=True)
    stub = runner_pb2_grpc.RunnerServiceStub(world.runner.channel)
    request = runner_pb2.RunRequest(
        kata_id=katas.KATA,
        avatar="whale",
        image_name=messages.IMAGE,
        files={"cyber-dojo.sh": given["script"]},
        max_seconds=10,
    )
    call: Any = (
        stub.RunStream(runner_pb2.RunStreamRequest(run=request), timeout=CALL_SECONDS)
        if given["rpc"] == "RunStream"
        else stub.Run.future(request, timeout=CALL_SECONDS)
    )
    time.sleep(given["seconds"])  # the moment is a part of the input
    call.cancel()
    for rpc in given["then"]:
        made = ALL_OF_A_KATA[rpc](katas.KATA).SerializeToString()
        code, _ = world.storer.call(_STORER[rpc], [made])
        assert code in _GONE_OR_IN_USE, f"{rpc} after a run that was cancelled: {code.name}"
    request.files["cyber-dojo.sh"] = b"true"
    code, _ = world.runner.call(_RUNNER["Run"], [request.SerializeToString()])
    expected = grpc.StatusCode.NOT_FOUND if "DeleteKata" in given["then"] else OK
    assert code is expected, f"a run after one that was cancelled: {code.name}"


def held_kata(world: World, given: list[Mapping[str, Any]]) -> None:
    """Make many calls for a kata that is held, as while it comes from a slow archive.

    Calls for another kata are answered meanwhile.
    """
    world.katas.restore(katas.GOOD, overwrite=True)
    other = world.katas.started("whale")
    methods = {method.full_name: method for method in messages.STORER}
    with ThreadPoolExecutor(CALLERS) as threads:
        with locks.locked(world.folder(katas.KATA)):
            calls = [
                threads.submit(world.storer.call, methods[each["method"]], each["messages"])
                for each in islice(cycle(given), CALLERS)
            ]
            for rpc in ("GetKata", "RecordTest", "GetFiles", "ListLights", "DiffLights"):
                made = ALL_OF_A_KATA[rpc](other).SerializeToString()
                code, _ = world.storer.call(_STORER[rpc], [made])
                assert code is OK, f"{rpc} of another kata: {code.name}"
        for each in calls:
            each.result()
    world.katas.delete(other)


def changing_sandbox(world: World, given: Mapping[str, Any]) -> None:
    """Use a kata while a program changes the sandbox; in the end it is in the archive."""
    world.katas.restore(katas.GOOD, overwrite=True)
    folder = world.folder(katas.KATA)
    with _changed(folder / "whale" / "sandbox", given["changes"]):
        for rpc in given["rpcs"]:
            made = ALL_OF_A_KATA[rpc](katas.KATA).SerializeToString()
            code, answers = world.storer.call(_STORER[rpc], [made])
            assert code is OK, f"{rpc} of a sandbox that changes: {code.name}"
            if rpc == "ForkKata":
                world.katas.delete(answers[0].kata_id)
        # The first copy has the whole sandbox, in the middle of these changes.
        wait_until_copied(folder, **_newest(world))
    world.katas.record(katas.KATA, "whale")
    wait_until_copied(folder, **_newest(world))


def _newest(world: World) -> dict[str, int]:
    names = world.katas.get(katas.KATA).avatars
    return {name: world.katas.lights(katas.KATA, name)[-1].number for name in names}


@contextmanager
def _changed(sandbox: Path, changes: list[str]) -> Iterator[None]:
    """Make changes in a sandbox during the block, over and over."""
    is_over = threading.Event()

    def change() -> None:
        for number, each in enumerate(cycle(changes)):
            if is_over.wait(_PAUSE_SECONDS):
                return
            with suppress(OSError):  # it is there, or is not
                _change(sandbox, each, number % 7)

    with ThreadPoolExecutor(1) as threads:
        changing = threads.submit(change)
        try:
            yield
        finally:
            is_over.set()
        changing.result()


def _change(sandbox: Path, change: str, number: int) -> None:
    path = sandbox / f"{number}.o"
    match change:
        case "file":
            # A pipe of this name has no reader, for which to open it would wait.
            flags = os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_NONBLOCK
            with open(os.open(path, flags), "wb") as file:
                file.write(b"x" * 10_000 * number)
        case "folder":
            path.mkdir()
            (path / "inside").touch()
        case "tree":
            (path / "a" / "b").mkdir(parents=True)
            (path / "a" / "b" / "c").write_bytes(b"c")
        case "link":
            path.symlink_to(f"{number + 1}.o")
        case "fifo":
            os.mkfifo(path)
        case "rename":
            path.rename(sandbox / f"{(number + 3) % 7}.o")
        case _:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
