"""`cyber-dojo ls` and `rm` select katas, archived ones too, without bringing any back."""

from datetime import UTC, datetime
from pathlib import Path

from google.protobuf.timestamp_pb2 import Timestamp

from cyberdojo.storer.v1 import storer_pb2
from dojo.engine.data_containers import DataContainers
from support.commands import CommandLine
from support.storer.storing import FILES, Katas, timestamp


def at(year: int) -> Timestamp:
    """Return a moment of a year."""
    return timestamp(datetime(year, 5, 1, tzinfo=UTC))


def kata(katas: Katas, language: str, year: int, lights: int = 0, size: int = 0) -> str:
    """Make a kata that was created in this year, with so many lights; return its id."""
    created = at(year)
    files = {**FILES, "large": b"".join(b"%d\n" % number for number in range(size))}
    request = storer_pb2.CreateKataRequest(
        manifest=storer_pb2.Manifest(
            display_name=language, image_name="cyberdojofoundation/x", files=files
        ),
        created=created,
    )
    kata_id = katas.stub.CreateKata(request).kata_id
    if lights:
        katas.stub.StartAvatar(
            storer_pb2.StartAvatarRequest(kata_id=kata_id, avatars=["whale"], time=created)
        )
    for number in range(lights):
        katas.record(kata_id, "whale", {**files, "new": b"%d" % number}, time=created)
    return kata_id


def archive(katas: Katas, *ids: str) -> None:
    """Archive katas."""
    for kata_id in ids:
        katas.stub.ArchiveKata(storer_pb2.ArchiveKataRequest(kata_id=kata_id))


def listed(line: CommandLine, *arguments: str) -> list[str]:
    """Return the ids that a list has, in its order."""
    done = line.run("ls", *arguments, "--json", "id")
    assert done.code == 0, done.complaint
    return [each["id"] for each in done.records()]


def test_katas_are_selected_sorted_and_deleted_without_being_brought_back(
    line: CommandLine, katas: Katas, elsewhere: DataContainers, tmp_path: Path
) -> None:
    old = kata(katas, "Ruby, minitest", 2015, lights=1)
    large = kata(katas, "C (gcc), assert", 2016, lights=2, size=50_000)
    new = kata(katas, "Ruby, rspec", 2024)
    archive(katas, old, large)

    assert listed(line, "--before", "2016-01-01") == [old]
    assert listed(line, "--after", "2016-05-01T00:00", "--sort", "used") == [new, large]
    assert set(listed(line, "--language", "RUBY")) == {old, new}
    assert set(listed(line, "--where", "archive")) == {old, large}
    assert listed(line, "--max-lights", "0") == [new]
    assert listed(line, "--sort", "size", "--limit", "1") == [large]
    (record,) = line.run("ls", large, "--json", "lights,bytes,where").records()
    (tar,) = (tmp_path / "archive").rglob(f"*{large}.tar.zst")
    assert record == {"lights": 2, "bytes": tar.stat().st_size, "where": "archive"}
    (record,) = line.run("ls", new, "--json", "bytes").records()
    assert record["bytes"] >= sum(map(len, FILES.values()))
    wrong = line.run("ls", "--json", "lights,colour")
    assert (wrong.code, "--json colour: no such field" in wrong.complaint) == (2, True)

    tried = line.run("rm", "--before", "2017-01-01", "--dry-run")
    assert tried.code == 0
    assert [row.split()[0] for row in tried.text.splitlines()[1:]] == sorted([old, large])
    assert tried.complaint.startswith("cyber-dojo: 2 katas, ")
    assert len(listed(line)) == 3
    assert set(elsewhere.kata_ids()) == {new}

    for arguments in ([], [old, "--before", "2017-01-01"]):
        assert line.run("rm", "--yes", *arguments).code == 2
    assert line.run("rm", "--before", "2017-01-01").code == 2  # there is no terminal to ask on
    done = line.run("rm", "--before", "2017-01-01", "--language", "ruby", "--yes")
    assert done.text.splitlines()[-1] == f"{old}  deleted"
    assert set(listed(line)) == {large, new}
    assert line.run("rm", "0123456789", "--dry-run").code == 3


def test_a_kata_that_the_index_does_not_know_for_certain_is_left_out_until_it_is_mended(
    line: CommandLine, katas: Katas, elsewhere: DataContainers, tmp_path: Path
) -> None:
    kata_id = kata(katas, "Ruby, rspec", 2015, lights=1)
    archive(katas, kata_id)
    (entry,) = (tmp_path / "archive" / ".index").rglob("*.json")
    first = entry.read_bytes()
    entry.unlink()
    done = line.run("ls", "--before", "2020-01-01")
    assert done.text == ""
    assert "1 archived kata without an entry in the archive's index" in done.complaint
    assert listed(line) == [kata_id]

    found = line.run("verify", "--json")
    assert found.code == 1
    assert [each["kind"] for each in found.records()[:-1]] == ["stale"]
    mended = line.run("verify", "--mend")
    assert mended.code == 0, mended.text
    assert entry.read_bytes() == first
    assert line.run("verify").code == 0

    # The entry of an older tar would say that a kata that was used since is old.
    katas.record(kata_id, "whale", {**FILES, "newer": b""}, time=at(2024))
    archive(katas, kata_id)
    entry.write_bytes(first)
    assert listed(line, "--before", "2020-01-01") == [kata_id]
    done = line.run("rm", "--before", "2020-01-01", "--yes")
    assert "1 archived kata without an entry" in done.complaint
    assert listed(line) == [kata_id]
    assert not set(elsewhere.kata_ids())


def test_a_damaged_kata_is_never_taken_for_an_old_one(
    line: CommandLine, katas: Katas, elsewhere: DataContainers
) -> None:
    kata_id = kata(katas, "Ruby, rspec", 2015, lights=1)
    (elsewhere.folder(kata_id) / "manifest.json").write_bytes(b"{")
    done = line.run("rm", "--before", "2020-01-01", "--yes")
    assert "1 kata that can't be read whole" in done.complaint
    assert listed(line) == [kata_id]
