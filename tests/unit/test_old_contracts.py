"""Callers of earlier contracts are understood: nothing has another meaning, or another type."""

from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf import descriptor_pb2

from cyberdojo.colour.v1 import colour_pb2
from cyberdojo.machines.v1 import machines_pb2
from cyberdojo.output.v1 import output_pb2
from cyberdojo.refusal.v1 import refusal_pb2
from cyberdojo.results.v1 import results_pb2
from cyberdojo.runner.v1 import runner_pb2
from cyberdojo.startpoints.v1 import startpoints_pb2
from cyberdojo.status.v1 import status_pb2
from cyberdojo.storer.v1 import storer_pb2
from support.old_client import BEFORE_EDITS, BEFORE_LIGHT_FACTS, descriptors

TODAY: tuple[Any, ...] = (
    *(colour_pb2, output_pb2, refusal_pb2, results_pb2),
    *(runner_pb2, startpoints_pb2, machines_pb2, status_pb2, storer_pb2),
)
# What was changed on purpose, before the first release; CHANGELOG.md tells callers of it.
_ONE_OUTPUT = "edd3d36: an output is one message in both services"
_ONE_NAME = "b326599: one name for one thing in both services; the wire is the same"
CHANGED = {
    "cyberdojo.runner.v1.Output": _ONE_OUTPUT,
    "cyberdojo.runner.v1.RunResponse.stdout": _ONE_OUTPUT,
    "cyberdojo.runner.v1.RunResponse.stderr": _ONE_OUTPUT,
    "cyberdojo.storer.v1.RecordTestRequest.stdout": _ONE_OUTPUT,
    "cyberdojo.storer.v1.RecordTestRequest.stderr": _ONE_OUTPUT,
    "cyberdojo.storer.v1.GetFilesResponse.stdout": _ONE_OUTPUT,
    "cyberdojo.storer.v1.GetFilesResponse.stderr": _ONE_OUTPUT,
    "cyberdojo.runner.v1.RunResponse.outcome": _ONE_NAME,
    "cyberdojo.storer.v1.Manifest.visible_files": _ONE_NAME,
    "cyberdojo.storer.v1.Manifest.VisibleFilesEntry": _ONE_NAME,
    "cyberdojo.storer.v1.StartAvatarRequest.order": _ONE_NAME,
    "cyberdojo.storer.v1.StartAvatarResponse.visible_files": _ONE_NAME,
    "cyberdojo.storer.v1.StartAvatarResponse.VisibleFilesEntry": _ONE_NAME,
    "cyberdojo.runner.v1.RunResponse.test_results": "23d0b24: its number is 12, among the others'",
}
Facts = dict[str, dict[int | str, tuple[str, object]]]


def facts(files: Any) -> Facts:
    """Return what each message, enum and service has: by number or name, its name and its type."""
    found: Facts = {}

    def walk(prefix: str, message: Any) -> None:
        name = f"{prefix}.{message.name}"
        found[name] = {
            each.number: (each.name, (each.type, each.type_name, each.label))
            for each in message.field
        }
        for inner in message.nested_type:
            walk(name, inner)

    for file in files:
        for message in file.message_type:
            walk(file.package, message)
        for enum in file.enum_type:
            found[f"{file.package}.{enum.name}"] = {
                each.number: (each.name, None) for each in enum.value
            }
        for service in file.service:
            found[f"{file.package}.{service.name}"] = {
                each.name: (
                    each.name,
                    (
                        *(each.input_type, each.output_type),
                        *(each.client_streaming, each.server_streaming),
                    ),
                )
                for each in service.method
            }
    return found


def today() -> Facts:
    """Return what the contract of today has."""
    files = []
    for module in TODAY:
        file = descriptor_pb2.FileDescriptorProto()
        module.DESCRIPTOR.CopyToProto(file)
        files.append(file)
    return facts(files)


def differences(contract: str) -> Iterator[str]:
    """Yield the names of what an earlier contract has, and today's has not, or in another way."""
    now = today()
    ours = [each for each in descriptors(contract).file if each.package.startswith("cyberdojo.")]
    for name, had in facts(ours).items():
        if name not in now:
            yield name
            continue
        for key, (each, about) in had.items():
            if now[name].get(key) != (each, about):
                yield f"{name}.{each}"


def test_since_an_output_is_one_message_the_contract_was_only_added_to() -> None:
    assert list(differences(BEFORE_EDITS)) == []


def test_what_was_changed_since_lights_say_more_was_changed_on_purpose() -> None:
    assert set(differences(BEFORE_LIGHT_FACTS)) == set(CHANGED)


@pytest.mark.parametrize("contract", [BEFORE_LIGHT_FACTS, BEFORE_EDITS])
def test_an_earlier_contract_is_another_one(contract: str) -> None:
    ours = [each for each in descriptors(contract).file if each.package.startswith("cyberdojo.")]
    had, now = facts(ours), today()
    assert any(now[name].keys() > had[name].keys() for name in had.keys() & now.keys())
