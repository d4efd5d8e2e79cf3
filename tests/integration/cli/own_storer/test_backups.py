"""`cyber-dojo backups`, and `backup --dry-run`: nothing of them changes anything."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cyberdojo.storer.v1 import storer_pb2
from dojo.engine.data_containers import DataContainers
from support.commands import CommandLine
from support.storer.backups import become_unreadable
from support.storer.storing import FILES, Katas, timestamp


def test_backups_are_listed_with_their_counts_and_what_they_lack(
    line: CommandLine, katas: Katas, elsewhere: DataContainers
) -> None:
    assert line.run("backups", "list").stdout == b""
    kept, deleted, broken = (katas.started("whale") for _ in range(3))
    become_unreadable(elsewhere.folder(broken))
    assert line.run("backup", "-o", "full.tar", "--since-last", "token").code == 9
    katas.delete(deleted)
    assert line.run("backup", "-o", "next.tar", "--since-last", "token").code == 9
    newest, oldest = line.run("backups", "list", "--json").records()
    assert (oldest["since"], newest["since"]) == (None, oldest["token"])
    assert newest["token"] == (line.folder / "token").read_text().strip()
    counts = [
        [each[name] for name in ("sent", "unchanged", "deleted", "failed")]
        for each in (oldest, newest)
    ]
    assert counts == [[2, 0, 0, 1], [0, 1, 1, 1]]
    assert [each["id"] for each in newest["failures"]] == [broken]
    assert oldest["begun"] <= oldest["finished"] <= newest["begun"]
    text = line.run("backups", "list").text
    assert f"since {oldest['token']}" in text
    assert f"{newest['token']}: without {broken}: " in text
    assert kept not in text


def test_a_dry_run_tells_what_a_backup_would_have_and_makes_none(
    line: CommandLine, katas: Katas
) -> None:
    first, second, third = sorted(katas.started("whale") for _ in range(3))
    katas.stub.ArchiveKata(storer_pb2.ArchiveKataRequest(kata_id=third))
    done = line.run("backup", "--dry-run", "--since-last", "token")
    assert done.text == "".join(f"{each}  new\n" for each in (first, second, third))
    assert done.complaint.endswith("3 katas sent, 0 failed; no backup was made: a dry run\n")
    assert line.run("backups", "list").stdout == b""
    assert not list(line.folder.glob("*.tar*"))
    assert not (line.folder / "token").exists()

    assert line.run("backup", "-o", "full.tar", "--since-last", "token").code == 0
    token = (line.folder / "token").read_text()
    assert line.run("backup", "--dry-run", "--since-last", "token").stdout == b""
    katas.record(second, "whale")
    katas.delete(first)
    added = katas.started("whale")
    records = line.run("backup", "--dry-run", "--since-last", "token", "--json").records()
    assert {each["id"]: each["new"] for each in records} == {second: False, added: True}
    assert (line.folder / "token").read_text() == token
    assert len(line.run("backups", "list", "--json").records()) == 1
    # And so it comes out.
    done = line.run("backup", "-o", "next.tar", "--since-last", "token")
    assert "2 katas sent, 0 failed, 1 unchanged, 1 deleted" in done.text


def test_a_chain_of_backups_is_checked_without_a_storer(
    line: CommandLine, katas: Katas, tmp_path: Path
) -> None:
    first, second = sorted(katas.started("whale") for _ in range(2))
    for name, compression in (("full.tar", "none"), ("one.tar.zst", "zstd"), ("two.gz", "gzip")):
        done = line.run("backup", "-o", name, "--since-last", "token", "--compression", compression)
        assert done.code == 0
        katas.record(first, "whale")
    alone = CommandLine("127.0.0.1:1", tmp_path)
    files = ["full.tar", "one.tar.zst", "two.gz"]
    done = alone.run("backups", "check", *files)
    assert done.code == 0, done.complaint
    assert done.text.splitlines()[-1] == "2 katas whole"
    assert re.match(r"full\.tar  all katas, begun 20.*, 2 katas in it; ", done.text)

    missing = alone.run("backups", "check", files[0], files[2])
    assert missing.code == 2
    assert missing.complaint.startswith("cyber-dojo: two.gz: follows a backup that is not here")

    full = line.folder / "full.tar"
    content = full.read_bytes()
    place = content.index(f"{second[:2]}/{second[2:]}/manifest.json".encode()) + 600
    full.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    damaged = alone.run("backups", "check", *files)
    assert damaged.code == 1
    assert f"{second}  lacking: it is not what was backed up" in damaged.text
    assert damaged.text.splitlines()[-1] == "1 kata whole, 1 lacking"
    full.write_bytes(content[:-2000])
    broken = alone.run("backups", "check", *files)
    assert (broken.code, "full.tar: it breaks off" in broken.complaint) == (6, True)


def test_whether_everything_until_last_night_is_in_it_is_one_command(
    line: CommandLine, katas: Katas, elsewhere: DataContainers
) -> None:
    first, second = sorted(katas.started("whale") for _ in range(2))
    katas.stub.ArchiveKata(storer_pb2.ArchiveKataRequest(kata_id=second))
    assert line.run("backup", "-o", "full.tar").code == 0
    (made,) = line.run("backups", "list", "--json").records()
    begun = datetime.fromisoformat(made["begun"])
    early, late = begun + timedelta(hours=1), begun + timedelta(hours=3)

    def check(until: datetime) -> tuple[int, list[str]]:
        done = line.run("backups", "check", "full.tar", "--until", until.isoformat(), "--json")
        return done.code, [each["id"] for each in done.records()[:-1]]

    assert check(late) == (0, [])
    # A light from after that time is no reason to complain, one from before is.
    katas.record(first, "whale", {**FILES, "a": b""}, time=timestamp(begun + timedelta(hours=2)))
    assert check(early) == (0, [])
    assert check(late) == (1, [first])
    text = line.run("backups", "check", "full.tar", "--until", late.isoformat()).text
    assert f"{first}  lacking: changed on {begun + timedelta(hours=2):%Y-%m-%d %H:%M}" in text
    assert (
        "everything until"
        in line.run("backups", "check", "full.tar", "--until", early.isoformat()).text
    )
    added = katas.create()
    assert check(datetime.now(UTC) + timedelta(minutes=1)) == (1, [added])
    assert set(elsewhere.kata_ids()) == {first, added}  # the archived one was not brought back
