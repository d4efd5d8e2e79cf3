"""Long histories of katas: steps that are taken by a storer and by a model of it, and compared."""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import grpc

from cyberdojo.storer.v1 import storer_pb2
from support.fuzz.katas import Files
from support.services import code_of, wait_until
from support.storer import backups
from support.storer.storing import FILES, RED, Katas
from support.storer.verifying import verify

NAMES = ("whale", "zebra", "owl")
_OPTIONS = ("syntax_colour", "predict", "revert_red")
MAX_KATAS = 4
# A storer remembers more backups than these, but not all.
_KNOWN_BACKUPS = 8


@dataclass
class Model:
    """A kata as it should be: the files of each avatar's lights, the start first.

    `options` has those that are set, by the avatar, "" for the kata, and by name; `changes` is how
    often they changed.
    """

    files: dict[str, bytes]
    avatars: dict[str, list[dict[str, bytes]]] = field(default_factory=dict)
    options: dict[str, dict[str, bool]] = field(default_factory=dict)
    changes: int = 0

    def options_of(self, avatar: str) -> dict[str, dict[str, bool]]:
        """Return the options of a kata that is forked from the avatar: those that hold for it."""
        hold = {**self.options.get("", {}), **self.options.get(avatar, {})}
        return {"": hold} if hold else {}


@dataclass(frozen=True)
class Tar:
    """A download, and what the kata was then."""

    kata_id: str
    content: bytes
    model: Model


@dataclass(frozen=True)
class Backup:
    """A backup, by its token, and all katas as they were then.

    An incremental one has only what it `sent`, and tells how the katas were that it `deleted`.
    """

    token: str
    content: bytes
    models: dict[str, Model]
    sent: set[str]
    deleted: dict[str, Model]


class History:
    """Katas behind a storer, and a model of them, that take the same steps.

    A step names katas and avatars by numbers, so that it means the same in every run.
    """

    def __init__(self, katas: Katas) -> None:
        self._katas = katas
        self._models: dict[str, Model] = {}
        self._order: list[str] = []  # ids, as they came
        self._tars: list[Tar] = []
        self._backups: list[Backup] = []
        self._made: set[str] = set()
        self.taken: list[list[Any]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for kata_id in self._made:
            with contextlib.suppress(grpc.RpcError):  # it was deleted
                self._katas.delete(kata_id)

    def take(self, name: str, *arguments: Any) -> None:
        """Take a step, and compare what it is about."""
        self.taken.append([name, *arguments])
        step: Callable[..., None] = getattr(self, f"_{name}")
        step(*arguments)

    def _compare_all(self) -> None:
        """Assert that the storer has the katas of the model, with all lights and files."""
        request = storer_pb2.ListKatasRequest()
        listed = {each.kata_id for each in self._katas.stub.ListKatas(request).katas}
        assert listed & self._made == set(self._models)
        for kata_id in self._order:
            self._compare(kata_id)

    def _create(self, files: Files) -> None:
        if len(self._models) < MAX_KATAS:
            kata_id = self._katas.create(files)
            self._add(kata_id, Model(dict(files)))

    def _start(self, kata: int, avatar: int) -> None:
        name = NAMES[avatar % len(NAMES)]
        with self._one(kata) as (kata_id, model):
            if name in model.avatars:
                with _refused(grpc.StatusCode.RESOURCE_EXHAUSTED):
                    self._katas.start(kata_id, name)
            else:
                assert self._katas.start(kata_id, name) == name
                model.avatars[name] = [model.files]

    def _record(self, kata: int, avatar: int, files: Files) -> None:
        with self._avatar(kata, avatar) as (kata_id, name, lights):
            recorded = self._katas.record(kata_id, name, files, expected_number=len(lights))
            assert (recorded.number, recorded.colour) == (len(lights), RED)
            lights.append(dict(files))

    def _set_options(self, kata: int, avatar: int, option: int, value: bool) -> None:  # noqa: FBT001
        """Set an option of the kata, or of an avatar if there are so many."""
        with self._one(kata) as (kata_id, model):
            name = ["", *sorted(model.avatars)][avatar % (len(model.avatars) + 1)]
            chosen = _OPTIONS[option % len(_OPTIONS)]
            request = storer_pb2.SetOptionsRequest(kata_id=kata_id, avatar=name)
            setattr(request.options, chosen, value)
            self._katas.stub.SetOptions(request)
            own = model.options.setdefault(name, {})
            model.changes += own.get(chosen) != value
            own[chosen] = value
            self._compare(kata_id)

    def _get(self, kata: int) -> None:
        with self._one(kata) as (kata_id, _):
            self._compare(kata_id)

    def _diff(self, kata: int, avatar: int, was: int, now: int) -> None:
        with self._avatar(kata, avatar) as (kata_id, name, lights):
            one, two = was % len(lights), now % len(lights)
            found = self._katas.diff(kata_id, name, one, two)
            assert {file.old_name for file in found} - {""} == set(lights[one])
            assert {file.new_name for file in found} - {""} == set(lights[two])
            is_same = all(file.change == storer_pb2.FILE_CHANGE_UNCHANGED for file in found)
            assert is_same == (lights[one] == lights[two])

    def _fork(self, kata: int, avatar: int, number: int) -> None:
        with self._avatar(kata, avatar) as (kata_id, name, lights):
            if len(self._models) < MAX_KATAS:
                at = number % len(lights)
                request = storer_pb2.ForkKataRequest(kata_id=kata_id, avatar=name, light_number=at)
                options = self._models[kata_id].options_of(name)
                forked = Model(dict(lights[at]), {}, options, len(options))
                self._add(self._katas.stub.ForkKata(request).kata_id, forked)

    def _fork_avatar(self, kata: int, avatar: int, number: int) -> None:
        with self._avatar(kata, avatar) as (kata_id, name, lights):
            if len(self._models) < MAX_KATAS:
                at = number % len(lights)
                request = storer_pb2.ForkKataRequest(
                    kata_id=kata_id, avatar=name, light_number=at, with_avatar=True
                )
                forked = self._katas.stub.ForkKata(request).kata_id
                model = self._models[kata_id]
                history = {name: deepcopy(lights[: at + 1])}
                options = model.options_of(name)
                self._add(forked, Model(dict(model.files), history, options, len(options)))
                self._compare(forked)

    def _archive(self, kata: int) -> None:
        with self._one(kata) as (kata_id, _):
            request = storer_pb2.ArchiveKataRequest(kata_id=kata_id)
            self._katas.get(kata_id)  # which brings it back from the archive
            # In use: the storer copies it to the archive at this moment.
            in_use = grpc.StatusCode.FAILED_PRECONDITION
            wait_until(lambda: code_of(lambda: self._katas.stub.ArchiveKata(request)) is not in_use)
            self._katas.stub.ArchiveKata(request)  # it stays there

    def _download(self, kata: int) -> None:
        with self._one(kata) as (kata_id, model):
            self._tars.append(Tar(kata_id, self._katas.tar(kata_id), deepcopy(model)))

    def _restore(self, tar: int, overwrite: bool) -> None:  # noqa: FBT001 - a step is a list
        if not self._tars:
            return
        found = self._tars[tar % len(self._tars)]
        if found.kata_id in self._models and not overwrite:
            with _refused(grpc.StatusCode.ALREADY_EXISTS):
                self._katas.restore(found.content)
            return
        assert self._katas.restore(found.content, overwrite=overwrite).kata_id == found.kata_id
        self._add(found.kata_id, deepcopy(found.model))
        self._compare(found.kata_id)

    def _delete(self, kata: int) -> None:
        with self._one(kata) as (kata_id, _):
            self._katas.delete(kata_id)
            self._remove(kata_id)
            with _refused(grpc.StatusCode.NOT_FOUND):
                self._katas.get(kata_id)

    def _verify(self, kata: int) -> None:
        with self._one(kata) as (kata_id, _):
            found = verify(self._katas, kata_id)
            assert not found.unmended(), found

    def _backup(self, since: int) -> None:
        """Make a backup; with one before, an incremental one of those that are 0 or more."""
        known = self._backups[-_KNOWN_BACKUPS:]
        before = known[since % len(known)] if known and since >= 0 else None
        made = backups.backup(self._katas, since_token=before.token if before else "")
        states = {name: state for name, state in made.states.items() if name in self._made}
        then = before.models if before else {}
        deleted = {name: model for name, model in then.items() if name not in self._models}
        sent = {name for name, state in states.items() if state == "sent"}
        # What changed is in it, so that the earlier one and it together are all.
        changed = {name for name, model in self._models.items() if then.get(name) != model}
        assert changed <= sent <= set(self._models), states
        assert {name for name, state in states.items() if state == "deleted"} == set(deleted)
        unchanged = {name for name, state in states.items() if state == "unchanged"}
        assert unchanged == set(self._models) - sent, states
        models = deepcopy(self._models)
        self._backups.append(Backup(made.token, made.tar, models, sent, deepcopy(deleted)))

    def _restore_all(self, backup: int, overwrite: bool, deletions: bool) -> None:  # noqa: FBT001
        if not self._backups:
            return
        found = self._backups[backup % len(self._backups)]
        told = backups.restore_into(
            self._katas,
            found.content,
            overwrite=overwrite,
            discard_lights=overwrite,
            apply_deletions=deletions,
        )
        expected = {name: self._after_restore(found, name, overwrite) for name in found.sent}
        for name in found.models.keys() - found.sent - self._models.keys():
            expected[name] = {"missing"}  # an earlier backup has it
        for name in found.deleted.keys() & self._models.keys():
            is_as_it_was = found.deleted[name] == self._models[name]
            goes = deletions and (overwrite or is_as_it_was)
            expected[name] = {"deleted" if goes else "kept"}
        assert told.outcomes.keys() & self._made == expected.keys(), told
        for name, outcomes in expected.items():
            outcome = told.outcomes[name]
            assert outcome in outcomes, f"{name}: {outcomes} expected, {told}"
            if outcome in {"restored", "replaced"}:
                self._add(name, deepcopy(found.models[name]))
            elif outcome == "deleted":
                self._remove(name)
        for name in list(self._order):
            self._compare(name)

    def _after_restore(self, backup: Backup, kata_id: str, overwrite: bool) -> set[str]:  # noqa: FBT001
        """Return what may become of a kata that a backup has."""
        model, here = backup.models[kata_id], self._models.get(kata_id)
        if here is None:
            return {"restored"}
        if model == here:
            return {"unchanged"}
        if overwrite:
            return {"replaced"}
        return {"replaced", "skipped"} if _continues(model, here) else {"skipped"}

    def _add(self, kata_id: str, model: Model) -> None:
        self._made.add(kata_id)
        if kata_id not in self._models:
            self._order.append(kata_id)
        self._models[kata_id] = model

    def _remove(self, kata_id: str) -> None:
        del self._models[kata_id]
        self._order.remove(kata_id)

    @contextmanager
    def _one(self, kata: int) -> Iterator[tuple[str, Model]]:
        """Choose a kata; if there is none, one is created."""
        if not self._order:
            self._create(FILES)
        kata_id = self._order[kata % len(self._order)]
        yield kata_id, self._models[kata_id]

    @contextmanager
    def _avatar(self, kata: int, avatar: int) -> Iterator[tuple[str, str, list[dict[str, bytes]]]]:
        """Choose a started avatar; if there is none in the kata, one is started."""
        with self._one(kata) as (kata_id, model):
            if not model.avatars:
                self._start(kata, avatar)
            names = sorted(model.avatars)
            name = names[avatar % len(names)]
            yield kata_id, name, model.avatars[name]

    def _compare(self, kata_id: str) -> None:
        model = self._models[kata_id]
        found = self._katas.get(kata_id)
        assert dict(found.manifest.files) == model.files
        assert list(found.avatars) == sorted(model.avatars)
        own = {"": found.options.kata, **found.options.avatars}
        options = {
            name: {each.name: value for each, value in of_one.ListFields()}
            for name, of_one in own.items()
        }
        assert {name: each for name, each in options.items() if each} == model.options
        for name, lights in model.avatars.items():
            numbers = [light.number for light in self._katas.lights(kata_id, name)]
            assert numbers == list(range(len(lights)))
            for number in {0, len(lights) // 2, len(lights) - 1}:
                assert dict(self._katas.files(kata_id, name, number).files) == lights[number]
        if model.avatars:
            asked = [storer_pb2.WhichLight(avatar=name, light_number=-1) for name in model.avatars]
            request = storer_pb2.GetOutputsRequest(kata_id=kata_id, lights=asked)
            outputs = self._katas.stub.GetOutputs(request).outputs
            newest = {each.avatar: each.light.number + 1 for each in outputs}
            assert newest == {name: len(lights) for name, lights in model.avatars.items()}


def _continues(later: Model, earlier: Model) -> bool:
    """Whether each avatar of the earlier kata is in the later one, with the same lights first.

    The later one has to have the same options, or later ones.
    """
    is_same = (later.changes, later.options) == (earlier.changes, earlier.options)
    return (is_same or later.changes > earlier.changes) and all(
        later.avatars.get(name, [])[: len(lights)] == lights
        for name, lights in earlier.avatars.items()
    )


@contextmanager
def _refused(code: grpc.StatusCode) -> Iterator[None]:
    try:
        yield
    except grpc.RpcError as error:
        assert error.code() is code, error  # noqa: PT017
        return
    raise AssertionError(f"it was not refused with {code.name}")
