"""The file of a kata's options: what is read, what is kept, and which is the later one."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dojo import avatars, limits
from storer.fs.json_files import Unreadable
from storer.kata import options
from storer.kata.options import OPTIONS, PUT_ASIDE, KataOptions, Options
from storer.saver import kata as saver_kata
from storer.saver import options as saver_options

DARK = Options(theme="dark")


def nested(levels: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for _ in range(levels):
        found = {"a": found}
    return found


def written(folder: Path, *changes: tuple[str, Options]) -> Path:
    """Make a folder of a kata with options that came by these changes."""
    folder.mkdir(exist_ok=True)
    found = KataOptions()
    for avatar, given in changes:
        found = found.changed(avatar, given)
    options.write(folder, options.dump(found))
    return folder


def test_options_are_read_as_they_were_written(tmp_path: Path) -> None:
    own = Options(syntax_colour=False, revert_green=True)
    written(tmp_path, ("", DARK), ("whale", own), ("", Options(predict=False)))
    found = options.read(tmp_path)
    assert found.kata == Options(theme="dark", predict=False)
    assert found.avatars == {"whale": own}
    assert found.revision == 3
    assert found.of("whale") == Options(
        "dark", syntax_colour=False, predict=False, revert_green=True
    )
    assert found.of("zebra") == found.kata
    assert options.parse(json.loads(options.dump(found))) == found


def test_a_kata_without_the_file_has_no_options(tmp_path: Path) -> None:
    assert options.read(tmp_path) == KataOptions()
    assert options.digest(tmp_path) == ""


def test_an_avatar_whose_options_are_all_set_no_longer_has_none() -> None:
    found = KataOptions().changed("whale", DARK).changed("whale", Options(), ["theme"])
    assert found == KataOptions()
    assert found.revision == 2


@pytest.mark.parametrize(
    "value",
    [
        {"kata": None},
        {"kata": {"theme": "blue"}},
        {"kata": {"theme": ["dark"]}},
        {"kata": {"predict": 1}},
        {"kata": {"predict": "on"}},
        {"avatars": {"whale": []}},
        {"avatars": {"dragon": 1}},
        {"avatars": None},
        {"revision": True},
        {"revision": "1"},
        {"revision": 2**53},
        {"more": "x" * (limits.MAX_OPTIONS_BYTES // 2)},
        {"avatars": {"whale": {"more": "é" * (limits.MAX_OPTIONS_BYTES // 12)}}},
        {"more": nested(100)},
        {"kata": {"more": nested(500)}},
    ],
)
def test_what_can_not_be_options_is_unreadable(tmp_path: Path, value: Any) -> None:
    (tmp_path / OPTIONS).write_text(json.dumps(value))
    with pytest.raises(Unreadable):
        options.read(tmp_path)
    assert options.read_or_none(tmp_path) == KataOptions()


def test_a_revision_does_not_outgrow_what_can_be_read() -> None:
    most = options.parse({"revision": 2**53 - 1})
    assert options.parse(json.loads(options.dump(most.changed("", DARK)))).kata == DARK


def test_all_options_have_room_beside_the_unknown_keys_that_can_be_read() -> None:
    value = {
        "more": [*nested(25).values(), "é" * 500, 1e300, [1] * 10],
        "kata": {"font": "large"},
        "avatars": {name: {"font": "é" * 65} for name in [*avatars.NAMES, "nobody"]},
    }
    found = options.parse(value)
    before = len(options.dump(found))
    assert limits.MAX_OPTIONS_BYTES * 0.4 < before < limits.MAX_OPTIONS_BYTES * 0.5
    longest = Options("light", *([False] * 5))
    for name in ("", *avatars.NAMES):
        found = found.changed(name, longest)
    content = options.dump(replace(found, revision=2**53 - 1))
    assert len(content) < before + limits.MAX_OPTIONS_BYTES / 2
    assert options.parse(json.loads(content)) == found
    assert content.count(b"\n") == 6  # a line for each key, and two for the brackets


def test_what_is_no_file_is_unreadable_and_no_link_is_followed(tmp_path: Path) -> None:
    path = tmp_path / OPTIONS
    (tmp_path / "elsewhere").write_text('{"kata":{"theme":"dark"}}')
    for make in (path.mkdir, lambda: path.symlink_to("elsewhere"), lambda: os.mkfifo(path)):
        make()
        assert options.is_damaged(tmp_path)
        options.put_aside(tmp_path)
        assert os.path.lexists(tmp_path / PUT_ASIDE)
        assert not os.path.lexists(path)


def test_the_later_of_two_copies_has_more_changes(tmp_path: Path) -> None:
    one = written(tmp_path / "one", ("", DARK))
    two = written(tmp_path / "two", ("", DARK), ("", Options(predict=True)))
    back = written(tmp_path / "back", ("", DARK), ("", Options(predict=True)), ("", DARK))
    other = written(tmp_path / "other", ("", Options(theme="light")))
    none = tmp_path / "none"
    none.mkdir()
    assert options.go_on(one, one)
    assert options.go_on(none, one)
    assert options.go_on(one, two)
    assert options.go_on(two, back)
    assert not options.go_on(two, one)
    assert not options.go_on(back, two)
    assert not options.go_on(one, none)
    assert not options.go_on(one, other)
    assert not options.go_on(other, one)
    (one / OPTIONS).write_text("damaged")
    assert options.go_on(one, other)
    assert not options.go_on(other, one)


def set_next(folder: Path) -> None:
    options.write(folder, options.dump(options.read_to_change(folder).changed("", DARK)))


def put_aside_and_set_next(folder: Path) -> None:
    options.put_aside(folder)  # as for a kata that comes in
    set_next(folder)


@pytest.mark.parametrize("go_on", [set_next, options.mend, put_aside_and_set_next])
@pytest.mark.parametrize("damage", ["", "{", '{"revision":', "[]", "\0" * 100])
def test_what_follows_damaged_options_is_later_than_they_were(
    tmp_path: Path, go_on: Callable[[Path], None], damage: str
) -> None:
    older = written(tmp_path / "older", ("", DARK), ("", Options(predict=True)), ("", DARK))
    now = written(tmp_path / "now", ("", DARK))
    for _ in range(2):
        (now / OPTIONS).write_text(damage or "\n")
        go_on(now)
        after = options.read(now)
        assert after == KataOptions(kata=Options() if go_on is options.mend else DARK)
        assert options.go_on(older, now)
        assert not options.go_on(now, older)
        older = tmp_path / f"as of {after.revision}"
        shutil.copytree(now, older)
        set_next(now)


KEPT = {"theme": "light", "colour": "on", "predict": "off", "revert_red": "on"}


def test_options_of_a_saver_are_those_that_differ_from_what_holds() -> None:
    taken = saver_options.taken({"theme": "dark"}, None, {"whale": KEPT, "zebra": {}})
    assert taken.kata == DARK
    assert taken.avatars == {"whale": Options(theme="light", revert_red=True)}


def test_what_a_storer_wrote_for_itself_is_taken_unless_it_can_not_be_read() -> None:
    own = {"options": {"kata": {"predict": True}, "revision": 7}}
    taken = saver_options.taken({}, own, {"whale": {**KEPT, "predict": "on"}})
    assert taken.kata == Options(predict=True)
    assert taken.avatars == {"whale": Options(revert_red=True)}
    odd: list[Any] = [{"options": {"kata": 1}}, {"options": 1}, [], "x"]
    for bad in odd:
        assert saver_options.taken({}, bad, {}) == KataOptions()


def test_what_is_no_option_here_stays_as_a_saver_had_it() -> None:
    kept = {**KEPT, "colour": "purple", "fork_button": "off"}
    taken = saver_options.taken({}, None, {"whale": kept})
    assert saver_options.written(taken, "whale", {}, kept) == {
        **saver_kata.OPTIONS,
        **kept,
    }
