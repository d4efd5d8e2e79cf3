"""Practising in a browser: a person joins, types, tests, and loses nothing."""

import re
from collections.abc import Callable

from playwright.sync_api import Page, expect

from cyberdojo.storer.v1 import storer_pb2, storer_pb2_grpc
from support.web import steps


def test_a_person_joins_and_tests_until_the_light_is_green(
    person: Page, web: str, web_kata: str
) -> None:
    steps.join(person, web, web_kata)
    expect(person.locator("#notices")).to_contain_text("You are ")
    steps.press_test(person, "red", 1)
    expect(person.locator("#output")).to_contain_text("expected")
    source = steps.tabs(person).first.inner_text()
    steps.open_file(person, source)
    steps.write(person, source, steps.text_of(person).replace("6 * 9", "6 * 7"))
    steps.expect_saved(person, "saved")
    person.keyboard.press("ControlOrMeta+Enter")
    expect(person.locator("#run-state")).to_contain_text("Light 2, green")
    steps.expect_saved(person, "recorded")
    assert steps.lights(person).count() == 3
    steps.lights(person).nth(2).hover()
    expect(person.locator("#light-details")).to_contain_text(f"{source}: +1")


def test_files_are_created_renamed_and_deleted(person: Page, web: str, web_kata: str) -> None:
    steps.join(person, web, web_kata)
    person.get_by_role("button", name="New file").click()
    person.get_by_role("textbox", name="Name").fill("../up")
    person.get_by_role("button", name="OK").click()
    expect(person.locator("#name-problem")).to_contain_text("one of dots")
    person.get_by_role("textbox", name="Name").fill("notes.txt")
    person.keyboard.press("Enter")
    steps.open_file(person, "notes.txt")
    person.locator(".cm-content").click()
    person.keyboard.type("7 * 8?")
    person.get_by_role("button", name="Rename").click()
    person.get_by_role("textbox", name="Name").fill("ideas.txt")
    person.keyboard.press("Enter")
    expect(person.get_by_role("tab", name="ideas.txt")).to_have_attribute("aria-selected", "true")
    assert steps.text_of(person) == "7 * 8?"
    steps.expect_saved(person, "saved")
    person.get_by_role("button", name="Delete").click()
    expect(person.get_by_role("tab", name="ideas.txt")).to_have_count(0)
    steps.expect_saved(person, "recorded")
    steps.open_file(person, "cyber-dojo.sh")
    expect(person.get_by_role("button", name="Delete")).to_be_disabled()


def test_output_is_shown_as_it_comes_and_what_was_typed_meanwhile_stays(
    person: Page, web: str, web_kata: str
) -> None:
    steps.join(person, web, web_kata)
    waits = "echo first; while [ ! -e /tmp/on ]; do sleep 0.1; done\n"
    steps.write(person, "cyber-dojo.sh", waits.replace("[ ! -e /tmp/on ]", "((i++ < 30))"))
    source = steps.tabs(person).first.inner_text()
    person.get_by_role("button", name="Test").first.click()
    expect(person.locator("#output")).to_contain_text("first")
    expect(person.locator("#run-state")).to_contain_text("Running the tests.")
    steps.write(person, source, "typed meanwhile")
    expect(person.locator("#run-state")).to_contain_text("Light 1, amber")
    assert steps.text_of(person) == "typed meanwhile"
    steps.expect_saved(person, "saved")


def test_what_a_run_creates_changes_and_deletes_is_in_the_editor(
    person: Page, web: str, web_kata: str
) -> None:
    steps.join(person, web, web_kata)
    source = steps.tabs(person).first.inner_text()
    steps.write(person, "cyber-dojo.sh", f"echo made > made.txt; echo changed > {source}")
    steps.press_test(person, "amber", 1)
    steps.open_file(person, source)
    assert steps.text_of(person) == "changed\n"
    steps.open_file(person, "made.txt")
    assert steps.text_of(person) == "made\n"
    steps.expect_saved(person, "recorded")


def test_what_was_typed_survives_a_closed_tab(person: Page, web: str, web_kata: str) -> None:
    steps.join(person, web, web_kata)
    source = steps.tabs(person).first.inner_text()
    # The server does not get it: the tab is closed at once.
    person.route("**/edit", lambda route: route.abort())
    steps.write(person, source, "not lost")
    address = person.url
    again = person.context.new_page()
    person.close()
    again.goto(address)
    expect(again.locator(".cm-content")).to_contain_text("not lost")
    steps.expect_saved(again, "saved")


def test_another_machine_learns_at_once_of_what_was_typed_and_tested(
    new_person: Callable[..., Page], web: str, web_kata: str
) -> None:
    here, there = new_person(), new_person()
    steps.join(here, web, web_kata)
    source = steps.tabs(here).first.inner_text()
    here.get_by_role("button", name="My link").click()
    there.goto(here.locator("#link").input_value())
    here.keyboard.press("Escape")
    steps.write(here, source, "typed here")
    expect(there.locator("#notices")).to_contain_text("Another window")
    there.get_by_role("button", name="Show it here").click()
    expect(there.locator(".cm-content")).to_contain_text("typed here")
    steps.press_test(here, "red", 1)
    expect(there.locator("#notices")).to_contain_text("recorded light 1, red")
    there.get_by_role("button", name="Keep mine, and test after it").click()
    steps.write(there, source, "typed there")
    steps.press_test(there, "red", 2)
    expect(here.locator("#notices")).to_contain_text("recorded light 2, red")
    here.get_by_role("button", name="Show light 2 here").click()
    expect(here.locator(".cm-content")).to_contain_text("typed there")
    expect(steps.lights(here)).to_have_count(3)


def test_two_windows_that_test_at_the_same_time_make_one_light_after_the_other(
    person: Page, web: str, web_kata: str
) -> None:
    steps.join(person, web, web_kata)
    second = person.context.new_page()
    second.goto(person.url)
    expect(person.locator("#notices")).to_contain_text("another window of this browser")
    expect(steps.tabs(second).first).to_be_visible()
    for page in (person, second):
        page.get_by_role("button", name="Test").first.click()
    told = [page for page in (person, second) if _is_told_of_a_newer_light(page)]
    assert len(told) == 1
    expect(steps.lights(told[0])).to_have_count(2)


def _is_told_of_a_newer_light(page: Page) -> bool:
    either = page.locator("#run-state[data-kind=done], [data-kind=newer]").first
    expect(either).to_be_visible()
    return page.locator("[data-kind=newer]").count() > 0


def test_a_wrong_prediction_goes_back_if_the_options_say_so(
    person: Page, web: str, web_kata: str
) -> None:
    steps.join(person, web, web_kata)
    source = steps.tabs(person).first.inner_text()
    before = steps.text_of(person)
    person.get_by_role("button", name="Options").click()
    person.get_by_label("Say which light I expect before a test").check()
    person.get_by_role("checkbox", name="red").check()
    person.get_by_role("button", name="Close").last.click()
    person.keyboard.press("ControlOrMeta+Enter")
    expect(person.locator("#run-state")).to_contain_text("Choose the light that you expect")
    person.get_by_role("radio", name="red").check()
    steps.press_test(person, "red", 1)
    expect(person.locator("#run-state")).to_contain_text("As predicted.")
    steps.write(person, source, before + "\n# a try")
    person.get_by_role("radio", name="green").check()
    person.get_by_role("button", name="Test").first.click()
    expect(person.locator("#run-state")).to_contain_text("Light 3, red")
    assert steps.text_of(person) == before
    names = [steps.lights(person).nth(number) for number in (1, 2, 3)]
    expect(names[0]).to_have_attribute("aria-label", re.compile("predicted red, right"))
    expect(names[1]).to_have_attribute("aria-label", re.compile("predicted green, wrong"))
    expect(names[2]).to_have_attribute("aria-label", re.compile("files of light 1"))


def test_one_takes_the_files_of_an_own_light_and_of_anothers(
    new_person: Callable[..., Page], web: str, web_kata: str
) -> None:
    one, other = new_person(), new_person()
    theirs = steps.join(other, web, web_kata)
    source = steps.tabs(other).first.inner_text()
    steps.write(other, source, "of the other")
    steps.press_test(other, "red", 1)
    steps.join(one, web, web_kata)
    before = steps.text_of(one)
    one.get_by_role("button", name="Others").click()
    expect(one.get_by_label("Animal", exact=True)).to_have_value(theirs)
    one.get_by_role("button", name="Take these files").click()
    expect(one.locator(".cm-content")).to_contain_text("of the other")
    expect(one.locator("#run-state")).to_contain_text("Light 1, red")
    steps.lights(one).first.click()
    one.get_by_role("button", name="Go back to it").click()
    expect(one.locator("#run-state")).to_contain_text("The files of the start are here.")
    assert steps.text_of(one) == before
    steps.press_test(one, "red", 2)
    steps.lights(one).nth(1).click()
    one.get_by_role("button", name="Go back to it").click()
    expect(one.locator("#run-state")).to_contain_text("Light 3, red")
    assert steps.text_of(one) == "of the other"


def test_files_keep_their_line_ends_and_bytes(
    person: Page,
    web: str,
    web_kata: str,
    storer: storer_pb2_grpc.StorerServiceStub,
) -> None:
    avatar = steps.join(person, web, web_kata)
    script = r"printf 'a\r\nb\r\n' > crlf.txt; printf 'a\r\nb\n' > mixed.txt"
    steps.write(person, "cyber-dojo.sh", script)
    steps.press_test(person, "amber", 1)
    for name in ("crlf.txt", "mixed.txt"):
        steps.open_file(person, name)
        person.locator(".cm-content").press("ControlOrMeta+End")
        person.keyboard.type("c")
    steps.write(person, "cyber-dojo.sh", "true")
    steps.press_test(person, "amber", 2)
    asked = storer_pb2.GetFilesRequest(kata_id=web_kata, avatar=avatar, light_number=2)
    files = storer.GetFiles(asked).files
    assert files["crlf.txt"] == b"a\r\nb\r\nc"
    assert files["mixed.txt"] == b"a\r\nb\nc"
