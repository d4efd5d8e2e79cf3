"""List katas wherever they are: complete a partial id, and page through all ids."""

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby, islice

import structlog

from dojo import waits
from dojo.engine.data_containers import DataContainers
from dojo.errors import ArchiveUnavailable
from storer.archive import index
from storer.archive.archive import Archive
from storer.cluster.installation import Installation
from storer.fs import tree
from storer.kata import details as kata_details
from storer.kata.details import Details
from storer.katas.fetches import Fetches
from storer.katas.import_source import KatasDirectory, SaverKatas
from storer.katas.old_ids import OldIds

MAX_COMPLETIONS = 100

_log = structlog.get_logger()


@dataclass(frozen=True)
class Places:
    """The places where katas can be."""

    data_containers: DataContainers
    archive: Archive
    katas_directory: KatasDirectory
    saver_katas: SaverKatas
    old_ids: OldIds
    installation: Installation
    fetches: Fetches = field(default_factory=Fetches)

    def imports(self, kata_id: str) -> bool:
        """Say whether a kata can be imported: from the katas directory, or from a saver's."""
        return self.katas_directory.folder(kata_id) is not None or self.saver_katas.has(kata_id)


@dataclass(frozen=True)
class ListedKata:
    """A kata's id, and where it is; if all are false, it is only where katas are imported from.

    `is_elsewhere` says that a machine of the installation owns it.
    """

    kata_id: str
    in_data_container: bool
    in_archive: bool
    is_elsewhere: bool = False


@dataclass(frozen=True)
class ListedDetails:
    """What a list shows of a kata.

    `size_bytes` is the room that it takes on its disk, or its tar in the archive; None if nobody
    measured it.
    """

    details: Details
    size_bytes: int | None


def is_somewhere(places: Places, kata_id: str) -> bool:
    """Say whether the kata exists in any place."""
    return (
        places.data_containers.exists(kata_id)
        or places.installation.is_in_use(kata_id)
        or places.imports(kata_id)
        or places.archive.find(kata_id) is not None
    )


def complete(places: Places, partial_id: str) -> tuple[list[str], bool]:
    """Return the ids that begin with a partial id in any case, and whether there are more.

    Those that match its case come first. An old id of an avatar stands for the avatar's kata.
    """
    wanted = partial_id.lower()
    found = {
        kata_id
        for kata_id in places.data_containers.kata_ids()
        if kata_id.lower().startswith(wanted) and places.data_containers.exists(kata_id)
    }
    elsewhere = places.installation.ids()
    found.update(each for each in elsewhere if each.lower().startswith(wanted))
    found.update(_archived(places.archive, partial_id, is_needed=not found))
    found.update(places.katas_directory.kata_ids(partial_id, ignore_case=True))
    found.update(places.saver_katas.kata_ids(partial_id, ignore_case=True))
    found.update(each for each in places.old_ids.complete(partial_id) if is_somewhere(places, each))
    ordered = sorted(found, key=lambda each: (not each.startswith(partial_id), each))
    return ordered[:MAX_COMPLETIONS], len(ordered) > MAX_COMPLETIONS


def page(
    places: Places, prefix: str, after: str, count: int, *, ignore_case: bool = False
) -> list[ListedKata]:
    """Return the first `count` katas whose ids begin with `prefix` and come after `after`."""
    archived = places.archive.ids(prefix, ignore_case=ignore_case, after=after)
    legacy = places.katas_directory.kata_ids(prefix, ignore_case=ignore_case)
    savers = places.saver_katas.kata_ids(prefix, ignore_case=ignore_case, after=after)
    merged = heapq.merge(
        _contained(places, prefix, after, ignore_case=ignore_case),
        _elsewhere(places, prefix, after, ignore_case=ignore_case),
        ((kata_id, "archive") for kata_id in archived),
        ((kata_id, "directory") for kata_id in legacy if kata_id > after),
        ((kata_id, "saver") for kata_id in savers),
    )
    each_once = (
        (kata_id, {place for _, place in found})
        for kata_id, found in groupby(merged, key=lambda pair: pair[0])
    )
    return [
        ListedKata(
            kata_id,
            in_data_container="container" in found,
            in_archive="archive" in found,
            is_elsewhere="elsewhere" in found,
        )
        for kata_id, found in islice(each_once, count)
    ]


def details(
    places: Places,
    listed: Iterable[ListedKata],
    *,
    with_sizes: bool = False,
    checks_index: bool = False,
) -> dict[str, ListedDetails]:
    """Return the details of each kata: of one that only the archive has, those of its index.

    `with_sizes` measures katas in data-containers, which looks at each of their files. With
    `checks_index` an entry of the index counts only if it is of the tar that is there now.
    """
    found: dict[str, ListedDetails] = {}
    archived: list[str] = []
    for each in listed:
        waits.check()
        if each.in_data_container:
            folder = places.data_containers.folder(each.kata_id)
        elif each.in_archive:
            archived.append(each.kata_id)
            continue
        else:
            in_directory = places.katas_directory.folder(each.kata_id)
            if in_directory is None:
                if (of_saver := places.saver_katas.details(each.kata_id)) is not None:
                    found[each.kata_id] = ListedDetails(of_saver, None)
                continue
            folder = in_directory
        read = kata_details.read(folder, each.kata_id)
        if read is not None:
            is_measured = with_sizes and each.in_data_container
            size_bytes = tree.disk_bytes(folder) if is_measured else None
            found[each.kata_id] = ListedDetails(read, size_bytes)
    for kata_id, entry in index.read(places.archive, archived).items():
        waits.check()
        if checks_index and not index.is_current(places.archive, kata_id, entry):
            continue
        found[kata_id] = ListedDetails(entry.details, entry.size_bytes)
    return found


def stored_ids(places: Places, prefix: str, after: str) -> Iterator[str]:
    """Yield the ids that begin with `prefix` and come after `after`, in order.

    These are the katas in data-containers and in the archive; those that only the katas directory
    has are not the storer's.
    """
    contained = (kata_id for kata_id, _ in _contained(places, prefix, after))
    elsewhere = (kata_id for kata_id, _ in _elsewhere(places, prefix, after))
    merged = heapq.merge(contained, elsewhere, places.archive.ids(prefix, after=after))
    yield from (kata_id for kata_id, _ in groupby(merged))


def _contained(
    places: Places, prefix: str, after: str, *, ignore_case: bool = False
) -> Iterator[tuple[str, str]]:
    """Yield the ids of katas in data-containers, in order, each with its place.

    A kata that is archived during the listing is included: the archive may have been listed
    before the kata was in it.
    """
    containers = places.data_containers
    fold = str.lower if ignore_case else str
    contained = sorted(
        kata_id
        for kata_id in containers.kata_ids()
        if fold(kata_id).startswith(fold(prefix)) and kata_id > after
    )
    for kata_id in contained:
        if containers.exists(kata_id):
            yield kata_id, "container"
        elif places.archive.find(kata_id) is not None:
            yield kata_id, "archive"


def _elsewhere(
    places: Places, prefix: str, after: str, *, ignore_case: bool = False
) -> Iterator[tuple[str, str]]:
    """Yield the ids of katas that machines of the installation own, in order, with their place."""
    fold = str.lower if ignore_case else str
    found = places.installation.ids()
    for kata_id in sorted(found):
        if fold(kata_id).startswith(fold(prefix)) and kata_id > after:
            yield kata_id, "elsewhere"


def _archived(archive: Archive, partial_id: str, *, is_needed: bool) -> list[str]:
    """Return the archived ids that begin with `partial_id`: at most one more than are returned.

    If the archive does not answer, return none, or raise if there is no other match (`is_needed`).
    """
    try:
        return list(islice(archive.ids(partial_id, ignore_case=True), MAX_COMPLETIONS + 1))
    except ArchiveUnavailable as error:
        if is_needed:
            raise
        _log.warning("completed without the archive", reason=str(error))
        return []
