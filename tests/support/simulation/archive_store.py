"""The store of an archive that all machines reach: a storer.archive.archive.Store in memory."""

from __future__ import annotations

import bisect
import io
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import IO, TypeVar

from dojo.errors import ArchiveUnavailable
from support.simulation.network import Network, NoAnswer

T = TypeVar("T")

_ANSWER_SECONDS = 5.0


class Files:
    """What the store has; each file with a version that each write changes."""

    def __init__(self) -> None:
        self.contents: dict[str, tuple[bytes, str]] = {}
        self._keys: dict[str, list[str]] = {}
        self._writes = 0

    def write(self, key: str, content: bytes) -> None:
        if key not in self.contents:
            bisect.insort(self._keys.setdefault(_group(key), []), key)
        self._writes += 1
        self.contents[key] = content, str(self._writes)

    def delete(self, key: str) -> None:
        if self.contents.pop(key, None) is not None:
            keys = self._keys[_group(key)]
            del keys[bisect.bisect_left(keys, key)]

    def keys(self, prefix: str) -> list[str]:
        keys = self._keys.get(_group(prefix), [])
        first = bisect.bisect_left(keys, prefix)
        last = bisect.bisect_left(keys, prefix + "\x7f")
        return keys[first:last]


class ArchiveStore:
    """The store, as a machine reaches it. Only what the simulated machines need of one."""

    def __init__(self, files: Files, network: Network, machine: str) -> None:
        self._files = files
        self._network = network
        self._machine = machine

    def folders(self) -> list[str]:
        raise NotImplementedError

    def keys(self, prefix: str) -> Iterator[str]:
        return iter(self._ask("list", lambda: self._files.keys(prefix)))

    def status(self, key: str) -> tuple[int, str] | None:
        def status() -> tuple[int, str] | None:
            found = self._files.contents.get(key)
            return None if found is None else (len(found[0]), found[1])

        return self._ask("head", status)

    @contextmanager
    def open(self, key: str) -> Iterator[IO[bytes]]:
        found = self._ask("get", lambda: self._files.contents.get(key))
        if found is None:
            raise FileNotFoundError(key)
        yield io.BytesIO(found[0])

    def read_end(self, key: str, size: int) -> bytes:
        raise NotImplementedError

    def read_small(self, keys: Iterable[str], max_bytes: int) -> dict[str, bytes]:
        def read(key: str) -> bytes | None:
            found = self._files.contents.get(key)
            return None if found is None or len(found[0]) > max_bytes else found[0]

        found = {key: self._ask("get", partial(read, key)) for key in keys}
        return {key: content for key, content in found.items() if content is not None}

    def write(self, key: str, pieces: Iterator[bytes]) -> None:
        content = b"".join(pieces)
        self._ask("put", lambda: self._files.write(key, content))

    def delete(self, key: str) -> None:
        self._ask("delete", lambda: self._files.delete(key))

    def sweep(self) -> None:
        raise NotImplementedError

    def _ask(self, title: str, work: Callable[[], T]) -> T:
        try:
            return self._network.ask(
                work,
                is_cut=lambda: self._machine in self._network.cut_from_archive,
                timeout=_ANSWER_SECONDS,
                title=f"archive {title}",
            )
        except NoAnswer as error:
            raise ArchiveUnavailable(str(error)) from error


def _group(key: str) -> str:
    """Return what the keys begin with among which a listing looks: 49/49, or that of a folder."""
    folder, slash, name = key.rpartition("/")
    return folder + slash + (name[:4] if folder.count("/") == 0 and ".copies" not in folder else "")
