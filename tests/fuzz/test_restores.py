"""Whatever is in a tar, RestoreKata and RestoreKatas refuse it, or make a kata that can be used."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.fuzz import katas, profiles
from support.fuzz.targets import try_
from support.fuzz.watched import World

KINDS = {
    "tars": (katas.odd_tars, 20),
    "repositories": (katas.odd_git, 14),
    "packs": (katas.odd_packs, 6),
    "json": (katas.odd_json, 14),
    "folders": (katas.odd_folders, 14),
    "backups": (katas.odd_backups, 10),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_tar_is_refused_or_makes_a_kata_that_can_be_used(world: World, kind: str) -> None:
    tars, count = KINDS[kind]

    @profiles.examples(count)
    @given(tars(), st.booleans(), st.booleans())
    def fuzz(tar: bytes, overwrite: bool, many: bool) -> None:  # noqa: FBT001
        given_ = {"tar": tar, "overwrite": overwrite, "many": many or kind == "backups"}
        try_(world, "restore", given_)

    fuzz()
