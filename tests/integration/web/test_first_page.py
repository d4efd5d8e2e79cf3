"""The first page, in a browser, and what every answer says to browsers."""

import httpx
from playwright.sync_api import Page, expect


def test_the_first_page_is_there_without_complaints(person: Page, web: str) -> None:
    person.goto(web)
    expect(person.get_by_role("heading", level=1)).to_have_text("Practise together")


def test_an_address_that_there_is_not_is_said_in_words(http: httpx.Client) -> None:
    answer = http.get("/nothing")
    assert answer.status_code == 404
    assert "There is nothing at this address." in answer.text
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["referrer-policy"] == "no-referrer"
