"""The files of the start points, and edited versions of them."""

import json
from typing import Any

from google.protobuf import json_format

from cyberdojo.colour.v1 import colour_pb2
from support.paths import TOP

LANGUAGES = TOP / "start_points" / "languages"
NAMES = sorted(path.name for path in LANGUAGES.iterdir())
# The start points whose images `make images` builds.
SUITE = [
    line
    for line in (TOP / "images" / "suite.txt").read_text().splitlines()
    if line and not line.startswith("#")
]

Files = dict[str, bytes]


def manifest(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((LANGUAGES / name / "manifest.json").read_bytes())
    return found


def visible_files(name: str) -> Files:
    names = manifest(name)["visible_filenames"]
    return {each: (LANGUAGES / name / each).read_bytes() for each in names}


def edited(name: str, filename: str, old: bytes, new: bytes) -> Files:
    """Return the visible files, with `old` replaced by `new` in one of them."""
    files = visible_files(name)
    assert files[filename].count(old) == 1, f"{old!r} is not exactly once in {filename}"
    return {**files, filename: files[filename].replace(old, new)}


def fixed(name: str) -> Files:
    wrong, right = (b"6 * 9", b"6 * 7")
    if name == "clojure_test":
        wrong, right = (b"* 6 9", b"* 6 7")
    [filename] = [each for each, content in visible_files(name).items() if wrong in content]
    return edited(name, filename, wrong, right)


def colour_rule(name: str) -> colour_pb2.ColourRule:
    patterns = [
        {
            "colour": f"COLOUR_{each['colour'].upper()}",
            "pattern": each["pattern"],
            "stream": f"STREAM_{each.get('stream', 'unspecified').upper()}",
        }
        for each in manifest(name)["colour_rule"]["patterns"]
    ]
    rule = {"patterns": {"patterns": patterns}}
    return json_format.ParseDict(rule, colour_pb2.ColourRule())
