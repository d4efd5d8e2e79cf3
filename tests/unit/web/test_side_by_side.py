from hypothesis import given
from hypothesis import strategies as st

from cyberdojo.storer.v1 import storer_pb2
from web.differences.lines import (
    MAX_COMPARED_BYTES,
    MAX_LINE_CHARACTERS,
    FileLines,
    answered,
    compared,
    unchanged,
)
from web.differences.side_by_side import MAX_CHARACTERS, FileView, Fold, Row, Side, side_by_side

CONTENT = st.lists(st.sampled_from(["a", "b", "c d", "", "e f g", "\r"]), max_size=12)


def of(was: str, now: str) -> FileLines:
    return compared({"f": was.encode()}, {"f": now.encode()})[0]


def side(each: Side | None) -> str:
    if each is None:
        return "-"
    line = "".join(f"[{piece.text}]" if piece.is_changed else piece.text for piece in each.pieces)
    return f"{each.number} {line}" + ("$" if each.no_newline else "")


def shown(view: FileView) -> list[str]:
    return [
        f"... {row.count}" if isinstance(row, Fold) else f"{side(row.was)} | {side(row.now)}"
        for row in view.rows
    ]


def test_a_changed_line_stands_beside_what_it_was() -> None:
    view = side_by_side(of("a\nreturn 6 * 9\nb\n", "a\nreturn 6 * 7\nb\n"))
    assert shown(view) == ["1 a | 1 a", "2 return 6 * [9] | 2 return 6 * [7]", "3 b | 3 b"]
    assert (view.file.added, view.file.deleted) == (1, 1)


def test_a_line_stands_beside_the_one_that_it_became_and_not_the_next_best() -> None:
    view = side_by_side(of("x = 1\nz\n", "# a comment that is new\nx = 2\nz\n"))
    assert shown(view) == [
        "- | 1 # a comment that is new",
        "1 x = [1] | 2 x = [2]",
        "2 z | 3 z",
    ]


def test_a_name_that_got_longer_is_the_same_line_still() -> None:
    view = side_by_side(of("def test_numbers():\n", "def test_other_numbers():\n"))
    assert shown(view) == ["1 def test_numbers(): | 1 def test_[other_]numbers():"]


def test_lines_that_have_nothing_in_common_do_not_stand_beside_each_other() -> None:
    view = side_by_side(of("import os\n", "def answer(question):\n"))
    assert shown(view) == ["1 import os | -", "- | 1 def answer(question):"]


def test_a_missing_line_feed_at_the_end_is_a_change() -> None:
    view = side_by_side(of("a\nb\n", "a\nb"))
    assert shown(view) == ["1 a | 1 a", "2 b | 2 b$"]
    assert view.rows[1].change == "changed"  # type: ignore[union-attr]


def test_unchanged_stretches_fold_but_not_a_single_line() -> None:
    lines = [str(number) for number in range(1, 21)]
    changed = [*lines[:10], "new", *lines[10:]]
    view = side_by_side(of("\n".join(lines), "\n".join(changed)))
    assert shown(view) == [
        "... 7",
        "8 8 | 8 8",
        "9 9 | 9 9",
        "10 10 | 10 10",
        "- | 11 new",
        "11 11 | 12 11",
        "12 12 | 13 12",
        "13 13 | 14 13",
        "... 7",
    ]
    assert view.has_folds
    whole = side_by_side(of("\n".join(lines), "\n".join(changed)), context=None)
    assert (len(whole.rows), whole.has_folds) == (21, False)
    assert len(side_by_side(of("\n".join(lines[:4]), "\n".join([*lines[:4], "5"]))).rows) == 5


def test_a_very_long_line_is_cut_and_says_how_long_it_is() -> None:
    was, now = "a" * MAX_LINE_CHARACTERS + "b", "a" * MAX_LINE_CHARACTERS + "c"
    (row,) = side_by_side(of(was, now)).rows
    assert isinstance(row, Row)
    assert row.change == "changed"
    assert "(a line of 5001 bytes)" in side(row.was)
    assert "(a line of 5001 bytes)" in side(side_by_side(unchanged("f", was.encode())).rows[0].now)  # type: ignore[arg-type]


def test_of_very_many_characters_a_part_is_shown() -> None:
    lines = "\n".join(str(number) + "x" * 1000 for number in range(1000))
    view = side_by_side(unchanged("f", lines.encode()))
    assert len(view.rows) + view.left_out == 1000
    assert sum(row.size for row in view.rows) <= MAX_CHARACTERS


def test_a_file_with_very_many_rows_says_how_many_are_left_out() -> None:
    view = side_by_side(of("", "\n".join("x" * 50)), max_rows=20)
    assert (len(view.rows), view.left_out) == (20, 30)


def test_files_of_different_avatars_are_compared_by_name() -> None:
    was = {"a": b"1\n", "b": b"\0", "c": b"same", "e": b"x" * MAX_COMPARED_BYTES}
    now = {"b": b"\0\0", "c": b"same", "d": b"2", "e": b"y"}
    found = compared(was, now)
    assert [(file.name, file.change) for file in found] == [
        ("a", "deleted"),
        ("b", "changed"),
        ("d", "created"),
        ("e", "changed"),
    ]
    assert [file.is_binary for file in found] == [False, True, False, False]
    assert [file.is_too_large for file in found] == [False, False, False, True]
    assert (found[0].deleted, found[2].added) == (1, 1)


def test_an_unchanged_file_is_shown_whole() -> None:
    content = "".join(f"{number}\n" for number in range(30))
    view = side_by_side(unchanged("f", content.encode()))
    assert (len(view.rows), view.has_folds) == (30, False)
    assert unchanged("f", b"a\0").is_binary
    assert unchanged("f", b"").lines == ()
    assert unchanged("f", b"a\nb").lines[-1].no_newline


def test_the_storer_s_answer_keeps_renames_and_binary_and_large_files() -> None:
    lines = [
        storer_pb2.DiffLine(
            change=storer_pb2.LINE_CHANGE_SAME, old_number=1, new_number=1, text=b"\xffa"
        ),
        storer_pb2.DiffLine(
            change=storer_pb2.LINE_CHANGE_ADDED, new_number=2, text=b"b", no_newline=True
        ),
    ]
    found = answered(
        [
            storer_pb2.FileDiff(
                change=storer_pb2.FILE_CHANGE_RENAMED,
                old_name="a",
                new_name="b",
                lines=lines,
                added_count=1,
            ),
            storer_pb2.FileDiff(change=storer_pb2.FILE_CHANGE_CREATED, new_name="c", binary=True),
            storer_pb2.FileDiff(
                change=storer_pb2.FILE_CHANGE_DELETED, old_name="d", too_large=True
            ),
        ]
    )
    assert [(file.change, file.name) for file in found] == [
        ("renamed", "b"),
        ("created", "c"),
        ("deleted", "d"),
    ]
    assert (found[0].old_name, found[0].added, found[0].deleted) == ("a", 1, 0)
    assert shown(side_by_side(found[0])) == [
        "1 \N{REPLACEMENT CHARACTER}a | 1 \N{REPLACEMENT CHARACTER}a",
        "- | 2 b$",
    ]
    assert (found[1].is_binary, found[2].is_too_large) == (True, True)


@given(CONTENT, CONTENT)
def test_both_sides_are_the_whole_files(was: list[str], now: list[str]) -> None:
    old, new = "\n".join(was), "\n".join(now)
    if old == new:
        return
    rows = [row for row in side_by_side(of(old, new), context=None).rows if isinstance(row, Row)]
    for content, sides in ((old, [row.was for row in rows]), (new, [row.now for row in rows])):
        there = [each for each in sides if each is not None]
        assert [each.number for each in there] == list(range(1, len(there) + 1))
        text = "".join(
            "".join(piece.text for piece in each.pieces) + ("" if each.no_newline else "\n")
            for each in there
        )
        assert text == content
