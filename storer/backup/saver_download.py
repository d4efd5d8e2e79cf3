"""A kata as a tar in the layout of a saver, version 2: `groups/Ly/Qp/Fr` and `katas/rU/qc/ey`.

It is made while it is sent: no more than one light is in memory, besides the names of the objects
of one avatar.
"""

import tarfile
from collections.abc import Generator, Iterator, Mapping
from contextlib import ExitStack
from functools import cached_property
from typing import Any

from dojo import avatars, kata_ids, waits
from dojo.chunks import rechunk
from dojo.errors import KataDamaged
from storer.backup.download import Compression, compress
from storer.backup.resume import Resumption
from storer.fs import json_files
from storer.kata import options
from storer.kata.avatar import Avatar
from storer.kata.kata import Kata
from storer.kata.light import Light, Submission
from storer.kata.manifest import FORMAT_KEY, REQUEST, SAVER, UNUSABLE
from storer.katas.repository import Katas
from storer.saver import options as saver_options
from storer.saver import written
from storer.saver.directory import GROUPS, KATAS, KATAS_LIST, parts
from storer.saver.events import STORER
from storer.saver.kata import MANIFEST
from storer.saver.written import SaverRepository
from storer.tar import headers, snapshot
from storer.tar.snapshot import Snapshot

LEFT_OUT = "left_out.txt"

_OURS = {FORMAT_KEY, REQUEST, SAVER, "id", "visible_files"}
_FILE, _FOLDER = 0o644, 0o755


def filename(kata_id: str, compression: Compression) -> str:
    """Return a filename for a kata in the layout of a saver."""
    return f"{kata_id}-saver.tar{compression.value}"


def download(
    katas: Katas, kata_id: str, compression: Compression, resumption: Resumption | None = None
) -> Generator[bytes, None, None]:
    """Yield a kata in the layout of a saver, as `download.download` does.

    Avatars that are damaged are left out; a file `left_out.txt` at the top names them.
    """
    with ExitStack() as opened:
        with katas.using(kata_id) as kata:
            kata.read_manifest()
            taken = Snapshot(kata, opened)
        if resumption is not None:
            resumption.compare(taken, f"{compression.name} saver")
        yield from rechunk(compress(_tar(_Export(taken)), compression))


def _tar(export: "_Export") -> Iterator[bytes]:
    yield from export.members()
    export.taken.check_whole()
    yield snapshot.END


class _Export:
    """A kata that is written in the layout of a saver."""

    def __init__(self, taken: Snapshot) -> None:
        self.taken = taken
        self._kata: Kata = taken.kata
        self._value = self._kata.read_manifest_json()
        about = self._value.get(SAVER)
        self._about: Mapping[str, Any] = about if isinstance(about, dict) else {}
        # Those of a kata that was created with the manifest of another one are that one's.
        is_own = kata_ids.old_of(self._kata.kata_id) is not None
        kept = self._about.get("katas") if is_own else None
        self._kept: Mapping[str, Any] = kept if isinstance(kept, dict) else {}
        self._lights, self._damaged = self._kata.lights()
        self._options = taken.options()
        self._group_id, self._ids = self._choose_ids()
        self._indexes = {name: self._index(name) for name in self._lights}
        self._folders: set[str] = set()

    def members(self) -> Iterator[bytes]:
        """Yield the members of the tar, without its end."""
        if self._damaged:
            left_out = "".join(f"{each}\n" for each in self._damaged)
            yield from self._file(LEFT_OUT, left_out.encode())
        if self._group_id is not None:
            yield from self._group(self._group_id)
        for name in self._lights:
            yield from self._avatar(name)

    def _group(self, group_id: str) -> Iterator[bytes]:
        top = "/".join(parts(GROUPS, group_id))
        files = self._kata.read_manifest().visible_files
        visible = {
            name: {"content": json_files.from_bytes(content)} for name, content in files.items()
        }
        manifest = {**self._manifest(), "id": group_id, "visible_files": visible}
        yield from self._file(f"{top}/{MANIFEST}", json_files.dumps(manifest))
        order = [name for name in self._kept if name in self._lights]
        order += [name for name in self._lights if name not in self._kept]
        lines = [f"{self._ids[name]} {avatars.NAMES.index(name)}\n" for name in order]
        yield from self._file(f"{top}/{KATAS_LIST}", "".join(lines).encode())
        for name in order:
            yield from self._folder(f"{top}/{avatars.NAMES.index(name)}")

    def _avatar(self, name: str) -> Iterator[bytes]:
        """Yield the members of an avatar's kata: first its repository, then its working tree."""
        old_id, kept = self._ids[name], self._kept.get(name)
        about: Mapping[str, Any] = kept if isinstance(kept, dict) else {}
        top = "/".join(parts(KATAS, old_id))
        repository = SaverRepository(
            old_id,
            self._manifest_of(name, about),
            self._options_of(name),
        )
        for path in ("info", "objects/info", "objects/pack", "refs/heads", "refs/tags"):
            yield from self._folder(f"{top}/.git/{path}")
        avatar = self._kata.avatar(name)
        for objects in self._events(avatar, repository):
            for path, content in objects:
                yield from self._file(f"{top}/.git/{path}", content)
        for path, content in repository.ends():
            yield from self._file(f"{top}/.git/{path}", content)
        for path, content in repository.tree.items():
            yield from self._file(f"{top}/{path}", content)

    def _events(
        self, avatar: Avatar, repository: SaverRepository
    ) -> Iterator[Iterator[tuple[str, bytes]]]:
        """Yield the new objects of each event: of lights, and of the edits behind each."""
        history = avatar.open_history()
        edits = history.edit_numbers()
        for light in self._lights[avatar.name]:
            waits.check()
            submission = history.submission(light.number)
            more = history.more_of_light(light.number, SAVER)
            event = written.event_of_light(light, more, self._source(light, avatar.name))
            status = more.get("status")
            given = status if isinstance(status, str) else None
            if given is None and light.status is not None:
                given = str(light.status)
            cut_off = light.facts.is_stdout_truncated, light.facts.is_stderr_truncated
            yield repository.commit(event, light.time, submission, given, cut_off)
            for number, minor in edits:
                if number == light.number:
                    found = history.edit(number, minor)
                    kept = history.more_of_edit(number, minor, SAVER)
                    event = written.event_of_edit(found, kept)
                    edited = Submission(history.files(number, {}, minor=minor))
                    yield repository.commit(event, found.time, edited, None)

    def _source(self, light: Light, name: str) -> dict[str, Any]:
        """Return what an event says of where its files come from."""
        source = light.facts.source
        if source is None or source.kata_id != self._kata.kata_id:
            return {}
        index = self._indexes.get(source.avatar, {}).get(source.number)
        if index is None:
            return {}
        if source.avatar == name:
            return {"revert": [self._ids[name], index]}
        place = avatars.NAMES.index(source.avatar)
        checkout = {"id": self._ids[source.avatar], "index": index, "avatarIndex": place}
        return {"checkout": checkout}

    def _index(self, name: str) -> dict[int, int]:
        """Return the index that each light of an avatar has among all events, by its number."""
        try:
            edits = [number for number, _ in self._kata.avatar(name).open_history().edit_numbers()]
        except KataDamaged:
            edits = []
        found, index = {}, 0
        for light in self._lights[name]:
            found[light.number] = index
            index += 1 + edits.count(light.number)
        return found

    def _manifest(self) -> dict[str, Any]:
        """Return what the manifests of the group and of all its katas have."""
        manifest = {key: each for key, each in self._value.items() if key not in _OURS}
        unusable = self._about.get(UNUSABLE)
        manifest |= unusable if isinstance(unusable, dict) else {}
        created = written.seven_parts(self._kata.read_created())
        return {**manifest, **self._own_options, "version": 2, "created": created}

    def _manifest_of(self, name: str, about: Mapping[str, Any]) -> dict[str, Any]:
        manifest = self._manifest()
        own = about.get("manifest")
        if isinstance(own, dict):
            absent = about.get("absent")
            for key in absent if isinstance(absent, list) else []:
                manifest.pop(key, None)
            manifest |= own
        elif self._group_id is not None:
            manifest["created"] = written.seven_parts(self._lights[name][0].time)
        if self._group_id is not None:
            manifest |= {"group_id": self._group_id, "group_index": avatars.NAMES.index(name)}
        return {**manifest, "version": 2, "id": self._ids[name]}

    def _options_of(self, name: str) -> dict[str, Any]:
        about = self._kept.get(name)
        kept = about.get("options") if isinstance(about, dict) else None
        kept = kept if isinstance(kept, dict) else {}
        return saver_options.written(self._options, name, self._value, kept)

    @cached_property
    def _own_options(self) -> dict[str, Any]:
        """Return what the kata's options are here, unless the avatars' say it to whoever reads."""
        of_avatars = {name: self._options_of(name) for name in self._lights}
        if self._options == saver_options.taken(self._value, None, of_avatars):
            return {}
        said = options.dump(self._options)
        return {STORER: {saver_options.KEY: json_files.loads(said, dict)}}

    def _choose_ids(self) -> tuple[str | None, dict[str, str]]:
        """Return the old id of the group, None if there is none; and those of avatars.

        They are those that the kata came with, and for others such that follow from the kata's id.
        """
        kata_id, taken = self._kata.kata_id, set[str]()
        own = kata_ids.old_of(kata_id)
        ids: dict[str, str] = {}
        for name in self._lights:
            kept = self._kept.get(name)
            old_id = kept.get("id") if isinstance(kept, dict) else None
            if isinstance(old_id, str) and kata_ids.is_old(old_id) and old_id not in taken:
                ids[name] = old_id
                taken.add(old_id)
        is_lone = own is not None and own in taken
        group_id = None
        if not (is_lone and len(self._lights) == 1):
            group_id = own if own is not None and not is_lone else _new_id(kata_id, taken)
            taken.add(group_id)
        for name in self._lights:
            if name not in ids:
                ids[name] = _new_id(f"{kata_id} {name}", taken)
                taken.add(ids[name])
        return group_id, ids

    def _file(self, path: str, content: bytes) -> Iterator[bytes]:
        yield from self._folder(path.rpartition("/")[0])
        header = tarfile.TarInfo(path)
        header.mode = _FILE
        yield from snapshot.held_member(header, content)

    def _folder(self, path: str) -> Iterator[bytes]:
        """Yield a folder, and those around it, unless the tar has them."""
        if not path or path in self._folders:
            return
        yield from self._folder(path.rpartition("/")[0])
        self._folders.add(path)
        header = tarfile.TarInfo(path)
        header.type, header.mode = tarfile.DIRTYPE, _FOLDER
        yield headers.encode(header)


def _new_id(text: str, taken: set[str]) -> str:
    attempt = 0
    while (old_id := kata_ids.old_from(f"{text} {attempt}")) in taken:
        attempt += 1
    return old_id
