"""What can happen to a machine of an installation, and how it ends."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from support.machines.installation import Installation


@dataclass(frozen=True)
class Fault:
    """Something that happens to the machine of a name, and its end."""

    begin: Callable[[Installation, str], object]
    end: Callable[[Installation, str], object]


def _heal(installation: Installation, _: str) -> None:
    installation.heal()


def _cut_off(installation: Installation, name: str) -> None:
    node = installation.nodes[name]
    node.network.cut_off(node.link)


def _cut_off_one_way(installation: Installation, name: str) -> None:
    node = installation.nodes[name]
    for other in installation.nodes.values():
        if other is not node:
            node.network.cut_one_way(node.link, other.link)


def _cut_off_the_other_way(installation: Installation, name: str) -> None:
    node = installation.nodes[name]
    for other in installation.nodes.values():
        if other is not node:
            node.network.cut_one_way(other.link, node.link)


def _freeze(installation: Installation, name: str) -> None:
    installation.nodes[name].freeze()


def _thaw(installation: Installation, name: str) -> None:
    installation.nodes[name].thaw()


def _kill_storer(installation: Installation, name: str) -> None:
    installation.storers[name].kill()


def _kill_member(installation: Installation, name: str) -> None:
    installation.etcd.members[name].kill()


def _start_member(installation: Installation, name: str) -> None:
    installation.etcd.members[name].start()


def _freeze_member(installation: Installation, name: str) -> None:
    installation.etcd.members[name].freeze()


def _thaw_member(installation: Installation, name: str) -> None:
    installation.etcd.members[name].thaw()


def _kill_engine(installation: Installation, name: str) -> None:
    installation.nodes[name].kill_engine()


def _start_engine(installation: Installation, name: str) -> None:
    installation.nodes[name].start_engine()


FAULTS: Mapping[str, Fault] = {
    "lost": Fault(Installation.lose, Installation.bring_back),
    "cut off from all": Fault(_cut_off, _heal),
    "cut off from the other machines": Fault(Installation.cut_off_from_peers, _heal),
    "what it sends to the other machines is lost": Fault(_cut_off_one_way, _heal),
    "what the other machines send to it is lost": Fault(_cut_off_the_other_way, _heal),
    "frozen": Fault(_freeze, _thaw),
    "its storer is killed": Fault(_kill_storer, Installation.start_storer),
    "its member of etcd is killed": Fault(_kill_member, _start_member),
    "its member of etcd is frozen": Fault(_freeze_member, _thaw_member),
    "its engine is killed": Fault(_kill_engine, _start_engine),
}
