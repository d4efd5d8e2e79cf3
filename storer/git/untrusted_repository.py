"""Takes the objects and references of a repository that somebody else wrote, and nothing else.

An index, logs, hooks, settings, alternates and what else git keeps beside them are removed. Every
object is read here, with a budget, before libgit2 reads any: a few KB can expand to gigabytes. The
indexes of packs are written again, because libgit2 trusts them.
"""

import mmap
import re
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pygit2

from dojo.budget import Budget, BudgetExceeded
from dojo.limits import GIT_REFERENCES_BYTES
from storer.fs import tree
from storer.git import loose_objects, packs

_HEAD = "HEAD"
_PACKED_REFS = "packed-refs"
_REFS = "refs"
_REFERENCE_FOLDERS = {"refs/heads", "refs/tags"}
_OBJECTS = "objects"
_KEPT = {_HEAD, _PACKED_REFS, _REFS, _OBJECTS}

_OBJECT = re.compile(r"([0-9a-f]{2})/([0-9a-f]{38})")
_OBJECT_FOLDER = re.compile(r"[0-9a-f]{2}|pack")
_PACK = re.compile(r"pack/pack-[0-9a-f]{40}\.pack")
_TARGET = re.compile(r"([0-9a-f]{40})\n?")
_PACKED_REFERENCE = re.compile(r"([0-9a-f]{40}) (refs/\S+)")
_NAME = re.compile(r"refs/(?:heads|tags)/[A-Za-z0-9_][A-Za-z0-9_.+-]*")
_TAG = "refs/tags/"
_NUMBER = re.compile(r"0|[1-9][0-9]{0,7}")

DEFAULT_BRANCH = "refs/heads/main"


class Damaged(Exception):
    """A file of a repository is missing, malformed or too large; `path` is in the repository."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


@dataclass
class Taken:
    """What was taken: all objects, by name, with kind and size; references, by name, with target.

    `broken` has the reason for each object that was not taken because it is damaged.
    """

    objects: dict[str, tuple[str, int]] = field(default_factory=dict)
    references: dict[str, str] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)

    @property
    def light_numbers(self) -> list[int]:
        """The numbers that are tags, in order."""
        tags = (name.removeprefix(_TAG) for name in self.references if name.startswith(_TAG))
        return sorted(int(tag) for tag in tags if _NUMBER.fullmatch(tag))

    def kind(self, name: str) -> str:
        """Return an object's kind; raise Damaged if it was not taken."""
        found = self.objects.get(name)
        if found is None:
            path = f"{_OBJECTS}/{name[:2]}/{name[2:]}"
            raise Damaged(path, self.broken.get(name, "the object is missing"))
        return found[0]


def remove(path: Path) -> None:
    """Remove the file, link or folder at `path`, if there is one."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


Remove = Callable[[Path], None]


def take(git: Path, budget: Budget, remove: Remove = remove) -> Taken:
    """Remove all but sound objects and references from the repository in `git`; return these.

    `remove` is called before a file is removed or written. Raises Damaged, naming the file, or
    BudgetExceeded.
    """
    strip(git, remove)
    taken = Taken()
    _take_objects(git / _OBJECTS, taken, budget, remove)
    _take_references(git, taken, budget, remove)
    _check_head(git, remove)
    return taken


def strip(git: Path, remove: Remove = remove) -> None:
    """Remove what is beside objects and references: settings, hooks, an index, alternates."""
    for path in list(git.iterdir()):
        if path.name not in _KEPT:
            remove(path)
    objects = git / _OBJECTS
    if objects.is_dir():
        for path in list(objects.iterdir()):
            if not _OBJECT_FOLDER.fullmatch(path.name):
                remove(path)


def references(git: Path, budget: Budget) -> dict[str, str]:
    """Return the branches and tags of a repository that stays as it is, each with its object.

    Raises Damaged or BudgetExceeded.
    """
    found: dict[str, str] = {}
    packed_refs = git / _PACKED_REFS
    if packed_refs.is_file():
        _check_packed_size(packed_refs)
        with packed_refs.open("rb") as lines:
            found.update(_packed_references(lines))
    if (git / _REFS).is_dir() and not (git / _REFS).is_symlink():
        with closing(tree.walk(git / _REFS, lambda path: len(path.parts) == 1)) as entries:
            for entry in _taken(entries, budget):
                name, target = f"{_REFS}/{entry.path}", _target(git / _REFS / entry.path)
                if target is not None and is_reference_name(name):
                    found[name] = target
    return found


def is_reference_name(name: str) -> bool:
    """Return whether a reference of this name is taken: a branch or a tag, without folders."""
    if not _NAME.fullmatch(name) or not pygit2.reference_is_valid_name(name):
        return False
    tag = name.removeprefix(_TAG)
    return not tag.isdigit() or _NUMBER.fullmatch(tag) is not None


def _take_objects(folder: Path, taken: Taken, budget: Budget, remove: Remove) -> None:
    if not folder.is_dir():
        raise Damaged(_OBJECTS, "is not a folder")
    unwanted, packs_found = [], []
    with closing(tree.walk(folder, lambda path: len(path.parts) == 1)) as entries:
        for entry in entries:
            path, is_file = str(entry.path), stat.S_ISREG(entry.status.st_mode)
            is_object = _OBJECT.fullmatch(path)
            if is_object is not None and is_file:
                name = is_object[1] + is_object[2]
                if (reason := _take_loose(folder / path, name, taken, budget)) is None:
                    continue
                taken.broken[name] = reason
            elif _PACK.fullmatch(path) and is_file:
                budget.take_entry()
                packs_found.append(folder / path)
                continue
            elif _OBJECT_FOLDER.fullmatch(path) and not is_file:
                continue
            else:
                budget.take_entry()  # it is remembered, as an object is
            unwanted.append(folder / path)
    for each in unwanted:
        remove(each)
    for each in packs_found:
        _take_pack(each, taken, budget, remove)


def _take_loose(path: Path, name: str, taken: Taken, budget: Budget) -> str | None:
    """Check one loose object; return what is wrong with it, if it is damaged."""
    budget.take_entry()
    try:
        kind, content = loose_objects.parse_bounded(
            loose_objects.read_file(str(path)), name, budget
        )
    except ValueError as error:
        return str(error)
    taken.objects[name] = (kind, len(content))
    return None


def _take_pack(path: Path, taken: Taken, budget: Budget, remove: Remove) -> None:
    shown = f"{_OBJECTS}/pack/{path.name}"
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as pack:
            index = packs.read(pack, budget, taken.objects)
    except ValueError as error:
        raise Damaged(shown, str(error)) from None
    except BudgetExceeded as error:
        raise BudgetExceeded(f"{shown}: {error.reason}") from None
    remove(path.with_suffix(".idx"))
    path.with_suffix(".idx").write_bytes(index)


def _take_references(git: Path, taken: Taken, budget: Budget, remove: Remove) -> None:
    packed_refs, references = git / _PACKED_REFS, git / _REFS
    if packed_refs.is_file():
        _check_packed_size(packed_refs)
        with packed_refs.open("rb") as lines:
            taken.references.update(_packed_references(lines))
        packed = sorted(taken.references.items())
        remove(packed_refs)
        packed_refs.write_text("".join(f"{target} {name}\n" for name, target in packed))
    else:
        remove(packed_refs)
    if not references.is_dir():
        remove(references)
        references.mkdir()
    with closing(tree.walk(references, lambda path: len(path.parts) == 1)) as entries:
        for path in [references / entry.path for entry in _taken(entries, budget)]:
            name = str(path.relative_to(git))
            target = _target(path)
            if target is not None and is_reference_name(name):
                taken.references[name] = target
            elif name not in _REFERENCE_FOLDERS or not path.is_dir():
                remove(path)
    for name, target in taken.references.items():
        try:
            taken.kind(target)
        except Damaged as error:
            raise Damaged(error.path, f"{error.reason}; {name} needs it") from None


def _check_packed_size(packed_refs: Path) -> None:
    size = packed_refs.stat().st_size
    if size > GIT_REFERENCES_BYTES:
        raise Damaged(_PACKED_REFS, f"has {size} bytes, more than {GIT_REFERENCES_BYTES}")


def _taken(entries: Iterable[tree.Entry], budget: Budget) -> Iterator[tree.Entry]:
    for entry in entries:
        budget.take_entry()
        yield entry


def _packed_references(lines: Iterable[bytes]) -> Iterator[tuple[str, str]]:
    for line in lines:
        match = _PACKED_REFERENCE.fullmatch(line.decode("utf-8", "replace").rstrip("\r\n"))
        if match is not None and is_reference_name(match[2]):
            yield match[2], match[1]


def _target(path: Path) -> str | None:
    """Return the object that a reference's file names; None if it names none."""
    if not path.is_file() or path.stat().st_size > len("\n") + 40:
        return None
    match = _TARGET.fullmatch(path.read_bytes().decode("ascii", "replace"))
    return None if match is None else match[1]


def _check_head(git: Path, remove: Remove) -> None:
    """Raise Damaged without a HEAD; have it name a branch that can be one."""
    path = git / _HEAD
    if not path.is_file() or path.stat().st_size > 1000:
        raise Damaged(_HEAD, "is missing or not a file")
    head = path.read_bytes().decode("utf-8", "replace")
    if _TARGET.fullmatch(head):
        return
    branch = head.removeprefix("ref:").strip()
    if not head.startswith("ref:") or not branch.startswith("refs/heads/"):
        raise Damaged(_HEAD, "names no branch")
    if not is_reference_name(branch):
        remove(path)
        path.write_text(f"ref: {DEFAULT_BRANCH}\n")
