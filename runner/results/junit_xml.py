"""Reads the XML that JUnit's runners write, and after them those of most languages.

It has `testsuites`, `testsuite` and `testcase`, and in a test case `failure`, `error` or `skipped`.
There is no standard; see https://github.com/testmoapp/junitxml for what tools agree on. A file
with a document type is refused: with one, a few bytes can expand to gigabytes.
"""

from typing import Any
from xml.parsers import expat

from runner.results.results import MAX_MESSAGE, Collector, Malformed, Status

_MAX_DEPTH = 32
_STATUSES = {"failure": Status.FAILED, "error": Status.ERROR, "skipped": Status.SKIPPED}
_ROOTS = {"testsuites", "testsuite", "testcase"}


def read(content: bytes, collector: Collector) -> str:
    """Add the tests in an XML file, which has no message about all of them; raise Malformed."""
    reader = _Reader(collector)
    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = _refuse_document_type
    parser.StartElementHandler = reader.begin
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.add_text
    parser.buffer_text = True
    try:
        parser.Parse(content, True)  # noqa: FBT003 - expat takes no keywords
    except expat.ExpatError as error:
        reason = f"{expat.ErrorString(error.code)}, in line {error.lineno}"
        raise Malformed(f"it is no XML: {reason}") from None
    except (ValueError, LookupError) as error:  # an encoding that expat does not know
        raise Malformed(f"it is no XML: {error}") from None
    return ""


def _refuse_document_type(*_: Any) -> None:
    raise Malformed("it is XML with a document type, which no results need")


class _Reader:
    """Gets the elements of one file, one after the other."""

    def __init__(self, collector: Collector) -> None:
        self._collector = collector
        self._path: list[str] = []
        self._case: dict[str, str] | None = None
        self._status = Status.PASSED
        self._summary = ""
        self._text = ""

    def begin(self, name: str, attributes: dict[str, str]) -> None:
        if not self._path and name not in _ROOTS:
            raise Malformed(f"it is XML, and {name[:40]!r} is none of {', '.join(sorted(_ROOTS))}")
        if len(self._path) >= _MAX_DEPTH:
            raise Malformed(f"it is XML with elements more than {_MAX_DEPTH} deep")
        self._path.append(name)
        if name == "testcase":
            self._case, self._status, self._summary, self._text = attributes, Status.PASSED, "", ""
        elif self._case is not None and name in _STATUSES and self._status is Status.PASSED:
            self._status = _STATUSES[name]
            self._summary = attributes.get("message", "")

    def add_text(self, text: str) -> None:
        is_told = self._case is not None and self._path[-1] in _STATUSES
        if is_told and len(self._text) <= MAX_MESSAGE:
            self._text += text

    def end(self, name: str) -> None:
        self._path.pop()
        if name == "testcase" and self._case is not None:
            self._collector.add(
                self._case.get("name", ""),
                self._status,
                group=self._case.get("classname", ""),
                seconds=_seconds(self._case.get("time", "")),
                message=self._message(),
            )
            self._case = None

    def _message(self) -> str:
        """Return the summary and the text, which in some files begins with the summary."""
        summary, text = self._summary.strip(), self._text.strip()
        return text if text.startswith(summary) else f"{summary}\n{text}"


def _seconds(value: str) -> float | None:
    try:
        return float(value.replace(",", ""))  # some write 1,234.5
    except ValueError:
        return None
