"""git trees in memory, for libgit2 to compare: nothing is written, so nothing can be left over."""

import hashlib
from collections.abc import Iterator, Mapping

import pygit2
from pygit2.enums import ObjectType

from storer.git.object_writer import NewObjects

_KINDS = {b"blob": int(ObjectType.BLOB), b"tree": int(ObjectType.TREE)}


def trees(*each_files: Mapping[str, bytes]) -> list[pygit2.Tree]:
    """Return a git tree for each of these sets of files, by path, all in one repository."""
    objects = _Objects()
    names = [objects.folder(files) for files in each_files]
    database = pygit2.Odb()
    database.add_backend(_Backend(objects.contents), 1)
    repository = pygit2.Repository()
    repository.set_odb(database)
    return [repository[name].peel(pygit2.Tree) for name in names]


class _Objects(NewObjects):
    """Collects objects as they are. To compress them would take longer than to compare them."""

    def __init__(self) -> None:
        super().__init__()
        self.contents: dict[str, tuple[int, bytes]] = {}

    def _add(self, kind: bytes, content: bytes) -> str:
        sha1 = hashlib.sha1(b"%s %d\0" % (kind, len(content)), usedforsecurity=False)
        sha1.update(content)
        name = sha1.hexdigest()
        self.contents[name] = _KINDS[kind], content
        return name


class _Backend(pygit2.OdbBackend):
    """Gives libgit2 the objects, by their whole names."""

    def __init__(self, objects: Mapping[str, tuple[int, bytes]]) -> None:
        super().__init__()
        self._objects = objects

    def read_cb(self, oid: pygit2.Oid) -> tuple[int, bytes]:
        return self._objects[str(oid)]

    def read_header_cb(self, oid: pygit2.Oid) -> tuple[int, int]:
        kind, content = self._objects[str(oid)]
        return kind, len(content)

    def exists_cb(self, oid: pygit2.Oid) -> bool:
        return str(oid) in self._objects

    def refresh_cb(self) -> None:
        """There is nothing to look for again."""

    def __iter__(self) -> Iterator[pygit2.Oid]:
        return (pygit2.Oid(hex=name) for name in self._objects)
