"""The start points of a replay's own storer: they give legacy katas their rules."""

import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

from cyber_dojo_client import pages
from cyberdojo.startpoints.v1 import startpoints_pb2, startpoints_pb2_grpc
from dojo.image_names import repository
from replay.calls import Calls, Refused
from replay.errors import NothingToReplay

SETTING = "CYBER_DOJO_START_POINTS"
LANGUAGES, INDEX = "languages", "index.json"

_IN_IMAGES = Path("/usr/src/cyber-dojo/start_points")
_IN_CHECKOUT = Path(__file__).parents[2] / "start_points"


def prepare(given: Path | None, scratch: Path) -> Path | None:
    """Return a folder of start points that a storer can serve; None if there is none.

    The folder is `given`; or else the one that the setting names; or else the one that compose
    mounts, or the checkout's. A folder without an index is copied into `scratch`, and the copy is
    indexed. Raises NothingToReplay if the folder can't be used.
    """
    named = os.environ.get(SETTING)
    candidates = [given] if given else [Path(named)] if named else [_IN_IMAGES, _IN_CHECKOUT]
    folder = next((each for each in candidates if (each / LANGUAGES).is_dir()), None)
    if folder is None:
        if given:
            raise NothingToReplay(f"{given}: has no folder {LANGUAGES}")
        return None
    if (folder / LANGUAGES / INDEX).exists():
        return folder.resolve()
    copied = scratch / "start_points"
    shutil.copytree(folder / LANGUAGES, copied / LANGUAGES)
    command = [sys.executable, "-m", "storer.start_points.index", str(copied / LANGUAGES)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode != 0:
        raise NothingToReplay(f"{folder}: {done.stderr.strip()}")
    return copied


def max_seconds(calls: Calls, stub: startpoints_pb2_grpc.StartPointsServiceStub) -> dict[str, int]:
    """Return the seconds that start points allow a run today, by the repository of the image."""
    found: dict[str, int] = {}
    languages = pages(
        partial(calls.call, stub.ListLanguages), startpoints_pb2.ListLanguagesRequest()
    )
    for each in (language for page in languages for language in page.languages):
        request = startpoints_pb2.GetStartPointRequest(language=each.display_name)
        try:
            manifest = calls.call(stub.GetStartPoint, request).manifest
        except Refused:
            continue  # damaged: the storer logs it, and the kata's own limit applies
        name = repository(each.image_name)
        found[name] = max(found.get(name, 1), manifest.max_seconds)
    return found
