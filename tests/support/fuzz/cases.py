"""Cases: inputs of the fuzzers as JSON, so that a finding can be tried again, and be kept."""

import base64
import json
import zlib
from pathlib import Path
from typing import Any, NamedTuple

from support.paths import TOP

FOLDER = TOP / "tests/fuzz/cases"
FINDINGS = TOP / "build/fuzz"

_BYTES = "$bytes"  # key of an object that stands for bytes


class Case(NamedTuple):
    """The name of a target, and its input: JSON values, and bytes."""

    target: str
    input: Any


def read(path: Path) -> Case:
    """Read a case from a file."""
    value = json.loads(path.read_text(), object_hook=_decode)
    return Case(value["target"], value["input"])


def write(case: Case) -> Path:
    """Write the case that a fuzzer found into `build/fuzz`; return its file.

    The file of a target is replaced: while hypothesis makes an input smaller, the smallest comes
    last.
    """
    FINDINGS.mkdir(parents=True, exist_ok=True)
    path = FINDINGS / f"{case.target}.json"
    text = json.dumps({"target": case.target, "input": _encode(case.input)}, indent=1)
    path.write_text(text + "\n")
    return path


def _encode(value: Any) -> Any:
    if isinstance(value, bytes):
        return {_BYTES: base64.b64encode(zlib.compress(value, 9)).decode()}
    if isinstance(value, dict):
        return {key: _encode(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_encode(each) for each in value]
    return value


def _decode(value: dict[str, Any]) -> Any:
    if value.keys() == {_BYTES}:
        return zlib.decompress(base64.b64decode(value[_BYTES]))
    return value
