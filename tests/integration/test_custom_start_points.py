"""Our custom start points have the colours that their instructions promise."""

from collections.abc import Callable

import grpc
import pytest

from cyberdojo.colour.v1 import colour_pb2
from cyberdojo.runner.v1 import runner_pb2, runner_pb2_grpc
from cyberdojo.startpoints.v1 import startpoints_pb2, startpoints_pb2_grpc
from cyberdojo.storer.v1 import storer_pb2
from support.kata_folders import Kata
from support.paths import TOP
from support.services import Service

RED, GREEN = colour_pb2.COLOUR_RED, colour_pb2.COLOUR_GREEN
AVATAR = "whale"
PARKING = "Parking fees, refactoring, in Python"
RING = "Ring buffer, finding defects, in C"

Edit = tuple[str, bytes, bytes]
Test = Callable[..., runner_pb2.RunResponse]

# The two defects that the tests of the ring buffer find, mended.
ROOM: Edit = ("ring.c", b"RING_SIZE - 1", b"RING_SIZE")
ROUND: Edit = ("ring.c", b"ring->oldest++ > RING_SIZE", b"++ring->oldest == RING_SIZE")
# A test that finds the third one, and what mends it.
GARBAGE: Edit = (
    "ring.tests.c",
    b".oldest = 0 };\n    int number = 0;\n    ring_clear(&ring);\n    for (int each = 0;",
    b".oldest = 5 };\n    int number = 0;\n    ring_clear(&ring);\n    for (int each = 0;",
)
CLEARED: Edit = ("ring.c", b"ring->count = 0;\n", b"ring->count = 0;\n    ring->oldest = 0;\n")


@pytest.fixture
def stub(
    storer_service: Service, connect: Callable[[str], grpc.Channel]
) -> startpoints_pb2_grpc.StartPointsServiceStub:
    """The start points of the shared storer."""
    return startpoints_pb2_grpc.StartPointsServiceStub(connect(storer_service.address))


@pytest.fixture
def test(
    stub: startpoints_pb2_grpc.StartPointsServiceStub,
    runner: runner_pb2_grpc.RunnerServiceStub,
    kata: Kata,
) -> Test:
    """Runs the tests of a start point with edits, in the whale's sandbox: `test(RING, ROOM)`."""
    kata.start_avatar(AVATAR)

    def test(name: str, *edits: Edit) -> runner_pb2.RunResponse:
        asked = startpoints_pb2.GetStartPointRequest(custom=name)
        manifest: storer_pb2.Manifest = stub.GetStartPoint(asked).manifest
        files = dict(manifest.files)
        for filename, old, new in edits:
            assert files[filename].count(old) == 1, f"{old!r} is not exactly once in {filename}"
            files[filename] = files[filename].replace(old, new)
        run = runner_pb2.RunRequest(
            kata_id=kata.id,
            avatar=AVATAR,
            image_name=manifest.image_name,
            files=files,
            max_seconds=60,  # not the start point's limit, because the machine may be busy
            colour_rule=manifest.colour_rule,
            results_filename=manifest.results_filename,
        )
        return runner.Run(run, timeout=120)

    return test


def test_every_one_is_here(stub: startpoints_pb2_grpc.StartPointsServiceStub) -> None:
    asked = startpoints_pb2.ListCustomStartPointsRequest()
    names = {each.display_name for each in stub.ListCustomStartPoints(asked).custom_start_points}
    assert names == {PARKING, RING}
    assert len(names) == len(list((TOP / "start_points/custom").iterdir()))


def test_the_parking_fees_are_green_and_no_refactoring_may_change_one(test: Test) -> None:
    response = test(PARKING)
    assert response.colour == GREEN, response
    assert response.test_results.counts.passed == len(response.test_results.tests) > 20
    for edit in (
        ("parking.py", b"if t > 15:", b"if t >= 15:"),
        ("parking.py", b"r = h * 80", b"r = h * 81"),
        ("parking.py", b"if r > 400:", b"if r < 400:"),
    ):
        response = test(PARKING, edit)
        assert response.colour == RED, (edit, response)
    assert not response.changed_files


def test_the_ring_buffer_is_red_until_its_defects_are_mended(test: Test) -> None:
    response = test(RING)
    assert response.colour == RED, response
    assert b"there_is_room_for_four" in response.stdout.content + response.stderr.content
    response = test(RING, ROOM)
    assert response.colour == RED, response
    assert b"it_goes_round" in response.stdout.content + response.stderr.content
    assert test(RING, ROOM, ROUND).colour == GREEN


def test_the_third_defect_of_the_ring_buffer_shows_in_a_test_of_its_own(test: Test) -> None:
    assert test(RING, ROOM, ROUND, GARBAGE).colour == RED
    assert test(RING, ROOM, ROUND, GARBAGE, CLEARED).colour == GREEN
