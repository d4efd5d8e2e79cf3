"""Answers with large lights, which are made in a process of their own.

To put tens of megabytes into a message holds Python's lock for as long as dozens of calls take.
"""

from pathlib import Path
from typing import Any

from cyberdojo.storer.v1 import storer_pb2
from dojo import limits, process_main
from dojo.budget import NotSmall
from dojo.processes import Processes
from storer.api import converters
from storer.git import libgit2
from storer.kata.avatar import Avatar
from storer.kata.history import History
from storer.kata.light import Light, Submission


def files_of(avatar: Avatar, number: int, processes: Processes) -> bytes:
    """Return the answer to GetFiles, serialized, for a light (-1: the newest).

    Large ones are made in one of the `processes`.
    """
    try:
        return _answer(*avatar.submission(number, limits.LARGE_LIGHT_BYTES))
    except NotSmall:
        pass
    light = avatar.light(number)
    with processes.one() as process:
        process.call(_write_answer, avatar.folder, avatar.kata_id, light)
        return process.written()


def _write_answer(folder: Path, kata_id: str, light: Light) -> None:
    """Write the answer into the file, in a process."""
    libgit2.configure()
    submission = History(folder, kata_id, folder.name).submission(light.number)
    process_main.file().write(_answer(light, submission))


def _answer(light: Light, submission: Submission) -> bytes:
    answer: Any = storer_pb2.GetFilesResponse(
        light=converters.light_to(light),
        files=submission.files,
        stdout=submission.stdout,
        stderr=submission.stderr,
    )
    serialized: bytes = answer.SerializeToString()
    return serialized
