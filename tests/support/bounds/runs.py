"""Twice as many runs as a bound of the runner allows, or runs of what is twice as large."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from cyberdojo.runner.v1 import runner_pb2
from dojo import avatars, limits
from support.bounds.pair import QUICK_BYTES, RESOURCE_EXHAUSTED, SECONDS, Case, Pair, ended
from support.fuzz import katas
from support.kata_folders import Kata
from support.refusals import retry_seconds
from support.runner.registry import Registry, shell_image
from support.runner.submissions import assert_serves, refused, request
from support.services import wait_until

MIB = 1024**2
_LARGE = {"large.txt": bytes(QUICK_BYTES)}


def _submitted_names(pair: Pair) -> None:
    names = ["x" * 200] * (2 * limits.MAX_SUBMITTED_NAMES_BYTES // 200)
    _run_restored(pair, "submission.json", json.dumps({"filenames": names}).encode())


def _avatar_manifest(pair: Pair) -> None:
    content = "x" * (2 * limits.MAX_AVATAR_MANIFEST_BYTES)
    _run_restored(pair, "manifest.json", json.dumps({"a": content}).encode())


def _run_restored(pair: Pair, name: str, content: bytes) -> None:
    """Run in a kata that was restored with a large file of its avatar's; it is passed over."""
    files = {**katas.files_of({"whale": katas.avatar()}), f"whale/{name}": content}
    pair.katas.restore(katas.tar(files), overwrite=True)
    assert_serves(pair.runner, pair.kata(katas.KATA))


def _of_avatar(pair: Pair) -> None:
    most = limits.MAX_RUNS_OF_AVATAR
    _refuse_beyond(pair, most, ["whale"] * 2 * most)


def _of_kata(pair: Pair) -> None:
    most = limits.MAX_RUNS_OF_KATA
    names = avatars.NAMES[: 2 * most // limits.MAX_RUNS_OF_AVATAR]
    _refuse_beyond(pair, most, names * limits.MAX_RUNS_OF_AVATAR)


def _bytes_of_runs(pair: Pair) -> None:
    most = limits.MAX_BYTES_OF_RUNS // QUICK_BYTES
    count = -(-2 * limits.MAX_BYTES_OF_RUNS // QUICK_BYTES)
    _refuse_beyond(pair, most, avatars.NAMES[:count], _LARGE)


def _refuse_beyond(
    pair: Pair, most: int, names: Sequence[str], files: katas.Files | None = None
) -> None:
    """Begin a run for each name, in one kata; assert that those beyond `most` are refused."""
    kata = _kata(pair, set(names))
    calls = [
        pair.runner.Run.future(request(kata, "sleep 50", files, avatar=name), timeout=SECONDS)
        for name in names
    ]
    wait_until(lambda: sum(call.done() for call in calls) >= len(names) - most)
    assert ended(calls) == {RESOURCE_EXHAUSTED: len(names) - most}
    for call in calls:
        call.cancel()
    assert_serves(pair.runner, kata)


def _pulls(pair: Pair) -> None:
    """Pull images from a registry that stalls."""
    name = pair.data_containers.namespace.name
    with Registry() as registry:
        images = [f"{name}-{number}" for number in range(2 * limits.MAX_PULLS)]
        with shell_image(pair.data_containers.engine, name):
            for image in images:
                registry.add(pair.data_containers.engine, name, image)
        registry.rest_may_go.clear()
        calls = [
            pair.runner.PullImage(
                runner_pb2.PullImageRequest(image_name=f"{registry.address}/{image}"),
                timeout=SECONDS,
            )
            for image in images
        ]
        with _cancelled(calls):
            for call in calls[: limits.MAX_PULLS]:
                next(iter(call))
            for call in calls[limits.MAX_PULLS :]:
                error = refused(lambda call=call: next(iter(call)), RESOURCE_EXHAUSTED)  # type: ignore[misc]
                assert retry_seconds(error) is not None
        assert registry.was_hung_up.wait(SECONDS)


def _sandbox_bytes(pair: Pair) -> None:
    count = 2 * limits.SANDBOX_BYTES // (64 * MIB)
    script = f"for i in $(seq {count}); do head -c {64 * MIB} /dev/zero > f$i; done; sleep 9"
    _fill(pair, script, f"more than {limits.SANDBOX_BYTES} bytes on disk")


def _sandbox_files(pair: Pair) -> None:
    script = f"seq {2 * limits.SANDBOX_FILES} | xargs touch; sleep 9"
    _fill(pair, script, f"more than {limits.SANDBOX_FILES} files")


def _fill(pair: Pair, script: str, says: str) -> None:
    kata = _kata(pair, {"whale"})
    response = pair.runner.Run(request(kata, script, max_seconds=60), timeout=SECONDS)
    assert says in response.reason
    assert_serves(pair.runner, kata)


CASES: dict[str, Case] = {
    "SANDBOX_BYTES": _sandbox_bytes,
    "SANDBOX_FILES": _sandbox_files,
    "MAX_SUBMITTED_NAMES_BYTES": _submitted_names,
    "MAX_AVATAR_MANIFEST_BYTES": _avatar_manifest,
    "MAX_RUNS_OF_AVATAR": _of_avatar,
    "MAX_RUNS_OF_KATA": _of_kata,
    "MAX_BYTES_OF_RUNS": _bytes_of_runs,
    "MAX_PULLS": _pulls,
}


def _kata(pair: Pair, names: set[str]) -> Kata:
    return pair.kata(pair.katas.started("whale", *sorted(names - {"whale"})))


@contextmanager
def _cancelled(calls: Sequence[Any]) -> Iterator[None]:
    try:
        yield
    finally:
        for call in calls:
            call.cancel()
