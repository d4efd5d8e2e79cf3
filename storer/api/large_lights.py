"""Large lights, which are put into messages and JSON in a process of their own.

To do that with tens of megabytes holds Python's lock for as long as dozens of calls take.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cyberdojo.storer.v1 import storer_pb2
from dojo import limits, process_main
from dojo.budget import NotSmall, SmallBudget
from dojo.processes import Process, Processes
from storer.api import converters, facts_converters
from storer.fs import json_files
from storer.git import libgit2
from storer.kata.avatar import Avatar
from storer.kata.edit import At, Edit
from storer.kata.history import History
from storer.kata.light import Light


def files_of(avatar: Avatar, at: At, processes: Processes) -> bytes:
    """Return the answer to GetFiles, serialized, for a light or an edit.

    Large ones are made in one of the `processes`.
    """
    light, edit = avatar.find(at)
    history = avatar.open_history()
    try:
        return _answer(history, light, edit, limits.LARGE_LIGHT_BYTES)
    except NotSmall:
        pass
    with processes.one() as process:
        process.call(_write_answer, avatar.folder, avatar.kata_id, light, edit)
        return process.written()


def dump_files(process: Process, files: Mapping[str, bytes]) -> Iterator[bytes]:
    """Yield the JSON of files, as `json_files.dump_files` makes it, in pieces from a process."""
    sizes = {name: len(content) for name, content in files.items()}
    process.call_with(files.values(), _dump_files, sizes)
    yield from process.pieces()


def _dump_files(sizes: Mapping[str, int]) -> None:
    contents = process_main.given(sizes.values())
    process_main.leave(json_files.file_pieces(dict(zip(sizes, contents, strict=True))))


def _write_answer(folder: Path, kata_id: str, light: Light, edit: Edit | None) -> None:
    """Write the answer into the file, in a process."""
    libgit2.configure()
    process_main.file().write(_answer(History(folder, kata_id, folder.name), light, edit))


def _answer(
    history: History, light: Light, edit: Edit | None, max_bytes: int | None = None
) -> bytes:
    """Return the answer, serialized. Raises NotSmall for more than `max_bytes` bytes of files."""
    budget = None if max_bytes is None else SmallBudget(max_bytes=max_bytes)
    submission = history.submission(light.number, budget, minor=edit.minor if edit else 0)
    answer: Any = storer_pb2.GetFilesResponse(
        light=converters.light_to(light),
        edit=converters.edit_to(edit) if edit else None,
        files=submission.files,
        stdout=converters.output_to(submission.stdout, truncated=light.facts.is_stdout_truncated),
        stderr=converters.output_to(submission.stderr, truncated=light.facts.is_stderr_truncated),
    )
    facts_converters.results_to(submission.test_results, answer)
    serialized: bytes = answer.SerializeToString()
    return serialized
