"""Convert what a web tier says of a light, and the results of each test, as `converters` does."""

from typing import Any

from google.protobuf import json_format

from cyberdojo.colour.v1 import colour_pb2
from cyberdojo.results.v1 import results_pb2
from cyberdojo.storer.v1 import storer_pb2
from dojo import avatars, kata_ids, whole_numbers
from dojo.errors import InvalidArgument
from storer.kata.light import MAX_NUMBER
from storer.kata.light_facts import MAX_WRITER, NO_FACTS, Facts, Source, TestCounts

# All that the runner answers fits.
MAX_TEST_RESULTS_BYTES = 4 * 1024 * 1024

_PREDICTABLE = {
    "red": colour_pb2.COLOUR_RED,
    "amber": colour_pb2.COLOUR_AMBER,
    "green": colour_pb2.COLOUR_GREEN,
}
_PREDICTED = {number: name for name, number in _PREDICTABLE.items()}


def facts_to(facts: Facts, message: storer_pb2.Light) -> None:
    """Write the facts into the message of a light."""
    if facts is NO_FACTS:
        return
    if facts.predicted:
        message.predicted = _PREDICTABLE[facts.predicted]
    if facts.source is not None:
        message.source.kata_id = facts.source.kata_id
        message.source.avatar = facts.source.avatar
        message.source.light_number = facts.source.number
    message.writer = facts.writer
    message.special = facts.is_special
    message.stdout_truncated = facts.is_stdout_truncated
    message.stderr_truncated = facts.is_stderr_truncated
    if facts.added is not None:
        message.added_lines = facts.added
    if facts.deleted is not None:
        message.deleted_lines = facts.deleted
    if (counts := facts.test_counts) is not None:
        message.test_counts.CopyFrom(
            results_pb2.TestCounts(
                passed=counts.passed,
                failed=counts.failed,
                errors=counts.errors,
                skipped=counts.skipped,
            )
        )


def facts_from(request: storer_pb2.RecordTestRequest) -> Facts:
    """Return the facts of a request; raise InvalidArgument."""
    if request.predicted and request.predicted not in _PREDICTED:
        raise InvalidArgument("predicted", "is not red, amber or green")
    found = Facts(
        predicted=_PREDICTED.get(request.predicted, ""),
        source=source_from(request),
        writer=writer_from(request),
        is_special=request.special,
        is_stdout_truncated=request.stdout.truncated,
        is_stderr_truncated=request.stderr.truncated,
        added=_count_from(request, "added_lines"),
        deleted=_count_from(request, "deleted_lines"),
        test_counts=_test_counts_from(request),
    )
    return NO_FACTS if found == NO_FACTS else found


def results_from(request: storer_pb2.RecordTestRequest) -> dict[str, Any] | None:
    """Return the results of each test as JSON, None if there are none; raise InvalidArgument."""
    if not request.HasField("test_results"):
        return None
    if (size := request.test_results.ByteSize()) > MAX_TEST_RESULTS_BYTES:
        reason = f"{size} bytes are more than {MAX_TEST_RESULTS_BYTES}"
        raise InvalidArgument("test_results", reason)
    try:
        found: dict[str, Any] = json_format.MessageToDict(request.test_results)
    except json_format.Error as error:  # a duration that is none
        raise InvalidArgument("test_results", str(error)) from None
    return found


def results_to(
    results: dict[str, Any] | None,
    message: storer_pb2.GetFilesResponse | storer_pb2.LightOutput,
) -> None:
    """Write the results of each test into a message, unless they are in no form that is known."""
    if results is None:
        return
    found = results_pb2.TestResults()
    try:
        json_format.ParseDict(results, found, ignore_unknown_fields=True)
    except (json_format.Error, UnicodeEncodeError):
        return  # a kata from elsewhere: its lights can be read all the same
    message.test_results.CopyFrom(found)


def writer_from(request: storer_pb2.RecordTestRequest | storer_pb2.RecordEditRequest) -> str:
    """Return the writer that a request names, "" if it names none; raise InvalidArgument."""
    if (size := len(request.writer)) > MAX_WRITER:
        raise InvalidArgument("writer", f"{size} characters are more than {MAX_WRITER}")
    return request.writer


def source_from(
    request: storer_pb2.RecordTestRequest | storer_pb2.StartAvatarRequest,
) -> Source | None:
    """Return the source that a request names, None if it names none; raise InvalidArgument."""
    if not request.HasField("source"):
        return None
    message = request.source
    number = whole_numbers.check(message.light_number, 0, MAX_NUMBER, "source.light_number")
    return Source(
        kata_ids.check(message.kata_id, "source.kata_id"),
        avatars.check(message.avatar, "source.avatar"),
        number,
    )


def _count_from(request: storer_pb2.RecordTestRequest, field: str) -> int | None:
    if not request.HasField(field):  # type: ignore[arg-type]
        return None
    count: int = getattr(request, field)
    if count < 0:
        raise InvalidArgument(field, f"{count} is less than 0")
    return count


def _test_counts_from(request: storer_pb2.RecordTestRequest) -> TestCounts | None:
    if not request.test_results.HasField("counts"):
        return None
    counts = request.test_results.counts
    found = TestCounts(counts.passed, counts.failed, counts.errors, counts.skipped)
    if min(found.passed, found.failed, found.errors, found.skipped) < 0:
        raise InvalidArgument("test_results.counts", "is less than 0")
    return found
