"""Faults: what is away, slow or full is said in words, nothing is lost, all goes on by itself."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from playwright.sync_api import Page, expect

from cyberdojo.startpoints.v1 import startpoints_pb2, startpoints_pb2_grpc
from cyberdojo.storer.v1 import storer_pb2, storer_pb2_grpc
from support.services import Service, free_ports, wait_until
from support.storer.disks import MIB, Disk, a_disk, storer_on
from support.web import steps


class Pair:
    """A pair of its own, and a web tier on it, each of which can be stopped and started again."""

    def __init__(
        self,
        start_service: Callable[..., Service],
        start_web: Callable[..., Service],
        start_points: Path,
    ) -> None:
        storer, runner, web = (f"127.0.0.1:{port}" for port in free_ports(3))
        self._start_service = start_service
        self._storer = {
            "CYBER_DOJO_STORER_LISTEN": storer,
            "CYBER_DOJO_START_POINTS": str(start_points),
        }
        self._runner = {"CYBER_DOJO_RUNNER_LISTEN": runner}
        self._start_web = lambda: start_web(storer, runner, CYBER_DOJO_WEB_LISTEN=web)
        self.address = f"http://{web}"
        self.storer = self.new_storer()
        self.runner = self.new_runner()
        self.web = self.new_web()

    def new_storer(self, **environ: str) -> Service:
        """Start the storer, which does not run."""
        self.storer = self._start_service("storer", **{**self._storer, **environ})
        return self.storer

    def new_runner(self, **environ: str) -> Service:
        """Start the runner, which does not run."""
        self.runner = self._start_service("runner", **{**self._runner, **environ})
        return self.runner

    def new_web(self) -> Service:
        """Start the web tier, which does not run."""
        self.web = self._start_web()
        return self.web

    def stop(self) -> None:
        """Stop all that run."""
        for service in (self.web, self.runner, self.storer):
            if service.is_running:
                service.stop()


@pytest.fixture(scope="module")
def pair(
    start_service: Callable[..., Service],
    start_web: Callable[..., Service],
    start_points: Path,
) -> Iterator[Pair]:
    """The pair of these tests. Each leaves it running."""
    pair = Pair(start_service, start_web, start_points)
    yield pair
    pair.stop()


def a_kata(address: str) -> str:
    """Create a kata by the storer at an address; return its id."""
    with grpc.insecure_channel(address) as channel:
        asked = startpoints_pb2.GetStartPointRequest(language="Bash, shunit2")
        start_points = startpoints_pb2_grpc.StartPointsServiceStub(channel)
        manifest = start_points.GetStartPoint(asked).manifest
        storer = storer_pb2_grpc.StorerServiceStub(channel)
        return storer.CreateKata(storer_pb2.CreateKataRequest(manifest=manifest)).kata_id


@pytest.fixture
def kata(pair: Pair) -> Iterator[str]:
    """The id of a kata of that pair."""
    kata_id = a_kata(pair.storer.address)
    yield kata_id
    with grpc.insecure_channel(pair.storer.address) as channel:
        storer = storer_pb2_grpc.StorerServiceStub(channel)
        storer.DeleteKata(storer_pb2.DeleteKataRequest(kata_id=kata_id))


@pytest.fixture
def person(new_person: Callable[..., Page], pair: Pair, kata: str) -> Page:
    """A person in the editor, who has got a red light."""
    person = new_person(network_fails=True)
    steps.join(person, pair.address, kata)
    steps.press_test(person, "red", 1)
    return person


def source_of(person: Page) -> str:
    return steps.tabs(person).first.inner_text()


def press(person: Page) -> None:
    person.get_by_role("button", name="Test").first.click()


def test_a_storer_that_is_restarted_while_people_type(person: Page, pair: Pair) -> None:
    pair.storer.stop()
    expect(person.locator("#connection")).to_contain_text("The storer does not answer")
    steps.write(person, source_of(person), "typed while it was away")
    steps.expect_saved(person, "unsaved")
    expect(steps.save_state(person)).to_contain_text("Kept in this browser")
    pair.new_storer()
    steps.expect_saved(person, "saved")
    expect(person.locator("#connection")).to_be_hidden()
    steps.press_test(person, "red", 2)


def test_a_storer_that_goes_away_while_a_test_runs(person: Page, pair: Pair) -> None:
    steps.write(person, "cyber-dojo.sh", "echo begun; sleep 2")
    press(person)
    expect(person.locator("#output")).to_contain_text("begun")
    pair.storer.stop()
    expect(person.locator("#run-state")).to_contain_text("Recording the light")
    pair.new_storer()
    expect(person.locator("#run-state")).to_contain_text("Light 2, amber")
    expect(steps.lights(person)).to_have_count(3)


def test_a_runner_that_is_restarted(person: Page, pair: Pair) -> None:
    pair.runner.stop()
    press(person)
    expect(person.locator("#run-state")).to_contain_text("The runner does not answer yet")
    pair.new_runner()
    expect(person.locator("#run-state")).to_contain_text("Light 2, red")


def test_services_that_are_slow(person: Page, pair: Pair) -> None:
    pair.runner.send_signal(signal.SIGSTOP)
    try:
        press(person)
        expect(person.locator("#run-state")).to_contain_text("The runner does not answer yet")
        steps.write(person, source_of(person), "typed meanwhile")
    finally:
        pair.runner.send_signal(signal.SIGCONT)
    expect(person.locator("#run-state")).to_contain_text("Light 2, red")
    steps.expect_saved(person, "saved")
    assert steps.text_of(person) == "typed meanwhile"


def test_a_runner_whose_disk_is_full(person: Page, pair: Pair) -> None:
    pair.runner.stop()
    pair.new_runner(CYBER_DOJO_MIN_FREE_BYTES=str(2**50))
    try:
        press(person)
        expect(person.locator("#run-state")).to_contain_text("The disk is full")
        expect(person.get_by_role("button", name="Stop trying")).to_be_visible()
    finally:
        pair.runner.stop()
        pair.new_runner()
    expect(person.locator("#run-state")).to_contain_text("Light 2, red")


@pytest.fixture
def on_disk(
    tmp_path: Path, start_service: Callable[..., Service], start_points: Path
) -> Iterator[tuple[Disk, str]]:
    """A disk, and the address of a storer that has its katas there."""
    environ = {"CYBER_DOJO_START_POINTS": str(start_points)}
    with (
        a_disk(tmp_path / "data", 160 * MIB) as disk,
        storer_on(tmp_path, start_service, **environ) as (_, service),
    ):
        yield disk, service.address


def test_a_storer_whose_disk_is_full(
    on_disk: tuple[Disk, str],
    start_web: Callable[..., Service],
    runner_service: Service,
    new_person: Callable[..., Page],
) -> None:
    disk, storer = on_disk
    web = start_web(storer, runner_service.address)
    person = new_person(network_fails=True)
    steps.join(person, f"http://{web.address}", a_kata(storer))
    disk.fill()
    steps.write(person, source_of(person), "typed on a full disk" * 1000)
    expect(steps.save_state(person)).to_contain_text("disk is full")
    steps.expect_saved(person, "unsaved")
    disk.make_room()
    steps.expect_saved(person, "saved")
    web.stop()


def test_a_runner_that_is_full(
    person: Page, new_person: Callable[..., Page], pair: Pair, kata: str
) -> None:
    pair.runner.stop()
    pair.new_runner(
        CYBER_DOJO_RUNNER_MAX_CONCURRENT_RUNS="1", CYBER_DOJO_RUNNER_MAX_WAITING_RUNS="8"
    )
    try:
        other = new_person()
        steps.join(other, pair.address, kata)
        steps.write(other, "cyber-dojo.sh", "echo begun; sleep 3")
        press(other)
        expect(other.locator("#output")).to_contain_text("begun")
        press(person)
        expect(person.locator("#run-state")).to_contain_text("Waiting: you are next.")
        expect(person.locator("#run-state")).to_contain_text("Light 2, red")
    finally:
        pair.runner.stop()
        pair.new_runner()


def test_a_web_tier_that_is_restarted(person: Page, pair: Pair) -> None:
    pair.web.stop()
    expect(person.locator("#connection")).to_contain_text("The server can't be reached")
    steps.write(person, source_of(person), "typed while it was away")
    steps.expect_saved(person, "unsaved")
    press(person)
    expect(person.locator("#run-state")).to_contain_text("The server can't be reached")
    pair.new_web()
    expect(person.locator("#run-state")).to_contain_text("Light 2, red")
    expect(person.locator("#connection")).to_be_hidden()
    steps.expect_saved(person, "recorded")


def test_a_network_that_is_gone(person: Page) -> None:
    person.context.set_offline(True)
    steps.write(person, source_of(person), "typed without a network")
    steps.expect_saved(person, "unsaved")
    press(person)
    expect(person.locator("#run-state")).to_contain_text("The server can't be reached")
    person.context.set_offline(False)
    expect(person.locator("#run-state")).to_contain_text("Light 2, red")
    steps.expect_saved(person, "recorded")


def newest_light(pair: Pair, kata: str) -> int:
    with grpc.insecure_channel(pair.storer.address) as channel:
        storer = storer_pb2_grpc.StorerServiceStub(channel)
        listed = storer.ListAvatars(storer_pb2.ListAvatarsRequest(kata_id=kata))
        return listed.avatars[0].newest.number


def test_a_light_whose_answer_was_lost_is_taken_over(person: Page, pair: Pair, kata: str) -> None:
    steps.write(person, "cyber-dojo.sh", "echo begun; sleep 2")
    press(person)
    expect(person.locator("#output")).to_contain_text("begun")
    person.context.set_offline(True)
    steps.write(person, source_of(person), "typed meanwhile")
    wait_until(lambda: newest_light(pair, kata) == 2)  # and the page can't know
    person.context.set_offline(False)
    expect(person.locator("#run-state")).to_contain_text("Light 2, amber")
    expect(steps.lights(person)).to_have_count(3)
    steps.expect_saved(person, "saved")
    assert steps.text_of(person) == "typed meanwhile"
    assert newest_light(pair, kata) == 2


def test_a_page_that_is_opened_while_the_storer_is_away_says_so(person: Page, pair: Pair) -> None:
    address = person.url
    pair.storer.stop()
    try:
        person.goto(address)
        expect(person.get_by_role("heading", level=1)).to_have_text(
            "The server is away for a moment"
        )
    finally:
        pair.new_storer()
    expect(steps.lights(person)).to_have_count(2)
