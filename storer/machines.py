"""Builds what a storer needs to be one of several machines."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib.metadata import version

from dojo.etcd.connection import connect
from dojo.machines.nodes import Node, Nodes, OwnNode
from dojo.service.forwarding import Elsewhere, Forwarding
from dojo.service.settings import BadSettings
from storer.archive.archive import Archive
from storer.archive.location import open_archive
from storer.cluster.editions import Editions
from storer.cluster.installation import Installation
from storer.cluster.keys import RecordKeys
from storer.cluster.owners import Owners
from storer.cluster.shared_installation import SharedInstallation
from storer.settings import StorerSettings

# Unless a setting says otherwise: what the archive has need not be in etcd, which is small.
_COPY_SECONDS = 5


def _other(kata_id: str, own: str, nodes: Nodes) -> Node | None:
    """Return the machine that takes a kata instead of one that is being drained; None if none can.

    Each machine that is asked says the same one (rendezvous hashing).
    """
    others = [each for each in nodes.all() if each.name != own and not each.is_draining]
    return max(
        others,
        key=lambda each: hashlib.sha256(f"{each.name} {kata_id}".encode()).digest(),
        default=None,
    )


def other_machine(installation: SharedInstallation, kata_id: str) -> Node | None:
    """Return the machine that is to answer the calls of a kata; None if this one is."""
    owner = installation.owner(kata_id)
    found = None if owner is None else installation.nodes.find(owner)
    is_leaving = installation.is_draining() and installation.owners.held(kata_id) is None
    if found is None and is_leaving:
        found = _other(kata_id, installation.own_name, installation.nodes)
    return found


@dataclass(frozen=True)
class Machines:
    """A storer's place among several machines, or alone."""

    installation: Installation
    archive: Archive
    copy_seconds: int
    forwarding: Forwarding | None = None


def alone(settings: StorerSettings) -> Machines:
    """Return the place of a storer that is the only one. Raises ArchiveUnavailable."""
    archive = open_archive(settings.archive, settings.installation_name)
    return Machines(Installation(archive), archive, settings.archive_copy_seconds)


def join(
    settings: StorerSettings,
    on_lost: Callable[[str], object],
    give_up: Callable[[str, str], Awaitable[bool]],
) -> Machines:
    """Return the place of a storer that is one of several; nothing is sent yet.

    `give_up` gives a kata up that another machine, of the name that it is called with, wants; it
    says whether it did. `on_lost` is called with the id of each kata that another machine has
    taken over. Raises BadSettings or ArchiveUnavailable.
    """
    if not settings.archive:
        raise BadSettings(["CYBER_DOJO_ETCD requires CYBER_DOJO_ARCHIVE, which all machines reach"])
    address = settings.node_storer or settings.listen
    name = settings.node_name
    node = Node(name, address, settings.node_runner, version("cyber-dojo"))
    etcd, keys = connect(settings), RecordKeys(settings.installation_name)
    owners = Owners(etcd, keys, node.name, on_lost)
    editions = Editions(owners)
    archive = open_archive(settings.archive, settings.installation_name, editions)

    def on_gone(name: str) -> None:
        forwarding.node_gone(name)

    nodes = Nodes(etcd, keys, on_gone)
    installation = SharedInstallation(
        *(etcd, keys, OwnNode(etcd, keys, node), nodes, owners),
        editions=editions,
        archive=archive,
    )

    def elsewhere(kata_id: str) -> Elsewhere | None:
        found = other_machine(installation, kata_id)
        return None if found is None else Elsewhere(found.name, found.storer)

    forwarding = Forwarding(elsewhere, settings, give_up, own_name=node.name)
    copy_seconds = settings.archive_copy_seconds or _COPY_SECONDS
    return Machines(installation, archive, copy_seconds, forwarding)
