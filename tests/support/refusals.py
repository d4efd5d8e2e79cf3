"""What a refusal tells a caller's program, besides its status and its words."""

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status


def retry_seconds(error: grpc.RpcError) -> float | None:
    """Return after how many seconds a call may be made again; None if the refusal says nothing."""
    status = rpc_status.from_call(error)  # type: ignore[arg-type]  # the error is the call too
    for detail in status.details if status is not None else ():
        retry = error_details_pb2.RetryInfo()
        if detail.Unpack(retry):
            return float(retry.retry_delay.ToTimedelta().total_seconds())
    return None


def code_to_judge(error: grpc.RpcError) -> grpc.StatusCode:
    """Return the status of a refusal; UNKNOWN if it should say when to call again, and does not."""
    is_busy = error.code() in {grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE}
    is_told = not is_busy or retry_seconds(error) is not None
    return error.code() if is_told else grpc.StatusCode.UNKNOWN
