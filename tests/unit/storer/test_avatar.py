"""Recording takes little more memory than what is recorded."""

import json
import tracemalloc
from pathlib import Path

from storer.fs import json_files
from storer.fs.checkpointer import Checkpointer
from storer.kata import avatar
from storer.kata.avatar import Avatar
from storer.kata.light import Light, Submission
from storer.kata.lights import LightsCache
from support.storer.storing import STARTED

ID = "0123456789"
MIB = 1024**2


def test_recording_takes_a_small_multiple_of_what_came(tmp_path: Path) -> None:
    """A byte that is no UTF-8 is six bytes of JSON."""
    folder = tmp_path / "whale"
    folder.mkdir()
    avatar.start(folder, ID, "whale", {"a.txt": b"a"}, STARTED)
    whale = Avatar(
        *(folder, ID, "whale", lambda: STARTED), cache=LightsCache(), checkpointer=Checkpointer()
    )
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
    found = json.loads((folder / "manifest.json").read_bytes())
    assert json_files.read_files(found) == files
