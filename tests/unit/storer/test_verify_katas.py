"""What verifying says of a kata as a whole."""

import pytest

from dojo import limits
from storer.verify.findings import DAMAGE, Kind
from storer.verify.katas import check_size


@pytest.mark.parametrize(
    ("size_bytes", "object_count", "told"),
    [
        (0, 0, []),
        (limits.GIT_BYTES * 3 // 4, limits.GIT_OBJECTS * 3 // 4, []),
        (limits.GIT_BYTES * 3 // 4 + 1, 0, [f"{limits.GIT_BYTES},"]),
        (0, limits.GIT_OBJECTS * 3 // 4 + 1, [f"{limits.GIT_OBJECTS},"]),
        (2 * limits.GIT_BYTES, limits.GIT_OBJECTS, ["bytes", "git objects"]),
    ],
)
def test_a_kata_that_soon_can_not_come_back_is_told_before(
    size_bytes: int, object_count: int, told: list[str]
) -> None:
    found = list(check_size(size_bytes, object_count))
    assert len(found) == len(told)
    for finding, text in zip(found, told, strict=True):
        assert text in finding.what
        assert finding.kind is Kind.LARGE
        assert finding.kind not in DAMAGE
        assert finding.mend is None
