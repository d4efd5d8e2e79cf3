"""Makes one of our katas of a group of a saver, or of a kata that no group has.

A group becomes a kata with an avatar for each of its katas; a lone kata one with one avatar. An
avatar whose files can't be read is set aside, and the others come in without it. Nothing of what a
saver has is lost: what has no place of its own here is kept under the key `saver`, in the kata's
manifest.json for the whole and in the commit of each light and edit for an event.
"""

import contextlib
import hashlib
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dojo import avatars, kata_ids, limits, visible_files
from dojo.budget import Budget, BudgetExceeded
from dojo.engine.data_containers import MANIFEST
from dojo.errors import InvalidArgument, KataDamaged
from dojo.shares import Holding
from storer.fs import durable, json_files
from storer.fs.json_files import Unreadable
from storer.kata import avatar as kata_avatar
from storer.kata import light, options, sandbox
from storer.kata import manifest as kata_manifest
from storer.kata.details import Details
from storer.kata.edit import At
from storer.kata.light import Light, Submission
from storer.kata.light_facts import Source
from storer.kata.lights import INCREMENTS
from storer.kata.manifest import FORMAT, REQUEST, SAVER, UNUSABLE, fits_message
from storer.kata.options import OPTIONS, KataOptions
from storer.kata.recorder import Recorder, Tip
from storer.katas import normalize, set_aside
from storer.katas.normalize import Normalized
from storer.saver import events, files, plain
from storer.saver import kata as saver_kata
from storer.saver import options as saver_options
from storer.saver.directory import GROUPS, KATAS, SaverDirectory, parts, read_manifest
from storer.saver.directory import avatar as avatar_of_index
from storer.saver.events import STORER, FindSource
from storer.saver.files import Damaged
from storer.saver.kata import Content, SaverKata
from storer.saver.plain import PlainKata
from storer.saver.repository import GIT, RepositoryKata

# Of the JSON that is kept of one of 64 katas, and of one event.
MAX_KEPT_BYTES = limits.MAX_MANIFEST_BYTES // 64
MAX_EVENT_BYTES = 64 * 1024

# Keys of a saver's manifest that mean something else here, or that a kata has in its own way.
_NOT_TAKEN = {"format", "visible_files", SAVER, REQUEST, STORER}
_NOT_KEPT = {"id", "visible_files", STORER}
_NEEDED = {"created", "image_name"}

# Of events without a time, if none before has one.
_UNKNOWN = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass
class _Incoming:
    """A kata that comes in: `katas` are a saver's, by avatar; `damaged` are those of no use.

    `manifest` is the saver's, of the group or of the lone kata.
    """

    kata_id: str
    folder: Path
    directory: SaverDirectory
    budget: Budget
    wasted: Budget
    old_ids: dict[str, str] = field(default_factory=dict)
    katas: dict[str, SaverKata] = field(default_factory=dict)
    damaged: dict[str, Damaged] = field(default_factory=dict)
    places: dict[str, dict[int, At]] = field(default_factory=dict)
    set_aside: list[tuple[str, str]] = field(default_factory=list)
    manifest: Mapping[str, Any] = field(default_factory=dict)

    def find_source(self, old_id: str, index: int) -> Source | None:
        """Return the light of an event of one of the katas; None if it is none of theirs."""
        for name, each in self.old_ids.items():
            if each == old_id and name in self.places:
                place = self.places[name].get(index)
                return None if place is None else Source(self.kata_id, name, place.number)
        return None


def fill(directory: SaverDirectory, kata_id: str, folder: Path) -> Normalized:
    """Make the kata of this id in the empty `folder`; return its avatars.

    Raises KataDamaged, naming the file in the saver's directory, if there can be no kata; and
    CallEnded if nobody waits for it any more.
    """
    old_id = kata_ids.old_of(kata_id) or ""
    with ExitStack() as opened:
        holding = opened.enter_context(Holding())
        budget, wasted = normalize.git_budget(holding), normalize.git_budget(holding)
        incoming = _Incoming(kata_id, folder, directory, budget, wasted)
        try:
            manifest = (_group if directory.has_group(old_id) else _lone)(incoming, old_id, opened)
        except Damaged as error:
            raise KataDamaged(kata_id, error.path, error.reason) from error
        except BudgetExceeded as error:
            raise KataDamaged(kata_id, old_id, error.reason) from error
        durable.replace(folder / MANIFEST, json_files.dumps(manifest), sync=False)
        _take_options(incoming)
        _, created = normalize.read_manifest(folder, kata_id)
        for name in sorted(incoming.old_ids):
            try:
                _take_avatar(incoming, name, created)
            except BudgetExceeded as error:
                raise KataDamaged(
                    kata_id, name, f"with the others, it has {error.reason}"
                ) from error
    names = sorted(incoming.old_ids)
    normalize.restrict_access(folder, names)
    return Normalized(names, incoming.set_aside)


def _group(incoming: _Incoming, old_id: str, opened: ExitStack) -> dict[str, Any]:
    """Open all katas of a group; return the manifest of the kata that it becomes."""
    directory = incoming.directory
    with directory.opened(GROUPS, old_id) as folder:
        manifest = incoming.manifest = read_manifest(folder)
        path = f"{folder.path}/{MANIFEST}: visible_files"
    members = directory.members(old_id)
    kept: dict[str, Any] = {}
    for name, each in members.katas.items():
        incoming.old_ids[name] = each
        kept[name] = {"id": each}
        with _sharing(incoming, name) as budget:
            found = opened.enter_context(_opened(incoming, name, budget))
            kept[name] |= _differences(found, manifest, name)
            _take(incoming, name, found)
    contents, _ = saver_kata.files_of(manifest.get("visible_files"), path)
    about: dict[str, Any] = {"id": old_id, "is_group": True, "katas": kept}
    if members.unplaced:
        about["unplaced"] = list(members.unplaced)
    return _manifest(manifest, incoming.kata_id, contents, about)


def _lone(incoming: _Incoming, old_id: str, opened: ExitStack) -> dict[str, Any]:
    """Open a kata that no group has; return the manifest of the kata that it becomes."""
    name = avatars.NAMES[hashlib.sha256(old_id.encode()).digest()[0] % len(avatars.NAMES)]
    incoming.old_ids[name] = old_id
    found = opened.enter_context(_opened(incoming, name, incoming.budget))
    index = found.manifest.get("group_index")
    if isinstance(index, int) and (of_group := avatar_of_index(str(index))) is not None:
        # Its group has lost it: a saver died before it listed the kata there.
        incoming.old_ids = {of_group: old_id}
        name = of_group
    _take(incoming, name, found)
    incoming.manifest = found.manifest
    about: dict[str, Any] = {"id": old_id, "is_group": False}
    kept: dict[str, Any] = {"id": old_id}
    if found.options:
        kept["options"] = found.options
    about["katas"] = {name: kept}
    manifest = dict(found.manifest)
    if "created" not in manifest:
        manifest["created"] = found.events[0].get("time")
    return _manifest(manifest, incoming.kata_id, found.content(0).files, about)


def _take(incoming: _Incoming, name: str, found: SaverKata) -> None:
    incoming.katas[name] = found
    placed = zip(found.events, events.places(found.events), strict=True)
    incoming.places[name] = {
        events.index_of(event, at): place for at, (event, place) in enumerate(placed)
    }


def _take_options(incoming: _Incoming) -> None:
    """Write the options of the kata that comes in, if any is set."""
    of_avatars = {name: each.options for name, each in incoming.katas.items()}
    found = saver_options.taken(incoming.manifest, incoming.manifest.get(STORER), of_avatars)
    if found != KataOptions():
        content = options.dump(replace(found, revision=max(found.revision, 1)))
        durable.replace(incoming.folder / OPTIONS, content, sync=False)


def _manifest(
    manifest: Mapping[str, Any], kata_id: str, contents: dict[str, bytes], about: dict[str, Any]
) -> dict[str, Any]:
    taken = {key: each for key, each in manifest.items() if key not in _NOT_TAKEN}
    if unusable := _take_unusable(taken):
        about[UNUSABLE] = unusable
    value = {**taken, "format": FORMAT, "id": kata_id, SAVER: about}
    if (size := len(json_files.dumps(value))) > limits.MAX_MANIFEST_BYTES:
        reason = f"{size} bytes of JSON, without files, are more than {limits.MAX_MANIFEST_BYTES}"
        raise KataDamaged(kata_id, MANIFEST, reason)
    return {**value, "visible_files": json_files.files_json(contents)}


def _take_unusable(manifest: dict[str, Any]) -> dict[str, Any]:
    """Take those keys from a manifest whose values we can't use, and return them.

    A kata is of use without a size of tabs, say. What it can't be without stays.
    """
    unusable: dict[str, Any] = {}
    while True:
        try:
            kata_manifest.from_json({**manifest, "visible_files": {}})
        except Unreadable as error:
            key = str(error).partition(":")[0]
            if key not in manifest or key in _NEEDED:
                return unusable
            unusable[key] = manifest.pop(key)
        else:
            return unusable


def _differences(found: SaverKata, group: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return what a kata's manifest says in another way than its group's, and its options."""
    own = {key: each for key, each in found.manifest.items() if key not in _NOT_KEPT}
    kept: dict[str, Any] = {
        "manifest": {
            key: each for key, each in own.items() if key not in group or group[key] != each
        }
    }
    if absent := sorted(key for key in group if key not in own and key not in _NOT_KEPT):
        kept["absent"] = absent
    if found.options:
        kept["options"] = found.options
    if (size := len(json_files.dumps(kept))) > MAX_KEPT_BYTES:
        reason = f"{size} bytes that its group's has not are more than {MAX_KEPT_BYTES}"
        raise found.damage(MANIFEST, reason)
    if not fits_message({SAVER: {name: kept}}):
        raise found.damage(MANIFEST, "has a value that does not fit into a message")
    return kept


@contextmanager
def _sharing(incoming: _Incoming, name: str) -> Iterator[Budget]:
    """Give a budget for the work for one avatar, and note if the avatar turns out to be damaged.

    What damaged ones have taken leaves the budget to the others. Raises BudgetExceeded if all
    together take too much.
    """
    part = incoming.budget.share()
    try:
        yield part
    except Damaged as error:
        incoming.damaged[name] = error
    except BudgetExceeded as error:
        path = "/".join(parts(KATAS, incoming.old_ids[name]))
        incoming.damaged[name] = Damaged(path, error.reason)
    (incoming.wasted if name in incoming.damaged else incoming.budget).take_all_of(part)


@contextmanager
def _opened(incoming: _Incoming, name: str, budget: Budget) -> Iterator[SaverKata]:
    """Give a saver's kata, of any version. Raises Damaged or BudgetExceeded."""
    scratch = incoming.folder / f".saver-{name}"
    with ExitStack() as stack:
        folder = stack.enter_context(incoming.directory.opened(KATAS, incoming.old_ids[name]))
        found: SaverKata
        if folder.has(GIT):
            scratch.mkdir(mode=0o700)
            stack.callback(shutil.rmtree, scratch)
            found = RepositoryKata(folder, scratch, budget)
        else:
            found = PlainKata(folder, budget)
        yield found


def _take_avatar(incoming: _Incoming, name: str, created: datetime) -> None:
    """Make an avatar of a saver's kata, or set it aside if it is damaged. Raises KataDamaged."""
    kata_id, folder = incoming.kata_id, incoming.folder / name
    folder.mkdir()
    if name not in incoming.damaged:
        with _sharing(incoming, name) as budget:
            incoming.katas[name].budget = budget
            _make_avatar(folder, incoming.katas[name], kata_id, created, incoming.find_source)
    if (error := incoming.damaged.get(name)) is None:
        return
    shutil.rmtree(folder)
    folder.mkdir()
    incoming.set_aside.append((name, error.reason))
    source = incoming.directory.top.joinpath(*parts(KATAS, incoming.old_ids[name]))
    reason = error.reason
    try:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            kept = Budget(max_bytes=limits.GIT_BYTES, max_entries=limits.GIT_OBJECTS)
            files.copy(source, folder, kept, lambda _: True)
    except BudgetExceeded as exceeded:
        shutil.rmtree(folder)
        folder.mkdir()
        reason += f"; and it is too much to be kept here: {exceeded.reason}"
    set_aside.set_aside(folder, kata_id, KataDamaged(kata_id, error.path, reason))


def _make_avatar(
    folder: Path, found: SaverKata, kata_id: str, created: datetime, find_source: FindSource
) -> None:
    """Record all events of a saver's kata. Raises Damaged or BudgetExceeded."""
    recorder = Recorder.create(folder, kata_id, folder.name)
    time = created
    light_tip: Tip | None = None
    tip: Tip | None = None
    recorded: list[Light] = []
    newest: dict[str, bytes] = {}
    for at, place in enumerate(events.places(found.events)):
        found.budget.check_time()
        event = found.events[at]
        content = found.content(at)
        _check(content, found, at)
        time = events.time_of(event, time)
        more = {SAVER: _kept(event, content, found, at)}
        if place.minor and tip is not None:
            edit = events.edit_of(event, place, time)
            tip = recorder.record_edit(edit, content.files, tip, more=more)
            continue
        new = events.light_of(event, place.number, time, content, find_source)
        submission = Submission(content.files, content.stdout, content.stderr, content.test_results)
        light_tip = tip = recorder.record(new, submission, light_tip, more=more)
        recorded.append(new)
        newest = content.files
    recorder.check_out(recorded[-1].number)
    sandbox.create(folder, folder.name, newest)
    listed = [json_files.dumps(light.to_json(each)) for each in recorded[1:]]
    durable.replace(folder / INCREMENTS, b"[" + b",\n".join(listed) + b"]\n", sync=False)
    durable.replace(folder / kata_avatar.MANIFEST, json_files.dump_files(newest), sync=False)


def _check(content: Content, found: SaverKata, at: int) -> None:
    """Raise Damaged if these can't be the visible files of a light."""
    try:
        visible_files.check(content.files)
    except InvalidArgument as error:
        raise found.damage(f"event {at}", f"{error.field}: {error.reason}") from error


def _kept(event: dict[str, Any], content: Content, found: SaverKata, at: int) -> dict[str, Any]:
    """Return what is kept of an event: all that a saver's list has of it, and what has no place."""
    kept: dict[str, Any] = {"event": event}
    if content.status is not None:
        kept["status"] = content.status
    if content.truncated:
        kept["truncated_files"] = list(content.truncated)
    if (size := len(json_files.dumps(kept))) > MAX_EVENT_BYTES:
        raise found.damage(
            saver_kata.EVENTS, f"event {at} has {size} bytes, more than {MAX_EVENT_BYTES}"
        )
    return kept


def details(directory: SaverDirectory, old_id: str) -> Details:
    """Return what a list shows of a group, or of a kata that no group has.

    Its lights are those of the lists that are no part of git: of a kata of version 2 they can be
    old. Raises Damaged or BudgetExceeded.
    """
    is_group = directory.has_group(old_id)
    with directory.opened(GROUPS if is_group else KATAS, old_id) as folder:
        manifest = read_manifest(folder)
    members = list(directory.members(old_id).katas.values()) if is_group else [old_id]
    problems = []
    try:
        named = kata_manifest.from_json({**manifest, "visible_files": {}})
        created = kata_manifest.created(manifest)
    except Unreadable as error:
        problems.append(f"{MANIFEST}: {error}")
        named, created = None, None
    light_count, newest = 0, None
    for each in members:
        try:
            with directory.opened(KATAS, each) as folder:
                listed = plain.read_events(folder, Budget())
        except (Damaged, BudgetExceeded) as error:
            problems.append(str(error))
            continue
        time = _UNKNOWN
        for event, place in zip(listed, events.places(listed), strict=True):
            time = events.time_of(event, time)
            if place.number and not place.minor:
                light_count += 1
                newest = max(newest or time, time)
    return Details(
        display_name=named.display_name if named else "",
        exercise=named.exercise if named else "",
        created=created,
        avatar_count=len(members),
        light_count=light_count,
        newest=newest,
        problem="; ".join(problems),
    )
