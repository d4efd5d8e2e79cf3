"""Messages of any type, from its descriptor, with values that nobody would send."""

from collections.abc import Callable
from typing import Any

from google.protobuf import struct_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import strategies as st

from cyberdojo.machines.v1 import machines_pb2
from cyberdojo.runner.v1 import runner_pb2
from cyberdojo.startpoints.v1 import startpoints_pb2
from cyberdojo.status.v1 import status_pb2
from cyberdojo.storer.v1 import storer_pb2
from support.fuzz import katas, strengths, tars

STORER = [
    method
    for service in ("StorerService", "StartPointsService", "MachinesService", "StatusService")
    for file in (storer_pb2, startpoints_pb2, machines_pb2, status_pb2)
    if service in file.DESCRIPTOR.services_by_name
    for method in file.DESCRIPTOR.services_by_name[service].methods
]
RUNNER = list(runner_pb2.DESCRIPTOR.services_by_name["RunnerService"].methods)

IMAGE = "cyberdojofoundation/python_pytest"

_TEXTS = ["", "x", "../x", "/", ".", "\0", "\n", "ä" * 40, "\ufffe", "x" * 300, "a/b", "%s", "*"]
_INTEGERS = [0, 1, -1, 2, 3, 100, 2**31 - 1, -(2**31)]
_LONG_INTEGERS = [*_INTEGERS, 2**31, 2**63 - 1, -(2**63)]


def _mostly(good: list[Any], odd: list[Any]) -> list[Any]:
    """Return values to sample from, of which seven in eight are good: others reach little."""
    return good * (7 * len(odd) // len(good) + 1) + odd


_KATAS = _mostly([katas.KATA], ["F0220000A2", "f0220000a1", "F0220000A", "F0220000A11", *_TEXTS])
_AVATARS = _mostly(["whale"], ["zebra", "Whale", *_TEXTS])
_SCRIPTS = [b"echo tests: passed", b"exit 3", b"kill -9 $$", b"printf '\\377\\0'", b"rm *; mkdir d"]
_ODD_PATTERNS = ["(", "a{1000}", "\\C", "x" * 1001, ""]
_ODD_SOURCES = ["lambda { exit }", "(", "", "x" * 20_000, "lambda { 1 }"]
_LIGHTS = _mostly([0, 1, 2, -1], _INTEGERS)
_TOKENS = _mostly([""], ["WyJGMDIyMDAwMEExIl0=", "WyJ3aGFsZSIsIDFd", "W10=", *_TEXTS])

_BY_NAME: dict[str, list[Any]] = {
    "kata_id": _KATAS,
    "partial_id": _mostly(["F02200", "F0220000A1", "f02200"], ["F022", *_TEXTS]),
    "after_kata_id": _mostly([""], _KATAS[-5:]),
    "prefix": _mostly(["", "F0", "F0220000A1"], ["zz", *_TEXTS]),
    "kata_ids": _KATAS,
    "avatar": _AVATARS,
    "avatars": _AVATARS,
    # Nothing that a registry could be asked for: nobody answers on port 1 of this machine.
    "image_name": _mostly([IMAGE], ["127.0.0.1:1/none", "", "A", "-", "a b", "x:", "x@sha256:1"]),
    "page_token": _TOKENS,
    "since_token": _TOKENS,
    "resume_token": _TOKENS,
    "state": _mostly([b""], [b"x", bytes(32), b"x" * 5000]),
    "language": _mostly(["Python, pytest", "C (gcc), assert"], _TEXTS),
    "custom": _mostly(["", "Ring buffer, finding defects, in C"], _TEXTS),
    "display_name": _mostly(["C (gcc), assert"], _TEXTS),
    "exercise": _mostly(["", "Fizz Buzz"], _TEXTS),
    "request_id": _mostly(["", "a"], ["5f0c9a1e-7f3b-4a86", *_TEXTS]),
    "light_number": _LIGHTS,
    "was_number": _LIGHTS,
    "now_number": _LIGHTS,
    "expected_number": _mostly([3], [4, 5, *_INTEGERS]),
    "tab_size": _mostly([4], _INTEGERS),
    "page_size": _mostly([1, 2, 100], _INTEGERS),
    "share_percent": _mostly([100], _INTEGERS),
    "status": _mostly([0, 1, 137], _INTEGERS),
    "seconds": _mostly([1547642695], _LONG_INTEGERS),
    "nanos": _mostly([0, 5, 999_999_999], _INTEGERS),
    "colour": _mostly([1, 2, 3], [4, 5, 0, 99]),
    "pattern": _mostly(["x", "(?m)^tests: passed$"], _ODD_PATTERNS),
    "source": _mostly(["lambda { |out| :red }"], _ODD_SOURCES),
    "max_seconds": _mostly([1, 2, 5], [0, -1, 61, 2**31 - 1]),
}
_FILENAMES = _mostly(["hiker.c", "a/b.txt", "ü", "f.lock", "._a"], ["a", ".git/config", *_TEXTS])

_BYTES = [b"", b"x\n", b"\0", b"\xff\xfe", b"a\r\nb", "ä\n".encode(), b"x" * 5000]
_OTHER_KEYS = ["browser", "runner_choice", "ä", "", "id"]
_MORE_OTHER_KEYS = ["language", "unit_test_framework", "visible_filenames", "format"]
_OTHER_VALUES = ["x", 5, None, True, ["Ruby", "4.0.1"], {"a": [1]}, 1e308]

FD = FieldDescriptor
_SCALARS: dict[int, list[Any]] = {
    FD.TYPE_INT32: _INTEGERS,
    FD.TYPE_INT64: _LONG_INTEGERS,
    FD.TYPE_BOOL: [False, True],
    FD.TYPE_STRING: _TEXTS,
    FD.TYPE_BYTES: _BYTES,
    FD.TYPE_DOUBLE: [0.0, -1.5, 1e308, float("inf"), float("nan")],
}


@st.composite
def messages(draw: st.DrawFn, descriptor: Descriptor, depth: int = 0) -> Message:
    """Return a message: each field is absent or has a usual or an odd value."""
    message = GetMessageClass(descriptor)()
    if descriptor.full_name == struct_pb2.Struct.DESCRIPTOR.full_name:
        keys = _OTHER_KEYS + (_MORE_OTHER_KEYS if strengths.ANY_OTHER_KEYS else [])
        found = st.dictionaries(st.sampled_from(keys), st.sampled_from(_OTHER_VALUES), max_size=2)
        return ParseDict(draw(found), message)
    oneofs = {oneof.name: draw(st.sampled_from(list(oneof.fields))) for oneof in descriptor.oneofs}
    for field in descriptor.fields:
        oneof = field.containing_oneof
        if oneof is not None and oneofs[oneof.name] is not field:
            continue
        if draw(st.integers(0, 15)):  # most fields are there: without a kata nothing is reached
            _fill(draw, message, field, depth)
    return message


def _fill(draw: st.DrawFn, message: Any, field: FieldDescriptor, depth: int) -> None:
    name = field.name
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        value = field.message_type.fields_by_name["value"]
        keys = _AVATARS if name == "seen" else _FILENAMES
        some = draw(st.lists(st.sampled_from(keys), max_size=4))
        if name == "files" and draw(st.integers(0, 15)):
            some = ["cyber-dojo.sh", *some]
        for key in some:
            is_script = key == "cyber-dojo.sh"
            values = st.sampled_from(_SCRIPTS) if is_script else _scalars(value)
            getattr(message, name)[key] = draw(values)
    elif field.is_repeated:
        for _ in range(draw(st.integers(0, 3))):
            if field.message_type is None:
                getattr(message, name).append(draw(_scalars(field)))
            else:
                inner = draw(messages(field.message_type, depth + 1))
                getattr(message, name).add().CopyFrom(inner)
    elif field.message_type is not None:
        if depth < 4:
            getattr(message, name).CopyFrom(draw(messages(field.message_type, depth + 1)))
    else:
        setattr(message, name, draw(_scalars(field)))


def _scalars(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    if field.name in _BY_NAME:
        return st.sampled_from(_BY_NAME[field.name])
    if field.enum_type is not None:
        numbers = [value.number for value in field.enum_type.values]
        return st.sampled_from(_mostly(numbers, [-1, 99, 2**31 - 1]))
    if field.type == FD.TYPE_BYTES:
        sizes = strengths.sizes(20_000, strengths.RECORDED_BYTES)
        large = sizes.map(lambda size: b"\xff" * size)
        return st.sampled_from(_BYTES) | large
    return st.sampled_from(_SCALARS[field.type])


@st.composite
def requests(draw: st.DrawFn, method: MethodDescriptor) -> list[bytes]:
    """Return the serialized requests of a call, most often well-formed ones."""
    if not method.client_streaming:
        message = draw(messages(method.input_type)).SerializeToString()
        # Other bytes of an image's name could be one that a registry is asked for.
        if method.name == "PullImage" or draw(st.integers(0, 7)):
            return [message]
        return [draw(tars.mutated_bytes(message))]
    return draw(_streams(GetMessageClass(method.input_type)))


@st.composite
def _streams(draw: st.DrawFn, request: Callable[..., Message]) -> list[bytes]:
    """Return a stream with a tar: whole, or cut off, in another order, doubled, mutated."""
    tar = draw(st.sampled_from([katas.GOOD, katas.GOOD[:-600], b"", b"x" * 600]))
    size = draw(st.sampled_from([len(tar) + 1, 4096, 10_000]))
    header = draw(messages(request.DESCRIPTOR.fields_by_name["header"].message_type))  # type: ignore[attr-defined]
    digest = storer_pb2.StreamEnd(size_bytes=len(tar), sha256=tars.sha256(tar))
    parts = [request(header=header)]
    parts += [request(data=tar[at : at + size]) for at in range(0, len(tar), size)]
    parts.append(request(end=digest))
    serialized = [part.SerializeToString() for part in parts]
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(serialized)))
        match draw(st.sampled_from(["cut off", "gone", "twice", "moved", "odd", "bytes"])):
            case "cut off":
                del serialized[at:]
            case "gone":
                del serialized[at : at + 1]
            case "twice":
                serialized[at:at] = serialized[at : at + 1]
            case "moved" if serialized:
                moved = serialized.pop(min(at, len(serialized) - 1))
                serialized.insert(draw(st.integers(0, len(serialized))), moved)
            case "odd":
                odd = draw(messages(request.DESCRIPTOR))  # type: ignore[attr-defined]
                serialized.insert(at, odd.SerializeToString())
            case _:
                serialized.insert(at, draw(st.binary(max_size=20)))
    return serialized
