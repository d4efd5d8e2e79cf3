"""What a storer tells of itself in GetStatus."""

from dataclasses import dataclass
from datetime import timedelta

from cyberdojo.status.v1 import status_pb2
from dojo.engine.data_containers import DataContainers
from storer.backup.catalog import Catalog, State
from storer.katas.activity import ActiveCalls
from storer.workers.archiver import Archiver
from storer.workers.replicator import Replicator


@dataclass(frozen=True)
class StorerDescription:
    """The parts of a storer that have something to tell. Any thread may use it."""

    archive: str
    data_containers: DataContainers
    active_calls: ActiveCalls
    archiver: Archiver
    replicator: Replicator
    catalog: Catalog

    def add_to(self, status: status_pb2.GetStatusResponse) -> None:
        """Add what the storer is doing to its status."""
        uncopied, age_seconds = self.replicator.lag()
        storer = status_pb2.StorerStatus(
            data_container_count=sum(1 for _ in self.data_containers.kata_ids()),
            active_call_count=self.active_calls.count,
            archive=self.archive,
            uncopied_kata_count=uncopied,
            archive_problem=self.archiver.problem or self.replicator.problem,
        )
        if age_seconds is not None:
            storer.archive_lag.FromTimedelta(timedelta(seconds=age_seconds))
        last = self.catalog.last_finished()
        if last is not None and last.finished is not None:
            storer.last_backup.finished.FromDatetime(last.finished)
            storer.last_backup.failed_count = last.counts[State.FAILED]
        status.storer.CopyFrom(storer)
