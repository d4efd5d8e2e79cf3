"""How much of a run's output is kept."""

from hypothesis import given
from hypothesis import strategies as st

from runner.run.capture import Capture

pieces = st.lists(st.binary(max_size=20), max_size=10)


def captured(given_pieces: list[bytes], limit: int) -> tuple[Capture, bytes]:
    passed: list[bytes] = []
    capture = Capture(limit, passed.append)
    for piece in given_pieces:
        capture.add(memoryview(piece))
    return capture, b"".join(passed)


@given(pieces, st.integers(1, 40))
def test_the_first_bytes_are_kept_and_passed_on_as_they_come(
    given_pieces: list[bytes], limit: int
) -> None:
    whole = b"".join(given_pieces)
    capture, passed = captured(given_pieces, limit)
    assert capture.content == passed == whole[:limit]
    assert capture.size_bytes == len(whole)
    assert capture.is_truncated == (len(whole) > limit)


@given(pieces, st.integers(1, 40))
def test_the_last_bytes_are_kept_too_and_none_twice(given_pieces: list[bytes], limit: int) -> None:
    whole = b"".join(given_pieces)
    capture, _ = captured(given_pieces, limit)
    if len(whole) <= 2 * limit:
        assert capture.both_ends == whole
    else:
        assert capture.both_ends == whole[:limit] + whole[-limit:]


def test_a_flood_takes_no_more_memory_than_both_ends() -> None:
    capture = Capture(1000)
    piece = memoryview(bytes(100_000))
    for _ in range(1000):
        capture.add(piece)
    assert capture.size_bytes == 100_000_000
    assert len(capture.both_ends) == 2000
