"""Convert the messages of the protos to values of the domain, and back."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, NamedTuple

from google.protobuf import struct_pb2
from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import MessageToDict
from google.protobuf.timestamp_pb2 import Timestamp

from cyberdojo.colour.v1 import colour_pb2
from cyberdojo.output.v1 import output_pb2
from cyberdojo.storer.v1 import storer_pb2
from dojo import avatars, kata_ids, limits, run_output, run_seconds, visible_files, whole_numbers
from dojo.chunks import Digest
from dojo.errors import InvalidArgument
from storer.api import facts_converters
from storer.backup.download import Compression
from storer.backup.resume import Resumption
from storer.fs import json_times
from storer.kata.edit import CHANGED, CREATED, DELETED, RENAMED, At, Edit
from storer.kata.kata import DamagedAvatar
from storer.kata.light import MAX_NUMBER, MAX_SECONDS, MAX_STATUS, Light, Submission
from storer.kata.manifest import DEFAULT_TAB_SIZE, Manifest
from storer.kata.request import Request
from storer.katas.listing import ListedDetails, ListedKata
from storer.tar.untrusted_reader import LeftOut

MAX_REQUEST_ID = 100
# Of one that a kata's id follows from: fewer characters are not random enough.
LEAST_CREATING_REQUEST_ID = 16
MAX_REASON = 1000

# Enough to notice that another request has the same id: nobody gains by a collision.
DIGEST_DIGITS = 16

_COLOURS = {
    "red": colour_pb2.COLOUR_RED,
    "amber": colour_pb2.COLOUR_AMBER,
    "green": colour_pb2.COLOUR_GREEN,
    "timed_out": colour_pb2.COLOUR_TIMED_OUT,
    "faulty": colour_pb2.COLOUR_FAULTY,
}
_COLOUR_NAMES = {number: name for name, number in _COLOURS.items()}

_STREAMS = {
    "any": colour_pb2.STREAM_UNSPECIFIED,
    "stdout": colour_pb2.STREAM_STDOUT,
    "stderr": colour_pb2.STREAM_STDERR,
}
_STREAM_NAMES = {number: name for name, number in _STREAMS.items()}

_COMPRESSIONS = {
    storer_pb2.COMPRESSION_UNSPECIFIED: Compression.NONE,
    storer_pb2.COMPRESSION_NONE: Compression.NONE,
    storer_pb2.COMPRESSION_GZIP: Compression.GZIP,
    storer_pb2.COMPRESSION_ZSTD: Compression.ZSTD,
}


class Asked(NamedTuple):
    """A light that a request names; -1 is the avatar's newest."""

    avatar: str
    number: int


def time_from(message: Timestamp, field: str, *, given: bool) -> datetime:
    """Return a request's time, or now if none was `given`; raise InvalidArgument."""
    if not given:
        return json_times.now()
    try:
        return message.ToDatetime(tzinfo=UTC)
    except ValueError:
        raise InvalidArgument(field, "is not a time from the year 1 to 9999") from None


def time_to(time: datetime) -> Timestamp:
    """Return a time as a message."""
    message = Timestamp()
    message.FromDatetime(time)
    return message


_FILE_CHANGES = {
    CREATED: storer_pb2.FILE_CHANGE_CREATED,
    DELETED: storer_pb2.FILE_CHANGE_DELETED,
    RENAMED: storer_pb2.FILE_CHANGE_RENAMED,
    CHANGED: storer_pb2.FILE_CHANGE_CHANGED,
}


def light_to(light: Light) -> storer_pb2.Light:
    """Return a light as a message."""
    message = storer_pb2.Light()
    message.number = light.number
    message.colour = _COLOURS.get(light.colour, colour_pb2.COLOUR_UNSPECIFIED)
    message.time.seconds = json_times.seconds(light.time)
    message.time.nanos = light.time.microsecond * 1000
    if light.status is not None:
        message.status = light.status
    if light.reason:
        message.reason = light.reason[:MAX_REASON]  # a kata from elsewhere can have more
    if light.duration is not None:
        duration = message.duration
        duration.seconds, duration.nanos = divmod(round(light.duration * 1e9), 10**9)
    facts_converters.facts_to(light.facts, message)
    return message


def light_from(request: storer_pb2.RecordTestRequest) -> tuple[Light, Submission, int | None]:
    """Return a request's light (whose number is still 0), its submission, and the expected number.

    The expected number is None if the caller gave none. Raises InvalidArgument.
    """
    has_source = request.HasField("source")
    if request.colour not in _COLOUR_NAMES and not (has_source and request.colour == 0):
        raise InvalidArgument("colour", "is required, and has to be one of the colours")
    whole_numbers.check(request.status, 0, MAX_STATUS, "status")
    check_length("reason", request.reason, MAX_REASON)
    for field, output in (("stdout", request.stdout), ("stderr", request.stderr)):
        if (size := len(output.content)) > run_output.MAX_BYTES:
            raise InvalidArgument(
                f"{field}.content", f"{size} bytes are more than {run_output.MAX_BYTES}"
            )
    if has_source:
        _check_source_gives(request)
        files = {}
    else:
        files = files_from(request)
    expected = None
    if request.HasField("expected_number"):
        expected = whole_numbers.check(request.expected_number, 1, MAX_NUMBER, "expected_number")
    light = Light(
        number=0,
        colour=_COLOUR_NAMES.get(request.colour, ""),
        time=time_from(request.time, "time", given=request.HasField("time")),
        duration=_seconds(request.duration) if request.HasField("duration") else None,
        status=request.status,
        reason=request.reason,
        request=request_from(request),
        facts=facts_converters.facts_from(request),
    )
    results = facts_converters.results_from(request)
    return (
        light,
        Submission(files, request.stdout.content, request.stderr.content, results),
        expected,
    )


def _check_source_gives(request: storer_pb2.RecordTestRequest) -> None:
    """Raise InvalidArgument for a field whose value is the source's."""
    taken = ["files"]
    if not request.colour:
        taken += ["stdout", "stderr", "status", "duration", "reason", "special", "test_results"]
    given = {field.name for field, _ in request.ListFields()}
    for field in taken:
        if field in given:
            raise InvalidArgument(field, "is taken from the source, and may not be given")


def request_from(
    message: Any, tar: Digest | None = None, field: str = "request_id"
) -> Request | None:
    """Return the request that a message is, None if it has no id; raise InvalidArgument.

    `tar` is the digest of what came after the message, if anything.
    """
    if not message.request_id:
        return None
    check_length(field, message.request_id, MAX_REQUEST_ID)
    digest = hashlib.sha256(message.DESCRIPTOR.full_name.encode())
    digest.update(message.SerializeToString(deterministic=True))
    digest.update(b"" if tar is None else tar.sha256)
    return Request(message.request_id, digest.hexdigest()[:DIGEST_DIGITS])


def creating_request_from(
    message: storer_pb2.CreateKataRequest | storer_pb2.ForkKataRequest,
) -> Request | None:
    """Return the request that creates a kata, as `request_from` does."""
    if 0 < len(message.request_id) < LEAST_CREATING_REQUEST_ID:
        reason = f"has fewer than {LEAST_CREATING_REQUEST_ID} characters; send a UUID, say"
        raise InvalidArgument("request_id", reason)
    return request_from(message)


def light_number(message: Any, field: str = "light_number", within: str = "") -> int:
    """Return a request's light number, -1 for the newest; raise InvalidArgument.

    `within` is the field that the message is in, with a dot behind it.
    """
    place = within + field
    if not message.HasField(field):
        raise InvalidArgument(place, "is required; 0 is the start, -1 the newest")
    return whole_numbers.check(getattr(message, field), -1, MAX_NUMBER, place)


def lights_from(request: storer_pb2.GetOutputsRequest) -> list[Asked]:
    """Return the lights whose outputs a request asks for; raise InvalidArgument."""
    if not 0 < (count := len(request.lights)) <= limits.MAX_OUTPUTS:
        raise InvalidArgument("lights", f"{count} is not from 1 to {limits.MAX_OUTPUTS}")
    found = []
    for place, each in enumerate(request.lights):
        within = f"lights[{place}]."
        avatar = avatars.check(each.avatar, f"{within}avatar")
        found.append(Asked(avatar, light_number(each, within=within)))
    return found


def avatars_from(names: list[str]) -> list[str]:
    """Return the avatars that would do, as a request has them; raise InvalidArgument."""
    if len(names) > len(avatars.NAMES):
        raise InvalidArgument("avatars", f"{len(names)} names are more than {len(avatars.NAMES)}")
    return [avatars.check(name, f"avatars[{place}]") for place, name in enumerate(names)]


def seen_from(request: storer_pb2.WatchKataRequest, within: str = "") -> dict[str, At]:
    """Return the newest light seen of each avatar, or the edit after it; raise InvalidArgument.

    `within` is the field that the request is in, with a dot behind it.
    """
    edits = request.seen_edits if request.with_edits else {}
    for field, seen in (("seen", request.seen), ("seen_edits", edits)):
        for avatar, number in seen.items():
            place = f"{within}{field}[{visible_files.shown(avatar)}]"
            avatars.check(avatar, place)
            whole_numbers.check(number, 0, MAX_NUMBER, place)
    return {avatar: At(number, edits.get(avatar, 0)) for avatar, number in request.seen.items()}


def files_from(
    request: storer_pb2.RecordTestRequest | storer_pb2.RecordEditRequest,
) -> dict[str, bytes]:
    """Return the files of a test or an edit; raise InvalidArgument."""
    files = dict(request.files)
    if not files:
        raise InvalidArgument("files", "at least one file is required")
    visible_files.check(files)
    return files


def after_from(request: storer_pb2.RecordEditRequest) -> int | None:
    """Return the light that an edit is to come after, None for any; raise InvalidArgument."""
    if not request.HasField("after_number"):
        return None
    return whole_numbers.check(request.after_number, 0, MAX_NUMBER, "after_number")


def at_from(message: Any, field: str = "light_number", edit_field: str = "edit_number") -> At:
    """Return the light or edit that a request names, -1 for the newest; raise InvalidArgument."""
    number = light_number(message, field)
    return At(number, whole_numbers.check(getattr(message, edit_field), -1, MAX_NUMBER, edit_field))


def output_to(content: bytes, *, truncated: bool) -> output_pb2.Output:
    """Return an output as a message."""
    return output_pb2.Output(content=content, truncated=truncated)


def edit_to(edit: Edit) -> storer_pb2.Edit:
    """Return an edit as a message."""
    return storer_pb2.Edit(
        light_number=edit.number,
        number=edit.minor,
        changes=(
            storer_pb2.FileEdit(
                change=_FILE_CHANGES[each.kind],
                old_name="" if each.kind == CREATED else each.was or each.filename,
                new_name="" if each.kind == DELETED else each.filename,
            )
            for each in edit.changes
        ),
        changes_truncated=edit.is_truncated,
        writer=edit.writer,
        added_lines=edit.added,
        deleted_lines=edit.deleted,
        outage=edit.is_outage,
        time=time_to(edit.time),
    )


def page_size(given: int, default: int, largest: int) -> int:
    """Return the number of entries in a page; raise InvalidArgument."""
    if not 0 <= given <= largest:
        raise InvalidArgument("page_size", f"{given} is not from 1 to {largest}")
    return given or default


def compression_from(number: int) -> Compression:
    """Return a request's compression; raise InvalidArgument."""
    if number not in _COMPRESSIONS:
        raise InvalidArgument("compression", f"{number} is not one of the compressions")
    return _COMPRESSIONS[number]  # type: ignore[index]  # an open enum is an int


def manifest_from(message: storer_pb2.Manifest) -> Manifest:
    """Return a request's manifest; raise InvalidArgument. `kata.manifest.check` checks the rest."""
    return Manifest(
        display_name=message.display_name,
        image_name=message.image_name,
        exercise=message.exercise,
        filename_extensions=list(message.filename_extensions),
        max_seconds=message.max_seconds or run_seconds.DEFAULT_SECONDS,
        tab_size=message.tab_size or DEFAULT_TAB_SIZE,
        colour_patterns=_patterns_from(message.colour_rule),
        ruby_lambda=_ruby_lambda_from(message.colour_rule),
        visible_files=dict(message.files),
        highlight_filenames=list(message.highlight_filenames),
        progress_regexs=list(message.progress_regexs),
        hidden_filenames=list(message.hidden_filenames),
        results_filename=message.results_filename,
        other=_other_from(message.other),
    )


def manifest_to(manifest: Manifest) -> storer_pb2.Manifest:
    """Return a manifest as a message."""
    message = storer_pb2.Manifest(
        display_name=manifest.display_name,
        image_name=manifest.image_name,
        exercise=manifest.exercise,
        filename_extensions=manifest.filename_extensions,
        max_seconds=manifest.max_seconds,
        tab_size=manifest.tab_size,
        files=manifest.visible_files,
        highlight_filenames=manifest.highlight_filenames,
        progress_regexs=manifest.progress_regexs,
        hidden_filenames=manifest.hidden_filenames,
        results_filename=manifest.results_filename,
    )
    if manifest.colour_patterns is not None:
        message.colour_rule.patterns.patterns.extend(
            colour_pb2.ColourPattern(
                colour=_COLOURS.get(each.get("colour", ""), colour_pb2.COLOUR_UNSPECIFIED),
                pattern=each.get("pattern", ""),
                stream=_STREAMS.get(each.get("stream", ""), colour_pb2.STREAM_UNSPECIFIED),
            )
            for each in manifest.colour_patterns
        )
        message.colour_rule.patterns.SetInParent()
    elif manifest.ruby_lambda is not None:
        message.colour_rule.ruby_lambda.source = manifest.ruby_lambda
    if manifest.other:
        other = struct_pb2.Struct()
        other.update(manifest.other)
        message.other.CopyFrom(other)
    return message


def check_length(field: str, text: str, longest: int) -> None:
    """Raise InvalidArgument if a text has more characters than `longest`."""
    if len(text) > longest:
        raise InvalidArgument(field, f"{len(text)} characters are more than {longest}")


def kata_and_avatar(kata_id: str, avatar: str) -> tuple[str, str]:
    """Return a request's kata id and avatar; raise InvalidArgument."""
    return kata_ids.check(kata_id), avatars.check(avatar)


def _patterns_from(rule: colour_pb2.ColourRule) -> list[dict[str, str]] | None:
    if not rule.HasField("patterns"):
        return None
    return [
        {
            "colour": _COLOUR_NAMES.get(each.colour, ""),
            "pattern": each.pattern,
            "stream": _STREAM_NAMES.get(each.stream, ""),
        }
        for each in rule.patterns.patterns
    ]


def _ruby_lambda_from(rule: colour_pb2.ColourRule) -> str | None:
    return rule.ruby_lambda.source if rule.HasField("ruby_lambda") else None


def _other_from(message: struct_pb2.Struct) -> dict[str, Any]:
    # No JSON of the largest size is larger as a message; so `check` would refuse this as well.
    if message.ByteSize() > 8 * limits.MAX_MANIFEST_BYTES:
        reason = f"as JSON, it has more than {limits.MAX_MANIFEST_BYTES} bytes"
        raise InvalidArgument("manifest.other", reason)
    try:
        other: dict[str, Any] = MessageToDict(message)
    except ValueError:
        raise InvalidArgument("manifest.other", "has a number that JSON can't represent") from None
    return other


def _seconds(duration: Duration) -> float:
    seconds = duration.seconds + duration.nanos / 1e9
    if not (0 <= duration.nanos < 10**9 and 0 <= seconds <= MAX_SECONDS):
        raise InvalidArgument("duration", f"is not from 0 to {MAX_SECONDS} seconds")
    return seconds


def source_to(listed: ListedKata) -> storer_pb2.KataSource.ValueType:
    """Return the place that a listed kata is used from."""
    if listed.in_data_container:
        return storer_pb2.KATA_SOURCE_DATA_CONTAINER
    if listed.in_archive:
        return storer_pb2.KATA_SOURCE_ARCHIVE
    return storer_pb2.KATA_SOURCE_KATAS_DIRECTORY


def details_to(listed: ListedDetails | None) -> storer_pb2.KataDetails | None:
    """Return the details of a kata as a message, or None if they are unknown."""
    if listed is None:
        return None
    found = listed.details
    return storer_pb2.KataDetails(
        display_name=found.display_name,
        exercise=found.exercise,
        created=None if found.created is None else time_to(found.created),
        avatar_count=found.avatar_count,
        light_count=found.light_count,
        newest=None if found.newest is None else time_to(found.newest),
        problem=found.problem,
        size_bytes=listed.size_bytes,
    )


def left_out_to(left_out: LeftOut) -> storer_pb2.LeftOut | None:
    """Return the message for what of a tar was left out, None if nothing was."""
    if not left_out.count:
        return None
    return storer_pb2.LeftOut(count=left_out.count, names=left_out.names)


def damaged_to(damaged: Iterable[DamagedAvatar]) -> list[storer_pb2.DamagedAvatar]:
    """Return damaged avatars as messages."""
    return [
        storer_pb2.DamagedAvatar(avatar=each.name, path=text(each.path), reason=text(each.reason))
        for each in damaged
    ]


def text(found: str) -> str:
    """Return a text as a message can carry it: filenames need not be UTF-8."""
    return found.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def resumption_from(request: storer_pb2.DownloadKataRequest) -> Resumption | None:
    """Return where a download resumes, or None if it is not resumable; raise InvalidArgument."""
    if request.offset < 0:
        raise InvalidArgument("offset", f"{request.offset} is less than 0")
    if not (request.resumable or request.state):
        return None
    return Resumption(request.state, request.offset)


def as_bundle_from(request: storer_pb2.DownloadKataRequest) -> bool:
    """Say whether a download is a bundle; raise InvalidArgument for one that is compressed."""
    if request.as_bundle and compression_from(request.compression) is not Compression.NONE:
        raise InvalidArgument("compression", "a bundle is compressed already")
    return request.as_bundle


def check_whole_kata(request: storer_pb2.DownloadKataRequest) -> None:
    """Raise InvalidArgument for a request that is about one avatar."""
    if request.avatar or request.as_bundle:
        raise InvalidArgument("for_saver", "is for a whole kata")


def stream_header(filename: str, resumption: Resumption | None) -> storer_pb2.StreamHeader:
    """Return the header of a stream, after its first piece was made."""
    if resumption is None:
        return storer_pb2.StreamHeader(filename=filename)
    return storer_pb2.StreamHeader(
        filename=filename, state=resumption.state, offset=resumption.offset
    )
