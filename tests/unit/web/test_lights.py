from google.protobuf.timestamp_pb2 import Timestamp

from cyberdojo.colour.v1 import colour_pb2
from cyberdojo.results.v1 import results_pb2
from cyberdojo.storer.v1 import storer_pb2
from web.session.lights import plain_light

TIME = Timestamp(seconds=1_700_000_000, nanos=500_000_000)


def test_what_is_not_known_of_a_light_is_none() -> None:
    light = plain_light(storer_pb2.Light(number=0, time=TIME))
    assert (light.number, light.colour, light.time) == (0, "start", 1_700_000_000.5)
    assert light.passed is light.tests is light.added is light.deleted is None
    assert light.sentence == "0: start"


def test_a_light_says_all_that_is_known_of_it() -> None:
    message = storer_pb2.Light(
        number=3,
        time=TIME,
        colour=colour_pb2.COLOUR_TIMED_OUT,
        predicted=colour_pb2.COLOUR_GREEN,
        added_lines=2,
        deleted_lines=0,
        test_counts=results_pb2.TestCounts(passed=1, failed=2, errors=3, skipped=4),
        source=storer_pb2.LightSource(kata_id="493A06504A", avatar="lion", light_number=7),
    )
    assert plain_light(message, "493A06504A").sentence == (
        "3: timed out, 1 of 6 tests passed, +2 -0 lines, predicted green, files of lion 7"
    )
    assert plain_light(message, "FFFFFFFFFF").source == "493A06504A lion 7"
