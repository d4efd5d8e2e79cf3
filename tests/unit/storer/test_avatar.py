"""Recording takes little memory, and loses no light that git has."""

import errno
import json
import tracemalloc
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from dojo.errors import ProcessLost, ProcessTooLarge
from dojo.waits import CallEnded
from storer.fs import json_files
from storer.fs.checkpointer import Checkpointer
from storer.kata import avatar
from storer.kata.avatar import Avatar
from storer.kata.light import Light, Submission
from storer.kata.lights import LightsCache
from storer.kata.request import Request
from support.storer.storing import STARTED

ID = "0123456789"
MIB = 1024**2


@pytest.fixture
def whale(tmp_path: Path) -> Avatar:
    """An avatar that was just started."""
    folder = tmp_path / "whale"
    folder.mkdir()
    avatar.start(folder, ID, "whale", {"a.txt": b"a"}, STARTED)
    return Avatar(
        *(folder, ID, "whale", lambda: STARTED), cache=LightsCache(), checkpointer=Checkpointer()
    )


def test_recording_takes_a_small_multiple_of_what_came(whale: Avatar) -> None:
    """A byte that is no UTF-8 is six bytes of JSON."""
    noise = bytes(range(0x80, 0x100)) * (MIB // 128)
    files = {name: name.encode() + noise * 4 for name in "abc"}
    size = sum(map(len, files.values()))
    light = Light(number=0, colour="red", time=STARTED)
    tracemalloc.start()
    try:
        whale.record(light, Submission(files), None)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2 * size
    found = json.loads((whale.folder / "manifest.json").read_bytes())
    assert json_files.read_files(found) == files


@pytest.mark.parametrize(
    "error", [ProcessLost(), ProcessTooLarge(1), CallEnded(), OSError(errno.EIO, "a disk fails")]
)
def test_a_light_whose_files_can_not_be_listed_is_recorded_and_listed_with_the_next(
    whale: Avatar, error: Exception
) -> None:
    def dump(_: Mapping[str, bytes]) -> Iterator[bytes]:
        yield b"{"
        raise error

    files = {"a.txt": bytes(MIB)}
    light = Light(number=0, colour="red", time=STARTED, request=Request("1", "a"))
    assert whale.record(light, Submission(files), None, dump).number == 1
    assert whale.submission(1)[1].files == files
    assert not list(whale.folder.glob(".manifest.json.new"))
    assert whale.record(light, Submission(files), None).number == 1  # the same request
    again = replace(light, request=Request("2", "b"))
    assert whale.record(again, Submission(files), 2).number == 2
    found = json.loads((whale.folder / "manifest.json").read_bytes())
    assert json_files.read_files(found) == files
    listed = json.loads((whale.folder / "increments.json").read_bytes())
    assert [each["number"] for each in listed] == [1, 2]
