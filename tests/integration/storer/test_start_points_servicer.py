"""The RPCs of start points: lists of each kind, manifests, and a check of what a caller brings."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from cyberdojo.colour.v1 import colour_pb2
from cyberdojo.startpoints.v1 import startpoints_pb2, startpoints_pb2_grpc
from cyberdojo.storer.v1 import storer_pb2
from support.services import Service
from support.storer.start_points import FILES, a_language, index, own, write
from support.storer.storing import Katas, refused

__all__ = ["own"]  # a fixture

Stub = startpoints_pb2_grpc.StartPointsServiceStub


def languages(stub: Stub) -> dict[str, str]:
    """Return a map from display name to image name."""
    listed = stub.ListLanguages(startpoints_pb2.ListLanguagesRequest()).languages
    return {each.display_name: each.image_name for each in listed}


def exercises(stub: Stub) -> dict[str, bytes]:
    """Return a map from display name to instructions."""
    listed = stub.ListExercises(startpoints_pb2.ListExercisesRequest()).exercises
    return {each.display_name: each.instructions for each in listed}


def custom(stub: Stub) -> dict[str, startpoints_pb2.ListedCustomStartPoint]:
    """Return a map from display name to what is listed."""
    asked = startpoints_pb2.ListCustomStartPointsRequest()
    listed = stub.ListCustomStartPoints(asked).custom_start_points
    return {each.display_name: each for each in listed}


def get_custom(stub: Stub, name: str) -> storer_pb2.Manifest:
    return stub.GetStartPoint(startpoints_pb2.GetStartPointRequest(custom=name)).manifest


def check(
    stub: Stub, manifest: object, files: dict[str, bytes]
) -> startpoints_pb2.CheckStartPointResponse:
    """Check a custom start point that a teacher brings."""
    text = manifest if isinstance(manifest, bytes) else json.dumps(manifest).encode()
    asked = startpoints_pb2.CheckStartPointRequest(files={"manifest.json": text, **files})
    return stub.CheckStartPoint(asked)


def get(stub: Stub, language: str, exercise: str = "") -> storer_pb2.Manifest:
    asked = startpoints_pb2.GetStartPointRequest(language=language, exercise=exercise)
    return stub.GetStartPoint(asked).manifest


@pytest.fixture
def shared(storer_service: Service, connect: Callable[[str], grpc.Channel]) -> Stub:
    """The project's own start points, served by the shared storer."""
    return Stub(connect(storer_service.address))


@pytest.fixture
def serve(
    start_storer: Callable[..., Service], connect: Callable[[str], grpc.Channel]
) -> Callable[[Path], Stub]:
    """Serves a folder of start points."""
    return lambda folder: Stub(connect(start_storer(CYBER_DOJO_START_POINTS=str(folder)).address))


def test_languages_are_listed_with_their_images(shared: Stub, start_points: Path) -> None:
    found = languages(shared)
    assert found["C (gcc), assert"] == "cyberdojofoundation/gcc_assert"
    assert len(found) == sum(path.is_dir() for path in (start_points / "languages").iterdir())
    assert list(found) == sorted(found)


def test_exercises_are_listed_with_their_instructions(shared: Stub, start_points: Path) -> None:
    found = exercises(shared)
    expected = (start_points / "exercises/Fizz_Buzz/instructions").read_bytes()
    assert found["Fizz Buzz"] == expected
    assert len(found) >= 20


def test_pages_together_have_each_name_once(shared: Stub) -> None:
    names: list[str] = []
    token = ""
    while True:
        asked = startpoints_pb2.ListExercisesRequest(page_size=3, page_token=token)
        page = shared.ListExercises(asked)
        assert 1 <= len(page.exercises) <= 3
        names += [each.display_name for each in page.exercises]
        if not (token := page.next_page_token):
            break
    assert names == list(exercises(shared))


def test_a_kata_starts_from_a_language_and_an_exercise(
    shared: Stub, katas: Katas, start_points: Path
) -> None:
    found = get(shared, "C (gcc), assert", "Fizz Buzz")
    made = katas.stub.CreateKata(storer_pb2.CreateKataRequest(manifest=found)).kata_id
    kata = katas.get(made).manifest
    assert (kata.display_name, kata.exercise) == ("C (gcc), assert", "Fizz Buzz")
    folder = start_points / "languages/gcc_assert"
    names = json.loads((folder / "manifest.json").read_text())["visible_filenames"]
    assert dict(kata.files) == {
        **{name: (folder / name).read_bytes() for name in names},
        "instructions": (start_points / "exercises/Fizz_Buzz/instructions").read_bytes(),
    }
    first = kata.colour_rule.patterns.patterns[0]
    assert (first.colour, first.pattern) == (colour_pb2.COLOUR_RED, "Assertion .* failed")


def test_an_existing_start_point_works_unchanged(own: Path, serve: Callable[[Path], Stub]) -> None:
    manifest = a_language(
        filename_extension=".pas",
        max_seconds=20,
        tab_size=3,
        progress_regexs=["a", "b"],
        highlight_filenames=["hiker.pas"],
        hidden_filenames=["coverage/.*\\.txt"],
        rag_lambda="red_amber_green.rb",
        runner_choice="stateful",
    )
    rule = "lambda { |output| :red }\n"
    write(own / "languages/pascal", manifest, {**FILES, "red_amber_green.rb": rule})
    assert index(own / "languages").returncode == 0
    found = get(serve(own), "Pascal, own")
    assert list(found.filename_extensions) == [".pas"]
    assert (found.max_seconds, found.tab_size) == (20, 3)
    assert list(found.highlight_filenames) == ["hiker.pas"]
    assert list(found.hidden_filenames) == ["coverage/.*\\.txt"]
    assert found.colour_rule.ruby_lambda.source == rule
    assert dict(found.other) == {"runner_choice": "stateful"}
    assert set(found.files) == set(FILES)


def test_unknown_start_points_and_bad_fields_are_refused(shared: Stub) -> None:
    for language, exercise in (("C", ""), ("C (gcc), assert", "Nothing"), ("x" * 200, "")):
        with refused(grpc.StatusCode.NOT_FOUND):
            get(shared, language, exercise)
    with refused(grpc.StatusCode.INVALID_ARGUMENT, field="language"):
        get(shared, "")
    with refused(grpc.StatusCode.INVALID_ARGUMENT, field="exercise"):
        get(shared, "C (gcc), assert", "x" * 201)
    garbage = startpoints_pb2.ListLanguagesRequest(page_token="x")  # noqa: S106
    with refused(grpc.StatusCode.INVALID_ARGUMENT, field="page_token"):
        shared.ListLanguages(garbage)
    with refused(grpc.StatusCode.INVALID_ARGUMENT, field="page_size"):
        shared.ListExercises(startpoints_pb2.ListExercisesRequest(page_size=1001))


def test_a_storer_without_start_points_has_none(
    start_storer: Callable[..., Service], connect: Callable[[str], grpc.Channel]
) -> None:
    stub = Stub(connect(start_storer().address))
    assert languages(stub) == {}
    assert exercises(stub) == {}
    with refused(grpc.StatusCode.NOT_FOUND):
        get(stub, "C (gcc), assert")


def test_replaced_start_points_are_served(own: Path, serve: Callable[[Path], Stub]) -> None:
    stub = serve(own)
    assert languages(stub) == {}
    assert index(own / "languages", own / "exercises").returncode == 0
    assert list(languages(stub)) == ["Pascal, own"]
    write(own / "languages/pascal", a_language(display_name="Pascal, other"))
    assert index(own / "languages").returncode == 0
    assert list(languages(stub)) == ["Pascal, other"]
    assert get(stub, "Pascal, other", "Own").exercise == "Own"
    shutil.rmtree(own / "languages")
    assert languages(stub) == {}


def test_a_damaged_start_point_is_reported_by_file_and_the_others_are_served(
    own: Path, serve: Callable[[Path], Stub]
) -> None:
    write(own / "languages/other", a_language(display_name="Other"), FILES)
    assert index(own / "languages", own / "exercises").returncode == 0
    stub = serve(own)
    (own / "languages/pascal/hiker.pas").unlink()
    with refused(grpc.StatusCode.DATA_LOSS, says="hiker.pas"):
        get(stub, "Pascal, own")
    assert get(stub, "Other").display_name == "Other"
    (own / "exercises/index.json").write_text("{")
    with refused(grpc.StatusCode.DATA_LOSS, says="exercises/index.json"):
        exercises(stub)
    assert len(languages(stub)) == 2


def test_a_language_and_an_exercise_with_the_same_file_cannot_be_combined(
    own: Path, serve: Callable[[Path], Stub]
) -> None:
    exercise = {"display_name": "Own", "visible_filenames": ["hiker.pas"]}
    write(own / "exercises/Own", exercise, {"hiker.pas": ""})
    assert index(own / "languages", own / "exercises").returncode == 0
    with refused(grpc.StatusCode.INVALID_ARGUMENT, field="exercise", says="hiker.pas"):
        get(serve(own), "Pascal, own", "Own")


RING = "Ring buffer, finding defects, in C"


def test_custom_start_points_are_listed_with_their_images_and_instructions(
    shared: Stub, start_points: Path
) -> None:
    found = custom(shared)
    assert len(found) == sum(path.is_dir() for path in (start_points / "custom").iterdir())
    assert list(found) == sorted(found)
    assert found[RING].image_name == "cyberdojofoundation/gcc_assert"
    instructions = (start_points / "custom/Ring_Buffer/instructions").read_bytes()
    assert found[RING].instructions == instructions
    first = shared.ListCustomStartPoints(startpoints_pb2.ListCustomStartPointsRequest(page_size=1))
    assert len(first.custom_start_points) == 1
    assert first.next_page_token


def test_a_kata_starts_from_a_custom_start_point(
    shared: Stub, katas: Katas, start_points: Path
) -> None:
    found = get_custom(shared, RING)
    made = katas.stub.CreateKata(storer_pb2.CreateKataRequest(manifest=found)).kata_id
    kata = katas.get(made).manifest
    assert (kata.display_name, kata.exercise) == (RING, "")
    folder = start_points / "custom/Ring_Buffer"
    names = json.loads((folder / "manifest.json").read_text())["visible_filenames"]
    assert dict(kata.files) == {name: (folder / name).read_bytes() for name in names}
    assert kata.colour_rule == get(shared, "C (gcc), assert").colour_rule


def test_a_custom_start_point_goes_with_nothing_else(shared: Stub) -> None:
    ask = startpoints_pb2.GetStartPointRequest
    with refused(grpc.StatusCode.INVALID_ARGUMENT, field="language", says="does not go with"):
        shared.GetStartPoint(ask(custom=RING, language="C (gcc), assert"))
    with refused(grpc.StatusCode.INVALID_ARGUMENT, field="exercise", says="does not go with"):
        shared.GetStartPoint(ask(custom=RING, exercise="Fizz Buzz"))
    with refused(grpc.StatusCode.INVALID_ARGUMENT, field="custom"):
        get_custom(shared, "x" * 201)
    with refused(grpc.StatusCode.NOT_FOUND, says="is none of the custom start points"):
        get_custom(shared, "Nothing")
    with refused(grpc.StatusCode.NOT_FOUND):
        get_custom(shared, "C (gcc), assert")
    with refused(grpc.StatusCode.NOT_FOUND):
        get(shared, RING)


def test_a_damaged_custom_start_point_ends_no_call_about_the_others(
    own: Path, serve: Callable[[Path], Stub]
) -> None:
    stub = serve(own)
    assert custom(stub) == {}
    for name in ("one", "two"):
        write(own / f"custom/{name}", a_language(display_name=name), FILES)
    assert index(own / "languages", own / "custom").returncode == 0
    assert list(custom(stub)) == ["one", "two"]
    (own / "custom/one/hiker.pas").unlink()
    with refused(grpc.StatusCode.DATA_LOSS, says="custom/one"):
        get_custom(stub, "one")
    assert get_custom(stub, "two").display_name == "two"
    (own / "custom/index.json").write_text("{")
    with refused(grpc.StatusCode.DATA_LOSS, says="custom/index.json"):
        custom(stub)
    assert list(languages(stub)) == ["Pascal, own"]


def test_damaged_start_points_are_told_and_keep_no_call(
    own: Path, serve: Callable[[Path], Stub]
) -> None:
    stub = serve(own)
    write(own / "custom/one", a_language(display_name="one"), FILES)
    assert index(own / "languages", own / "custom").returncode == 0
    (own / "custom/one/hiker.pas").unlink()
    os.mkfifo(own / "custom/one/hiker.pas")
    with refused(grpc.StatusCode.DATA_LOSS, says="'hiker.pas': is not a regular file"):
        get_custom(stub, "one")
    whole = {"display_name": "one", "folder": "one"}
    for damaged in (
        {**whole, "display_name": 5},
        {**whole, "display_name": "\ud800"},
        {**whole, "folder": "../languages/pascal"},
        {**whole, "folder": "a\0"},
        {**whole, "folder": "\ud800"},
    ):
        (own / "custom/index.json").write_text(json.dumps([damaged]))
        for call in (custom, lambda stub: get_custom(stub, "one")):
            with refused(grpc.StatusCode.DATA_LOSS, says="custom/index.json"):
                call(stub)
    # A name of a file that is not UTF-8 is in the refusal.
    (own / "custom/index.json").write_text(json.dumps([{**whole, "folder": "\udcff"}]))
    assert list(custom(stub)) == ["one"]
    with refused(grpc.StatusCode.DATA_LOSS, says="manifest.json: is missing"):
        get_custom(stub, "one")
    (own / "custom/index.json").unlink()
    os.mkfifo(own / "custom/index.json")
    with refused(grpc.StatusCode.DATA_LOSS, says="custom/index.json"):
        custom(stub)
    assert list(languages(stub)) == ["Pascal, own"]


def test_a_kata_starts_from_files_that_a_teacher_brings(shared: Stub, katas: Katas) -> None:
    manifest = a_language(
        display_name="Mine",
        image_name="cyberdojofoundation/gcc_assert:latest",
        visible_filenames=["cyber-dojo.sh", "lib/hiker.c"],
        zzz=1,
    )
    files = {"cyber-dojo.sh": b"make\n", "lib/hiker.c": b"\xff\x00", "notes": b"for the teacher"}
    found = check(shared, manifest, files)
    assert not found.problems
    (warning,) = found.warnings
    assert warning.startswith("manifest.json: zzz: nobody knows this key")
    made = katas.stub.CreateKata(storer_pb2.CreateKataRequest(manifest=found.manifest)).kata_id
    kata = katas.get(made).manifest
    assert kata.display_name == "Mine"
    assert dict(kata.files) == {name: files[name] for name in ("cyber-dojo.sh", "lib/hiker.c")}
    assert kata.colour_rule == get(shared, "C (gcc), assert").colour_rule
    named = check(shared, {**manifest, "exercise": "Fizz Buzz"}, files)
    assert (named.manifest.exercise, len(named.warnings)) == ("", 2)  # as the warning says
    lambda_ = {**files, "rule.rb": b"lambda { |_| :red }"}
    found = check(shared, {**manifest, "rag_lambda": "rule.rb"}, lambda_)
    assert found.manifest.colour_rule.ruby_lambda.source == "lambda { |_| :red }"


def test_what_is_wrong_with_a_teachers_files_is_in_the_answer_and_nothing_is_created(
    shared: Stub,
) -> None:
    files = {name: content.encode() for name, content in FILES.items()}
    found = check(shared, a_language(tab_size=99, visible_filenames=["hiker.pass"]), files)
    assert not found.HasField("manifest")
    missing = "'hiker.pass': there is no such file beside manifest.json; did you mean hiker.pas?"
    assert list(found.problems) == [
        f"manifest.json: visible_filenames[0]: {missing}",
        "manifest.json: visible_filenames: cyber-dojo.sh is missing",
        "manifest.json: tab_size: 99 is not from 1 to 16",
    ]
    asked = startpoints_pb2.CheckStartPointRequest(files=files)
    assert list(shared.CheckStartPoint(asked).problems) == ["manifest.json: is missing"]


def test_files_that_no_kata_can_have_are_refused(shared: Stub) -> None:
    with refused(grpc.StatusCode.INVALID_ARGUMENT, field="files['../secret']"):
        check(shared, a_language(), {"../secret": b""})
    with refused(grpc.StatusCode.INVALID_ARGUMENT, field="files", says="more than 4096"):
        check(shared, a_language(), {f"f{number}": b"" for number in range(4096)})
    with refused(grpc.StatusCode.INVALID_ARGUMENT, field="files['large']"):
        check(shared, a_language(), {"large": bytes(16 * 1024**2 + 1)})


@pytest.mark.parametrize(
    ("manifest", "says"),
    [
        (b"[" * 900_000, "is not JSON"),
        (b" " * 2**20 + b"{}", "manifest.json: has 1048578 bytes, more than 1048576"),
        (b'{"display_name": ' + b"[" * 900 + b"]" * 900 + b"}", "manifest.json: "),
        (b'{"\\ud800": 1}', "manifest.json: display_name: is required"),
        (b'{"display_name": "' + b"x" * 2**19 + b'", "image_name": 1}', "524288 characters are"),
        (json.dumps({str(number): 1 for number in range(70_000)}).encode(), "is required"),
        (json.dumps({"visible_filenames": ["hiker.pa"] * 70_000}).encode(), "and more"),
        (json.dumps({"visible_filenames": [[]] * 200_000}).encode(), "and more"),
        (b'{"progress_regexs": ["' + b"(" * 2**19 + b'"]}', "is no regular expression"),
        (b'{"hidden_filenames": ["' + b"(?#" * 2**18 + b'"]}', "is no regular expression"),
    ],
    ids=range(10),
)
def test_a_hostile_manifest_is_answered_soon_and_shortly(
    shared: Stub, manifest: bytes, says: str
) -> None:
    files = {f"hiker.p{number}": b"" for number in range(4000)}
    asked = startpoints_pb2.CheckStartPointRequest(files={"manifest.json": manifest, **files})
    found = shared.CheckStartPoint(asked, timeout=10)
    assert any(says in line for line in found.problems), found.problems[:3]
    assert not found.HasField("manifest")
    for lines in (found.problems, found.warnings):
        assert len(lines) <= 51
        assert all(len(line) < 600 for line in lines)
