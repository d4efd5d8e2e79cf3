"""GetOutputs: the outputs of many lights in one call."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest

from cyber_dojo_client import CallFailed, pages
from cyber_dojo_client import refused as refused_part
from cyberdojo.refusal.v1 import refusal_pb2
from cyberdojo.results.v1 import results_pb2
from cyberdojo.storer.v1 import storer_pb2
from dojo import avatars, limits
from storer.api import page_tokens
from support.services import code_of
from support.storer.katas_directories import LegacyKata, params
from support.storer.storing import Katas, at_once, refused

KIB, MIB = 1024, 1024**2
DEFAULT_MESSAGE_BYTES = 4 * MIB

Asked = tuple[str, int]


def request(
    kata_id: str, asked: Sequence[Asked], *, with_test_results: bool = False
) -> storer_pb2.GetOutputsRequest:
    return storer_pb2.GetOutputsRequest(
        kata_id=kata_id,
        lights=[
            storer_pb2.WhichLight(avatar=avatar, light_number=number) for avatar, number in asked
        ],
        with_test_results=with_test_results,
    )


def pages_of(
    katas: Katas, kata_id: str, asked: Sequence[Asked], **fields: Any
) -> Iterator[storer_pb2.GetOutputsResponse]:
    return pages(katas.stub.GetOutputs, request(kata_id, asked, **fields))


def outputs(
    katas: Katas, kata_id: str, asked: Sequence[Asked], **fields: Any
) -> list[storer_pb2.LightOutput]:
    """Return the outputs on all pages; check that they are those that were asked for, in order."""
    found = [each for page in pages_of(katas, kata_id, asked, **fields) for each in page.outputs]
    assert [each.avatar for each in found] == [avatar for avatar, _ in asked]
    for each, (_, number) in zip(found, asked, strict=True):
        assert each.HasField("light") != each.HasField("refusal")
        if each.HasField("light") and number != -1:
            assert each.light.number == number
    return found


def test_outputs_come_in_the_order_in_which_they_are_asked_for(katas: Katas) -> None:
    kata_id = katas.started("whale", "bat")
    recorded = {}
    for avatar in ("whale", "bat"):
        for number in (1, 2):
            recorded[avatar, number] = katas.record(
                kata_id,
                avatar,
                stdout=f"{avatar} {number}".encode(),
                stderr=b"\xff\0" * number,
                reason="because",
            )
    asked = [("whale", 2), ("bat", -1), ("bat", 1), ("whale", 0), ("whale", 2)]
    found = outputs(katas, kata_id, asked)
    assert [each.stdout.content for each in found] == [
        *(b"whale 2", b"bat 2", b"bat 1", b"", b"whale 2")
    ]
    assert [each.stderr.content for each in found] == [
        b"\xff\0" * count for count in (2, 2, 1, 0, 2)
    ]
    assert found[0].light == recorded["whale", 2]
    assert found[1].light == recorded["bat", 2]
    assert not any(each.HasField("test_results") for each in found)


def test_an_output_is_that_of_get_files(katas: Katas) -> None:
    kata_id = katas.started("whale")
    results = results_pb2.TestResults(counts=results_pb2.TestCounts(passed=3))
    katas.record(kata_id, "whale", stdout=b"out", stderr=b"err", test_results=results)
    files = katas.files(kata_id, "whale", 1)
    (found,) = outputs(katas, kata_id, [("whale", 1)], with_test_results=True)
    for field in ("light", "stdout", "stderr", "test_results"):
        assert getattr(found, field) == getattr(files, field)


def test_all_avatars_can_be_asked_for_at_once(katas: Katas) -> None:
    kata_id = katas.started(*avatars.NAMES)
    at_once(lambda name: katas.record(kata_id, name, stdout=name.encode()), avatars.NAMES[:16])
    asked = [(name, number) for number in (0, -1, 0, -1) for name in avatars.NAMES]
    assert len(asked) == limits.MAX_OUTPUTS
    found = outputs(katas, kata_id, asked)
    assert {each.avatar for each in found if each.stdout.content} == set(avatars.NAMES[:16])


def test_a_light_that_is_not_there_takes_no_other_along(katas: Katas) -> None:
    kata_id = katas.started("whale")
    katas.record(kata_id, "whale", stdout=b"here")
    found = outputs(katas, kata_id, [("whale", 2), ("whale", 1), ("bat", -1), ("whale", 1)])
    assert [each.stdout.content for each in found] == [b"", b"here", b"", b"here"]
    no_light, no_avatar = found[0].refusal, found[2].refusal
    assert no_light.reason == refusal_pb2.REASON_NO_SUCH_LIGHT
    assert dict(no_light.metadata) == {
        "kata_id": kata_id,
        "avatar": "whale",
        "number": "2",
        "newest_number": "1",
    }
    assert no_avatar.reason == refusal_pb2.REASON_NO_SUCH_AVATAR
    for number, refusal in ((2, no_light), (0, no_avatar)):
        with pytest.raises(grpc.RpcError) as caught:
            katas.files(kata_id, "whale" if number else "bat", number)
        alone: Any = caught.value
        error = refused_part(refusal)
        assert (error.code(), error.details()) == (alone.code(), alone.details())
        assert isinstance(error, CallFailed)


def test_a_damaged_light_or_avatar_takes_no_other_along(
    katas: Katas, folder: Callable[[str], Path]
) -> None:
    kata_id = katas.started("whale", "bat", "fox")
    for name in ("whale", "bat", "fox"):
        katas.record(kata_id, name, stdout=name.encode())
    (folder(kata_id) / "bat" / "increments.json").write_bytes(b"{]")
    (folder(kata_id) / "bat" / ".git" / "HEAD").unlink()
    for path in (folder(kata_id) / "fox" / ".git" / "refs" / "tags").iterdir():
        path.write_bytes(b"garbage")
    found = outputs(katas, kata_id, [("fox", 1), ("bat", -1), ("whale", 1)])
    reasons = [each.refusal.reason for each in found]
    assert reasons == [*[refusal_pb2.REASON_KATA_DAMAGED] * 2, 0]
    assert found[2].stdout.content == b"whale"
    assert found[1].refusal.metadata["path"].startswith("bat/")


def test_outputs_that_do_not_fit_come_on_other_pages(katas: Katas) -> None:
    names = avatars.NAMES[:8]
    kata_id = katas.started(*names)
    for name in names:
        katas.record(kata_id, name, stdout=name.encode() * 40 * KIB, stderr=b"x" * 100 * KIB)
    asked = [(name, 1) for name in names]
    came = list(pages_of(katas, kata_id, asked))
    assert len(came) > 1
    assert all(len(page.outputs) > 1 for page in came[:-1])
    assert all(page.ByteSize() < DEFAULT_MESSAGE_BYTES for page in came)
    for each in outputs(katas, kata_id, asked):
        assert each.stdout.content == each.avatar.encode() * 40 * KIB


def test_a_large_output_has_a_page_of_its_own(katas: Katas) -> None:
    kata_id = katas.started("whale", "bat")
    large: dict[str, Any] = {"stdout": b"\1" * MIB, "stderr": b"\2" * MIB}
    katas.record(kata_id, "whale", **large)
    katas.record(kata_id, "bat", stdout=b"small")
    asked = [("bat", 1), ("whale", 1), ("bat", 1), ("whale", 1)]
    came = list(pages_of(katas, kata_id, asked))
    assert [[each.avatar for each in page.outputs] for page in came] == [
        [avatar] for avatar, _ in asked
    ]
    assert all(page.ByteSize() < DEFAULT_MESSAGE_BYTES for page in came)
    for each in outputs(katas, kata_id, asked):
        if each.avatar == "whale":
            assert (each.stdout.content, each.stderr.content) == (large["stdout"], large["stderr"])
        else:
            assert each.stdout.content == b"small"


def test_a_large_output_of_a_damaged_light_is_refused_beside_the_others(
    katas: Katas, folder: Callable[[str], Path]
) -> None:
    kata_id = katas.started("whale", "bat")
    katas.record(kata_id, "bat", stdout=b"small")
    number = katas.record(kata_id, "whale", stdout=b"\1" * MIB).number
    whale = folder(kata_id) / "whale"
    files = [path for path in (whale / ".git" / "objects").rglob("*") if path.is_file()]
    largest = max(files, key=lambda path: path.stat().st_size)
    found = outputs(katas, kata_id, [("whale", number), ("bat", 1)])
    assert found[0].stdout.content == b"\1" * MIB
    largest.chmod(0o600)
    largest.write_bytes(largest.read_bytes()[:-4])
    found = outputs(katas, kata_id, [("whale", number), ("bat", 1)])
    assert found[0].refusal.reason == refusal_pb2.REASON_KATA_DAMAGED
    assert found[1].stdout.content == b"small"


def test_callers_of_large_outputs_hold_up_no_small_calls(katas: Katas) -> None:
    kata_id = katas.started("whale", "bat")
    katas.record(kata_id, "whale", stdout=b"\1" * MIB, stderr=b"\1" * MIB)
    asked = request(kata_id, [("whale", 1)])
    calls: list[Any] = [katas.stub.GetOutputs.future(asked, timeout=60) for _ in range(32)]
    answered = 0
    while not all(each.done() for each in calls):
        katas.files(kata_id, "bat", 0)
        answered += 1
    assert answered
    codes = {each.code() for each in calls}
    assert codes <= {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert grpc.StatusCode.OK in codes


@pytest.mark.parametrize("kata", params(lambda kata: kata.avatar))
def test_the_outputs_of_legacy_lights_are_those_of_get_files(
    katas: Katas, kata: LegacyKata
) -> None:
    numbers = [each.number for each in katas.lights(kata.id, kata.avatar)]
    found = outputs(katas, kata.id, [(kata.avatar, number) for number in numbers[:256]])
    for each in found:
        assert each.stdout == katas.files(kata.id, kata.avatar, each.light.number).stdout


def test_no_lights_and_too_many_are_refused(katas: Katas, kata_id: str) -> None:
    for count in (0, limits.MAX_OUTPUTS + 1):
        with refused(grpc.StatusCode.INVALID_ARGUMENT, field="lights", says=str(count)):
            katas.stub.GetOutputs(request(kata_id, [("whale", 0)] * count))


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        (("unicorn", 0), "lights[1].avatar"),
        (("", 0), "lights[1].avatar"),
        (("../whale", 0), "lights[1].avatar"),
        (("whale", -2), "lights[1].light_number"),
        (("whale", 10**9), "lights[1].light_number"),
    ],
)
def test_a_malformed_light_is_refused(katas: Katas, kata_id: str, asked: Asked, field: str) -> None:
    with refused(grpc.StatusCode.INVALID_ARGUMENT, field=field):
        katas.stub.GetOutputs(request(kata_id, [("whale", 0), asked]))


def test_a_light_without_a_number_is_refused(katas: Katas, kata_id: str) -> None:
    asked = request(kata_id, [("whale", 0)])
    asked.lights[0].ClearField("light_number")
    with refused(grpc.StatusCode.INVALID_ARGUMENT, field="lights[0].light_number", says="required"):
        katas.stub.GetOutputs(asked)


def test_a_forged_page_token_is_refused(katas: Katas, kata_id: str) -> None:
    asked = request(kata_id, [("whale", 0)] * 2)
    for bad in ("x", "W10=", *map(page_tokens.token, (-1, 0, 2, 10**30)), page_tokens.token("a")):
        asked.page_token = bad
        with refused(grpc.StatusCode.INVALID_ARGUMENT, field="page_token"):
            katas.stub.GetOutputs(asked)
    asked.page_token = page_tokens.token(1)
    assert code_of(lambda: katas.stub.GetOutputs(asked)) is grpc.StatusCode.OK
