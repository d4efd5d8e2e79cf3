"""Reads the file in which a run left its tests' results.

The file's format is known by its content. The run may have written anything there: the file is
bounded, no link is followed, and what can't be read is a fault with a reason, never an error.
"""

import codecs
from collections.abc import Callable, Mapping

from runner.results import junit_xml, tap, track_json
from runner.results.results import Malformed, Results
from runner.sandbox.file_versions import FileVersion, version_of
from runner.sandbox.sandbox import Sandbox

MAX_BYTES = 1024 * 1024


def read(filename: str, sandbox: Sandbox, before: Mapping[str, FileVersion]) -> Results:
    """Return the results in a file that a run wrote; `before` has the files' versions before it."""
    found = version_of(sandbox, filename)
    content = sandbox.read(filename, MAX_BYTES + 1)
    if found is None or content is None:
        return Results(fault=f"the run wrote no file {filename}")
    if before.get(filename) == found:
        return Results(fault=f"{filename} is that of an earlier run")
    if len(content) > MAX_BYTES:
        return Results(fault=f"{filename}: it has more than {MAX_BYTES} bytes")
    try:
        return _reader(content)(content)
    except Malformed as error:
        return Results(fault=f"{filename}: {error}")


def _reader(content: bytes) -> Callable[[bytes], Results]:
    first = content.removeprefix(codecs.BOM_UTF8).lstrip()[:1]
    return {b"<": junit_xml.read, b"{": track_json.read, b"[": track_json.read}.get(first, tap.read)
