"""What a refusal tells a caller's program, besides its status and its words."""

import grpc
from google.rpc import error_details_pb2

from cyberdojo.refusal.v1.refusal_pb2 import Reason
from dojo.refusals import detail, reason_of


def bad_fields(error: grpc.RpcError) -> list[error_details_pb2.BadRequest.FieldViolation]:
    """Return the violations of the request's fields that a refusal names."""
    found = detail(error, error_details_pb2.BadRequest)
    assert found is not None
    return list(found.field_violations)


# Statuses that gRPC itself ends calls with, among others.
_OF_GRPC = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.UNIMPLEMENTED,
}


def check_reason(error: grpc.RpcError, reason: str | None = None) -> None:
    """Check that programs are told the reason of a refusal; `None` stands for any."""
    found = reason_of(error)
    is_of_grpc = error.code() in _OF_GRPC or "larger than max" in str(error.details())
    names = {Reason.Name(number).removeprefix("REASON_") for number in Reason.values()}
    assert found in names or is_of_grpc, error
    assert reason in {None, found}, error


def facts(error: grpc.RpcError) -> dict[str, str]:
    """Return the metadata that a refusal gives with its reason."""
    info = detail(error, error_details_pb2.ErrorInfo)
    assert info is not None
    assert info.domain == "cyber-dojo"
    return dict(info.metadata)


def retry_seconds(error: grpc.RpcError) -> float | None:
    """Return after how many seconds a call may be made again; None if the refusal says nothing."""
    retry = detail(error, error_details_pb2.RetryInfo)
    return None if retry is None else float(retry.retry_delay.ToTimedelta().total_seconds())


def code_to_judge(error: grpc.RpcError) -> grpc.StatusCode:
    """Return the status of a refusal; UNKNOWN if it should say when to call again, and does not."""
    is_busy = error.code() in {grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE}
    is_told = not is_busy or retry_seconds(error) is not None
    return error.code() if is_told else grpc.StatusCode.UNKNOWN
