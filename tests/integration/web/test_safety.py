"""Safety: what somebody types or prints is text; nobody acts as another; no form of elsewhere."""

import re
from collections.abc import Callable

import httpx
import pytest
from playwright.sync_api import Page, expect

from cyberdojo.storer.v1 import storer_pb2, storer_pb2_grpc
from support.services import Service
from support.web import steps

ATTACKS = [
    "<script>document.title='owned'</script>",
    "<img src=x onerror=\"document.title='owned'\">",
    '"><svg onload="document.title=\'owned\'">',
    "'-document.title='owned'-'",
    "</script><script>document.title='owned'</script>",
    "<!--<script>",
    "{{ 7 * 191 }}{% raw %}",
    "javascript:document.title='owned'",
    "\u202egnp.exe\u2066",
    "__proto__",
    "constructor",
    "&lt;b&gt;&amp;",
    "\x1b[31mred\x1b[0m",
    "]]></title><title>owned</title>",
]


def is_safe(page: Page) -> bool:
    """Say whether nothing that was typed has become part of the page."""
    assert page.title() != "owned"
    return (
        page.locator("script:not([src]):not([type='application/json']), img, iframe").count() == 0
    )


def test_attacks_are_text_in_names_files_and_outputs(
    new_person: Callable[..., Page], web: str, web_kata: str
) -> None:
    person = new_person()
    steps.join(person, web, web_kata)
    source = steps.tabs(person).first.inner_text()
    count = steps.tabs(person).count()
    everything = "\n".join(ATTACKS)
    steps.write(person, source, everything)
    names = [each.replace("/", "|") for each in ATTACKS if "\x1b" not in each]
    for name in names:
        person.get_by_role("button", name="New file").click()
        person.get_by_role("textbox", name="Name").fill(name)
        person.keyboard.press("Enter")
        expect(person.get_by_role("tab", name=name, exact=True)).to_be_visible()
    steps.write(person, "cyber-dojo.sh", f"cat {source}; cat {source} >&2")
    steps.press_test(person, "amber", 1)
    output = person.locator("#output").inner_text()
    assert all(each in output for each in ATTACKS if "\x1b" not in each)
    steps.lights(person).nth(1).hover()
    expect(person.locator("#light-details")).to_contain_text("+")
    assert is_safe(person)
    # Again, from what the server has: in the page's data, and in another's dialog.
    person.reload()
    expect(steps.tabs(person)).to_have_count(len(names) + count)
    steps.open_file(person, source)
    expect(person.locator(".cm-content")).to_contain_text("onload")
    assert is_safe(person)


@pytest.mark.parametrize("attack", ATTACKS)
def test_attacks_in_addresses_and_forms_come_back_as_text(
    http: httpx.Client, web_kata: str, attack: str
) -> None:
    page = http.get("/").text
    token = re.findall(r'name="form_token" value="([^"]+)"', page)[0]
    answers = [
        http.get("/join", params={"id": attack}),
        http.get("/join/complete", params={"id": attack}),
        http.get(f"/kata/{web_kata}", params={"new": attack, attack[:8]: "1"}),
        http.post("/start", data={"form_token": token, "language": attack, "exercise": attack}),
        http.post("/start", data={"form_token": token, "custom": attack, "once": attack}),
        http.post(
            "/bring",
            data={"form_token": token},
            files={"files": (attack, attack.encode(), "text/html")},
        ),
        http.post("/start", data={"form_token": attack}),
        http.get("/", headers={"cookie": f"dojo-browser={attack.encode().hex()}"}),
    ]
    for answer in answers:
        assert answer.status_code < 500
        assert attack not in answer.text or not re.search(r"[<>\"]", attack)
        assert "owned'</script>" not in answer.text.replace("&#39;", "'")
        assert "'unsafe-" not in answer.headers["content-security-policy"]


def test_who_does_not_hold_an_animals_link_cannot_act_as_it(
    http: httpx.Client,
    web_kata: str,
    storer: storer_pb2_grpc.StorerServiceStub,
) -> None:
    page = http.get(f"/kata/{web_kata}").text
    fields = dict(re.findall(r'name="(form_token|once)" value="([^"]+)"', page))
    mine = http.post(f"/kata/{web_kata}/join", data=fields).headers["location"]
    asked = storer_pb2.StartAvatarRequest(kata_id=web_kata)
    other = storer.StartAvatar(asked).avatar
    at = f"/kata/{web_kata}/as/{other}"
    headers = {"x-form-token": fields["form_token"]}
    # The cookie of one's own animal, under the name of the other.
    secret = next(value for name, value in http.cookies.items() if name.startswith("dojo-avatar-"))
    http.cookies.set(f"dojo-avatar-{other}", secret)
    assert http.get(mine.partition("?")[0]).status_code == 200
    assert "This is somebody else&#39;s editor" in http.get(at).text
    for path in ("state", "others", "events", "changes/1"):
        assert http.get(f"{at}/{path}").status_code == 403, path
    for path in ("test", "edit", "check-out", "options"):
        assert http.post(f"{at}/{path}", json={}, headers=headers).status_code == 403, path
    for wrong in (secret, "", "A" * 27, secret[:-1] + ("A" if secret[-1] != "A" else "B")):
        assert http.get(f"/enter/{web_kata}/{other}/{wrong}").status_code in {403, 404}


def test_no_form_of_elsewhere_is_taken(http: httpx.Client, web_kata: str) -> None:
    http.get("/")  # the browser has its cookie
    for path in ("/start", f"/kata/{web_kata}/join"):
        answer = http.post(path, data={"form_token": "A" * 27})
        assert answer.status_code == 403
        assert "This page is too old" in answer.text
    with httpx.Client(base_url=str(http.base_url), trust_env=False) as another:
        theirs = re.findall(r'name="form_token" value="([^"]+)"', another.get("/").text)[0]
    assert http.post("/start", data={"form_token": theirs}).status_code == 403


def test_answers_and_cookies_protect_themselves(http: httpx.Client, web_kata: str) -> None:
    page = http.get(f"/kata/{web_kata}")
    fields = dict(re.findall(r'name="(form_token|once)" value="([^"]+)"', page.text))
    joined = http.post(f"/kata/{web_kata}/join", data=fields)
    for cookie in [*page.headers.get_list("set-cookie"), *joined.headers.get_list("set-cookie")]:
        assert "HttpOnly" in cookie
        assert "SameSite=lax" in cookie
    for answer in (page, joined, http.get("/nothing"), http.get("/health")):
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
    secure = http.get("/", headers={"x-forwarded-proto": "https", "cookie": ""})
    assert "Secure" in secure.headers["set-cookie"]


def test_what_comes_in_is_bounded(http: httpx.Client, web_kata: str) -> None:
    page = http.get(f"/kata/{web_kata}").text
    fields = dict(re.findall(r'name="(form_token|once)" value="([^"]+)"', page))
    at = http.post(f"/kata/{web_kata}/join", data=fields).headers["location"].partition("?")[0]
    headers = {"x-form-token": fields["form_token"], "accept": "application/json"}
    large = http.post(f"{at}/edit", content=b" " * (17 * 2**20), headers=headers)
    assert large.status_code == 413
    assert large.json()["trouble"]["kind"] == "too_large"
    for body in (b"[", b"[]", b"[" * 100_000, b"{}", b'{"files": 1}', b'{"files": [{}]}'):
        answer = http.post(f"{at}/edit", content=body, headers=headers)
        assert answer.json()["trouble"]["kind"] == "malformed", body[:20]
    statuses = [http.post(f"{at}/test", json={}, headers=headers).status_code for _ in range(40)]
    assert 429 in statuses


def test_katas_are_bounded_for_each_address(
    start_web: Callable[..., Service],
    storer_service: Service,
    runner_service: Service,
    storer: storer_pb2_grpc.StorerServiceStub,
) -> None:
    web = start_web(
        storer_service.address, runner_service.address, CYBER_DOJO_WEB_MAX_KATAS_PER_HOUR="1"
    )
    try:
        with httpx.Client(base_url=f"http://{web.address}", trust_env=False) as http:
            token = re.findall(r'name="form_token" value="([^"]+)"', http.get("/").text)[0]
            form = {"form_token": token, "language": "Bash, shunit2"}
            made = http.post("/start", data=form)
            second = http.post("/start", data=form)
    finally:
        web.stop()
    kata_id = made.headers["location"].removeprefix("/kata/").partition("?")[0]
    storer.DeleteKata(storer_pb2.DeleteKataRequest(kata_id=kata_id))
    assert second.status_code == 429
    assert "too many katas were made here" in second.text
    assert int(second.headers["retry-after"]) > 60
