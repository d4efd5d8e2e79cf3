"""What repeats an avatar's lights is checked and mended, however large the lights are."""

import tracemalloc
from pathlib import Path

import pytest

from dojo.visible_files import MAX_FILE_BYTES
from storer.fs import json_files
from storer.kata.light import Light, Submission
from storer.kata.recorder import Recorder
from storer.verify.lights import LightsCheck
from support.storer.storing import CREATED

# JSON makes six bytes of each of these.
LARGE = {"a": b"\xff" * MAX_FILE_BYTES}


@pytest.mark.parametrize("stale", [b'{"a":"b"}', None], ids=["stale", "as git has it"])
def test_a_large_manifest_is_checked_and_mended_without_holding_its_json(
    tmp_path: Path, stale: bytes | None
) -> None:
    start = Light(number=0, colour="", time=CREATED)
    Recorder.create(tmp_path, "493A06504A", "whale").record(start, Submission(LARGE), None)
    (tmp_path / "increments.json").write_bytes(b"[]\n")
    manifest = tmp_path / "manifest.json"
    whole = b"".join(json_files.dump_files(LARGE))  # type: ignore[arg-type]  # pieces: it is large
    manifest.write_bytes(stale or whole)
    tracemalloc.start()
    try:
        for finding in LightsCheck(tmp_path, "493A06504A", "whale").findings():
            assert finding.path == "manifest.json"
            assert finding.mend is not None
            finding.mend()
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 4 * MAX_FILE_BYTES
    assert manifest.read_bytes() == whole
    kept = [path.read_bytes() for path in tmp_path.glob(".manifest.json.was-*")]
    assert kept == ([stale] if stale else [])
