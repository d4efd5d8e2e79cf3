"""Three members of an etcd, of which one is lost with its machine, cut off or stopped."""

from collections.abc import Iterator

import pytest

from support.machines.etcd import Etcd
from support.machines.etcd_cluster import EtcdCluster
from support.machines.fleet import Fleet
from support.machines.host import Host
from support.services import wait_until


@pytest.fixture(scope="module")
def hosts(fleet: Fleet) -> dict[str, Host]:
    return {host.name: host for host in fleet.start_hosts("n1", "n2", "n3")}


@pytest.fixture(scope="module")
def cluster(hosts: dict[str, Host]) -> EtcdCluster:
    cluster = EtcdCluster(list(hosts.values()))
    cluster.start()
    return cluster


@pytest.fixture(autouse=True)
def _whole(cluster: EtcdCluster, hosts: dict[str, Host], fleet: Fleet) -> Iterator[None]:
    """Mend after each test what it broke."""
    yield
    fleet.network.heal()
    for name, member in cluster.members.items():
        if not hosts[name].is_on:
            hosts[name].start()
        if not member.is_running:
            member.start()


def others(cluster: EtcdCluster, member: Etcd) -> list[Etcd]:
    return [each for each in cluster.members.values() if each is not member]


def test_what_one_member_takes_all_have(cluster: EtcdCluster) -> None:
    for member in cluster.members.values():
        member.put("from", member.name.encode())
        assert {each.get("from") for each in cluster.members.values()} == {member.name.encode()}


def test_one_member_leads(cluster: EtcdCluster) -> None:
    leader = cluster.leader()
    assert leader.leads()
    assert not any(each.leads() for each in others(cluster, leader))


def test_another_member_leads_when_it_is_wanted(cluster: EtcdCluster) -> None:
    for name in cluster.members:
        cluster.have_lead(name)
        assert cluster.leader().name == name


def test_the_others_elect_a_leader_when_the_machine_of_the_leader_is_lost(
    cluster: EtcdCluster, hosts: dict[str, Host]
) -> None:
    lost = cluster.leader()
    lost.put("before", b"1")
    hosts[lost.name].lose()
    assert not lost.is_running
    new = cluster.leader()
    assert new is not lost
    assert new.get("before") == b"1"
    new.put("meanwhile", b"2")
    hosts[lost.name].start()
    lost.start()
    assert lost.get("meanwhile") == b"2"
    assert not lost.leads()


def test_the_others_elect_a_leader_when_the_leader_is_cut_off(
    cluster: EtcdCluster, hosts: dict[str, Host], fleet: Fleet
) -> None:
    former = cluster.leader()
    ours = hosts[former.name].link
    for other in others(cluster, former):
        fleet.network.cut(ours, hosts[other.name].link)
    wait_until(lambda: cluster.leader() is not former)
    cluster.leader().put("key", b"new")
    # It still answers the tests, and has no more to say.
    wait_until(lambda: not former.leads())
    fleet.network.heal()
    former.wait_until_healthy()
    assert former.get("key") == b"new"


def test_a_member_is_stopped_killed_and_started_again(cluster: EtcdCluster) -> None:
    leader = cluster.leader()
    follower, other = others(cluster, leader)
    for end in (follower.stop, follower.kill):
        end()
        other.put("with", b"two")
        follower.start()
        assert follower.get("with") == b"two"
