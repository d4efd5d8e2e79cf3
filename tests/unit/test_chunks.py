"""Chunks of bytes, and their digest."""

import hashlib
from collections.abc import Iterator
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from dojo.chunks import Digest, rechunk

pieces = st.lists(st.binary(max_size=12), max_size=12)


@given(pieces, st.integers(1, 8))
def test_the_same_bytes_come_in_chunks_that_are_not_too_large(
    given_pieces: list[bytes], size: int
) -> None:
    chunks = list(rechunk(given_pieces, size))
    assert b"".join(chunks) == b"".join(given_pieces)
    assert all(0 < len(chunk) <= size for chunk in chunks)


@given(st.lists(st.binary(min_size=1, max_size=4), max_size=40))
def test_no_two_consecutive_chunks_fit_into_one(given_pieces: list[bytes]) -> None:
    chunks = list(rechunk(given_pieces, 4))
    assert all(len(one) + len(other) > 4 for one, other in pairwise(chunks))


def test_a_piece_of_the_right_size_is_not_copied() -> None:
    piece = bytes(8)
    assert next(iter(rechunk([piece], 8))) is piece


def test_pieces_are_read_lazily() -> None:
    read: list[int] = []

    def reading() -> Iterator[bytes]:
        for number in range(3):
            read.append(number)
            yield bytes(8)

    chunks = rechunk(reading(), 8)
    assert read == []
    next(chunks)
    assert read == [0]


@given(pieces)
def test_a_digest_is_that_of_all_bytes(given_pieces: list[bytes]) -> None:
    digest = Digest()
    for piece in given_pieces:
        digest.update(piece)
    whole = b"".join(given_pieces)
    assert (digest.size_bytes, digest.sha256) == (len(whole), hashlib.sha256(whole).digest())
