"""Lights for people: coloured dots, or letters where there are no colours."""

from datetime import UTC

from google.protobuf.json_format import MessageToDict
from google.protobuf.timestamp_pb2 import Timestamp

from cli.terminal.screen import Piece, Screen
from cyberdojo.colour.v1 import colour_pb2
from cyberdojo.results.v1 import results_pb2
from cyberdojo.storer.v1 import storer_pb2

_DOTS = {"red": "●", "amber": "●", "green": "●", "timed_out": "◌", "faulty": "✖"}
_LETTERS = {"red": "R", "amber": "A", "green": "G", "timed_out": "T", "faulty": "F"}


def colour_name(light: storer_pb2.Light) -> str:
    """Return the name of a light's colour; an empty one for the start."""
    return _name(light.colour)


def facts(light: storer_pb2.Light) -> list[str]:
    """Return what a web tier said of a light, for people."""
    found = []
    if light.predicted:
        found.append(f"predicted {_name(light.predicted)}")
    if light.HasField("source"):
        source = light.source
        found.append(f"files of {source.kata_id} {source.avatar} {source.light_number}")
    if light.HasField("test_counts"):
        counts = light.test_counts
        total = counts.passed + counts.failed + counts.errors + counts.skipped
        found.append(f"{counts.passed} of {total} tests passed")
    if light.special:
        found.append("special")
    for stream, truncated in (("out", light.stdout_truncated), ("err", light.stderr_truncated)):
        if truncated:
            found.append(f"std{stream} truncated")
    if light.writer:
        found.append(f"by {light.writer}")
    return found


def _name(colour: colour_pb2.Colour.ValueType) -> str:
    if colour == colour_pb2.COLOUR_UNSPECIFIED:
        return ""
    return colour_pb2.Colour.Name(colour).removeprefix("COLOUR_").lower()


def symbol(screen: Screen, light: storer_pb2.Light) -> Piece:
    """Return a dot or a letter for a light, one column wide."""
    name = colour_name(light)
    if screen.is_coloured:
        return _DOTS.get(name, "·"), name
    return _LETTERS.get(name, ".")


def time_of(time: Timestamp) -> str:
    """Return a time (UTC) for people."""
    return time.ToDatetime(UTC).strftime("%Y-%m-%d %H:%M:%S")


def time_json(time: Timestamp) -> str:
    """Return a time for JSON (RFC 3339)."""
    return str(time.ToJsonString())


def seconds_of(light: storer_pb2.Light) -> float | None:
    """Return the seconds that a light's run took; None if they were not recorded."""
    return light.duration.ToNanoseconds() / 1e9 if light.HasField("duration") else None


def to_json(light: storer_pb2.Light) -> dict[str, object]:
    """Return a light for JSON; what was not recorded is null."""
    return {
        "number": light.number,
        "colour": colour_name(light) or None,
        "time": time_json(light.time),
        "seconds": seconds_of(light),
        "status": light.status if light.HasField("status") else None,
        "reason": light.reason or None,
        "predicted": _name(light.predicted) or None,
        "source": MessageToDict(light.source, preserving_proto_field_name=True) or None,
        "writer": light.writer or None,
        "special": light.special,
        "stdout_truncated": light.stdout_truncated,
        "stderr_truncated": light.stderr_truncated,
        "added_lines": light.added_lines if light.HasField("added_lines") else None,
        "deleted_lines": light.deleted_lines if light.HasField("deleted_lines") else None,
        "tests": _counts_json(light.test_counts) if light.HasField("test_counts") else None,
    }


def edit_to_json(edit: storer_pb2.Edit) -> dict[str, object]:
    """Return an edit for JSON; what was not recorded is null."""
    return {
        "light": edit.light_number,
        "edit": edit.number,
        "time": time_json(edit.time),
        "writer": edit.writer or None,
        "outage": edit.outage,
        "added_lines": edit.added_lines if edit.HasField("added_lines") else None,
        "deleted_lines": edit.deleted_lines if edit.HasField("deleted_lines") else None,
    }


def _counts_json(counts: results_pb2.TestCounts) -> dict[str, int]:
    return {field.name: getattr(counts, field.name) for field in counts.DESCRIPTOR.fields}
