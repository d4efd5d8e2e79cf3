"""A legacy kata: its own script, with the files of the current start point."""

import dataclasses
import textwrap

from google.protobuf import json_format

from cyberdojo.colour.v1 import colour_pb2
from support.start_point_files import Files, colour_rule


@dataclasses.dataclass(frozen=True)
class LegacyScript:
    """A legacy cyber-dojo.sh, in the image that its kata names."""

    image: str
    subject: str
    script: str
    # Files in addition to, or instead of, those of the start point.
    files: dict[str, str] = dataclasses.field(default_factory=dict)
    # Names that files of the start point have here; None leaves the file out.
    names: dict[str, str | None] = dataclasses.field(default_factory=dict)
    # Edits of files: the name, the current text, the legacy text.
    edits: tuple[tuple[str, str, str], ...] = ()
    # Patterns for red and green on either stream, if they differ from the start point's rule.
    patterns: tuple[str, str] | None = None

    def visible_files(self, start_point: Files) -> Files:
        """Return the kata's visible files, derived from those of the start point."""
        found = {
            name: content
            for current_name, content in start_point.items()
            if (name := self.names.get(current_name, current_name))
        }
        for filename, current, legacy in self.edits:
            assert current.encode() in found[filename], f"{current!r} is not in {filename}"
            found[filename] = found[filename].replace(current.encode(), legacy.encode())
        written = {"cyber-dojo.sh": self.script, **self.files}
        return found | {name: textwrap.dedent(text).encode() for name, text in written.items()}

    def colour_rule(self) -> colour_pb2.ColourRule:
        """Return the kata's colour rule."""
        if self.patterns is None:
            return colour_rule(self.image)
        red, green = self.patterns
        patterns = [
            {"colour": "COLOUR_RED", "pattern": red},
            {"colour": "COLOUR_GREEN", "pattern": green},
        ]
        rule = {"patterns": {"patterns": patterns}}
        return json_format.ParseDict(rule, colour_pb2.ColourRule())
