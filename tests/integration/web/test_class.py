"""A class: two people in each of three languages, from the first page to a green light."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from support.web import steps

# A language, the file that its participants change, and a content of it that can't run. In Bash
# nothing is amber that a participant writes there.
LANGUAGES = [
    ("C (gcc), assert", "hiker.c", "int main("),
    ("Python, pytest", "hiker.py", "def answer(:"),
    ("Bash, shunit2", "hiker.sh", ""),
]


@pytest.mark.parametrize("language", LANGUAGES, ids=lambda language: language[0])
def test_two_people_practise_what_a_teacher_started(
    new_person: Callable[..., Page],
    new_web_kata: Callable[..., str],
    web: str,
    language: tuple[str, str, str],
) -> None:
    name, source, broken = language
    kata_id = new_web_kata(name)
    one, other = new_person(), new_person()
    names = {steps.join(one, web, kata_id), steps.join(other, web, kata_id)}
    assert len(names) == 2
    steps.open_file(one, source)
    before = steps.text_of(one)
    steps.press_test(one, "red", 1)
    steps.press_test(other, "red", 1)
    number = 1
    if broken:
        steps.write(one, source, broken)
        number += 1
        steps.press_test(one, "amber", number)
    steps.write(one, source, before.replace("6 * 9", "6 * 7"))
    steps.press_test(one, "green", number + 1)
    steps.expect_saved(one, "recorded")
    # Each has lights of its own, and sees where the other is.
    expect(steps.lights(other)).to_have_count(2)
    other.goto(f"{web}/kata/{kata_id}")
    listed = other.locator(".avatars li")
    expect(listed).to_have_count(2)
    expect(listed.filter(has_text=re.compile(f"light {number + 1}$"))).to_have_count(1)
