"""Starting a kata, joining it, and coming back, in a browser."""

import re
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect

from cyberdojo.storer.v1 import storer_pb2, storer_pb2_grpc
from dojo import avatars
from support.paths import TOP
from support.web import steps

KATA_PAGE = re.compile(r"/kata/[0-9A-F]{10}\?new$")


@pytest.fixture
def started() -> Callable[[Page], str]:
    """Returns the id of the kata whose page is open."""

    def kata_id(page: Page) -> str:
        page.wait_for_url(KATA_PAGE)
        return page.url.rpartition("/")[2].removesuffix("?new")

    return kata_id


def test_a_teacher_starts_a_kata_with_the_keyboard_alone(
    person: Page,
    web: str,
    storer: storer_pb2_grpc.StorerServiceStub,
    started: Callable[[Page], str],
) -> None:
    person.goto(web)
    person.get_by_label("Search: Language and test framework").focus()
    person.keyboard.type("gcc assert")
    person.keyboard.press("Enter")
    expect(person.get_by_label("C (gcc), assert")).to_be_checked()
    person.get_by_label("Search: Exercise").focus()
    person.keyboard.type("fizz")
    person.keyboard.press("Enter")
    expect(person.locator("#exercise-instructions")).to_contain_text("FizzBuzz")
    person.get_by_role("button", name="Start").first.press("Enter")
    kata_id = started(person)
    found = storer.GetKata(storer_pb2.GetKataRequest(kata_id=kata_id))
    assert found.manifest.display_name == "C (gcc), assert"
    assert found.manifest.exercise == "Fizz Buzz"
    expect(person.get_by_label("Link")).to_have_value(f"{web}/kata/{kata_id}")
    expect(person.locator("svg.qr")).to_be_visible()
    storer.DeleteKata(storer_pb2.DeleteKataRequest(kata_id=kata_id))


def test_what_is_wrong_with_files_that_a_teacher_brings_is_shown(
    new_person: Callable[..., Page],
    web: str,
    tmp_path: Path,
    storer: storer_pb2_grpc.StorerServiceStub,
    started: Callable[[Page], str],
) -> None:
    person = new_person(network_fails=True)  # the page of problems is no success
    (tmp_path / "manifest.json").write_text('{"display_name": "<b>mine</b>", "tab_size": 99}')
    person.goto(web)
    person.get_by_text("Bring files of your own").click()
    person.get_by_label("or files").set_input_files(tmp_path / "manifest.json")
    person.get_by_role("button", name="Check and start").click()
    expect(person.get_by_role("alert")).to_contain_text("tab_size: 99 is not from 1 to 16")
    person.get_by_label("A folder").set_input_files(TOP / "start_points/custom/Ring_Buffer")
    person.get_by_role("button", name="Check and start").click()
    kata_id = started(person)
    expect(person.get_by_text("Ring buffer")).to_be_visible()
    storer.DeleteKata(storer_pb2.DeleteKataRequest(kata_id=kata_id))


def test_six_characters_in_any_case_lead_to_the_kata(person: Page, web: str, web_kata: str) -> None:
    person.goto(web)
    person.get_by_label("Its id").fill(web_kata[:6].lower())
    expect(person.locator("#join-found")).to_contain_text(web_kata)
    person.get_by_role("button", name="Join").click()
    person.wait_for_url(f"{web}/kata/{web_kata}")


def test_an_id_that_no_kata_has_is_said_in_words(http: httpx.Client) -> None:
    assert "No kata has an id that begins so." in http.get("/join?id=000000").text
    assert "at least 6 characters" in http.get("/join?id=00").text
    assert "letters and digits, and nothing else" in http.get("/join?id=../../etc").text
    assert "No kata has this id." in http.get("/kata/0000000000").text


def test_a_full_kata_says_so(
    http: httpx.Client, web_kata: str, storer: storer_pb2_grpc.StorerServiceStub
) -> None:
    page = http.get(f"/kata/{web_kata}").text
    fields = dict(re.findall(r'name="(form_token|once)" value="(\w[^"]*)"', page))
    for name in avatars.NAMES:
        storer.StartAvatar(storer_pb2.StartAvatarRequest(kata_id=web_kata, avatars=[name]))
    answer = http.post(f"/kata/{web_kata}/join", data=fields)
    assert answer.status_code == 409
    assert "All 64 animals of this kata are taken." in answer.text
    assert "The kata is full" in http.get(f"/kata/{web_kata}").text


def test_who_presses_join_twice_is_one_animal(
    http: httpx.Client, web_kata: str, storer: storer_pb2_grpc.StorerServiceStub
) -> None:
    page = http.get(f"/kata/{web_kata}").text
    fields = dict(re.findall(r'name="(form_token|once)" value="([^"]+)"', page))
    first, second = (http.post(f"/kata/{web_kata}/join", data=fields) for _ in range(2))
    assert first.status_code == 303
    assert first.headers["location"] == second.headers["location"]
    listed = storer.ListAvatars(storer_pb2.ListAvatarsRequest(kata_id=web_kata))
    assert len(listed.avatars) == 1


def test_a_personal_link_leads_to_the_same_animal_on_another_machine(
    new_person: Callable[..., Page], web: str, web_kata: str
) -> None:
    here, there = new_person(), new_person()
    avatar = steps.join(here, web, web_kata)
    steps.press_test(here, "red", 1)
    here.get_by_role("button", name="My link").click()
    link = here.locator("#link").input_value()
    there.goto(link)
    # The secret is not in the address any more, where somebody could read it.
    assert there.url == f"{web}/kata/{web_kata}/as/{avatar}"
    expect(steps.lights(there)).to_have_count(2)
    there.goto(f"{web}/kata/{web_kata}")
    expect(there.get_by_role("link", name=f"Go on as {avatar}")).to_be_visible()
