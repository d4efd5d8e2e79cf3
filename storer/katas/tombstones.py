"""Tombstones: deleted katas that the katas directory still has, and that have to stay away.

Losing them brings those katas back and costs nothing else.
"""

from dojo.engine.data_containers import DataContainers
from storer.katas.noted_katas import NotedKatas


class Tombstones(NotedKatas):
    """The deleted katas of a namespace. Any thread may use them."""

    def __init__(self, containers: DataContainers) -> None:
        super().__init__(containers, containers.namespace.deleted, "deleted")
