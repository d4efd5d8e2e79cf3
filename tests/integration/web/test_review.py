"""The review, in a browser: through lights and animals, by keyboard, played back, and forked."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import httpx
import pytest
from playwright.sync_api import Locator, Page, expect

from cyberdojo.storer.v1 import storer_pb2, storer_pb2_grpc
from support.services import Service, free_ports
from support.storer.storing import FILES
from support.web.accessibility import findings, overflow
from support.web.practised import AMBER, ATTACKS, GREEN, RED, Practised

FIXED = {**FILES, "hiker.c": FILES["hiker.c"].replace(b"6 * 9", b"6 * 7")}
LONG = b"".join(b"line %d\n" % number for number in range(1, 41))


@pytest.fixture
def practised(new_practised: Callable[..., Practised]) -> Practised:
    """A kata with three animals: whale has four lights, lion two, bee none."""
    made = new_practised(exercise="Hitch_Hiker")
    made.join("bee", "lion", "whale", ago=30)
    made.press("whale", RED, ago=20, stdout=b"expected 42, was 54\n", tests=(0, 1))
    made.press("lion", AMBER, {**FILES, "hiker.c": b"int answer\n"}, ago=15)
    made.press("whale", GREEN, FIXED, ago=10, stdout=b"all passed\n", tests=(1, 1))
    made.press("lion", GREEN, FIXED, ago=8)
    renamed = {name: content for name, content in FIXED.items() if name != "readme.txt"}
    renamed["notes.txt"] = FILES["readme.txt"]
    made.press("whale", AMBER, {**renamed, "long.txt": LONG, "logo": b"\0\1"}, ago=5)
    shorter = {name: content for name, content in renamed.items() if name != "cyber-dojo.sh"}
    changed = LONG.replace(b"line 20\n", b"line twenty\n")
    made.press("whale", RED, {**shorter, "long.txt": changed, "logo": b"\0\2"}, ago=4)
    return made


def open_review(page: Page, web: str, kata_id: str, query: str = "") -> None:
    page.goto(f"{web}/kata/{kata_id}/review{query}")


def shows(page: Page, was: str, now: str) -> None:
    """Wait until two lights are compared: `shows(page, "whale 1", "whale 2")`."""
    heading = page.get_by_role("heading", level=1)
    expect(heading).to_have_text(re.compile(rf"^\s*{was}\s+→\s+{now}\s*$"))


def file(page: Page, name: str) -> Locator:
    return page.get_by_role("article", name=name, exact=True)


def test_what_changed_within_a_line_is_marked_and_the_output_is_beside_it(
    person: Page, web: str, practised: Practised
) -> None:
    open_review(person, web, practised.kata_id, "?avatar=whale&now=2")
    shows(person, "whale 1", "whale 2")
    assert file(person, "hiker.c").locator("del").all_inner_texts() == ["9"]
    assert file(person, "hiker.c").locator("ins").all_inner_texts() == ["7"]
    expect(person.get_by_role("region", name="Output", exact=True)).to_have_text("all passed\n")
    expect(person.get_by_text("1 of 1 tests passed.")).to_be_visible()


def test_keys_go_forward_and_back_by_light_and_by_animal(
    person: Page, web: str, practised: Practised
) -> None:
    open_review(person, web, practised.kata_id, "?avatar=whale&now=1")
    person.keyboard.press("ArrowRight")
    shows(person, "whale 1", "whale 2")
    person.keyboard.press("ArrowRight")
    shows(person, "whale 2", "whale 3")
    person.keyboard.press("ArrowLeft")
    shows(person, "whale 1", "whale 2")
    person.keyboard.press("Shift+ArrowLeft")
    shows(person, "lion 0", "lion 1")  # which it had when whale 2 was new
    person.keyboard.press("Shift+ArrowLeft")
    shows(person, "bee 0", "bee 0")
    person.keyboard.press("Shift+ArrowLeft")
    expect(person.locator("#announcements")).to_have_text("There is nothing further.")
    person.go_back()
    shows(person, "lion 0", "lion 1")
    assert "avatar=lion" in person.url
    person.get_by_role("link", name="Newest").click()
    shows(person, "lion 1", "lion 2")


def test_the_keyboard_stays_where_it_was_and_what_came_is_said(
    person: Page, web: str, practised: Practised
) -> None:
    open_review(person, web, practised.kata_id, "?avatar=whale&now=1")
    person.get_by_role("link", name="Forward").focus()
    person.keyboard.press("Enter")
    shows(person, "whale 1", "whale 2")
    expect(person.get_by_role("link", name="Forward")).to_be_focused()
    expect(person.locator("#announcements")).to_contain_text("2: green")


def test_arrows_keep_their_meaning_in_a_field(person: Page, web: str, practised: Practised) -> None:
    open_review(person, web, practised.kata_id, "?avatar=whale&now=2")
    person.get_by_label("light", exact=True).last.focus()
    person.keyboard.press("ArrowRight")
    person.get_by_role("link", name="Back", exact=True).focus()
    person.keyboard.press("ArrowRight")
    shows(person, "whale 2", "whale 3")


def test_a_session_is_played_back_to_its_newest_light(
    person: Page, web: str, practised: Practised
) -> None:
    open_review(person, web, practised.kata_id, "?avatar=whale&now=1")
    person.get_by_label("every").select_option("1 s")
    person.get_by_role("link", name="Play back").click()
    expect(person.get_by_role("link", name="Stop playing")).to_be_visible()
    shows(person, "whale 1", "whale 2")
    shows(person, "whale 2", "whale 3")
    shows(person, "whale 3", "whale 4")
    expect(person.locator("#play")).to_have_text("Play back")
    expect(person.locator("#announcements")).to_have_text("This is the newest light.")


def test_a_review_works_without_script(
    new_person: Callable[..., Page], web: str, practised: Practised
) -> None:
    page = new_person(java_script_enabled=False)
    open_review(page, web, practised.kata_id, "?avatar=whale&now=1")
    page.get_by_role("link", name="Forward").click()
    shows(page, "whale 1", "whale 2")
    page.get_by_label("From", exact=True).select_option("lion")
    page.get_by_label("light", exact=True).first.fill("2")
    page.get_by_role("button", name="Compare").click()
    shows(page, "lion 2", "whale 2")
    expect(page.get_by_text("No file differs between these two lights.")).to_be_visible()
    open_review(page, web, practised.kata_id, "?avatar=whale&now=2")
    page.get_by_role("link", name="Play back").click()
    shows(page, "whale 2", "whale 3")  # the page goes there by itself
    shows(page, "whale 3", "whale 4")


def test_lights_of_different_animals_are_compared(
    person: Page, web: str, practised: Practised
) -> None:
    query = "?was_avatar=lion&was=1&avatar=whale&now=2"
    open_review(person, web, practised.kata_id, query)
    shows(person, "lion 1", "whale 2")
    assert "int answer" in file(person, "hiker.c").inner_text()
    person.keyboard.press("ArrowLeft")
    shows(person, "lion 1", "whale 1")


def test_files_that_are_new_renamed_binary_or_deleted_say_so(
    person: Page, web: str, practised: Practised
) -> None:
    open_review(person, web, practised.kata_id, "?avatar=whale&now=3")
    expect(file(person, "notes.txt")).to_contain_text("renamed from readme.txt")
    expect(file(person, "long.txt")).to_contain_text("new")
    expect(file(person, "logo")).to_contain_text("A binary file")
    person.keyboard.press("ArrowRight")
    shows(person, "whale 3", "whale 4")
    expect(file(person, "cyber-dojo.sh")).to_contain_text("deleted")


def test_lines_that_are_the_same_fold_and_open(
    person: Page, web: str, practised: Practised
) -> None:
    open_review(person, web, practised.kata_id, "?avatar=whale&now=4")
    changed = file(person, "long.txt")
    expect(changed.get_by_role("link", name="16 lines that are the same")).to_be_visible()
    expect(changed).not_to_contain_text("line 5")
    changed.get_by_role("link", name="16 lines that are the same").click()
    expect(changed).to_contain_text("line 5")
    expect(file(person, "cyber-dojo.sh")).to_have_count(0)
    person.get_by_role("link", name="all files that differ").click()
    expect(file(person, "cyber-dojo.sh")).to_have_count(1)
    person.get_by_text("files that are the same in both").click()
    person.get_by_role("link", name="notes.txt").click()
    expect(file(person, "notes.txt")).to_contain_text("Your task...")


def test_a_light_that_there_is_not_is_said_in_words(
    new_person: Callable[..., Page], web: str, practised: Practised
) -> None:
    page = new_person(network_fails=True)
    for query in ("?avatar=whale&now=9", "?avatar=zebra", "?avatar=<b>&was=-7"):
        open_review(page, web, practised.kata_id, query)
        expect(page.get_by_role("heading", level=1)).to_have_text("No such light")


def test_a_kata_that_nobody_has_joined_has_nothing_to_review(
    person: Page, web: str, new_practised: Callable[..., Practised]
) -> None:
    practised = new_practised()
    open_review(person, web, practised.kata_id)
    expect(person.get_by_text("Nobody has joined this kata yet")).to_be_visible()


@pytest.fixture
def forks(storer: storer_pb2_grpc.StorerServiceStub) -> Iterator[list[str]]:
    """The ids of katas that are deleted when the test ends."""
    kata_ids: list[str] = []
    yield kata_ids
    for kata_id in kata_ids:
        storer.DeleteKata(storer_pb2.DeleteKataRequest(kata_id=kata_id))


def forked(
    page: Page, storer: storer_pb2_grpc.StorerServiceStub, button: str
) -> storer_pb2.GetKataResponse:
    """Press a button that forks; return the kata that it leads to."""
    page.get_by_role("button", name=button).click()
    page.wait_for_url(lambda url: "/review" not in url)
    found = re.search(r"/kata/(\w{10})", page.url)
    assert found
    return storer.GetKata(storer_pb2.GetKataRequest(kata_id=found[1]))


def test_a_new_kata_is_forked_from_the_files_of_a_light(
    new_person: Callable[..., Page],
    web: str,
    practised: Practised,
    storer: storer_pb2_grpc.StorerServiceStub,
    forks: list[str],
) -> None:
    page = new_person(network_fails=True)
    open_review(page, web, practised.kata_id, "?avatar=whale&now=2")
    kata = forked(page, storer, "Fork: a new kata from these files")
    forks.append(kata.kata_id)
    assert kata.kata_id != practised.kata_id
    assert dict(kata.manifest.files) == FIXED
    assert not kata.avatars


def test_who_presses_a_button_twice_gets_one_kata_and_one_by_each_button(
    http: httpx.Client, practised: Practised, forks: list[str]
) -> None:
    page = http.get(f"/kata/{practised.kata_id}/review?avatar=whale&now=2").text
    fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page))

    def fork(kind: str, **changed: str) -> httpx.Response:
        form = {**fields, "kind": kind, **changed}
        return http.post(f"/kata/{practised.kata_id}/fork", data=form, timeout=120)

    found = {}
    for kind in ("files", "history"):
        first, second = (fork(kind).headers["location"] for _ in range(2))
        assert first == second
        found[kind] = first.split("/")[2].partition("?")[0]
        forks.append(found[kind])
    assert found["files"] != found["history"]
    assert fork("files", form_token="another site's").status_code == 403  # noqa: S106
    for wrong in ({"kind": "x"}, {"number": "-1"}, {"number": "9" * 20}, {"number": "²"}):
        assert fork(**{"kind": "files", **wrong}).status_code == 400
    assert fork("files", avatar="zebra", once="f" * 32).status_code == 404


def test_somebody_goes_on_as_an_animal_with_its_lights_in_a_kata_of_their_own(
    new_person: Callable[..., Page],
    web: str,
    practised: Practised,
    storer: storer_pb2_grpc.StorerServiceStub,
    forks: list[str],
) -> None:
    page = new_person(network_fails=True)
    open_review(page, web, practised.kata_id, "?avatar=whale&now=2")
    kata = forked(page, storer, "Fork: a kata of my own, as whale")
    forks.append(kata.kata_id)
    assert list(kata.avatars) == ["whale"]
    names = [cookie.get("name", "") for cookie in page.context.cookies(page.url)]
    assert "dojo-avatar-whale" in names  # this browser may act as it there


def test_somebody_joins_as_another_animal_with_the_files_of_a_light(
    new_person: Callable[..., Page],
    web: str,
    practised: Practised,
    storer: storer_pb2_grpc.StorerServiceStub,
) -> None:
    page = new_person(network_fails=True)
    open_review(page, web, practised.kata_id, "?avatar=whale&now=2")
    kata = forked(page, storer, "Join this kata as another animal")
    assert kata.kata_id == practised.kata_id
    assert len(kata.avatars) == 4
    (joined,) = set(kata.avatars) - {"bee", "lion", "whale"}
    asked = storer_pb2.GetFilesRequest(kata_id=kata.kata_id, avatar=joined, light_number=0)
    assert dict(storer.GetFiles(asked).files) == FIXED


def test_what_participants_wrote_is_text(
    person: Page, web: str, new_practised: Callable[..., Practised]
) -> None:
    practised = new_practised()
    practised.join("whale")
    names = {f"{attack.replace('/', '-')[:80]}": attack.encode() for attack in ATTACKS}
    output = "\n".join(ATTACKS).encode() + b"\x1b[31mred\x1b[0m"
    practised.press("whale", RED, {**FILES, **names}, stdout=output, stderr=output)
    contents = {name: content + b" more" for name, content in names.items()}
    practised.press("whale", AMBER, {**FILES, **contents}, stdout=output, reason=ATTACKS[0])
    for query in ("?now=1", "?now=2"):
        open_review(person, web, practised.kata_id, query)
        expect(person.get_by_role("article")).to_have_count(len(ATTACKS))
        shown = person.get_by_role("region", name="Output", exact=True).inner_text()
        assert shown.splitlines()[:5] == list(ATTACKS[:5])
        assert "U+202E" in shown
        assert "\u202e" not in person.content()
        assert person.evaluate("() => window.attacked") is None
        assert person.locator("iframe, #review img, #review svg[onload]").count() == 0
    file(person, ATTACKS[0].replace("/", "-")).hover()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everybody_can_use_a_review(
    new_person: Callable[..., Page], web: str, practised: Practised, scheme: str
) -> None:
    for width, height in ((1280, 720), (640, 400), (400, 800)):
        page = new_person(color_scheme=scheme, viewport={"width": width, "height": height})
        open_review(page, web, practised.kata_id, "?avatar=whale&was=1&now=4")
        expect(page.locator("#keys")).to_be_visible()
        assert findings(page) == []
        assert overflow(page) <= 0


def test_a_review_goes_on_by_itself_when_the_web_tier_was_away(
    new_person: Callable[..., Page],
    start_web: Callable[..., Service],
    storer_service: Service,
    runner_service: Service,
    practised: Practised,
) -> None:
    web = start_web(storer_service.address, runner_service.address)
    page = new_person(network_fails=True)
    open_review(page, f"http://{web.address}", practised.kata_id, "?avatar=whale&now=1")
    shows(page, "whale 0", "whale 1")
    web.stop()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#notice")).to_contain_text("The server can't be reached")
    again = start_web(
        storer_service.address, runner_service.address, CYBER_DOJO_WEB_LISTEN=web.address
    )
    shows(page, "whale 1", "whale 2")
    again.stop()


def test_a_review_says_that_the_storer_is_away_and_goes_on_by_itself(
    new_person: Callable[..., Page],
    start_service: Callable[..., Service],
    start_web: Callable[..., Service],
    connect: Callable[[str], grpc.Channel],
) -> None:
    address = f"127.0.0.1:{free_ports(1)[0].rpartition(':')[2]}"
    storer = start_service("storer", CYBER_DOJO_STORER_LISTEN=address)
    web = start_web(storer.address, "127.0.0.1:1")
    practised = Practised(storer_pb2_grpc.StorerServiceStub(connect(storer.address)))
    practised.join("whale")
    practised.press("whale", RED)
    page = new_person(network_fails=True)
    open_review(page, f"http://{web.address}", practised.kata_id, "?avatar=whale&now=0")
    shows(page, "whale 0", "whale 0")
    storer.stop()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("heading", level=1)).to_have_text("The server is away for a moment")
    storer = start_service("storer", CYBER_DOJO_STORER_LISTEN=address)
    shows(page, "whale 0", "whale 1")
    practised.delete()
    web.stop()
    storer.stop()


def test_a_download_is_saved_under_the_kata_s_id(
    person: Page, web: str, practised: Practised, tmp_path: Path
) -> None:
    open_review(person, web, practised.kata_id, "?avatar=whale&now=2")
    with person.expect_download() as found:
        person.get_by_role("link", name="The whole kata").click()
    assert found.value.suggested_filename.startswith(practised.kata_id)
    found.value.save_as(tmp_path / "kata.tgz")
    assert (tmp_path / "kata.tgz").read_bytes()[:2] == b"\x1f\x8b"
