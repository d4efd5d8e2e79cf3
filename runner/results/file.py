"""Reads the file, or the folder of files, in which a run left its tests' results.

A file's format is known by its content. The run may have written anything there: what is read is
bounded, no link is followed, and what can't be read is a fault with a reason, never an error.
"""

import codecs
from collections.abc import Callable, Mapping

from dojo import visible_files
from runner.results import junit_xml, tap, track_json
from runner.results.results import Collector, Malformed, Results
from runner.sandbox.file_versions import FileVersion, version
from runner.sandbox.sandbox import Sandbox

MAX_FILES = 64
MAX_BYTES = 1024 * 1024
"""Of all files together."""

Read = Callable[[bytes, Collector], str]


def read(name: str, sandbox: Sandbox, before: Mapping[str, FileVersion]) -> Results:
    """Return the results in what a run wrote; `before` has the files' versions before it.

    Files of an earlier run, which this one did not write, are left out.
    """
    found = sandbox.entry(name)
    files = [found] if found is not None and found.is_file else sandbox.files_in(name, MAX_FILES)
    new = [each for each in files if before.get(each.path) != version(each)]
    if not files:
        return Results(fault=f"the run wrote no file {name}")
    if not new:
        return Results(fault=f"{name} is that of an earlier run")
    collector, messages, left_bytes = Collector(), [], MAX_BYTES
    for each in new:
        path = visible_files.shown(each.path)
        content = sandbox.read(each.path, left_bytes + 1) or b""
        left_bytes -= len(content)
        if left_bytes < 0:
            return Results(fault=f"{path}: {MAX_BYTES} bytes are the most that are read")
        try:
            messages.append(_reader(content)(content, collector))
        except Malformed as error:
            return Results(fault=f"{path}: {error}")
    return collector.results("\n".join(filter(None, messages)))


def _reader(content: bytes) -> Read:
    first = content.removeprefix(codecs.BOM_UTF8).lstrip()[:1]
    return {b"<": junit_xml.read, b"{": track_json.read, b"[": track_json.read}.get(first, tap.read)
