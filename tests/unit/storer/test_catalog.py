"""The catalog of backups: what its files say, also those of an older storer."""

import io
from datetime import UTC, datetime
from pathlib import Path

import pytest

from storer.backup import catalog
from storer.backup.catalog import BadManifest, Entry, State, UnfinishedManifest

BEGUN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
TOKEN = "0000000001-0123456789abcdef"  # noqa: S105 - it only names a backup
IDS = ("493A06504A", "7C4E19D2B6", "7C4E19D2B7", "7C4E19D2B8")


def unfinished(folder: Path) -> UnfinishedManifest:
    """Begin a manifest."""
    return UnfinishedManifest(folder / f"{TOKEN}.unfinished", TOKEN, "", "", BEGUN)


def test_a_backup_is_listed_with_its_counts_whatever_its_reasons_say(tmp_path: Path) -> None:
    made = unfinished(tmp_path)
    reason = 'it says "state":"sent" and "state":"deleted"\n'
    made.add(Entry(IDS[0], State.SENT, head="a" * 64))
    made.add(Entry(IDS[1], State.FAILED, reason=reason))
    made.add(Entry(IDS[2], State.DELETED))
    made.add(Entry(IDS[3], State.UNCHANGED))
    (path,) = tmp_path.iterdir()
    listed = catalog._listed(path)
    assert listed.finished is None
    assert listed.counts == dict.fromkeys(State, 1)
    assert [(each.kata_id, each.reason) for each in listed.failed] == [(IDS[1], reason)]
    made.finish()
    made.keep()
    made.close()
    (path,) = tmp_path.iterdir()
    listed = catalog._listed(path)
    assert (listed.token, listed.begun, sum(listed.counts.values())) == (TOKEN, BEGUN, 4)
    assert listed.finished is not None


def test_a_backup_of_an_older_storer_says_not_when_it_began() -> None:
    older = b'{"token": "a", "since": "", "prefix": "", "katas": [\n'
    assert catalog.read(io.BytesIO(older)).begun is None


@pytest.mark.parametrize("begun", ["yesterday", 5, [1]])
def test_a_time_that_is_none_makes_no_manifest(begun: object) -> None:
    line = f'{{"token": "a", "since": "", "prefix": "", "begun": {begun!r}, "katas": [\n'
    with pytest.raises(BadManifest):
        catalog.read(io.BytesIO(line.replace("'", '"').encode()))
