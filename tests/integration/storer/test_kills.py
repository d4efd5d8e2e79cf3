"""A storer that is killed at any moment, under load, loses no acknowledged call."""

import itertools
import random
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cyberdojo.storer.v1 import storer_pb2
from support.services import Service
from support.storer.katas_directories import BUFFALO, DOLPHIN, SNAKE, SPIDER, UNSTARTED
from support.storer.loads import Client, Shared, observe
from support.storer.storing import Katas
from support.storer.verifying import verify

IMPORTS = (SPIDER, BUFFALO, DOLPHIN, SNAKE, UNSTARTED)  # one for each client
SEED = 20260
MOST_SECONDS = 0.8  # the longest life of a storer
MORE_KILLS = 200
CALLS = {"create", "fork", "start", "record", "edit", "options", "import", "archive", "restore"}
CALLS |= {"delete"}
# Harmless findings that a kill can leave.
HARMLESS = {"LEFTOVER", "HANDLE", "STALE", "DANGLING"}


@pytest.mark.timeout(3600)
def test_no_kill_loses_an_acknowledged_call(
    start_storer: Callable[..., Service],
    client: Callable[[Service], Katas],
    katas_directory: Path,
    tmp_path: Path,
    pytestconfig: pytest.Config,
) -> None:
    kills = pytestconfig.getoption("--kills")
    chance = random.Random(SEED)  # noqa: S311 - it has to be the same each time

    def start() -> tuple[Service, Katas]:
        service = start_storer(
            CYBER_DOJO_ARCHIVE=str(tmp_path / "archive"),
            CYBER_DOJO_KATAS_DIRECTORY=str(katas_directory),
        )
        return service, client(service)

    service, katas = start()
    shared = Shared(katas.started("whale"))
    imports = [{each.id: observe(katas, each.id)} for each in IMPORTS]
    clients = [Client(SEED + number, shared, each) for number, each in enumerate(imports)]
    with ThreadPoolExecutor(len(IMPORTS)) as threads:
        for number in itertools.count():
            # A slow machine makes few calls between kills. Then go on, with longer lives.
            done = sum((each.calls for each in clients), Counter[str]())
            if number >= kills and set(done) == CALLS:
                break
            assert number < kills + MORE_KILLS, done
            playing = [threads.submit(each.play, katas) for each in clients]
            time.sleep(chance.uniform(0, MOST_SECONDS * max(1, number / kills)))
            service.kill()
            for played in playing:
                played.result()
            killed = time.monotonic()
            service, katas = start()
            shared.check(katas, killed)
            for each in clients:
                each.check(katas, killed, killed)
                each.resume(katas)
            if number % 10 == 9:
                found = verify(katas).kinds()
                assert {kind for kind, _, _ in found} <= HARMLESS, found
    for each in clients:
        each.finish(katas)
        each.check_files(katas)
    # Each call whose answer was lost was sent again: nothing is there that nobody knows.
    listed = katas.stub.ListKatas(storer_pb2.ListKatasRequest(page_size=10_000)).katas
    own = {each.kata_id for each in listed if each.source != storer_pb2.KATA_SOURCE_KATAS_DIRECTORY}
    imported = {each.id for each in IMPORTS}
    known = {shared.kata_id}.union(*(each.existing() for each in clients))
    # Katas to import are in the katas directory until somebody uses them.
    assert own - imported == known - imported
    assert set(katas.get(shared.kata_id).avatars) == {
        "whale",
        *(name for name, _ in shared.started),
    }
    given = [kata_id for each in clients for kata_id in each.given]
    assert len(given) == len(set(given)), "an id was given twice"
    verify(katas, mend=True)
    assert verify(katas).unmended() == []
    print(number, "kills", dict(done))  # noqa: T201 - said where somebody asks for many kills
