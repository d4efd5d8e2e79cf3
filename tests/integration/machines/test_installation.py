"""Whole machines fail while groups practise: what was acknowledged is there, and they go on."""

import random
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import grpc
import pytest

from cyberdojo.storer.v1 import storer_pb2_grpc
from support.histories import checker
from support.machines.faults import FAULTS
from support.machines.fleet import Fleet
from support.machines.installation import Installation
from support.machines.practice import Practice
from support.services import wait_until
from support.storer.storing import FILES, Katas, refused

KATAS = 4
AVATARS, MANY_AVATARS = 5, 10  # in each kata; many when machines fail for long

# For which the groups go on before, during and after a fault.
LIGHTS = 3
WAIT_SECONDS = 120

# How long a class may wait for a machine that takes over.
GAP_SECONDS = 30

LOSSES = 20

ANY, LEADER = "a machine", "the machine of etcd's leader"

# In every run of the tests, each list in turn; `--machine-faults` adds others, at random. With it,
# the faults last for so many seconds.
ALWAYS = [
    [(LEADER, "lost", 0)],
    [(ANY, "cut off from the other machines", 60)],
    [(ANY, "frozen", 60)],
    [
        (LEADER, "what it sends to the other machines is lost", 60),
        (LEADER, "what the other machines send to it is lost", 60),
    ],
    [
        (LEADER, "its member of etcd is killed", 10),
        (LEADER, "its member of etcd is frozen", 60),
    ],
]


@pytest.fixture(scope="module")
def installation(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Three machines behind a router."""
    installation = Installation(fleet, tmp_path_factory.mktemp("archive") / "archive")
    yield installation
    installation.close()


@pytest.fixture
def practise(installation: Installation, *, is_long: bool) -> Iterator[Callable[..., Practice]]:
    """Has groups practise by way of the routers, and of the machines of these names.

    Some of them only call the machine that is `stubborn`ly called, which may be away.
    """
    begun: list[Practice] = []

    def practise(*names: str, stubborn: Sequence[str] = ()) -> Practice:
        installation.wait_until_up()
        addresses = [router.address("storer") for router in installation.routers]
        addresses *= max(1, len(names))
        addresses += [installation.address(name) for name in names]
        begun.append(
            Practice(
                addresses,
                katas=KATAS,
                avatars=MANY_AVATARS if is_long else AVATARS,
                stubborn=[installation.address(name) for name in stubborn],
                is_long=is_long,
            )
        )
        return begun[-1]

    yield practise
    for practice in begun:
        practice.close()


def happen(
    practice: Practice, installation: Installation, fault: str, name: str, seconds: float = 0
) -> None:
    """Have something happen to a machine, for `seconds` or longer, while the groups go on."""
    practice.wait_for(LIGHTS, WAIT_SECONDS)
    end = time.monotonic() + seconds
    FAULTS[fault].begin(installation, name)
    practice.wait_for(LIGHTS, WAIT_SECONDS)
    wait_until(lambda: time.monotonic() > end, seconds + 1)
    practice.wait_for(1, WAIT_SECONDS)
    FAULTS[fault].end(installation, name)
    installation.wait_until_up()
    practice.wait_for(LIGHTS, WAIT_SECONDS)


def check(
    practice: Practice, installation: Installation, tmp_path: Path, outage_seconds: float = 0
) -> None:
    """Stop, and judge what happened; all machines are there again.

    Nobody waited longer than may be, besides the `outage_seconds` in which nobody could go on.
    """
    practice.stop()
    final = practice.read(installation.router.address("storer"))
    checker.check(tmp_path / "history.jsonl", practice.recorder.attempts(), final)
    practice.check_longest_gap(GAP_SECONDS + outage_seconds)


@pytest.mark.parametrize("troubles", ALWAYS, ids=lambda each: each[0][1])
def test_no_light_is_lost_doubled_or_out_of_its_order(
    installation: Installation,
    practise: Callable[..., Practice],
    tmp_path: Path,
    troubles: list[tuple[str, str, float]],
    *,
    is_long: bool,
) -> None:
    name = installation.etcd.leader().name
    others = [each for each in installation.nodes if each != name]
    practice = practise(*others, stubborn=[name])
    for where, fault, seconds in troubles:
        if where == LEADER:
            installation.etcd.have_lead(name)
        happen(practice, installation, fault, name, seconds if is_long else 0)
    check(practice, installation, tmp_path)


def test_two_routers_with_opposite_views_move_no_kata(
    installation: Installation,
    practise: Callable[..., Practice],
    tmp_path: Path,
    *,
    is_long: bool,
) -> None:
    nodes = list(installation.nodes.values())
    if len(installation.routers) == 1:
        installation.add_router()
    network = nodes[0].network
    practice = practise()
    practice.wait_for(LIGHTS, WAIT_SECONDS)
    owners = {kata_id: installation.owner(kata_id) for kata_id in practice.kata_ids}
    begun = time.monotonic()
    for router, unseen in zip(installation.routers, (nodes[:1], nodes[1:]), strict=True):
        for node in unseen:
            network.cut(router.host.link, node.link)
    views = [{"n1": "DOWN", "n2": "UP", "n3": "UP"}, {"n1": "UP", "n2": "DOWN", "n3": "DOWN"}]
    wait_until(lambda: [each.states("storer") for each in installation.routers] == views)
    practice.wait_for(LIGHTS, WAIT_SECONDS)
    if is_long:
        wait_until(lambda: time.monotonic() > begun + 60, 60)
    installation.heal()
    installation.wait_until_up()
    practice.wait_for(LIGHTS, WAIT_SECONDS)
    assert {each: installation.owner(each) for each in owners} == owners
    check(practice, installation, tmp_path)


def test_without_a_majority_of_etcd_nothing_is_recorded_and_reading_goes_on(
    installation: Installation,
    practise: Callable[..., Practice],
    connect: Callable[[str], grpc.Channel],
    tmp_path: Path,
    *,
    is_long: bool,
) -> None:
    practice = practise()
    practice.wait_for(LIGHTS, WAIT_SECONDS)
    begun = time.monotonic()
    for name in ("n2", "n3"):
        installation.etcd.members[name].kill()
    wait_until(lambda: set(installation.router.states("storer").values()) == {"DOWN"})
    before = list(practice.progress)
    by_router = installation.router.address("storer")
    for address in (by_router, *map(installation.address, ("n1", "n2"))):
        katas = Katas(storer_pb2_grpc.StorerServiceStub(connect(address)))
        for kata_id in practice.kata_ids:
            avatars = katas.get(kata_id).avatars
            assert all(len(katas.lights(kata_id, each)) > LIGHTS for each in avatars)
        with refused(grpc.StatusCode.UNAVAILABLE, reason="ETCD_UNAVAILABLE"):
            katas.record(kata_id, avatars[0], FILES)
        with refused(grpc.StatusCode.UNAVAILABLE, reason="ETCD_UNAVAILABLE"):
            katas.create()
    if is_long:
        wait_until(lambda: time.monotonic() > begun + 60, 60)
    assert practice.progress == before
    for name in ("n2", "n3"):
        installation.etcd.members[name].begin()
    for name in ("n2", "n3"):
        installation.etcd.members[name].wait_until_healthy()
    installation.wait_until_up()
    outage_seconds = time.monotonic() - begun
    practice.wait_for(LIGHTS, WAIT_SECONDS)
    check(practice, installation, tmp_path, outage_seconds)


@pytest.mark.long_form
def test_twenty_machines_are_lost_one_after_the_other(
    installation: Installation, practise: Callable[..., Practice], tmp_path: Path
) -> None:
    practice = practise()
    for number in range(LOSSES):
        leader = installation.etcd.leader().name
        others = [name for name in installation.nodes if name != leader]
        happen(practice, installation, "lost", leader if number % 2 else others[number % 4 // 2])
    check(practice, installation, tmp_path)


def test_machines_fail_again_and_again(
    installation: Installation,
    practise: Callable[..., Practice],
    tmp_path: Path,
    pytestconfig: pytest.Config,
) -> None:
    seed = secrets.randbits(32)
    chance = random.Random(seed)  # noqa: S311 - a test repeats it
    practice, story = practise(), [f"seed {seed}"]
    for number in range(pytestconfig.getoption("machine_faults")):
        fault, name = chance.choice([*FAULTS]), chance.choice([*installation.nodes])
        story.append(f"{number}: {name}: {fault}")
        try:
            happen(practice, installation, fault, name)
        except AssertionError as error:
            raise AssertionError("\n".join([*story, str(error)])) from None
    check(practice, installation, tmp_path)
