"""Compare the storers of checkouts: `python -m benchmarks.compare NAME=FOLDER NAME=FOLDER...`.

The storers take turns, ten calls each and in random order, so that other work of the machine slows
all of them. Each round has a new kata of 200 lights. For each call the table has the median and
quartiles of the rounds' medians; and the median and quartiles of their ratios to the first storer
in the same round.
"""

import argparse
import os
import random
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from benchmarks.figures import table
from benchmarks.places import Place, Storer, storer, temporary_place
from benchmarks.storer_calls import TURN, ms, new_kata, press
from cyberdojo.storer.v1 import storer_pb2
from dojo import avatars

LIGHTS = 200
AVATAR = avatars.NAMES[0]


def main() -> None:
    """Compare the storers in the folders that are given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("storers", nargs="+", metavar="NAME=FOLDER")
    parser.add_argument("--rounds", type=int, default=40)
    arguments = parser.parse_args()
    folders = dict(each.split("=", 1) for each in arguments.storers)
    with ExitStack() as stack:
        storers = {
            name: stack.enter_context(
                _storer_in(Path(folder), stack.enter_context(temporary_place()))
            )
            for name, folder in folders.items()
        }
        rounds = [_round(storers) for _ in range(arguments.rounds)]
    rows = []
    for call in rounds[0]:
        for name in storers:
            medians = [each[call][name] for each in rounds]
            ratios = [each[call][name] / each[call][next(iter(storers))] for each in rounds]
            rows.append((f"{call}, {name}", *_quartiles(medians), *_quartiles(ratios)))
    columns = ("", "ms", "25 %", "75 %", "ratio", "25 %", "75 %")
    print(table(f"{arguments.rounds} rounds", columns, rows))


def _storer_in(folder: Path, place: Place) -> AbstractContextManager[Storer]:
    """Return a storer that runs the code of a folder, not that of the current one."""
    return storer(place, PYTHONPATH=str(folder.resolve()), PYTHONSAFEPATH="1")


def _quartiles(values: list[float]) -> tuple[str, str, str]:
    """Return the median and the quartiles, with two decimals."""
    low, middle, high = (f"{each:.2f}" for each in quantiles(values, n=4))
    return middle, low, high


def _round(storers: dict[str, Storer]) -> dict[str, dict[str, float]]:
    """Return the median milliseconds of each call of each storer."""
    katas = {name: new_kata(serving, 1) for name, serving in storers.items()}
    times: dict[str, dict[str, list[float]]] = {}
    for first in range(1, LIGHTS + 1, TURN):
        for call in ("RecordTest", "GetFiles", "ListLights", "DiffLights"):
            for name in random.sample(list(storers), len(storers)):
                if call == "RecordTest":
                    os.sync()  # so that no storer writes what another left in the page cache
                found = times.setdefault(call, {}).setdefault(name, [])
                for number in range(first, first + TURN):
                    found.append(ms(partial(_call, storers[name], call, katas[name], number)))
    return {
        call: {name: median(each) for name, each in found.items()} for call, found in times.items()
    }


def _call(serving: Storer, call: str, kata_id: str, number: int) -> None:
    kata: Any = {"kata_id": kata_id, "avatar": AVATAR}
    match call:
        case "RecordTest":
            press(serving, kata_id, 0, number)
        case "GetFiles":
            serving.stub.GetFiles(storer_pb2.GetFilesRequest(**kata, light_number=number))
        case "ListLights":
            serving.stub.ListLights(storer_pb2.ListLightsRequest(**kata))
        case "DiffLights":
            serving.stub.DiffLights(
                storer_pb2.DiffLightsRequest(**kata, was_number=number - 1, now_number=number)
            )


if __name__ == "__main__":
    main()
