"""The `dojo.etcd.client.Etcd` of a machine, with a simulated etcd behind a simulated network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from dojo.errors import EtcdUnavailable
from dojo.etcd import rpc_pb2
from dojo.etcd.client import ANSWER_SECONDS, PATIENCE_SECONDS, Entry, Event, OutcomeUnknown
from support.simulation.etcd_store import EtcdStore, LeaseNotFound
from support.simulation.network import Network, NoAnswer
from support.simulation.scheduler import Process

T = TypeVar("T")

# News are late by up to this; and a connection on which nothing comes is noticed after that.
_NEWS_SECONDS = 0.05
_PING_SECONDS = 7.0
_PAUSE_SECONDS = 0.1

Applied = Callable[[Process, list[Event]], object]


class EtcdService:
    """The etcd that all machines share."""

    def __init__(self, network: Network, applied: Applied) -> None:
        """Call `applied` with whose transaction made what changes, after each."""
        self.store = EtcdStore()
        self.network = network
        self.applied = applied
        self._waiting: dict[bytes, list[Callable[[], None]]] = {}
        self._expiries: dict[int, float] = {}
        self.news_seconds = _NEWS_SECONDS

    def transact(
        self,
        process: Process,
        conditions: Iterable[rpc_pb2.Compare],
        changes: Iterable[rpc_pb2.RequestOp],
    ) -> int | None:
        def note(events: list[Event]) -> None:
            self.applied(process, events)
            self.tell(events)

        return self.store.transact(conditions, changes, note)

    def tell(self, events: Iterable[Event]) -> None:
        """Wake those who wait for news of these changes."""
        for prefix in list(self._waiting):
            if any(event.key.startswith(prefix) for event in events):
                for wake in self._waiting.pop(prefix):
                    # Late, so that news come together: a task is woken once for many.
                    delay = self.network.delay() + self.network.chance.uniform(0, self.news_seconds)
                    self.network.scheduler.call_later(delay, wake)

    def wait_for_news(self, prefix: bytes, wake: Callable[[], None]) -> None:
        self._waiting.setdefault(prefix, []).append(wake)

    def keep(self, lease: int, seconds: float) -> bool:
        """Let a lease end after so long, unless this is called again; return False if it has."""
        if not self.store.has_lease(lease):
            return False
        scheduler = self.network.scheduler
        # A new leader gives leases more time, and none ends at once.
        ends = scheduler.now + seconds + self.network.chance.uniform(0, 1)
        self._expiries[lease] = ends
        scheduler.call_later(ends - scheduler.now, lambda: self._expire(lease, ends))
        return True

    def end(self, lease: int) -> None:
        before = self.store.revision
        self.store.end_lease(lease)
        if self.store.revision > before:
            self.tell(self.store.events(b"/", before))

    def _expire(self, lease: int, ends: float) -> None:
        if self._expiries.get(lease) == ends:
            del self._expiries[lease]
            self.end(lease)


class EtcdClient:
    """The client of one process."""

    def __init__(self, service: EtcdService, process: Process, machine: str) -> None:
        self._service = service
        self._process = process
        self._machine = machine
        self._network = service.network
        self._is_answering = True
        self._leases: dict[int, int] = {}

    @property
    def is_answering(self) -> bool:
        return self._is_answering

    def get(self, key: bytes) -> Entry | None:
        return self._retried("get", lambda: self._service.store.get(key))

    def entries(self, prefix: bytes, *, keys_only: bool = False) -> tuple[list[Entry], int]:
        store = self._service.store
        return self._retried("entries", lambda: (store.entries(prefix), store.revision))

    def transact(
        self, conditions: Iterable[rpc_pb2.Compare], changes: Iterable[rpc_pb2.RequestOp]
    ) -> int | None:
        wanted, made = list(conditions), list(changes)
        try:
            return self._ask(
                "transact", lambda: self._service.transact(self._process, wanted, made)
            )
        except (NoAnswer, LeaseNotFound) as error:
            raise OutcomeUnknown(str(error)) from error

    def grant(self, seconds: int) -> int:
        def grant() -> int:
            lease = self._service.store.grant()
            self._service.keep(lease, seconds)
            return lease

        lease = self._retried("grant", grant)
        self._leases[lease] = seconds
        return lease

    def renew(self, lease: int) -> bool:
        try:
            return self._ask("renew", lambda: self._service.keep(lease, self._leases[lease]))
        except NoAnswer as error:
            raise EtcdUnavailable(str(error)) from error

    def revoke(self, lease: int) -> None:
        try:
            self._ask("revoke", lambda: self._service.end(lease))
        except NoAnswer as error:
            raise EtcdUnavailable(str(error)) from error

    def watch(self, prefix: bytes, revision: int) -> Iterator[list[Event]]:
        store, scheduler = self._service.store, self._network.scheduler
        while True:
            if self._is_cut():
                scheduler.sleep(_PING_SECONDS)
                if self._is_cut():
                    return
            if revision < store.compacted:
                return
            if found := store.events(prefix, revision):
                revision = found[-1].revision
                self._network.counts["news"] += 1
                yield found
                continue
            wake = scheduler.waker()
            self._service.wait_for_news(prefix, wake)
            scheduler.wait()

    def close(self) -> None:
        """Do nothing: the process ends."""

    def _is_cut(self) -> bool:
        return self._machine in self._network.cut_from_etcd

    def _ask(self, title: str, work: Callable[[], T]) -> T:
        try:
            found = self._network.ask(
                work, is_cut=self._is_cut, timeout=ANSWER_SECONDS, title=f"etcd {title}"
            )
        except NoAnswer:
            self._is_answering = False
            raise
        self._is_answering = True
        return found

    def _retried(self, title: str, work: Callable[[], T]) -> T:
        scheduler = self._network.scheduler
        deadline = scheduler.now + PATIENCE_SECONDS
        while True:
            try:
                return self._ask(title, work)
            except NoAnswer as error:
                if scheduler.now > deadline:
                    raise EtcdUnavailable(str(error)) from error
                scheduler.sleep(_PAUSE_SECONDS)
