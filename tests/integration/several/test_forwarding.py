"""A call for a kata of another machine goes there, and comes back from there if it can."""

import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from support.machines.etcd import Etcd
from support.services import wait_until
from support.storer.several import Storers
from support.storer.stalling_proxy import StallingProxy

AVATAR = "whale"


@pytest.fixture
def way() -> Iterator[StallingProxy]:
    """The way from the second of two storers to the first."""
    with closing(StallingProxy("127.0.0.1:1", 0)) as proxy:
        yield proxy


@pytest.fixture
def pair(make_storers: Callable[[Etcd], Storers], etcd: Etcd, way: StallingProxy) -> Storers:
    """Two storers."""
    made = make_storers(etcd)
    made.add(CYBER_DOJO_NODE_STORER=way.address)
    way.switch_to(made.address(0))
    made.add()
    return made


@pytest.fixture
def kata_id(pair: Storers) -> str:
    """A kata of the first storer, with a light that was recorded by way of the second."""
    kata_id = pair.katas(0).started(AVATAR)
    assert pair.katas(1).record(kata_id, AVATAR).number == 1
    return kata_id


def test_a_broken_connection_takes_no_kata_from_its_machine(
    pair: Storers, way: StallingProxy, kata_id: str
) -> None:
    other = pair.katas(1)
    with ThreadPoolExecutor() as pool:
        way.lose_next()
        light = pool.submit(other.record, kata_id, AVATAR, request_id=secrets.token_hex(8))
        wait_until(lambda: len(pair.katas(0).lights(kata_id, AVATAR)) == 3)  # and nobody is told
        way.resume()  # which cuts the connection
        assert light.result().number == 2
    # On a busy machine, a storer can seem to be gone for a moment.
    seemed_gone = any(each["event"] == "node gone" for each in pair.services[1].events())
    assert pair.owner(kata_id) == 0 or seemed_gone
    assert [each.number for each in other.lights(kata_id, AVATAR)] == [0, 1, 2]


def test_a_machine_that_can_not_be_reached_loses_its_kata_to_who_is_asked(
    pair: Storers, way: StallingProxy, kata_id: str
) -> None:
    way.close()
    assert pair.katas(1).record(kata_id, AVATAR, request_id=secrets.token_hex(8)).number == 2
    assert pair.owner(kata_id) == 1
