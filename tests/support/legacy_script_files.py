"""A kata of old: its own script, and beside it the files of today's start point."""

import dataclasses
import textwrap

from google.protobuf import json_format

from cyberdojo.colour.v1 import colour_pb2
from support.start_point_files import Files, colour_rule


@dataclasses.dataclass(frozen=True)
class OldScript:
    """A cyber-dojo.sh of old, in the image that its kata names."""

    image: str
    subject: str
    script: str
    # Files that there are beside, or instead of, the start point's.
    files: dict[str, str] = dataclasses.field(default_factory=dict)
    # How files of the start point are called here; None for those that are not there.
    names: dict[str, str | None] = dataclasses.field(default_factory=dict)
    # What is said otherwise in such files: filename, what stands there today, what stood there.
    edits: tuple[tuple[str, str, str], ...] = ()
    # Patterns for red and green on either stream, if the program spoke otherwise than today's.
    patterns: tuple[str, str] | None = None

    def visible_files(self, start_point: Files) -> Files:
        """Return the kata's visible files, made from the start point's."""
        found = {
            name: content
            for old_name, content in start_point.items()
            if (name := self.names.get(old_name, old_name))
        }
        for filename, today, once in self.edits:
            assert today.encode() in found[filename], f"{today!r} is not in {filename}"
            found[filename] = found[filename].replace(today.encode(), once.encode())
        written = {"cyber-dojo.sh": self.script, **self.files}
        return found | {name: textwrap.dedent(text).encode() for name, text in written.items()}

    def colour_rule(self) -> colour_pb2.ColourRule:
        """Return the rule for the colour."""
        if self.patterns is None:
            return colour_rule(self.image)
        red, green = self.patterns
        patterns = [
            {"colour": "COLOUR_RED", "pattern": red},
            {"colour": "COLOUR_GREEN", "pattern": green},
        ]
        rule = {"patterns": {"patterns": patterns}}
        return json_format.ParseDict(rule, colour_pb2.ColourRule())
