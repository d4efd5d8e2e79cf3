"""Trees of git repositories, as anybody may have written them."""

import pytest

from dojo.limits import GIT_TREE_BYTES
from storer.git.reader import TreeEntry, entries

NAME = bytes(range(20))
GOOD = b"100644 a\0" + NAME


def test_a_tree_has_its_entries_in_order() -> None:
    found = list(entries(GOOD + b"40000 b c\0" + NAME))
    assert found == [
        (b"a", TreeEntry(0o100644, NAME.hex())),
        (b"b c", TreeEntry(0o40000, NAME.hex())),
    ]


@pytest.mark.parametrize("piece", [b"7", b"7 ", b"7 a\0"])
def test_a_large_malformed_tree_is_refused_in_time_that_grows_with_its_size(piece: bytes) -> None:
    # A search that tries each byte as the beginning of an entry would take hours.
    content = GOOD + piece * (GIT_TREE_BYTES // len(piece))
    with pytest.raises(ValueError, match="malformed"):
        list(entries(content))
