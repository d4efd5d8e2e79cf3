"""The status of each error."""

import contextlib
import importlib
import io
import json
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path, PurePath

import grpc
import pytest
import structlog
from google.protobuf import any_pb2
from google.rpc import error_details_pb2

import dojo
import runner
import storer
from cyberdojo.refusal.v1 import refusal_pb2
from dojo import errors
from dojo.service import log, statuses
from support.paths import TOP

UNDISCLOSED = "/srv/secret/path"


def modules() -> list[str]:
    """Import all modules of the project, so that all errors are defined; return their names."""
    names = [
        found.name
        for package in (dojo, storer, runner)
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    ]
    for name in names:
        importlib.import_module(name)
    return names


def subclasses(kind: type) -> Iterator[type]:
    each: type
    for each in kind.__subclasses__():
        if not each.__module__.startswith("support."):  # one of a simulation
            yield each
        yield from subclasses(each)


def test_every_domain_error_has_a_status() -> None:
    assert {"dojo.errors", "storer.katas.repository", "runner.run.service"} <= set(modules())
    found = set(subclasses(errors.DojoError))
    assert errors.KataNotFound in found
    without = [kind for kind in found if not set(kind.__mro__) & set(statuses.STATUSES)]
    assert without == []


def test_the_table_names_only_errors_that_exist() -> None:
    assert set(statuses.STATUSES) <= set(subclasses(errors.DojoError))


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.InvalidArgument("kata_id", "is bad"), grpc.StatusCode.INVALID_ARGUMENT),
        (errors.KataNotFound("5A0F824303"), grpc.StatusCode.NOT_FOUND),
        (errors.AvatarNotFound("5A0F824303", "whale"), grpc.StatusCode.NOT_FOUND),
        (errors.LightNotFound("5A0F824303", "whale", 3, 2), grpc.StatusCode.NOT_FOUND),
        (errors.ImageNotFound("a/b", "no"), grpc.StatusCode.NOT_FOUND),
        (errors.AlreadyExists("5A0F824303"), grpc.StatusCode.ALREADY_EXISTS),
        (errors.StaleNumber("5A0F824303", "whale", 3, 4), grpc.StatusCode.ABORTED),
        (errors.ImageMissing("a/b"), grpc.StatusCode.FAILED_PRECONDITION),
        (errors.AvatarsExhausted("5A0F824303", 64), grpc.StatusCode.RESOURCE_EXHAUSTED),
        (errors.DiskFull("/"), grpc.StatusCode.RESOURCE_EXHAUSTED),
        (errors.DiskReadOnly("/"), grpc.StatusCode.FAILED_PRECONDITION),
        (errors.UnknownBackup("0000000001-0"), grpc.StatusCode.FAILED_PRECONDITION),
        (errors.EngineUnavailable("gone"), grpc.StatusCode.UNAVAILABLE),
        (errors.RegistryUnavailable("a/b", "gone"), grpc.StatusCode.UNAVAILABLE),
        (errors.ArchiveUnavailable("gone"), grpc.StatusCode.UNAVAILABLE),
        (errors.ArchiveDamaged("49/a.A.tar.zst", "b"), grpc.StatusCode.DATA_LOSS),
        (errors.StorerUnavailable("gone"), grpc.StatusCode.UNAVAILABLE),
        (errors.MachineNotFound("n9", ["n1"]), grpc.StatusCode.NOT_FOUND),
        (errors.EtcdBehind("5A0F824303"), grpc.StatusCode.FAILED_PRECONDITION),
        (errors.OnlyMachine(), grpc.StatusCode.FAILED_PRECONDITION),
        (errors.EtcdUnavailable("gone"), grpc.StatusCode.UNAVAILABLE),
        (errors.EtcdFull("no space"), grpc.StatusCode.RESOURCE_EXHAUSTED),
        (errors.KataMoved("5A0F824303"), grpc.StatusCode.UNAVAILABLE),
        (errors.ArchiveMissing(), grpc.StatusCode.FAILED_PRECONDITION),
        (errors.KataInUse("5A0F824303", "a run"), grpc.StatusCode.FAILED_PRECONDITION),
        (errors.Stopping(), grpc.StatusCode.UNAVAILABLE),
        (errors.RunLost("its container was removed"), grpc.StatusCode.UNAVAILABLE),
        (errors.KataDamaged("5A0F824303", "a", "b"), grpc.StatusCode.DATA_LOSS),
        (OSError(28, "No space left on device"), grpc.StatusCode.RESOURCE_EXHAUSTED),
        (OSError(30, "Read-only file system"), grpc.StatusCode.FAILED_PRECONDITION),
        (OSError(5, "Input/output error"), grpc.StatusCode.FAILED_PRECONDITION),
        (OSError(117, "Structure needs cleaning"), grpc.StatusCode.FAILED_PRECONDITION),
        (OSError(122, "Disk quota exceeded"), grpc.StatusCode.RESOURCE_EXHAUSTED),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_error_becomes_its_status(error: Exception, code: grpc.StatusCode) -> None:
    status = statuses.status_of(error)
    assert status.code == code.value[0]
    assert status.message


def test_a_malformed_field_is_named_for_programs_too() -> None:
    status = statuses.status_of(errors.InvalidArgument("kata_id", "is bad"))
    details = error_details_pb2.BadRequest()
    assert status.details[1].Unpack(details)
    assert [(each.field, each.description) for each in details.field_violations] == [
        ("kata_id", "is bad")
    ]


def info_of(error: Exception) -> error_details_pb2.ErrorInfo:
    """Return the ErrorInfo that an error becomes: it is the first detail."""
    found = error_details_pb2.ErrorInfo()
    assert statuses.status_of(error).details[0].Unpack(found)
    assert found.domain == "cyber-dojo"
    return found


def test_every_error_that_is_raised_has_a_reason_and_each_reason_an_error() -> None:
    modules()
    bases = {errors.NotFound, errors.Exhausted, errors.Busy}  # they are not raised themselves
    found = set(subclasses(errors.DojoError))
    without = {kind for kind in found if not set(kind.__mro__) & set(statuses.REASONS)}
    assert without == bases
    assert sorted([*statuses.REASONS.values(), refusal_pb2.REASON_DEFECT]) == sorted(
        set(refusal_pb2.Reason.values()) - {refusal_pb2.REASON_UNSPECIFIED}
    )


def test_the_bases_of_errors_are_not_raised_themselves() -> None:
    for package in (dojo, storer, runner):
        for path in Path(package.__path__[0]).rglob("*.py"):
            found = re.findall(r"\b(?:NotFound|Exhausted|Busy)\(", path.read_text())
            allowed = ["NotFound(", "Exhausted(", "Busy("] if path.name == "errors.py" else []
            assert set(found) <= set(allowed), path


def examples() -> list[errors.DojoError]:
    """An error of each kind that has facts for programs."""
    kata_id = "5A0F824303"
    return [
        errors.InvalidArgument("kata_id", "is bad"),
        errors.MessageTooLarge(3, 2),
        errors.RequestIdReused("a"),
        errors.KataNotFound(kata_id),
        errors.AvatarNotFound(kata_id, "whale"),
        errors.LightNotFound(kata_id, "whale", 3, 2),
        errors.EditNotFound(kata_id, "whale", 3, 2, 1),
        errors.ImageNotFound("a/b", "no"),
        errors.StartPointNotFound("languages", "C"),
        errors.AlreadyExists(kata_id),
        errors.StaleNumber(kata_id, "whale", 3, 4),
        errors.AvatarsExhausted(kata_id, 64),
        errors.KataInUse(kata_id, "a run"),
        errors.KataMoved(kata_id),
        errors.EtcdBehind(kata_id),
        errors.ArchiveConflict(kata_id),
        errors.ArchiveOfAnother("others", "ours"),
        errors.ImageMissing("a/b"),
        errors.ImageUnusable("a/b", "no"),
        errors.RunsExhausted("too many", 8, 1.0),
        errors.PullsExhausted(8),
        errors.HistoryTooLarge(kata_id, "whale", "too large"),
        errors.RegistryUnavailable("a/b", "gone"),
        errors.KataDamaged(kata_id, "a", "b"),
        errors.ArchiveDamaged("49/a.A.tar.zst", "b"),
        errors.StartPointDamaged(PurePath("a"), "b"),
    ]


def test_each_reason_comes_with_the_metadata_that_the_proto_names() -> None:
    text = (TOP / "protos/cyberdojo/refusal/v1/refusal.proto").read_text()
    named = {}
    for comment, name in re.findall(r"(?m)((?:^  //.*\n)+)^  REASON_(\w+) =", text):
        words = re.sub(r"\s*//\s*", " ", comment).partition("Metadata: ")[2]
        words = words or re.sub(r"\s*//\s*", " ", comment).partition("metadata: ")[2]
        named[name] = set(re.findall(r"`(\w+)`", words))
    found = {info_of(error).reason: set(info_of(error).metadata) for error in examples()}
    found["DEFECT"] = set(info_of(RuntimeError("broken")).metadata)
    assert found == {name: facts for name, facts in named.items() if facts}


def test_metadata_is_text_that_a_program_can_parse() -> None:
    info = info_of(errors.StaleNumber("5A0F824303", "whale", 3, 4))
    assert info.reason == "STALE_NUMBER"
    assert dict(info.metadata) == {
        "kata_id": "5A0F824303",
        "avatar": "whale",
        "expected_number": "3",
        "newest_number": "4",
    }


def test_the_page_for_callers_explains_each_reason_with_its_status() -> None:
    page = (TOP / "docs/calling.md").read_text()
    table = page.split("| reason | status |")[1].split("\n\n")[0]
    rows = dict(re.findall(r"(?m)^\| ([A-Z_]+) \| ([A-Z_]+) \| .+ \| .+ \|$", table))
    told = {
        statuses.reason_name(reason): statuses._nearest(statuses.STATUSES, kind).name
        for kind, reason in statuses.REASONS.items()
    }
    assert rows == {**told, "DEFECT": "INTERNAL"}


@pytest.fixture
def logs() -> Iterator[io.StringIO]:
    """The log, in the form that a service writes."""
    with contextlib.redirect_stderr(io.StringIO()) as written:
        log.configure("info")
    yield written
    structlog.reset_defaults()


def test_a_defect_is_logged_under_a_reference_and_not_disclosed(logs: io.StringIO) -> None:
    def broken() -> None:
        raise RuntimeError(UNDISCLOSED)

    with pytest.raises(RuntimeError) as caught:
        broken()
    status = statuses.status_of(caught.value)
    event = json.loads(logs.getvalue())
    assert status.code == grpc.StatusCode.INTERNAL.value[0]
    assert status.message == f"a defect, logged as {event['reference']}"
    assert UNDISCLOSED not in str(status)
    assert [each.type_url for each in status.details] == [
        "type.googleapis.com/google.rpc.ErrorInfo"
    ]
    assert event["event"] == "defect"
    assert UNDISCLOSED in event["exception"]
    assert "in broken" in event["exception"]


@pytest.mark.parametrize("text", ["x" * 100_000, "\N{SNOWMAN}" * 100_000, "\ud800" * 100_000])
def test_a_status_always_fits_into_a_trailer(text: str) -> None:
    status = statuses.status_of(errors.InvalidArgument(text, text))
    assert len(status.SerializeToString()) < 4 * 1024


@pytest.mark.parametrize(
    "error",
    [
        errors.KataNotFound("493A06504A"),
        errors.KataDamaged("493A06504A", PurePath("whale/.git/HEAD"), "is gone"),
        errors.LightNotFound("493A06504A", "whale", 9, 3),
        errors.TooManyGuesses(36.0),
        errors.MemoryExhausted("others"),
        RuntimeError("a defect"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_refusal_beside_answers_is_the_status_of_a_call_that_ends(error: Exception) -> None:
    refusal = statuses.refusal_of(error)
    alone = statuses.status_of(error)
    assert refusal.status == alone.code
    info = next(each for each in map(_unpacked_info, alone.details) if each is not None)
    assert refusal_pb2.Reason.Name(refusal.reason) == f"REASON_{info.reason}"
    if not isinstance(error, errors.DojoError):
        assert set(refusal.metadata) == {"reference"}  # another one each time
        return
    assert (refusal.message, dict(refusal.metadata)) == (alone.message, dict(info.metadata))
    expected = error.retry_seconds if isinstance(error, errors.Busy) else 0.0
    assert refusal.HasField("retry_after") == isinstance(error, errors.Busy)
    assert refusal.retry_after.ToTimedelta().total_seconds() == expected


def _unpacked_info(detail: any_pb2.Any) -> error_details_pb2.ErrorInfo | None:
    info = error_details_pb2.ErrorInfo()
    return info if detail.Unpack(info) else None
