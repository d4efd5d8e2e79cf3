"""Where recorded lights come from: katas directories, tars, or a running storer."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cyber_dojo_client import pages
from cyberdojo.storer.v1 import storer_pb2, storer_pb2_grpc
from dojo import kata_ids
from replay.calls import Calls, Refused
from replay.errors import NothingToReplay
from replay.sources import tars as tar_files


@dataclass(frozen=True)
class Found:
    """The katas directories and the tars among the given paths."""

    directories: list[Path]
    tars: list[Path]


@dataclass(frozen=True)
class Kata:
    """A recorded kata. `lights` are those of each avatar, without the start.

    `damaged` has the avatars whose lights can't be read, and why.
    """

    kata_id: str
    manifest: storer_pb2.Manifest
    lights: dict[str, list[storer_pb2.Light]]
    damaged: dict[str, str]


def find(paths: Iterable[Path]) -> Found:
    """Find the katas directories and tars; raise NothingToReplay for a path that has neither."""
    directories: list[Path] = []
    tars: list[Path] = []
    for path in paths:
        if path.is_file():
            tars.append(path)
            continue
        if not path.is_dir():
            raise NothingToReplay(f"{path}: there is no such file or folder")
        inside = sorted(each for each in path.iterdir() if tar_files.is_tar(each))
        tars += [each for each in inside if each.is_file()]
        has_katas = _has_katas(path)
        if has_katas:
            directories.append(path.resolve())
        if not (has_katas or inside):
            reason = "holds neither katas (49/3A06504A) nor tars of katas"
            raise NothingToReplay(f"{path}: {reason}")
    return Found(directories, tars)


def _has_katas(path: Path) -> bool:
    return any(
        kata_ids.is_whole(outer.name + inner.name)
        for outer in path.iterdir()
        if len(outer.name) == len(kata_ids.outer(outer.name)) and outer.is_dir()
        for inner in outer.iterdir()
    )


class Storer:
    """Reads recorded katas from a storer, in the order of their ids."""

    def __init__(
        self, calls: Calls, stub: storer_pb2_grpc.StorerServiceStub, *, is_private: bool
    ) -> None:
        """Read through `stub`. A private storer imports katas for this replay alone."""
        self._calls = calls
        self._stub = stub
        self._is_private = is_private

    def kata_ids(self, prefix: str = "") -> Iterator[str]:
        """Yield the ids that begin with `prefix`.

        Katas in a private storer's data-containers are left out: this replay made them.
        """
        request = storer_pb2.ListKatasRequest(prefix=prefix)
        for page in pages(partial(self._calls.call, self._stub.ListKatas), request):
            for each in page.katas:
                if not self._is_private or each.source != storer_pb2.KATA_SOURCE_DATA_CONTAINER:
                    yield each.kata_id

    def read(self, kata_id: str) -> Kata:
        """Read a kata and its lights. Raises Refused if it is damaged as a whole."""
        got = self._calls.call(self._stub.GetKata, storer_pb2.GetKataRequest(kata_id=kata_id))
        lights: dict[str, list[storer_pb2.Light]] = {name: [] for name in got.avatars}
        damaged = {each.avatar: f"{each.path}: {each.reason}" for each in got.damaged}
        request = storer_pb2.ListLightsRequest(kata_id=kata_id)
        for page in pages(partial(self._calls.call, self._stub.ListLights), request):
            for avatar in page.avatars:
                found = lights.setdefault(avatar.avatar, [])
                found += [light for light in avatar.lights if light.number > 0]
        return Kata(kata_id, got.manifest, lights, damaged)

    def files(self, kata_id: str, avatar: str, number: int) -> storer_pb2.GetFilesResponse:
        """Read the files and the output of a light. Raises Refused."""
        request = storer_pb2.GetFilesRequest(kata_id=kata_id, avatar=avatar, light_number=number)
        return self._calls.call(self._stub.GetFiles, request)

    def release(self, kata_id: str) -> None:
        """Delete the kata that reading imported, if the storer is private."""
        if self._is_private:
            request = storer_pb2.DeleteKataRequest(kata_id=kata_id)
            try:
                self._calls.call(self._stub.DeleteKata, request)
            except Refused:
                return  # the kata was not imported; if it was, the workplace removes it at the end
