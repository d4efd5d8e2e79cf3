"""A client of an earlier contract: the protos as they were, built into a pool of their own.

`tests/old_client/` has them as sets of descriptors, with what they import:

- `before_light_facts.binpb`: commit c226f7f, before lights said what was predicted, and where their
  files came from.
- `before_edits.binpb`: commit edd3d36, the last that changed a field instead of adding one; before
  edits, sources of starts, downloads of one avatar, and forks with an avatar.
"""

import functools
from operator import methodcaller
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.message import Message

from support.paths import TOP

BEFORE_LIGHT_FACTS, BEFORE_EDITS = "before_light_facts", "before_edits"


def descriptors(name: str) -> FileDescriptorSet:
    """Return an earlier contract."""
    content = (TOP / "tests/old_client" / f"{name}.binpb").read_bytes()
    return descriptor_pb2.FileDescriptorSet.FromString(content)


@functools.cache
def _built(contract: str) -> tuple[descriptor_pool.DescriptorPool, dict[str, type[Message]]]:
    """Return a pool with an earlier contract, and the classes of its messages by full name."""
    pool = descriptor_pool.DescriptorPool()
    files = descriptors(contract).file
    for each in files:  # each comes after what it imports
        pool.Add(each)
    return pool, message_factory.GetMessageClassesForFiles([each.name for each in files], pool)


class OldClient:
    """Calls one service as a client does that was built from an earlier contract."""

    def __init__(self, contract: str, service: str, channel: grpc.Channel) -> None:
        """Call `service` (`cyberdojo.storer.v1.StorerService`) by the channel."""
        pool, self._classes = _built(contract)
        self._service = pool.FindServiceByName(service)
        self._channel = channel

    def message(self, name: str, **fields: Any) -> Any:
        """Return a message of the service's package."""
        return self._classes[f"{self._service.file.package}.{name}"](**fields)

    def call(self, rpc: str, *requests: Message, seconds: float = 120, **fields: Any) -> Any:
        """Return the response to a request that has these fields, or to several.

        Of an RPC that streams them it is an iterator, which can be cancelled.
        """
        method = self._service.methods_by_name[rpc]
        answer, asked = (
            self._classes[each.full_name] for each in (method.output_type, method.input_type)
        )
        given = requests or (asked(**fields),)
        kind = f"{'stream' if method.client_streaming else 'unary'}_"
        kind += "stream" if method.server_streaming else "unary"
        stub = getattr(self._channel, kind)(
            f"/{self._service.full_name}/{rpc}",
            request_serializer=methodcaller("SerializeToString"),
            response_deserializer=answer.FromString,
        )
        return stub(iter(given) if method.client_streaming else given[0], timeout=seconds)


def known(message: Any) -> Any:
    """Return a message of an old client without the fields that the client does not know."""
    message.DiscardUnknownFields()
    return message
