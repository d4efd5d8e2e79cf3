"""What is wrong with a start point, by file and key, in words for people.

A problem keeps it from being indexed. A warning does not: what nobody knows may be meant for
another program, and is kept.
"""

import difflib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import PurePosixPath
from typing import Any

from dojo import image_names, run_seconds, visible_files
from dojo.errors import InvalidArgument
from storer.fs import json_files
from storer.fs.json_files import Unreadable
from storer.kata import manifest
from storer.start_points import regexs, start_point
from storer.start_points.files import BroughtFiles, Files
from storer.start_points.folders import MANIFEST
from storer.start_points.start_point import (
    EXERCISES,
    LANGUAGES,
    LONGEST_NAME,
    RAG_LAMBDA,
    RED_AMBER_GREEN,
    REQUIRED,
    VISIBLE_FILENAMES,
)

COLOUR_RULE = "colour_rule"

KEPT = frozenset(
    {
        "display_test_name",
        "language",
        "lowlight_filenames",
        "runner_choice",
        "support_filenames",
        "test_framework",
        "unit_test_framework",
    }
)
"""Keys that start points have had for other servers: kept, whatever their type."""

# The keys of the JSON of a colour rule, and of each of its patterns.
_RULE_KEYS = frozenset({"patterns"})
_PATTERN_KEYS = frozenset({"colour", "pattern", "stream"})

_PROGRESS_REGEXS = 2
_LONGEST_SHOWN = 60

TOO_DEEP = "has too many lists and objects in each other"

MAX_TOLD = 50
"""How many problems, and how many warnings, are told of one start point."""

_LONGEST_LINE = 500

# Names that are compared with one that may be mistyped, and by how much their lengths differ.
_MOST_COMPARED = 100
_MISTYPED = 8

# What is wrong: the key, with the entry if it is a list, and the reason.
Faults = Iterator[tuple[str, str]]


@dataclass
class Findings:
    """What is wrong with a start point. Each line begins with a file of its folder."""

    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def check(files: Files, kind: str) -> Findings:
    """Return all that is wrong with a start point of this kind, or the first of very much."""
    found = Findings()
    try:
        _check(files, kind, found)
    except RecursionError:
        found.problems = [f"{MANIFEST}: {TOO_DEEP}"]
    found.problems = _told(found.problems)
    found.warnings = _told(found.warnings)
    return found


def _check(files: Files, kind: str, found: Findings) -> None:
    """Add to `found` what is wrong with a start point."""
    try:
        value = files.manifest(unique_keys=True)
    except Unreadable as error:
        found.problems.append(f"{MANIFEST}: {error}")
        return
    found.warnings += _lines(_unknown_keys(kind, value))
    found.problems += _lines(_faults(files, kind, value))
    if found.problems:
        return
    try:
        served = start_point.read(files, kind)
    except Unreadable as error:
        found.problems.append(str(error))
        return
    if kind != EXERCISES:
        _check_line_ends(served.visible_files, found)


def _lines(faults: Faults) -> list[str]:
    """Return what is wrong, and no more than that is told: to look for the rest may take long."""
    return [f"{MANIFEST}: {key}: {reason}" for key, reason in islice(faults, MAX_TOLD + 1)]


def _told(lines: list[str]) -> list[str]:
    """Return lines that a message can hold, and not too many of them."""
    told = [json_files.to_text(line) for line in lines[:MAX_TOLD]]
    told = [line if len(line) <= _LONGEST_LINE else f"{line[:_LONGEST_LINE]}..." for line in told]
    return [*told, f"{MANIFEST}: and more"] if len(lines) > MAX_TOLD else told


def _faults(files: Files, kind: str, value: Mapping[str, Any]) -> Faults:
    for key in REQUIRED[kind]:
        if key not in value:
            yield key, "is required"
    for key, check_value in _checks(files, kind, value).items():
        if key in value:
            yield from check_value(key, value[key])


def _checks(
    files: Files, kind: str, value: Mapping[str, Any]
) -> dict[str, Callable[[str, Any], Faults]]:
    """Return the keys that a start point of this kind may have, with the check of the value."""
    checks: dict[str, Callable[[str, Any], Faults]] = {
        "display_name": _display_name,
        VISIBLE_FILENAMES: partial(_visible_filenames, files, kind),
    }
    if kind != EXERCISES:
        checks |= {
            "image_name": _image_name,
            "filename_extension": _filename_extension,
            "highlight_filenames": partial(_highlight_filenames, value.get(VISIBLE_FILENAMES)),
            "hidden_filenames": _regexs,
            "progress_regexs": _progress_regexs,
            "results_filename": _results_filename,
            "max_seconds": partial(_whole_number, run_seconds.MAX_SECONDS),
            "tab_size": partial(_whole_number, manifest.LARGEST_TAB_SIZE),
            RAG_LAMBDA: partial(_rag_lambda, files),
            # `start_point.read` says what is wrong with these.
            COLOUR_RULE: _nothing,
            RED_AMBER_GREEN: _nothing,
        }
    return checks


def _nothing(_key: str, _value: object) -> Faults:
    return iter(())


def _text(key: str, value: object) -> Faults:
    if not json_files.is_text(value):
        yield key, f"has to be text, and is {_shown(value)}"
    elif not value:
        yield key, "is empty"


def _display_name(key: str, value: object) -> Faults:
    yield from _text(key, value)
    if isinstance(value, str) and len(value) > LONGEST_NAME:
        yield key, f"{len(value)} characters are more than {LONGEST_NAME}"


def _whole_number(largest: int, key: str, value: object) -> Faults:
    if not isinstance(value, int) or isinstance(value, bool):
        yield key, f"has to be a whole number from 1 to {largest}, and is {_shown(value)}"
    elif not 1 <= value <= largest:
        yield key, f"{value} is not from 1 to {largest}"


def _texts(key: str, value: object) -> Faults:
    """Find what is no list of texts, of which each is there once."""
    if not isinstance(value, list):
        yield key, f"has to be a list of texts, and is {_shown(value)}"
        return
    if not value:
        yield key, "is an empty list"
    places: dict[str, int] = {}
    for place, each in enumerate(value):
        yield from _text(f"{key}[{place}]", each)
        if isinstance(each, str) and (first := places.setdefault(each, place)) < place:
            yield f"{key}[{place}]", f"{_shown(each)} is in {key}[{first}] already"


def _each(value: object) -> Iterator[tuple[int, str]]:
    """Yield those entries of a value that are texts, if it is a list, with their places."""
    if isinstance(value, list):
        for place, each in enumerate(value):
            if json_files.is_text(each) and each:
                yield place, each


def _image_name(key: str, value: object) -> Faults:
    yield from _text(key, value)
    if isinstance(value, str) and value:
        try:
            image_names.check(value)
        except InvalidArgument as error:
            yield key, error.reason


def _filename_extension(key: str, value: object) -> Faults:
    # The field has both: one extension, and a list of them.
    yield from _text(key, value) if isinstance(value, str) else _texts(key, value)
    for place, each in _each([value] if isinstance(value, str) else value):
        if not each.startswith(".") or each == ".":
            entry = key if isinstance(value, str) else f"{key}[{place}]"
            yield entry, f"{_shown(each)} has to be a dot and more, such as .py"


def _regexs(key: str, value: object) -> Faults:
    yield from _texts(key, value)
    for place, each in _each(value):
        if (fault := regexs.fault(each)) is not None:
            yield f"{key}[{place}]", f"{_shown(each)} is no regular expression: it {fault}"


def _progress_regexs(key: str, value: object) -> Faults:
    yield from _regexs(key, value)
    if isinstance(value, list) and value and len(value) != _PROGRESS_REGEXS:
        yield key, f"has to have two entries, for red and for green, and has {len(value)}"


def _results_filename(key: str, value: object) -> Faults:
    yield from _text(key, value)
    if isinstance(value, str) and value:
        fault = visible_files.name_fault(value)
        if fault is not None:
            yield key, f"{_shown(value)}: {fault}"


def _visible_filenames(files: Files, kind: str, key: str, value: object) -> Faults:
    yield from _texts(key, value)
    for place, each in _each(value):
        try:
            files.read(each)
        except Unreadable as error:
            yield f"{key}[{place}]", f"{error}{_meant(each, files.names())}"
    if not isinstance(value, list):
        return
    has_script = visible_files.CYBER_DOJO_SH in value
    if has_script and kind == EXERCISES:
        yield key, f"{visible_files.CYBER_DOJO_SH} is the language's, not an exercise's"
    if not has_script and kind != EXERCISES:
        yield key, f"{visible_files.CYBER_DOJO_SH} is missing"


def _highlight_filenames(visible: object, key: str, value: object) -> Faults:
    yield from _texts(key, value)
    names = {each: None for _, each in _each(visible)}
    for place, each in _each(value):
        if each not in names:
            reason = f"{_shown(each)} is not in {VISIBLE_FILENAMES}{_meant(each, names)}"
            yield f"{key}[{place}]", reason


def _rag_lambda(files: Files, key: str, value: object) -> Faults:
    if value == "":
        yield key, "is empty, and has to be the name of a file with a Ruby lambda"
        return
    yield from _text(key, value)
    if isinstance(value, str):
        try:
            start_point.ruby_lambda(files, value)
        except Unreadable as error:
            yield key, f"{error}{_meant(value, files.names())}"


def _unknown_keys(kind: str, value: Mapping[str, Any]) -> Faults:
    nothing = BroughtFiles({})
    languages = _checks(nothing, LANGUAGES, value).keys() | KEPT
    known = languages if kind != EXERCISES else _checks(nothing, EXERCISES, value).keys()
    for key in value:
        if key in known:
            continue
        if key in languages:
            yield key, "has no effect in an exercise"
        else:
            yield key, _unknown(key, known)
    rule = value.get(COLOUR_RULE)
    if not isinstance(rule, dict):
        return
    for key in rule.keys() - _RULE_KEYS:
        yield f"{COLOUR_RULE}.{key}", _unknown(key, _RULE_KEYS)
    patterns = rule.get("patterns")
    for place, pattern in enumerate(patterns if isinstance(patterns, list) else []):
        for key in pattern.keys() - _PATTERN_KEYS if isinstance(pattern, dict) else ():
            yield f"{COLOUR_RULE}.patterns[{place}].{key}", _unknown(key, _PATTERN_KEYS)


def _unknown(key: str, known: Collection[str]) -> str:
    return f"nobody knows this key, and it has no effect{_meant(key, known)}"


def _meant(written: str, known: Collection[str]) -> str:
    """Return a question for the name that is nearest to what was written, or nothing.

    Nothing too if there is much to compare: that takes the square of a name's length, for each.
    """
    if written in known or len(written) > _LONGEST_SHOWN:
        return ""
    spelled = written.lower().replace("-", "_")
    likely = (each for each in known if abs(len(each) - len(written)) <= _MISTYPED)
    near = difflib.get_close_matches(spelled, islice(likely, _MOST_COMPARED), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _check_line_ends(files: Mapping[str, bytes], found: Findings) -> None:
    """Find CR LF where the CR becomes a part of a command."""
    for name, content in files.items():
        before, line_end, _ = content.partition(b"\r\n")
        if not line_end:
            continue
        line = before.count(b"\n") + 1
        where = f"{visible_files.shown(name)}: line {line} ends in CR LF"
        if name == visible_files.CYBER_DOJO_SH:
            found.problems.append(f"{where}, and no shell can run that: end lines in LF")
        elif name.endswith((".sh", ".mk")) or PurePosixPath(name).name.lower() == "makefile":
            found.warnings.append(f"{where}, and the CR becomes a part of its commands")


def _shown(value: object) -> str:
    """Return a value as JSON, short enough for a line."""
    text = json_files.dumps(value).decode()
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."
