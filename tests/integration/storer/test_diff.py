"""DiffLights and DownloadPatch: what changed between two lights, by line and as a patch."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import grpc
import pytest
from google.protobuf.json_format import MessageToDict

from cyberdojo.storer.v1 import storer_pb2
from support.storer.katas_directories import BUFFALO, DOLPHIN, GORILLA, SPIDER, LegacyKata, params
from support.storer.storing import FILES, Katas, content_of, git, refused

CREATED, DELETED = storer_pb2.FILE_CHANGE_CREATED, storer_pb2.FILE_CHANGE_DELETED
RENAMED, CHANGED = storer_pb2.FILE_CHANGE_RENAMED, storer_pb2.FILE_CHANGE_CHANGED
UNCHANGED = storer_pb2.FILE_CHANGE_UNCHANGED

LINE_SIGNS = {
    storer_pb2.LINE_CHANGE_SAME: " ",
    storer_pb2.LINE_CHANGE_ADDED: "+",
    storer_pb2.LINE_CHANGE_DELETED: "-",
}

Files = Mapping[str, bytes]

LONG = b"".join(b"line %d\n" % number for number in range(1, 21))


def between(katas: Katas, was: Files, now: Files) -> list[storer_pb2.FileDiff]:
    """Return the diff of two lights with these files, after comparing it with the files."""
    kata_id = recorded(katas, was, now)
    found = katas.diff(kata_id, "whale", 1, 2)
    check(found, was, now)
    return found


def recorded(katas: Katas, *each_files: Files) -> str:
    """Create a kata whose lights 1, 2 ... have these files; return its id."""
    kata_id = katas.started("whale")
    for files in each_files:
        katas.record(kata_id, "whale", files)
    return kata_id


def check(found: list[storer_pb2.FileDiff], was: Files, now: Files) -> None:
    """Assert that a diff covers both lights and nothing else."""
    assert sorted(file.old_name for file in found if file.old_name) == sorted(was)
    assert sorted(file.new_name for file in found if file.new_name) == sorted(now)
    names = [file.new_name or file.old_name for file in found]
    assert names == sorted(names)
    for file in found:
        old, new = was.get(file.old_name), now.get(file.new_name)
        assert file.change == expected_change(file, old, new), file
        assert file.binary == (b"\0" in (old or b"") + (new or b"")), file
        if file.binary:
            assert (len(file.lines), file.same_count) == (0, 0)
            assert (file.added_count, file.deleted_count) == (0, 0)
        else:
            check_lines(file, old or b"", new or b"")


def expected_change(file: storer_pb2.FileDiff, old: bytes | None, new: bytes | None) -> int:
    if old is None or new is None:
        return CREATED if old is None else DELETED
    if file.old_name != file.new_name:
        return RENAMED
    return UNCHANGED if old == new else CHANGED


def check_lines(file: storer_pb2.FileDiff, old: bytes, new: bytes) -> None:
    """Assert that a file's lines add up to both of its contents, numbered without gaps."""
    signs = [LINE_SIGNS[line.change] for line in file.lines]
    assert file.same_count == signs.count(" ")
    assert file.added_count == signs.count("+")
    assert file.deleted_count == signs.count("-")
    for content, sign, number in (
        (old, "-", "old_number"),
        (new, "+", "new_number"),
    ):
        lines = [line for line in file.lines if LINE_SIGNS[line.change] in (" ", sign)]
        ends = [b"" if line.no_newline else b"\n" for line in lines]
        assert b"".join(line.text + end for line, end in zip(lines, ends, strict=True)) == content
        assert [getattr(line, number) for line in lines] == list(range(1, len(lines) + 1))
        others = [line for line in file.lines if LINE_SIGNS[line.change] not in (" ", sign)]
        assert all(getattr(line, number) == 0 for line in others)


def changes(found: list[storer_pb2.FileDiff]) -> list[tuple[int, str, str]]:
    return [(file.change, file.old_name, file.new_name) for file in found]


def shown(file: storer_pb2.FileDiff) -> list[str]:
    """Return a file's lines in the notation of a patch."""
    return [
        f"{LINE_SIGNS[line.change]}{line.text.decode()}{'$' if line.no_newline else ''}"
        for line in file.lines
    ]


def test_a_diff_has_every_file_of_both_lights_in_the_order_of_names(katas: Katas) -> None:
    was = {"b changed": b"1\n", "c deleted": b"2\n2\n", "d same": b"3\n", "e old": LONG}
    now = {"a created": b"4\n4\n4\n", "b changed": b"5\n", "d same": b"3\n", "f new": LONG}
    assert changes(between(katas, was, now)) == [
        (CREATED, "", "a created"),
        (CHANGED, "b changed", "b changed"),
        (DELETED, "c deleted", ""),
        (UNCHANGED, "d same", "d same"),
        (RENAMED, "e old", "f new"),
    ]


def test_each_line_is_same_added_or_deleted_with_its_numbers(katas: Katas) -> None:
    (file,) = between(katas, {"f": b"a\nb\nc\nd\n"}, {"f": b"a\nB\nc\nd\ne\n"})
    assert shown(file) == [" a", "-b", "+B", " c", " d", "+e"]
    assert [(line.old_number, line.new_number) for line in file.lines] == [
        (1, 1),
        (2, 0),
        (0, 2),
        (3, 3),
        (4, 4),
        (0, 5),
    ]
    assert (file.same_count, file.added_count, file.deleted_count) == (3, 2, 1)


def test_lines_far_from_any_change_are_included(katas: Katas) -> None:
    many = [b"%d\n" % number for number in range(5000)]
    now = [*many[:10], b"new\n", *many[10:4000], *many[4001:]]
    (file,) = between(katas, {"f": b"".join(many)}, {"f": b"".join(now)})
    assert (file.same_count, file.added_count, file.deleted_count) == (4999, 1, 1)


@pytest.mark.parametrize("end", [b"", b"\n"], ids=["no newline", "newline"])
@pytest.mark.parametrize("size", [0, 100, 127, 128, 950, 1000, 1100, 20_000, 2_200_000])
def test_a_line_of_any_length_is_whole(katas: Katas, size: int, end: bytes) -> None:
    was = b"first\n" + b"x" * size + end
    between(katas, {"f": was, "same": was}, {"f": b"new\n" + was, "g": was, "same": was})


def test_lines_are_numbered_in_a_file_of_any_length(katas: Katas) -> None:
    many = [b"%d\n" % number for number in range(17_000)]
    was, now = b"".join(many), b"".join([b"new\n", *many[:900], *many[901:]])
    between(katas, {"f": was, "same": was}, {"f": now, "same": was})


def test_a_renamed_file_has_all_its_lines_and_they_are_same(katas: Katas) -> None:
    (file,) = between(katas, {"old/name.c": LONG}, {"new.h": LONG})
    assert changes([file]) == [(RENAMED, "old/name.c", "new.h")]
    assert (file.same_count, file.added_count, file.deleted_count) == (20, 0, 0)


def test_a_file_that_was_renamed_and_changed_has_both_names_and_the_changed_lines(
    katas: Katas,
) -> None:
    changed = LONG.replace(b"line 7\n", b"line seven\n")
    (file,) = between(katas, {"a": LONG}, {"b": changed})
    assert changes([file]) == [(RENAMED, "a", "b")]
    assert (file.same_count, file.added_count, file.deleted_count) == (19, 1, 1)
    assert "+line seven" in shown(file)


@pytest.mark.parametrize(
    ("was", "now", "lines"),
    [
        (b"a\nb", b"a\nb", [" a", " b$"]),
        (b"a\nb\n", b"a\nb", [" a", "-b", "+b$"]),
        (b"a\nb", b"a\nb\n", [" a", "-b$", "+b"]),
        (b"a\nb", b"x\nb", ["-a", "+x", " b$"]),
        (b"a", b"b", ["-a$", "+b$"]),
        (b"a\r\nb\r\n", b"a\r\nc\r\n", [" a\r", "-b\r", "+c\r"]),
        (b"a\r\n", b"a\n", ["-a\r", "+a"]),
        (b"a\rb\r", b"a\rb\r", [" a\rb\r$"]),
        (b"\n", b"\n\n", [" ", "+"]),
        (b"a\n", b"", ["-a"]),
        (b"", b"a", ["+a$"]),
        (b"", b"", []),
        (b"\x1b\x01\x02\x03\n", b"\x1b\x01\x02\x03\n", [" \x1b\x01\x02\x03"]),
    ],
)
def test_a_line_keeps_its_ending(katas: Katas, was: bytes, now: bytes, lines: list[str]) -> None:
    (file,) = between(katas, {"f": was}, {"f": now})
    assert shown(file) == lines


@pytest.mark.parametrize("filler", [b"", b"text\n" * 4000], ids=["at once", "far behind"])
def test_a_file_with_a_nul_byte_is_binary_in_every_change(katas: Katas, filler: bytes) -> None:
    was = {
        "changed": filler + b"\0a",
        "deleted": filler + b"\0b",
        "renamed": filler + b"\0" + bytes(range(256)) * 9,
        "same": filler + b"\0c",
        "was text": filler + b"text\n",
    }
    now = {
        "changed": filler + b"\0A",
        "created": b"\0d" + filler,
        "new name": was["renamed"],
        "same": was["same"],
        "was text": filler + b"text\0\n",
    }
    found = between(katas, was, now)
    assert all(file.binary for file in found)
    assert {file.new_name: file.change for file in found}["new name"] in {RENAMED, CREATED}


def test_empty_files_are_created_deleted_and_unchanged_without_lines(katas: Katas) -> None:
    found = between(katas, {"a": b"", "same": b"", "x": b"x\n"}, {"same": b"", "x": b"x\n"})
    assert changes(found)[:2] == [(DELETED, "a", ""), (UNCHANGED, "same", "same")]
    found = between(katas, {"x": b"x\n"}, {"b": b"", "x": b"x\n"})
    assert changes(found)[0] == (CREATED, "", "b")


def test_a_file_can_become_a_folder_and_a_folder_a_file(katas: Katas) -> None:
    was = {"a": b"1\n", "b/c": b"2\n"}
    now = {"a/c": b"3\n", "b": b"4\n"}
    assert {file.change for file in between(katas, was, now)} <= {CREATED, DELETED, RENAMED}


def test_names_are_not_quoted(katas: Katas) -> None:
    names = [" a", "a b", "quo\"te's", "back\\slash", "ü/名前.txt", "-p", "a\u00a0b", "tab?*[x]"]
    was = {name: b"%d\n" % place for place, name in enumerate(names)}
    now = {name: content + b"more\n" for name, content in was.items()}
    assert {file.new_name for file in between(katas, was, now)} == set(names)


def test_lines_show_bytes_that_are_not_utf_8(katas: Katas) -> None:
    (file,) = between(katas, {"f": b"\xff\xfe\xe9\n"}, {"f": b"\xff\xfe\xe9\n\x80\xed\xa0\x80"})
    assert [line.text for line in file.lines] == [b"\xff\xfe\xe9", b"\x80\xed\xa0\x80"]


def test_gitattributes_in_a_sandbox_do_not_change_the_diff(
    katas: Katas, folder: Callable[[str], Path]
) -> None:
    was, now = {"sandbox/f": b"a\n"}, {"sandbox/f": b"b\n"}
    kata_id = recorded(katas, was, now)
    (folder(kata_id) / "whale/sandbox/.gitattributes").write_text("* binary\n")
    (folder(kata_id) / "whale/.gitattributes").write_text("* -diff\n")
    check(katas.diff(kata_id, "whale", 1, 2), was, now)


def test_minus_1_is_the_newest_light(katas: Katas) -> None:
    kata_id = recorded(katas, {"f": b"1\n"}, {"f": b"2\n"})
    assert katas.diff(kata_id, "whale", 0, -1) == katas.diff(kata_id, "whale", 0, 2)
    assert katas.patch(kata_id, "whale", -1, 1) == katas.patch(kata_id, "whale", 2, 1)


def test_a_later_light_can_be_compared_with_an_earlier_one(katas: Katas) -> None:
    was, now = {"a": b"1\n2\n", "gone": b"x\n"}, {"a": b"1\n3\n", "new": b"y\n"}
    kata_id = recorded(katas, was, now)
    check(katas.diff(kata_id, "whale", 2, 1), now, was)


def test_a_light_does_not_differ_from_itself(katas: Katas) -> None:
    kata_id = recorded(katas, FILES)
    for was, now in ((0, 0), (1, 1), (0, 1), (-1, -1)):
        found = katas.diff(kata_id, "whale", was, now)
        check(found, FILES, FILES)
        assert {file.change for file in found} == {UNCHANGED}
        assert katas.patch(kata_id, "whale", was, now) == b""


@pytest.mark.parametrize(("was", "now", "field"), [(-2, 0, "was_number"), (0, -2, "now_number")])
def test_a_number_below_minus_1_is_refused_by_field(
    katas: Katas, was: int, now: int, field: str
) -> None:
    kata_id = katas.started("whale")
    for call in (katas.diff, katas.patch):
        with refused(grpc.StatusCode.INVALID_ARGUMENT, field=field):
            call(kata_id, "whale", was, now)


def test_an_unknown_light_avatar_or_kata_is_not_found(katas: Katas) -> None:
    kata_id = katas.started("whale")
    for call in (katas.diff, katas.patch):
        with refused(grpc.StatusCode.NOT_FOUND, says="whale has no light 1"):
            call(kata_id, "whale", 0, 1)
        with refused(grpc.StatusCode.NOT_FOUND, says="zebra was not started"):
            call(kata_id, "zebra", 0, 0)
        with refused(grpc.StatusCode.NOT_FOUND, says="0000000000"):
            call("0000000000", "whale", 0, 0)


# --- Patches


def write(folder: Path, files: Files) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(0o755 if name.endswith(".sh") else 0o644)


def read(folder: Path) -> dict[str, tuple[bytes, bool]]:
    """Return the files in a folder: their content, and whether they are executable."""
    return {
        str(path.relative_to(folder)): (path.read_bytes(), bool(path.stat().st_mode & 0o100))
        for path in folder.rglob("*")
        if path.is_file()
    }


def applied(folder: Path, was: Files, patch: bytes) -> dict[str, tuple[bytes, bool]]:
    """Return what plain git makes of files and a patch."""
    folder.mkdir()
    write(folder, was)
    git(folder, "apply", "--allow-empty", "-", text=patch)
    return read(folder)


def as_read(files: Files) -> dict[str, tuple[bytes, bool]]:
    return {name: (content, name.endswith(".sh")) for name, content in files.items()}


PATCHES: dict[str, tuple[Files, Files]] = {
    "created and deleted": ({"a": b"1\n", "b": b"2\n"}, {"b": b"2\n", "c/d": b"3\n"}),
    "changed": ({"a": LONG}, {"a": LONG.replace(b"7", b"seven")}),
    "renamed": ({"a b.txt": LONG}, {"c/d e.txt": LONG}),
    "renamed to a program": ({"a": LONG}, {"a.sh": LONG}),
    "renamed and changed": ({"a": LONG}, {"b": LONG + b"more"}),
    "two files swapped": ({"a": LONG, "b": b"x\n" * 30}, {"b": LONG, "a": b"x\n" * 30}),
    "newline removed": ({"a": b"1\n2\n"}, {"a": b"1\n2"}),
    "newline added": ({"a": b"1\n2"}, {"a": b"1\n2\n"}),
    "no newline in either": ({"a": b"1\n2"}, {"a": b"3\n2"}),
    "CRLF": ({"a": b"1\r\n2\r\n"}, {"a": b"1\r\n3\r\n"}),
    "CRLF becomes LF": ({"a": b"1\r\n2\r\n"}, {"a": b"1\n2\n"}),
    "binary created": ({"b": b"1\n"}, {"a": bytes(range(256)), "b": b"1\n"}),
    "binary deleted": ({"a": bytes(range(256)), "b": b"1\n"}, {"b": b"1\n"}),
    "binary changed": ({"a": bytes(range(256)) * 40}, {"a": bytes(range(255)) * 40}),
    "binary renamed": ({"a": bytes(range(256)) * 9}, {"b": bytes(range(256)) * 9}),
    "binary becomes text": ({"a": b"\0\n"}, {"a": b"text\n"}),
    "NUL far behind": ({"a": LONG * 99 + b"\0\n"}, {"a": LONG * 99 + b"\0\0\n"}),
    "empty created and deleted": ({"a": b"", "c": b"1\n"}, {"b": b"", "c": b"1\n"}),
    "emptied": ({"a": b"1\n2\n"}, {"a": b""}),
    "filled": ({"a": b""}, {"a": b"1"}),
    "not UTF-8": ({"a": b"\xff\n"}, {"a": b"\xfe\xe9\n"}),
    "odd names": (
        {" a": b"1\n", 'q"uote': b"2\n", "back\\slash": b"3\n", "ü/名前": b"4\n", "-p": b"5\n"},
        {" a": b"6\n", 'q"uote': b"7\n", "back\\slash": b"8\n", "ü/名前": b"9\n", "-p": b"0\n"},
    ),
    "odd names renamed": ({"q\"u o'te": LONG, "ü": LONG[::-1]}, {"na me": LONG, "名": LONG[::-1]}),
    "a file becomes a folder": ({"a": b"1\n", "b": b"2\n"}, {"a/c": b"3\n", "b": b"2\n"}),
    "lines that look like a patch": ({"a": b"-- x\n++ y\n"}, {"a": b"--- x\n+++ y\n@@ -1 +1 @@\n"}),
    "nothing left": ({"a": b"1\n"}, {"b": b"2\n"}),
}


@pytest.mark.parametrize("name", PATCHES)
def test_git_apply_turns_the_earlier_files_into_the_later_ones(
    katas: Katas, tmp_path: Path, name: str
) -> None:
    was, now = PATCHES[name]
    kata_id = recorded(katas, was, now)
    forth = applied(tmp_path / "forth", was, katas.patch(kata_id, "whale", 1, 2))
    back = applied(tmp_path / "back", now, katas.patch(kata_id, "whale", 2, 1))
    assert forth == as_read(now)
    assert back == as_read(was)


def test_a_renamed_file_is_a_rename_in_the_patch(katas: Katas) -> None:
    patch = katas.patch(recorded(katas, {"a": LONG}, {"b": LONG}), "whale", 1, 2)
    assert b"rename from a\nrename to b\n" in patch
    assert b"line 7" not in patch


def test_a_patch_is_streamed_as_header_data_and_end(katas: Katas) -> None:
    kata_id = recorded(katas, {"a": b"x" * 70 + b"\n"}, {"a": b"y\n" * 400_000})
    request = storer_pb2.DownloadPatchRequest(
        kata_id=kata_id, avatar="whale", was_number=1, now_number=2
    )
    parts = list(katas.stub.DownloadPatch(request))
    assert parts[0].header.filename == f"{kata_id}-whale-1-2.patch"
    assert content_of(parts).count(b"+y\n") == 400_000
    assert len(parts) > 3


# --- Legacy katas


def each_light(katas: Katas, kata: LegacyKata) -> Iterator[tuple[int, dict[str, bytes]]]:
    for number in range(kata.newest + 1):
        yield number, dict(katas.files(kata.id, kata.avatar, number).files)


def numstat(repository: Path, was: str, now: str) -> dict[str, tuple[int, int]]:
    """Return how many lines each file gained and lost, by git."""
    said = git(repository, "diff", "--no-renames", "--numstat", "-z", was, now).decode()
    lines = [line.split("\t") for line in said.split("\0") if line]
    return {name: (int(added), int(deleted)) for added, deleted, name in lines}


def tree(repository: Path, files: Files) -> str:
    """Write files as a git tree with plain git; return its name."""
    git(repository, "rm", "-r", "-q", "-f", "--cached", "--ignore-unmatch", ".")
    for path in repository.iterdir():
        if path.is_file():
            path.unlink()
    write(repository, files)
    git(repository, "add", "-f", ".")
    return git(repository, "write-tree").decode().strip()


@pytest.mark.parametrize("kata", params(lambda kata: kata.newest))
def test_successive_lights_of_a_legacy_kata_differ_as_their_files_do(
    katas: Katas, tmp_path: Path, kata: LegacyKata
) -> None:
    repository = tmp_path / "repository"
    repository.mkdir()
    git(repository, "init", "-q")
    was: dict[str, bytes] | None = None
    tree_was = ""
    for number, now in each_light(katas, kata):
        tree_now = tree(repository, now)
        if was is not None:
            found = katas.diff(kata.id, kata.avatar, number - 1, number)
            check(found, was, now)
            counted = numstat(repository, tree_was, tree_now)
            for file in found:
                if file.change in (CHANGED, UNCHANGED) and not file.binary:
                    expected = counted.get(file.new_name, (0, 0))
                    assert (file.added_count, file.deleted_count) == expected
            patch = katas.patch(kata.id, kata.avatar, number - 1, number)
            assert applied(tmp_path / str(number), was, patch) == as_read(now)
        was, tree_was = now, tree_now


def test_one_patch_covers_a_legacy_kata_from_first_to_last_light(
    katas: Katas, tmp_path: Path
) -> None:
    for kata in (BUFFALO, GORILLA):
        start = dict(katas.files(kata.id, kata.avatar, 0).files)
        newest = dict(katas.files(kata.id, kata.avatar, -1).files)
        check(katas.diff(kata.id, kata.avatar, 0, -1), start, newest)
        patch = katas.patch(kata.id, kata.avatar, 0, -1)
        assert applied(tmp_path / kata.id, start, patch) == as_read(newest)


def test_a_legacy_light_and_one_of_ours_are_compared(katas: Katas) -> None:
    for kata in (SPIDER, DOLPHIN):
        kata_id, avatar = kata.id, kata.avatar
        was = dict(katas.files(kata_id, avatar, -1).files)
        now = {**was, "new file": b"new\n"}
        now.pop("cyber-dojo.sh")
        number = katas.record(kata_id, avatar, now).number
        check(katas.diff(kata_id, avatar, number - 1, number), was, now)
        check(katas.diff(kata_id, avatar, number, number - 1), now, was)


def test_comparing_legacy_lights_leaves_no_folder(
    start_storer: Callable[..., object],
    client: Callable[[object], Katas],
    katas_directory: Path,
    tmp_path: Path,
) -> None:
    service = start_storer(TMPDIR=str(tmp_path), CYBER_DOJO_KATAS_DIRECTORY=str(katas_directory))
    found = client(service).diff(SPIDER.id, "spider", 0, 8)
    assert MessageToDict(found[0])
    client(service).patch(SPIDER.id, "spider", 0, 8)
    assert not list(tmp_path.iterdir())
