"""A kata's manifest.json: how the kata was created.

The keys are those that dojo servers have always used. Unknown keys are kept unchanged, and the file
of an imported kata is not rewritten.
"""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from dojo import (
    image_names,
    kata_ids,
    limits,
    patterns,
    ruby_lambdas,
    run_seconds,
    visible_files,
    whole_numbers,
)
from dojo.errors import InvalidArgument
from dojo.patterns import BadPattern
from storer.fs import json_files, json_times
from storer.fs.json_files import Unreadable
from storer.kata import legacy_languages
from storer.kata import request as request_json
from storer.kata.request import Request

DEFAULT_TAB_SIZE = 4
LARGEST_TAB_SIZE = 16

# Limits for the values of unknown keys: how deep their protobuf messages may be nested (protobuf
# allows 100 in all), and the largest number.
_MAX_NESTING = 97
_MAX_NUMBER = 2**1023

PATTERN_COLOURS = ("red", "amber", "green")
STREAMS = ("any", "stdout", "stderr")

# The key of a rule that is a Ruby lambda: one string, or a list of its lines.
RED_AMBER_GREEN = "red_amber_green"

# Legacy katas, from before 2019, keep a test's output as a visible file of this name. In katas that
# have our format, `output` is a file like any other.
OUTPUT = "output"
FORMAT_KEY = "format"
FORMAT = "storer/1"

# The key of the request that created the kata.
REQUEST = "created_by_request"

# The key of where a fork came from. If it has the avatar too, and the avatar's history does not say
# when that started, as legacy ones do not, it is said there.
FORKED_FROM = "forked_from"
FORKED_START = "started"

# The key of what only a saver had: old ids, and what its katas say in another way than their group.
SAVER = "saver"

# In that: keys of a saver's manifest whose values are of no use here.
UNUSABLE = "unusable"


@dataclass(frozen=True)
class Manifest:
    """How a kata was created.

    `colour_patterns` has an object for each pattern, with the keys colour, pattern and stream; None
    if the kata's rule is not of patterns. `ruby_lambda` is the source of the rule if that is a Ruby
    lambda. If a kata has both, the patterns are its rule. `other` has every key without a field
    here, and `red_amber_green` if its value is not a valid lambda.
    """

    display_name: str
    image_name: str
    exercise: str = ""
    filename_extensions: list[str] = field(default_factory=list)
    max_seconds: int = run_seconds.DEFAULT_SECONDS
    tab_size: int = DEFAULT_TAB_SIZE
    colour_patterns: list[dict[str, str]] | None = None
    ruby_lambda: str | None = None
    visible_files: dict[str, bytes] = field(default_factory=dict)
    highlight_filenames: list[str] = field(default_factory=list)
    progress_regexs: list[str] = field(default_factory=list)
    hidden_filenames: list[str] = field(default_factory=list)
    results_filename: str = ""
    other: dict[str, Any] = field(default_factory=dict)


KEYS = frozenset(
    {
        "format",
        "id",
        "created",
        "display_name",
        "image_name",
        "exercise",
        "filename_extension",
        "max_seconds",
        "tab_size",
        "colour_rule",
        RED_AMBER_GREEN,
        "visible_files",
        "highlight_filenames",
        "progress_regexs",
        "hidden_filenames",
        "results_filename",
        REQUEST,
    }
)
"""The keys of manifest.json that have a field in Manifest, or belong to the kata itself."""


def check(manifest: Manifest) -> None:
    """Raise InvalidArgument, naming the field, unless a kata can be created from `manifest`."""
    if not manifest.display_name:
        raise InvalidArgument("manifest.display_name", "is required")
    if not manifest.image_name:
        raise InvalidArgument("manifest.image_name", "is required")
    image_names.check(manifest.image_name, "manifest.image_name")
    run_seconds.check(manifest.max_seconds, "manifest.max_seconds")
    whole_numbers.check(manifest.tab_size, 1, LARGEST_TAB_SIZE, "manifest.tab_size")
    if not manifest.visible_files:
        raise InvalidArgument("manifest.files", "at least one file is required")
    visible_files.check(manifest.visible_files, "manifest.files")
    _check_patterns(manifest.colour_patterns or [])
    name = manifest.results_filename
    if name and (fault := visible_files.name_fault(name)) is not None:
        raise InvalidArgument("manifest.results_filename", fault)
    source = manifest.ruby_lambda
    if source is not None and (fault := ruby_lambdas.fault(source)) is not None:
        raise InvalidArgument("manifest.colour_rule.ruby_lambda.source", fault)
    for key in manifest.other:
        if key in KEYS:
            raise InvalidArgument(f"manifest.other.{key}", "has a field of its own")
    _check_size(manifest)


def _check_size(manifest: Manifest) -> None:
    """Refuse what would be too much JSON to be read again, whichever field it is in."""
    without_files = {**vars(manifest), "visible_files": None}
    size = len(json_files.dumps(without_files))
    if size > limits.MAX_MANIFEST_BYTES:
        reason = f"{size} bytes of JSON, without files, are more than {limits.MAX_MANIFEST_BYTES}"
        raise InvalidArgument("manifest", reason)


def _check_patterns(given: list[dict[str, str]]) -> None:
    field = "manifest.colour_rule.patterns.patterns"
    if len(given) > patterns.MAX_PATTERNS:
        reason = f"{len(given)} patterns are more than {patterns.MAX_PATTERNS}"
        raise InvalidArgument(field, reason)
    for place, each in enumerate(given):
        if each.get("colour") not in PATTERN_COLOURS:
            raise InvalidArgument(f"{field}[{place}].colour", "is not red, amber or green")
        if each.get("stream", "any") not in STREAMS:
            raise InvalidArgument(f"{field}[{place}].stream", "is none of the streams")
        try:
            patterns.compiled(each.get("pattern", ""))
        except BadPattern as error:
            raise InvalidArgument(f"{field}[{place}].pattern", str(error)) from None


def dump(
    manifest: Manifest,
    kata_id: str,
    created: datetime,
    request: Request | None = None,
    files: Iterable[bytes] | None = None,
) -> Iterator[bytes]:
    """Yield the manifest.json of a new kata in pieces: JSON makes six bytes of some bytes.

    `files` is the JSON of the visible files, in pieces, if the manifest does not have them.
    """
    head = _head(manifest, kata_id, created)
    if request is not None:
        head[REQUEST] = request_json.to_json(request)
    yield json_files.dumps(head)[:-1] + b',"visible_files":'
    yield from json_files.file_pieces(manifest.visible_files) if files is None else files
    yield b"}"


def from_json(value: Mapping[str, Any]) -> Manifest:
    """Return the manifest from the JSON of manifest.json, a legacy one too.

    Raises Unreadable, naming the key, for a malformed value. A legacy manifest names a language;
    if an image of today is known for that, the manifest gets the image.
    """
    legacy_name = _legacy_text(value, "language") or _get(value, "display_name", str, "")
    language = legacy_languages.find(legacy_name, _legacy_text(value, "unit_test_framework"))
    ruby_lambda = _ruby_lambda(value)
    not_other = KEYS if ruby_lambda is not None else KEYS - {RED_AMBER_GREEN}
    files = json_files.read_files(value.get("visible_files"))
    if value.get("format") != FORMAT:
        files.pop(OUTPUT, None)
    return Manifest(
        display_name=_get(value, "display_name", str, "")
        or (language.display_name if language else legacy_name),
        image_name=_get(value, "image_name", str, "") or (language.image_name if language else ""),
        exercise=_get(value, "exercise", str, ""),
        filename_extensions=_strings(value, "filename_extension"),
        max_seconds=_get(value, "max_seconds", int, run_seconds.DEFAULT_SECONDS),
        tab_size=_get(value, "tab_size", int, DEFAULT_TAB_SIZE),
        colour_patterns=_patterns(value),
        ruby_lambda=ruby_lambda,
        visible_files=files,
        highlight_filenames=_strings(value, "highlight_filenames"),
        progress_regexs=_strings(value, "progress_regexs"),
        hidden_filenames=_strings(value, "hidden_filenames"),
        results_filename=_get(value, "results_filename", str, ""),
        other=_others(value, not_other),
    )


def created(value: Mapping[str, Any]) -> datetime:
    """Return when the kata was created, from its manifest.json; raise Unreadable without a time."""
    try:
        return json_times.from_list(value.get("created"))
    except ValueError as error:
        raise Unreadable(f"created: {error}") from None


def started(value: Mapping[str, Any]) -> datetime:
    """Return when avatars started whose history does not say it, about; raise as `created` does."""
    forked_from = value.get(FORKED_FROM)
    if isinstance(forked_from, dict) and FORKED_START in forked_from:
        with suppress(ValueError):  # a caller who creates a kata may write anything there
            return json_times.from_list(forked_from[FORKED_START])
    return created(value)


def old_ids(value: Mapping[str, Any], kata_id: str) -> list[str]:
    """Return the old ids that a kata's avatars had in a saver, but the one that its id is from."""
    about = value.get(SAVER)
    katas = about.get("katas") if isinstance(about, dict) else None
    each = katas.values() if isinstance(katas, dict) else ()
    found = [kata.get("id") for kata in each if isinstance(kata, dict)]
    own = kata_ids.old_of(kata_id)
    return [old for old in found if isinstance(old, str) and kata_ids.is_old(old) and old != own]


def _get(value: Mapping[str, Any], key: str, kind: type, default: Any) -> Any:
    """Return the value of a key, or the default; raise Unreadable if it is of another type."""
    found = value.get(key)
    if found is None:
        return default
    if not isinstance(found, kind) or isinstance(found, bool):
        expected = "text" if kind is str else "a whole number"
        raise Unreadable(f"{key}: has to be {expected}, and is {found!a:.80}")
    if kind is str and not json_files.is_text(found):
        raise Unreadable(f"{key}: is not UTF-8")
    if isinstance(found, int) and not 0 <= found < 2**31:
        raise Unreadable(f"{key}: {found} is not from 0 to {2**31 - 1}")
    return found


def _legacy_text(value: Mapping[str, Any], key: str) -> str:
    """Return the text of a legacy key, or "": today such a key is kept as it is, of any type."""
    found = value.get(key)
    return found if isinstance(found, str) and json_files.is_text(found) else ""


def _strings(value: Mapping[str, Any], key: str) -> list[str]:
    """Return a list of strings; a single string, as legacy manifests have, is a list of one."""
    found = value.get(key)
    if found is None:
        return []
    if isinstance(found, str):
        found = [found]
    if not isinstance(found, list) or not all(map(json_files.is_text, found)):
        raise Unreadable(f"{key}: {found!a:.80} is not a list of strings")
    return found


def _patterns(value: Mapping[str, Any]) -> list[dict[str, str]] | None:
    rule = value.get("colour_rule")
    if rule is None:
        return None
    patterns = rule.get("patterns") if isinstance(rule, dict) else None
    if not isinstance(patterns, list) or not all(_is_pattern(each) for each in patterns):
        raise Unreadable("colour_rule: is not {patterns: [{colour, pattern, stream}]}")
    return patterns


def _ruby_lambda(value: Mapping[str, Any]) -> str | None:
    """Return the source of the Ruby lambda, if there is one that a runner would accept."""
    found = value.get(RED_AMBER_GREEN)
    lines = [found] if isinstance(found, str) else found
    if not isinstance(lines, list) or not all(map(json_files.is_text, lines)):
        return None
    source = "\n".join(lines)
    return source if ruby_lambdas.fault(source) is None else None


def _is_pattern(value: object) -> bool:
    return isinstance(value, dict) and all(map(json_files.is_text, value.values()))


def _others(value: Mapping[str, Any], known: Collection[str]) -> dict[str, Any]:
    """Return the other keys with their values; raise Unreadable if a message can't hold them."""
    others = {key: other for key, other in value.items() if key not in known}
    for key, other in others.items():
        if not json_files.is_text(key) or not fits_message(other):
            raise Unreadable(f"{key!a:.80}: the key or its value does not fit into a message")
    return others


def fits_message(value: object) -> bool:
    """Return whether a message can hold the value of a key that has no field."""
    return _fits_struct(value, _MAX_NESTING)


def _fits_struct(value: object, nesting: int) -> bool:
    """Return whether google.protobuf.Struct can hold a value with that many nested messages."""
    if isinstance(value, dict):
        left = nesting - 3  # Struct, its entry, and Value
        return left >= 0 and all(
            json_files.is_text(key) and _fits_struct(each, left) for key, each in value.items()
        )
    if isinstance(value, list):
        left = nesting - 2  # ListValue and Value
        return left >= 0 and all(_fits_struct(each, left) for each in value)
    if isinstance(value, int):
        return abs(value) <= _MAX_NUMBER
    if isinstance(value, float):
        return math.isfinite(value)
    return not isinstance(value, str) or json_files.is_text(value)


def _head(manifest: Manifest, kata_id: str, created: datetime) -> dict[str, Any]:
    """Return what precedes the visible files in manifest.json."""
    known: dict[str, Any] = {
        "format": FORMAT,
        "id": kata_id,
        "created": json_times.to_list(created),
        "display_name": manifest.display_name,
        "image_name": manifest.image_name,
        "filename_extension": manifest.filename_extensions,
        "max_seconds": manifest.max_seconds,
        "tab_size": manifest.tab_size,
        "highlight_filenames": manifest.highlight_filenames,
        "progress_regexs": manifest.progress_regexs,
        "hidden_filenames": manifest.hidden_filenames,
    }
    if manifest.results_filename:
        known["results_filename"] = manifest.results_filename
    if manifest.exercise:
        known["exercise"] = manifest.exercise
    if manifest.colour_patterns is not None:
        known["colour_rule"] = {"patterns": manifest.colour_patterns}
    if manifest.ruby_lambda is not None:
        known[RED_AMBER_GREEN] = manifest.ruby_lambda.split("\n")
    return {**manifest.other, **known}
