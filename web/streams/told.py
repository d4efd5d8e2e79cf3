"""What scripts are told of lights, edits and options: plain values, for JSON."""

from typing import Any

from google.protobuf.json_format import MessageToDict

from cyberdojo.colour.v1 import colour_pb2
from cyberdojo.output.v1 import output_pb2
from cyberdojo.storer.v1 import storer_pb2

# The word for a colour, in classes of CSS, in scripts and for people.
COLOURS: dict[int, str] = {
    colour_pb2.COLOUR_UNSPECIFIED: "start",
    colour_pb2.COLOUR_RED: "red",
    colour_pb2.COLOUR_AMBER: "amber",
    colour_pb2.COLOUR_GREEN: "green",
    colour_pb2.COLOUR_TIMED_OUT: "timed_out",
    colour_pb2.COLOUR_FAULTY: "faulty",
}

_PREDICTABLE = {"red", "amber", "green"}


def colour_of(word: str) -> int:
    """Return the colour that a word predicts; COLOUR_UNSPECIFIED if it predicts none."""
    return next((each for each, its in COLOURS.items() if its == word and word in _PREDICTABLE), 0)


def output(stdout: output_pb2.Output, stderr: output_pb2.Output) -> dict[str, Any]:
    """Return what a run wrote, as text, and whether there was more."""
    return {
        "stdout": stdout.content.decode(errors="replace"),
        "stderr": stderr.content.decode(errors="replace"),
        "truncated": stdout.truncated or stderr.truncated,
    }


def light(avatar: str, light: storer_pb2.Light) -> dict[str, Any]:
    """Return a light: `time` is in milliseconds since 1970, `duration` in seconds.

    What is not known is absent.
    """
    found: dict[str, Any] = {
        "avatar": avatar,
        "number": light.number,
        "colour": COLOURS.get(light.colour, "faulty"),
        "time": light.time.ToMilliseconds(),
    }
    if light.HasField("duration"):
        found["duration"] = round(light.duration.ToNanoseconds() / 1e9, 3)
    if light.reason:
        found["reason"] = light.reason
    if light.predicted:
        found["predicted"] = COLOURS.get(light.predicted, "faulty")
    if light.HasField("source"):
        source = light.source
        found["source"] = {
            "kata_id": source.kata_id,
            "avatar": source.avatar,
            "number": source.light_number,
        }
    if light.writer:
        found["writer"] = light.writer
    if light.HasField("added_lines"):
        found["added"] = light.added_lines
    if light.HasField("deleted_lines"):
        found["deleted"] = light.deleted_lines
    if light.HasField("test_counts"):
        counts = light.test_counts
        found["counts"] = {
            "passed": counts.passed,
            "failed": counts.failed + counts.errors,
            "skipped": counts.skipped,
        }
    return found


def counts(file: storer_pb2.FileDiff) -> dict[str, Any]:
    """Return how many lines of a file changed."""
    return {
        "name": file.new_name or file.old_name,
        "added": file.added_count,
        "deleted": file.deleted_count,
    }


def edit(avatar: str, edit: storer_pb2.Edit) -> dict[str, Any]:
    """Return an edit."""
    return {
        "avatar": avatar,
        "light_number": edit.light_number,
        "number": edit.number,
        "time": edit.time.ToMilliseconds(),
        "writer": edit.writer,
    }


def options(options: storer_pb2.KataOptions) -> dict[str, Any]:
    """Return the options of a kata and of its avatars, as far as they are set."""
    return {
        "kata": _options(options.kata),
        "avatars": {avatar: _options(own) for avatar, own in options.avatars.items()},
    }


def _options(options: storer_pb2.Options) -> dict[str, Any]:
    found = MessageToDict(options, preserving_proto_field_name=True)
    if "theme" in found:
        found["theme"] = found["theme"].removeprefix("THEME_").lower()
    return found
