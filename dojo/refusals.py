"""What a refusal of one of our services says to programs: the details of its status."""

from typing import TypeVar

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from dojo.errors import DojoError, KataDamaged, KataMoved, KataNotFound

M = TypeVar("M", bound=Message)


def detail(error: grpc.RpcError, kind: type[M]) -> M | None:
    """Return the first detail of this kind in the status of a refused call, or None."""
    status = rpc_status.from_call(error)  # type: ignore[arg-type]  # the error is the call too
    for each in status.details if status is not None else ():
        found = kind()
        if each.Unpack(found):
            return found
    return None


def error_of_kata(error: grpc.RpcError, kata_id: str, whose: str) -> DojoError | None:
    """Return the domain's error for a refusal that is about a kata; None if it is about others.

    `whose` copy of the kata it is, if that is damaged.
    """
    match reason_of(error):
        case "NO_SUCH_KATA":
            return KataNotFound(kata_id)
        case "KATA_MOVED":
            return KataMoved(kata_id)
        case "KATA_DAMAGED" | "ARCHIVE_DAMAGED":
            return KataDamaged(kata_id, whose, str(error.details()))
    return None


def reason_of(error: grpc.RpcError) -> str:
    """Return why a call was refused, such as NO_SUCH_KATA; "" if gRPC itself refused it.

    refusal.proto lists the reasons.
    """
    info = detail(error, error_details_pb2.ErrorInfo)
    return "" if info is None else str(info.reason)
