"""Processes that use and archive katas, over and over, until they are killed.

`python killed_archivers.py NAMESPACE ARCHIVE cycle|delete KATA...` forks a process for each line on
its standard input, and prints the process id once the process is at work. Forking is faster than
starting Python for each of dozens of processes.
"""

import contextlib
import os
import sys

from dojo import limits
from dojo.engine.client import Engine
from dojo.engine.data_containers import DataContainers
from dojo.errors import KataInUse, KataNotFound
from dojo.naming import Namespace
from dojo.processes import Processes
from dojo.service.settings import CommonSettings, load
from storer.archive.location import open_archive
from storer.cluster.installation import Installation
from storer.fs.checkpointer import Checkpointer
from storer.git import libgit2
from storer.katas.activity import ActiveCalls
from storer.katas.changes import Changes
from storer.katas.damaged_katas import DamagedKatas
from storer.katas.import_source import KatasDirectory, SaverKatas
from storer.katas.intake import Intake
from storer.katas.listing import Places
from storer.katas.old_ids import OldIds
from storer.katas.repository import Katas


def katas_of(namespace: str, archive: str) -> Katas:
    """Return the katas of a namespace, without a service."""
    settings = load(CommonSettings, os.environ)
    engine = Engine(settings.engine)
    root = settings.volume_root or engine.volume_root()
    containers = DataContainers(engine, Namespace(namespace), root)
    libgit2.configure()
    opened, none = open_archive(archive, containers.namespace.name), SaverKatas()
    old_ids = OldIds(containers, opened, none)
    directory = KatasDirectory(None)
    places = Places(containers, opened, directory, none, old_ids, Installation(opened))
    intake = Intake(Processes(limits.MAX_CHECKING_PROCESSES, "check katas"))
    damaged = DamagedKatas(containers)
    return Katas(places, ActiveCalls(), Changes(), Checkpointer(), intake=intake, damaged=damaged)


def _work(katas: Katas, way: str, kata_ids: list[str]) -> None:
    while True:
        for kata_id in kata_ids:
            with contextlib.suppress(KataInUse, KataNotFound):
                katas.archive_kata(kata_id, lambda _: False, with_products=True)
            if way == "delete":
                with contextlib.suppress(KataNotFound):
                    katas.delete(kata_id)
            else:
                with katas.using(kata_id):
                    pass


def _main(namespace: str, archive: str, way: str, *kata_ids: str) -> None:
    for _ in sys.stdin:
        child = os.fork()
        if child == 0:
            log = os.open(os.devnull, os.O_WRONLY)
            katas = katas_of(namespace, archive)
            sys.stdout.write(f"{os.getpid()}\n")
            sys.stdout.flush()
            os.dup2(log, sys.stdout.fileno())
            _work(katas, way, list(kata_ids))
        os.waitpid(child, 0)
        sys.stdout.write("gone\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _main(*sys.argv[1:])
