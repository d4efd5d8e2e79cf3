"""The storer's RPCs, each with a valid request."""

from collections.abc import Callable, Iterator
from typing import Any

from google.protobuf.message import Message

from cyberdojo.storer.v1 import storer_pb2
from support.storer.storing import Stub, a_test

# Every RPC whose request has a kata and no avatar, with a valid request.
OF_A_KATA: dict[str, Callable[[str], Any]] = {
    "GetKata": lambda kata_id: storer_pb2.GetKataRequest(kata_id=kata_id),
    "SetOptions": lambda kata_id: storer_pb2.SetOptionsRequest(
        kata_id=kata_id, options=storer_pb2.Options(predict=True)
    ),
    "ImportKata": lambda kata_id: storer_pb2.ImportKataRequest(kata_id=kata_id),
    "DeleteKata": lambda kata_id: storer_pb2.DeleteKataRequest(kata_id=kata_id),
    "StartAvatar": lambda kata_id: storer_pb2.StartAvatarRequest(kata_id=kata_id),
    "ListAvatars": lambda kata_id: storer_pb2.ListAvatarsRequest(kata_id=kata_id),
    "ListLights": lambda kata_id: storer_pb2.ListLightsRequest(kata_id=kata_id),
    "WatchKata": lambda kata_id: storer_pb2.WatchKataRequest(kata_id=kata_id),
    "GetOutputs": lambda kata_id: storer_pb2.GetOutputsRequest(
        kata_id=kata_id, lights=[storer_pb2.WhichLight(avatar="whale", light_number=0)]
    ),
    "DownloadKata": lambda kata_id: storer_pb2.DownloadKataRequest(kata_id=kata_id),
    "ArchiveKata": lambda kata_id: storer_pb2.ArchiveKataRequest(kata_id=kata_id),
}

# Every RPC whose request has a kata and an avatar.
OF_AN_AVATAR: dict[str, Callable[[str, str], Any]] = {
    "ForkKata": lambda kata_id, avatar: storer_pb2.ForkKataRequest(
        kata_id=kata_id, avatar=avatar, light_number=0
    ),
    "RecordTest": a_test,
    "RecordEdit": lambda kata_id, avatar: storer_pb2.RecordEditRequest(
        kata_id=kata_id, avatar=avatar, files={"edited": b""}
    ),
    "GetFiles": lambda kata_id, avatar: storer_pb2.GetFilesRequest(
        kata_id=kata_id, avatar=avatar, light_number=0
    ),
    "DiffLights": lambda kata_id, avatar: storer_pb2.DiffLightsRequest(
        kata_id=kata_id, avatar=avatar, was_number=0, now_number=0
    ),
    "DownloadPatch": lambda kata_id, avatar: storer_pb2.DownloadPatchRequest(
        kata_id=kata_id, avatar=avatar, was_number=0, now_number=0
    ),
}


def _for_the_whale(make: Callable[[str, str], Any]) -> Callable[[str], Any]:
    return lambda kata_id: make(kata_id, "whale")


ALL_OF_A_KATA = {
    **OF_A_KATA,
    **{rpc: _for_the_whale(make) for rpc, make in OF_AN_AVATAR.items()},
}


def call(stub: Stub, rpc: str, request: Message) -> object:
    """Call an RPC; return its response, or all responses of a stream."""
    answer = getattr(stub, rpc)(request, timeout=60)
    return list(answer) if isinstance(answer, Iterator) else answer
