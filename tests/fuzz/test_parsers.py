"""Parsers of what is not ours fail in the ways that their callers expect, and in no other."""

import contextlib
import math
import tarfile
import tempfile
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any

import pygit2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyberdojo.startpoints.v1 import startpoints_pb2
from dojo.errors import InvalidArgument
from storer.api import converters, page_tokens
from storer.fs import json_files, json_times
from storer.fs.json_files import Unreadable
from storer.fs.write_ahead_log import JOURNAL, Entry, WriteAheadLog
from storer.git import loose_objects
from storer.git.reader import GitReader
from storer.kata import light, lights, manifest, options
from storer.start_points.folders import MANIFEST
from storer.start_points.start_points import StartPoints
from storer.tar import headers
from storer.tar.untrusted_reader import Tar, translate_tar_errors
from support.fuzz import git_objects, json_values, katas, tars
from support.fuzz.profiles import examples

# What a damaged repository may raise: storer.kata.history makes KataDamaged of each.
DAMAGES = (ValueError, KeyError, OSError, TypeError, pygit2.GitError)


@examples(200)
@given(katas.odd_tars(), st.sampled_from([1 << 20, 4096, 100]))
def test_a_tar_is_unpacked_or_refused(tar: bytes, size: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "kata"
        folder.mkdir()
        try:
            with translate_tar_errors():
                opened = Tar(tar[at : at + size] for at in range(0, len(tar), size))
                while opened.member is not None:
                    parts = opened.parts()
                    if parts:
                        opened.unpack(folder, PurePosixPath(*parts))
                    opened.advance()
                opened.finish()
        except InvalidArgument:
            pass
        assert [path.name for path in Path(name).iterdir()] == ["kata"]
        for path in folder.rglob("*"):
            assert path.is_symlink() or path.is_file() or path.is_dir()
            assert path.resolve().is_relative_to(folder), path


NUMBERS = st.sampled_from([-1, 0, 1, 8**7 - 1, 8**7, 8**11 - 1, 8**11, 2**62])
NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=120)
TIMES = NUMBERS | st.sampled_from([0.5, 1e9 + 0.25])
PAX = st.sampled_from([{}, {"mtime": "1547642695.123456789"}, {"comment": "ä=\n"}])


@examples(200)
@given(
    NAMES.filter(lambda name: name.strip("/")),
    st.sampled_from([tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE]),
    NAMES,
    st.tuples(NUMBERS, NUMBERS, TIMES).filter(lambda each: min(each) >= 0),
    PAX,
)
def test_a_header_says_what_was_encoded(
    name: str, kind: bytes, link: str, numbers: tuple[int, int, float], pax: dict[str, str]
) -> None:
    header = tarfile.TarInfo(name)
    header.type, header.linkname, header.pax_headers = kind, link, dict(pax)
    header.uid, header.size, header.mtime = numbers
    if kind != tarfile.REGTYPE:
        header.size = 0
    encoded = BytesIO(headers.encode(header))
    with tarfile.open(fileobj=encoded, format=tarfile.PAX_FORMAT) as archive:
        (found,) = [tarfile.TarInfo.fromtarfile(_at_start(archive, encoded))]
    # tarfile keeps the slashes behind the name of a file, unless the name is in a pax header.
    assert found.name.rstrip("/") == name.rstrip("/")
    assert (found.type, found.uid) == (kind, header.uid)
    assert found.linkname == link
    assert found.size == header.size
    assert math.isclose(found.mtime, float(pax.get("mtime", header.mtime)), rel_tol=1e-9)


def _at_start(archive: tarfile.TarFile, file: BytesIO) -> tarfile.TarFile:
    file.seek(0)
    archive.offset = 0
    return archive


def _a_log(count: int) -> bytes:
    with tempfile.TemporaryDirectory() as name:
        log = WriteAheadLog(Path(name))
        for entry in ENTRIES[:count]:
            log.append(entry)
        return (Path(name) / JOURNAL).read_bytes()


ENTRIES = [
    Entry(number, f"{number:040x}", {f"{number + 1:040x}": b"%d" % number * 9})
    for number in range(3)
]
LOGS = {count: _a_log(count) for count in range(1, 4)}


@examples(200)
@given(st.sampled_from(sorted(LOGS)).flatmap(lambda count: tars.mutated_bytes(LOGS[count])))
def test_a_log_has_entries_that_were_appended_or_none(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / JOURNAL).write_bytes(content)
        log = WriteAheadLog(Path(name))
        found = log.recover()
        assert found == ENTRIES[: len(found)]
        assert log.entries() == found
        log.append(ENTRIES[0])
        assert log.entries() == [*found, ENTRIES[0]]


TOKENS = st.sampled_from([page_tokens.token("F0220000A1"), page_tokens.token("whale", 3), ""])


@examples(200)
@given(st.text() | TOKENS.flatmap(lambda token: tars.mutated_bytes(token.encode())))
def test_a_page_token_is_read_or_refused(token: str | bytes) -> None:
    text = token if isinstance(token, str) else token.decode("latin-1")
    for read in (page_tokens.after_kata, page_tokens.after_light, page_tokens.after_name):
        with contextlib.suppress(InvalidArgument):
            read(text)


OPTIONS = {
    "revision": 3,
    "kata": {"theme": "dark", "predict": True},
    "avatars": {"whale": {"theme": "light", "revert_red": False}},
}
READERS: list[tuple[str, Any, Callable[[Any], object]]] = [
    ("a manifest", katas.manifest(), manifest.from_json),
    ("a time", {"created": katas.WHEN}, manifest.created),
    ("lights", [katas.light(0), katas.light(1)], lights.parse),
    ("a light", katas.light(1), light.from_json),
    ("options", OPTIONS, options.parse),
    ("files", {"a": "b", "c": "\udcff"}, json_files.read_files),
]


@pytest.mark.parametrize("of", READERS, ids=lambda of: of[0])
def test_json_is_read_or_unreadable(of: tuple[str, Any, Callable[[Any], object]]) -> None:
    _, value, read = of

    @examples(200)
    @given(json_values.texts(value))
    def fuzz(text: bytes) -> None:
        with contextlib.suppress(Unreadable):
            read(json_files.loads(text, type(value)))

    fuzz()


START_POINT = {
    "display_name": "Mine",
    "image_name": "cyberdojofoundation/gcc_assert",
    "visible_filenames": ["a.c", "cyber-dojo.sh"],
    "highlight_filenames": ["a.c"],
    "filename_extension": [".c"],
    "progress_regexs": ["(a|b)", "[c-d]*"],
    "hidden_filenames": ["x.*"],
    "results_filename": "a",
    "max_seconds": 10,
    "tab_size": 4,
    "rag_lambda": "rule.rb",
    "colour_rule": {"patterns": [{"colour": "red", "pattern": "x", "stream": "any"}]},
    "other": {"a": [1]},
}
BROUGHT = {"a.c": b"x\r\n", "cyber-dojo.sh": b"make\n", "rule.rb": b"lambda { |out| :red }"}


@examples(200)
@given(json_values.texts(START_POINT))
def test_a_start_point_that_somebody_brings_makes_a_kata_or_has_problems(text: bytes) -> None:
    findings, found = StartPoints(None).check({**BROUGHT, MANIFEST: text})
    assert bool(findings.problems) == (found is None)
    if found is not None:
        manifest.check(found)
    answer = startpoints_pb2.CheckStartPointResponse(
        manifest=None if found is None else converters.manifest_to(found),
        problems=findings.problems,
        warnings=findings.warnings,
    )
    assert len(answer.SerializeToString()) < 100_000


@examples(200)
@given(json_values.values)
def test_a_list_is_a_time_or_is_refused(value: Any) -> None:
    try:
        found = json_times.from_list(value)
    except ValueError:
        return
    assert json_times.from_list(json_times.to_list(found)) == found


GOOD = katas.avatar().repository
OBJECTS = sorted(GOOD.objects)


@examples(200)
@given(st.sampled_from(OBJECTS), st.data())
def test_a_loose_object_is_whole_or_damaged(name: bytes, data: st.DataObject) -> None:
    kind, content = GOOD.objects[name]
    whole = git_objects.framed(kind, content)
    mutated = data.draw(tars.mutated_bytes(whole))
    compressed = data.draw(tars.mutated_bytes(zlib.compress(mutated)))
    try:
        found = loose_objects.parse(compressed, name.hex())
    except ValueError:
        return
    assert found == (kind, content)


@examples(60)
@given(katas.odd_git() | katas.odd_packs())
def test_a_repository_is_read_or_damaged(tar: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        try:
            with tarfile.open(fileobj=BytesIO(tar)) as archive:
                archive.extractall(name, filter="data")
        except (tarfile.TarError, OSError):
            return
        git = GitReader(Path(name) / katas.PREFIX / "whale/.git")
        for number in range(3):
            try:
                tag = f"refs/tags/{number}"
                root = git.root(tag)
                git.commit(tag)
                for entry in (root.get(b"sandbox"), root.get(b"light.json")):
                    if entry is not None:
                        git.read(entry.object)
            except DAMAGES:
                pass


@examples(100)
@given(json_values.values)
def test_values_that_are_written_are_read_again(value: Any) -> None:
    assert json_files.loads(json_files.dumps({"value": value}), dict) == {"value": value}
