"""The write-ahead log of an avatar returns the whole entries, whatever else is in its file."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storer.fs.write_ahead_log import (
    EMPTY,
    GROWTH_BYTES,
    JOURNAL,
    MIN_BYTES,
    POSITION_BYTES,
    Entry,
    WriteAheadLog,
)

names = st.binary(min_size=20, max_size=20).map(bytes.hex)
entries = st.builds(
    Entry,
    st.integers(0, 10**7),
    names,
    st.dictionaries(names, st.binary(max_size=200), max_size=4),
    st.integers(0, 10**7),
)


def an_entry(number: int, size: int = 10) -> Entry:
    content = b"%d" % number + bytes([number % 256]) * size
    return Entry(
        number, f"{number:040x}", {f"{number + 1:040x}": content, f"{number + 2:040x}": b""}
    )


@pytest.fixture
def log(tmp_path: Path) -> WriteAheadLog:
    return WriteAheadLog(tmp_path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / JOURNAL


def test_a_missing_log_is_empty(log: WriteAheadLog, path: Path) -> None:
    assert log.read_position() == EMPTY
    assert log.entries() == log.recover() == []
    assert not path.exists()


@settings(max_examples=30)  # few, because each append waits for the disk
@given(st.lists(entries, max_size=6))
def test_entries_are_read_in_their_order(
    tmp_path_factory: pytest.TempPathFactory, added: list[Entry]
) -> None:
    log = WriteAheadLog(tmp_path_factory.mktemp("avatar"))
    for entry in added:
        log.append(entry)
    assert log.entries() == log.recover() == added


def test_the_position_tells_whether_an_entry_was_appended(log: WriteAheadLog) -> None:
    positions = [log.read_position()]
    for number in range(4):
        assert log.append(an_entry(number)) == positions[-1]
        positions.append(log.read_position())
    assert len(set(positions)) == 5
    assert len({position.generation for position in positions[1:]}) == 1
    log.reset()
    assert log.read_position().used == 0
    assert log.read_position().generation not in {position.generation for position in positions}


def test_known_entries_are_not_recovered_again(log: WriteAheadLog) -> None:
    log.append(an_entry(1))
    known = log.read_position()
    log.append(an_entry(2))
    assert log.recover(known) == [an_entry(2)]
    log.reset()
    log.append(an_entry(3))
    assert log.recover(known) == [an_entry(3)]  # of another generation


def test_an_entry_of_the_previous_generation_does_not_count(log: WriteAheadLog, path: Path) -> None:
    for number in range(3):
        log.append(an_entry(number))
    log.reset()
    log.append(an_entry(7))
    # After a power cut, the position may count everything in the file.
    content = bytearray(path.read_bytes())
    content[POSITION_BYTES - 8 : POSITION_BYTES] = (len(content) - POSITION_BYTES).to_bytes(
        8, "big"
    )
    path.write_bytes(content)
    assert log.recover() == [an_entry(7)]


def test_a_log_that_is_cut_off_anywhere_has_the_entries_that_are_whole(tmp_path: Path) -> None:
    whole = WriteAheadLog(tmp_path)
    ends = [POSITION_BYTES]
    for number in range(3):
        whole.append(an_entry(number))
        ends.append(POSITION_BYTES + whole.read_position().used)
    content = (tmp_path / JOURNAL).read_bytes()
    near_ends = {end + step for end in ends for step in (-2, -1, 0, 1)}
    for length in sorted({*range(0, ends[-1], 11), *near_ends}):
        cut = tmp_path / "cut"
        cut.mkdir(exist_ok=True)
        (cut / JOURNAL).write_bytes(content[:length])
        log = WriteAheadLog(cut)
        left = sum(end <= length for end in ends[1:]) if length >= POSITION_BYTES else 0
        assert log.recover() == [an_entry(number) for number in range(left)], length
        log.append(an_entry(9))  # the log can be used after that
        assert log.entries() == [*(an_entry(number) for number in range(left)), an_entry(9)]


def test_with_any_byte_changed_only_entries_that_were_appended_are_recovered(
    tmp_path: Path,
) -> None:
    log = WriteAheadLog(tmp_path)
    for number in range(2):
        log.append(an_entry(number))
    path = tmp_path / JOURNAL
    content = path.read_bytes()
    for place in range(POSITION_BYTES + log.read_position().used):
        changed = bytearray(content)
        changed[place] ^= 0x41
        path.write_bytes(changed)
        found = log.recover()
        assert found == [an_entry(number) for number in range(len(found))], place


def test_lost_entries_are_an_error_where_all_are_needed(log: WriteAheadLog, path: Path) -> None:
    log.append(an_entry(1))
    log.append(an_entry(2))
    os.truncate(path, POSITION_BYTES + log.read_position().used - 1)
    with pytest.raises(OSError, match=JOURNAL):
        log.entries()
    assert log.recover() == [an_entry(1)]


def test_an_entry_that_is_undone_is_never_recovered(log: WriteAheadLog, path: Path) -> None:
    log.append(an_entry(1))
    log.undo(log.append(an_entry(2)))
    assert log.entries() == [an_entry(1)]
    content = bytearray(path.read_bytes())
    content[POSITION_BYTES - 8 : POSITION_BYTES] = (len(content) - POSITION_BYTES).to_bytes(
        8, "big"
    )
    path.write_bytes(content)
    assert log.recover() == [an_entry(1)]
    log.append(an_entry(3))
    assert log.entries() == [an_entry(1), an_entry(3)]


def test_a_log_is_preallocated_and_shrinks_when_it_is_emptied(
    log: WriteAheadLog, path: Path
) -> None:
    log.append(an_entry(1))
    assert path.stat().st_size == MIN_BYTES
    log.append(an_entry(2, size=MIN_BYTES))
    assert path.stat().st_size % GROWTH_BYTES == 0
    assert log.entries() == [an_entry(1), an_entry(2, size=MIN_BYTES)]
    log.reset()
    assert path.stat().st_size == MIN_BYTES
    assert log.entries() == []


@pytest.mark.parametrize("content", [b"", b"x", b"lights/1" + bytes(16), bytes(MIN_BYTES)])
def test_a_file_that_is_no_log_is_an_empty_one(
    log: WriteAheadLog, path: Path, content: bytes
) -> None:
    path.write_bytes(content)
    assert log.recover() == []
    log.append(an_entry(1))
    assert log.entries() == [an_entry(1)]


def test_a_log_is_private_and_follows_no_link(
    log: WriteAheadLog, path: Path, tmp_path: Path
) -> None:
    log.append(an_entry(1))
    assert path.stat().st_mode & 0o777 == 0o600
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic"):
        log.append(an_entry(2))


# With a limit of its own, the disk takes a part of the entry alone, as one that is full.
APPEND_TOO_MUCH = """
import resource, signal, sys
from pathlib import Path
from storer.fs.write_ahead_log import Entry, WriteAheadLog

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
WriteAheadLog(Path(sys.argv[1])).append(Entry(2, "0" * 40, {"1" * 40: bytes(100_000)}))
"""


@pytest.mark.parametrize("room", [0, 20, 1000, MIN_BYTES + 1000, 50_000])
@pytest.mark.parametrize("before", [0, 1])
def test_an_entry_that_the_disk_takes_a_part_of_is_not_there(
    log: WriteAheadLog, path: Path, tmp_path: Path, room: int, before: int
) -> None:
    for number in range(before):
        log.append(an_entry(number))
    size = path.stat().st_size if before else 0
    command = [sys.executable, "-c", APPEND_TOO_MUCH, str(tmp_path), str(room)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "File too large" in done.stderr
    assert log.entries() == [an_entry(number) for number in range(before)]
    assert path.stat().st_size == size  # nor does it take any room
    log.append(an_entry(9))
    assert log.entries()[before:] == [an_entry(9)]
