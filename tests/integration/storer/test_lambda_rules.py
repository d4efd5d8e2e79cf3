"""A kata's Ruby lambda: the storer reads it from manifest.json, writes it, and serves it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct

from cyberdojo.colour.v1 import colour_pb2
from dojo.ruby_lambdas import MAX_SOURCE_BYTES
from support.storer.katas_directories import LegacyKata, manifest, params
from support.storer.storing import Katas, refused

SOURCE = "lambda { |stdout,stderr,status|\n  return status === 0 ? :green : :red\n}\n"
FIELD = "manifest.colour_rule.ruby_lambda.source"


def ruby(source: str) -> colour_pb2.ColourRule:
    return colour_pb2.ColourRule(ruby_lambda=colour_pb2.RubyLambda(source=source))


def source_of(katas: Katas, kata_id: str) -> str:
    rule = katas.get(kata_id).manifest.colour_rule
    assert rule.WhichOneof("rule") == "ruby_lambda"
    return rule.ruby_lambda.source


def change(folder: Path, **keys: Any) -> None:
    """Change keys of a kata's manifest.json, as another program would."""
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **keys}))


@pytest.mark.parametrize("kata", params(lambda kata: kata.avatar == "spider"))
def test_the_lambda_of_a_legacy_kata_is_its_rule(
    katas: Katas, katas_directory: Path, kata: LegacyKata
) -> None:
    value = manifest(kata, katas_directory)
    katas.import_(kata.id)
    assert source_of(katas, kata.id) == "\n".join(value["red_amber_green"])
    assert "red_amber_green" not in katas.get(kata.id).manifest.other


@pytest.mark.parametrize(
    "source", [SOURCE, SOURCE.strip(), "lambda { |o| 'é' == o ? :red : :green }"]
)
def test_a_kata_is_created_with_a_lambda_that_other_programs_can_read(
    katas: Katas, folder: Callable[[str], Path], source: str
) -> None:
    kata_id = katas.create(colour_rule=ruby(source))
    assert source_of(katas, kata_id) == source
    value = json.loads((folder(kata_id) / "manifest.json").read_text())
    assert "\n".join(value["red_amber_green"]) == source
    assert "colour_rule" not in value


@pytest.mark.parametrize("value", [SOURCE, SOURCE.split("\n"), [SOURCE]])
def test_a_lambda_is_one_string_or_a_list_of_lines(
    katas: Katas, folder: Callable[[str], Path], value: object
) -> None:
    kata_id = katas.create()
    change(folder(kata_id), red_amber_green=value)
    assert source_of(katas, kata_id) == SOURCE


def test_patterns_come_before_a_lambda(katas: Katas, folder: Callable[[str], Path]) -> None:
    kata_id = katas.create(colour_rule=ruby(SOURCE))
    pattern = {"colour": "red", "pattern": "failed", "stream": "any"}
    change(folder(kata_id), colour_rule={"patterns": [pattern]})
    rule = katas.get(kata_id).manifest.colour_rule
    assert [each.pattern for each in rule.patterns.patterns] == ["failed"]


@pytest.mark.parametrize(
    "value", [None, "", [], 5, {"a": "b"}, [["x"]], ["lambda", 5], "#" * (MAX_SOURCE_BYTES + 1)]
)
def test_an_invalid_lambda_is_kept_and_is_no_rule(
    katas: Katas, folder: Callable[[str], Path], value: object
) -> None:
    kata_id = katas.create()
    change(folder(kata_id), red_amber_green=value)
    found = katas.get(kata_id).manifest
    assert found.colour_rule.WhichOneof("rule") != "ruby_lambda"
    assert MessageToDict(found.other)["red_amber_green"] == value


@pytest.mark.parametrize("source", ["", "\n", "#" * (MAX_SOURCE_BYTES + 1)])
def test_no_kata_is_created_with_an_invalid_lambda(katas: Katas, source: str) -> None:
    with refused(grpc.StatusCode.INVALID_ARGUMENT, field=FIELD):
        katas.create(colour_rule=ruby(source))


def test_a_lambda_is_not_among_the_other_keys(katas: Katas) -> None:
    other = Struct()
    other.update({"red_amber_green": SOURCE})
    with refused(grpc.StatusCode.INVALID_ARGUMENT, field="manifest.other.red_amber_green"):
        katas.create(other=other)
