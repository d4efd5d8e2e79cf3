"""The RPCs of start points: lists of languages and exercises, and a manifest of both."""

import json
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
