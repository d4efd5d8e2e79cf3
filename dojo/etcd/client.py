"""A client of etcd: reads, transactions, leases and watches, of one cluster with several members.

Every read is linearizable: it shows all that was acknowledged before it began. A transaction either
happens as a whole, or not at all, or nobody knows: then it may still happen, until something that
it is conditional on has changed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc

from dojo.errors import EtcdFull, EtcdUnavailable
from dojo.etcd import rpc_pb2

# How long one member may take to answer. Its disk takes up to a tenth of that, a new leader's
# election a second.
ANSWER_SECONDS = 2.0
# How long a read goes from member to member.
PATIENCE_SECONDS = 6.0
_PAUSE_SECONDS = 0.1

# A list is read in pages, as a member holds each whole.
_PAGE_KEYS = 1000
_PAGE_KEYS_WITH_VALUES = 100

# A member refuses transactions with more changes than this.
MAX_CHANGES = 128

# What a member says that has no more room, and of it.
_NO_SPACE, _ALARM = "space exceeded", "NOSPACE"

# A connection on which nothing comes is pinged after so long. A member allows no more pings.
_PING_SECONDS = 5

_OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.enable_retries", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # A member that is not reached is left for the next one: by default, connecting may take 20 s.
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.keepalive_time_ms", _PING_SECONDS * 1000),
    ("grpc.keepalive_timeout_ms", 2000),
    ("grpc.http2.ping_timeout_ms", 2000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.service_config", "{}"),
]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Entry:
    """A key with its value; `revision` is that of its last change, and grows with each change."""

    key: bytes
    value: bytes
    revision: int


@dataclass(frozen=True, slots=True)
class Event:
    """A change of a key; `value` is None if the key was deleted."""

    key: bytes
    value: bytes | None
    revision: int


@dataclass(frozen=True, slots=True)
class Status:
    """What a member tells of itself: what is wrong, in its words, and the size of its data.

    The data has as many bytes on the disk, `used_bytes` of which are not free.
    """

    errors: tuple[str, ...]
    size_bytes: int
    used_bytes: int

    @property
    def is_full(self) -> bool:
        """Whether a member has no more room: none writes anything until this is told otherwise."""
        return any(_ALARM in each for each in self.errors)


class OutcomeUnknown(Exception):
    """A transaction was sent, and no answer came: it may have happened, and it still may."""


def is_absent(key: bytes) -> rpc_pb2.Compare:
    """Return the condition that there is no such key."""
    return rpc_pb2.Compare(target=rpc_pb2.Compare.VERSION, key=key, version=0)


def is_unchanged(key: bytes, revision: int) -> rpc_pb2.Compare:
    """Return the condition that a key was last changed at this revision."""
    return rpc_pb2.Compare(target=rpc_pb2.Compare.MOD, key=key, mod_revision=revision)


def put(key: bytes, value: bytes, lease: int = 0) -> rpc_pb2.RequestOp:
    """Return the change that sets a key, for as long as the lease lasts, if there is one."""
    return rpc_pb2.RequestOp(
        request_put=rpc_pb2.PutRequest(key=key, value=value, lease=lease),
    )


def delete(key: bytes) -> rpc_pb2.RequestOp:
    """Return the change that deletes a key, if it is there."""
    return rpc_pb2.RequestOp(request_delete_range=rpc_pb2.DeleteRangeRequest(key=key))


def delete_prefix(prefix: bytes) -> rpc_pb2.RequestOp:
    """Return the change that deletes all keys that begin with `prefix`."""
    return delete_range(prefix, after(prefix))


def delete_range(begin: bytes, end: bytes) -> rpc_pb2.RequestOp:
    """Return the change that deletes all keys from `begin` on and before `end`."""
    return rpc_pb2.RequestOp(
        request_delete_range=rpc_pb2.DeleteRangeRequest(key=begin, range_end=end)
    )


def after(prefix: bytes) -> bytes:
    """Return the first key behind all that begin with `prefix`, which does not end with 0xff."""
    return prefix[:-1] + bytes([prefix[-1] + 1])


class Etcd:
    """One cluster. Any thread may use it.

    Calls go to one member until that fails to answer, and then to the next. A lock guards which one
    it is, and the calls that are ended when it changes.
    """

    def __init__(
        self, endpoints: Sequence[str], credentials: grpc.ChannelCredentials | None = None
    ) -> None:
        """Call the members at these addresses (host:port), the first one first; nothing is sent.

        With `credentials` by TLS.
        """
        self._channels = [
            grpc.secure_channel(each, credentials, _OPTIONS)
            if credentials is not None
            else grpc.insecure_channel(each, _OPTIONS)
            for each in endpoints
        ]
        self._lock = threading.Lock()
        self._current = 0
        self._streams: set[Any] = set()
        self._is_answering = True

    @property
    def is_answering(self) -> bool:
        """Whether the last call was answered: if not, the next one may take long."""
        return self._is_answering

    def get(self, key: bytes) -> Entry | None:
        """Return a key's entry, None if there is none. Raises EtcdUnavailable."""
        found = self._read(rpc_pb2.RangeRequest(key=key)).kvs
        return _entry(found[0]) if found else None

    def entries(self, prefix: bytes, *, keys_only: bool = False) -> tuple[list[Entry], int]:
        """Return the entries whose keys begin with `prefix`, in order, as they were at a revision.

        Return that revision too. With `keys_only` their values are empty. Raises EtcdUnavailable.
        """
        found: list[Entry] = []
        revision, begin, end = 0, prefix, after(prefix)
        limit = _PAGE_KEYS if keys_only else _PAGE_KEYS_WITH_VALUES
        while True:
            page = self._read(
                rpc_pb2.RangeRequest(
                    key=begin, range_end=end, limit=limit, revision=revision, keys_only=keys_only
                )
            )
            found += map(_entry, page.kvs)
            revision = revision or page.header.revision
            if not page.more:
                return found, revision
            begin = found[-1].key + b"\0"

    def transact(
        self, conditions: Iterable[rpc_pb2.Compare], changes: Iterable[rpc_pb2.RequestOp]
    ) -> int | None:
        """Make all changes if all conditions hold; return the revision, or None if they don't.

        Raises EtcdFull if it was refused for lack of room, EtcdUnavailable if it was refused for
        now, and OutcomeUnknown.
        """
        request = rpc_pb2.TxnRequest(compare=conditions, success=changes)
        try:
            answer = self._call("KV/Txn", request, rpc_pb2.TxnResponse)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
                raise _refusal(error) from error
            if error.code() is grpc.StatusCode.INVALID_ARGUMENT:
                raise
            raise OutcomeUnknown(_said(error)) from error
        return int(answer.header.revision) if answer.succeeded else None

    def status(self) -> Status:
        """Return what a member tells of itself. Raises EtcdUnavailable."""
        answer = self._retried(
            "Maintenance/Status", rpc_pb2.StatusRequest(), rpc_pb2.StatusResponse
        )
        return Status(tuple(answer.errors), answer.dbSize, answer.dbSizeInUse)

    def grant(self, seconds: int) -> int:
        """Return a new lease, which ends when it is not renewed for so long.

        Raises EtcdFull or EtcdUnavailable.
        """
        request = rpc_pb2.LeaseGrantRequest(TTL=seconds)
        answer = self._retried("Lease/LeaseGrant", request, rpc_pb2.LeaseGrantResponse)
        return int(answer.ID)

    def renew(self, lease: int) -> bool:
        """Renew a lease; return False if it has ended. Raises EtcdUnavailable."""
        index, channel = self._member()
        request = rpc_pb2.LeaseKeepAliveRequest(ID=lease)
        call: Any = channel.stream_stream(
            "/etcdserverpb.Lease/LeaseKeepAlive",
            rpc_pb2.LeaseKeepAliveRequest.SerializeToString,
            rpc_pb2.LeaseKeepAliveResponse.FromString,
        )(iter([request]), timeout=ANSWER_SECONDS)
        try:
            answer = next(call)
        except (grpc.RpcError, StopIteration) as error:
            self._leave(index)
            raise EtcdUnavailable(_said(error)) from error
        finally:
            call.cancel()
        self._is_answering = True
        return bool(answer.TTL)

    def revoke(self, lease: int) -> None:
        """End a lease, and the keys that it has. Raises EtcdUnavailable."""
        request = rpc_pb2.LeaseRevokeRequest(ID=lease)
        try:
            self._call("Lease/LeaseRevoke", request, rpc_pb2.LeaseRevokeResponse)
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.NOT_FOUND:
                raise EtcdUnavailable(_said(error)) from error

    def watch(self, prefix: bytes, revision: int) -> Iterator[list[Event]]:
        """Yield the changes after a revision of keys that begin with `prefix`, as they happen.

        Ends when the member does not answer any more, or no longer has that revision.
        """
        index, channel = self._member()
        create = rpc_pb2.WatchCreateRequest(
            key=prefix, range_end=after(prefix), start_revision=revision + 1
        )
        done = threading.Event()

        def requests() -> Iterator[rpc_pb2.WatchRequest]:
            yield rpc_pb2.WatchRequest(create_request=create)
            done.wait()  # the watch ends with its requests

        try:
            call: Any = channel.stream_stream(
                "/etcdserverpb.Watch/Watch",
                rpc_pb2.WatchRequest.SerializeToString,
                rpc_pb2.WatchResponse.FromString,
            )(requests())
        except ValueError:  # the connection was closed meanwhile
            done.set()
            return
        with self._lock:
            self._streams.add(call)
        try:
            for response in call:
                if response.canceled:
                    return
                if response.events:
                    yield [_event(each) for each in response.events]
        except grpc.RpcError:
            self._leave(index)
        finally:
            done.set()
            with self._lock:
                self._streams.discard(call)
            call.cancel()

    def close(self) -> None:
        """End all watches, and close the connections."""
        with self._lock:
            streams = list(self._streams)
        for stream in streams:
            stream.cancel()
        for channel in self._channels:
            channel.close()

    def _read(self, request: rpc_pb2.RangeRequest) -> rpc_pb2.RangeResponse:
        return self._retried("KV/Range", request, rpc_pb2.RangeResponse)

    def _retried(self, method: str, request: Any, kind: type[T]) -> T:
        """Call one member after the other. Raises EtcdFull or EtcdUnavailable."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return self._call(method, request, kind)
            except grpc.RpcError as error:
                if isinstance(refusal := _refusal(error), EtcdFull):
                    raise refusal from error
                if time.monotonic() > deadline:
                    raise EtcdUnavailable(_said(error)) from error
                time.sleep(_PAUSE_SECONDS)

    def _call(self, method: str, request: Any, kind: type[T]) -> T:
        index, channel = self._member()
        parse: Callable[[bytes], T] = kind.FromString  # type: ignore[attr-defined]  # a message
        call = channel.unary_unary(f"/etcdserverpb.{method}", _serialized, parse)
        try:
            answer: T = call(request, timeout=ANSWER_SECONDS)
        except grpc.RpcError as error:
            if error.code() in _MEMBER_FAILED:
                self._is_answering = False
                self._leave(index)
            raise
        except ValueError as error:  # the connection was closed meanwhile
            raise EtcdUnavailable(str(error)) from error
        self._is_answering = True
        return answer

    def _member(self) -> tuple[int, grpc.Channel]:
        with self._lock:
            return self._current, self._channels[self._current]

    def _leave(self, index: int) -> None:
        """Use the next member, if this one is still the one in use; end the watches at this one."""
        with self._lock:
            if index != self._current or len(self._channels) == 1:
                return
            self._current = (index + 1) % len(self._channels)
            streams = list(self._streams)
        for stream in streams:
            stream.cancel()


_MEMBER_FAILED = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}


def _serialized(request: Any) -> bytes:
    content: bytes = request.SerializeToString()
    return content


def _entry(found: rpc_pb2.KeyValue) -> Entry:
    return Entry(found.key, found.value, found.mod_revision)


def _event(found: rpc_pb2.Event) -> Event:
    is_deleted = found.type == rpc_pb2.Event.DELETE
    return Event(found.kv.key, None if is_deleted else found.kv.value, found.kv.mod_revision)


def _refusal(error: grpc.RpcError) -> EtcdFull | EtcdUnavailable:
    """Return why a call was refused: there is no room, or too much is being done at this moment."""
    full = _NO_SPACE in str(error.details())
    return EtcdFull(str(error.details())) if full else EtcdUnavailable(_said(error))


def _said(error: Exception) -> str:
    if isinstance(error, grpc.RpcError):
        return f"{error.code().name}: {error.details()}"
    return "it ended the call without an answer"
