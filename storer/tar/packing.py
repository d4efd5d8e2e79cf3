"""An avatar's git objects and tags as a few files, for a tar of the archive.

A light adds half a dozen files to a repository, one for each object and one for its tag. Most
of the time that a kata takes into a tar, and out of it, goes by the number of its files; so
here they come as one pack with its index, and one file of tags. Every object is in it, those
that nothing leads to as well.

A few objects get a pack of their own beside those that are there; many, or those of many packs,
are packed with all the others. The newest tag keeps its file, from which it is quicker to read.
"""

import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import pygit2

from storer.fs import durable
from storer.git import loose_objects, pack_writer
from storer.kata.history import GIT
from storer.kata.kata import Kata

# In the kata's folder: on the same disk, and going with it.
_PACKING = ".packing-"
_TAGS = "refs/tags/"
# So few files of their own are not worth a pack.
_FEW = 8
# So many of them take as long as a pack of all that there is, which is smaller.
_MANY = 64
# And so much is not held in memory.
_LITTLE_BYTES = 4 * 1024**2
# So many packs take longer to look through than one.
_MOST_PACKS = 8

_OBJECT = re.compile(r"[0-9a-f]{40}")


@dataclass
class Packed:
    """What takes the place of files in a kata's folder: the content, or a file that has it.

    `avatars` are those whose objects come in another form, `anew` those of them whose packs do.
    `tags` are the files that stay as they are.
    """

    files: dict[PurePosixPath, bytes | Path] = field(default_factory=dict)
    avatars: set[str] = field(default_factory=set)
    anew: set[str] = field(default_factory=set)
    tags: set[PurePosixPath] = field(default_factory=set)

    def replaces(self, path: PurePosixPath) -> bool:
        """Say whether what is at `path` is left out, as it is in `files` in another form."""
        parts = path.parts
        if len(parts) < 3 or parts[0] not in self.avatars or parts[1] != GIT:
            return False
        match parts[2:]:
            case ("packed-refs",):
                return True
            case ("refs", "tags", _, *_):
                return path not in self.tags
            case ("objects", "pack", _):
                return parts[0] in self.anew
            case ("objects", name, *_):
                return len(name) == 2
        return False


@contextmanager
def packing(kata: Kata, references: Mapping[PurePosixPath, bytes]) -> Iterator[Packed]:
    """Pack what `references` of a kata's avatars lead to, and all the rest of their objects.

    Avatars that have no loose object, or few, stay as they are. Nobody else may be packing the
    kata: what is left of that goes. Raises ValueError if an object is damaged.
    """
    packed = Packed()
    for left in kata.folder.glob(f"{_PACKING}*"):
        shutil.rmtree(left, ignore_errors=True)
    with ExitStack() as made:
        for name in kata.avatar_names():
            git, at = kata.folder / name / GIT, PurePosixPath(name) / GIT
            loose = _loose_objects(git)
            if len(loose) <= _FEW:
                continue
            if _is_little(git, loose):
                files = _pack_of(git, loose)
            else:
                folder = Path(
                    made.enter_context(
                        tempfile.TemporaryDirectory(prefix=_PACKING, dir=kata.folder)
                    )
                )
                with durable.refusing():
                    pygit2.Repository(str(git)).pack(folder, n_threads=1)
                files = {path.name: path for path in folder.iterdir()}
                packed.anew.add(name)
            for filename, content in files.items():
                packed.files[at / "objects" / "pack" / filename] = content
            packed.files[at / "packed-refs"] = _packed_references(references, at)
            packed.tags.update(_newest_tag(references, at))
            packed.avatars.add(name)
        yield packed


def _loose_objects(git: Path) -> dict[str, int]:
    """Return the names of the objects that have a file of their own, and its size in bytes."""
    found = {}
    for folder in (git / "objects").iterdir():
        if len(folder.name) == 2:
            with os.scandir(folder) as entries:
                for entry in entries:
                    name = folder.name + entry.name
                    if _OBJECT.fullmatch(name):
                        found[name] = entry.stat(follow_symlinks=False).st_size
    return found


def _is_little(git: Path, loose: Mapping[str, int]) -> bool:
    """Say whether loose objects are better packed without the others."""
    packs = sum(1 for _ in (git / "objects" / "pack").glob("*.pack"))
    return packs < _MOST_PACKS and len(loose) <= _MANY and sum(loose.values()) <= _LITTLE_BYTES


def _pack_of(git: Path, loose: Iterable[str]) -> dict[str, bytes | Path]:
    """Return a pack of loose objects, and its index, by the names of their files."""
    read = {name: loose_objects.read(git, name) for name in loose}
    name, pack, index = pack_writer.pack({each: found for each, found in read.items() if found})
    return {f"{name}.pack": pack, f"{name}.idx": index}


def _newest_tag(
    references: Mapping[PurePosixPath, bytes], git: PurePosixPath
) -> Iterator[PurePosixPath]:
    """Yield the file of the tag of the newest light, if it has one."""
    tags = git / _TAGS
    numbers = [path.name for path in references if path.parent == tags and path.name.isdecimal()]
    if numbers:
        yield tags / max(numbers, key=int)


def _packed_references(references: Mapping[PurePosixPath, bytes], git: PurePosixPath) -> bytes:
    """Return a packed-refs that has the loose tags too; they are the newer ones."""
    found: dict[str, str] = {}
    for line in references.get(git / "packed-refs", b"").decode().splitlines():
        target, _, name = line.partition(" ")
        if name and not line.startswith(("#", "^")):
            found[name] = target
    for path, content in references.items():
        if path.is_relative_to(git) and (name := str(path.relative_to(git))).startswith(_TAGS):
            found[name] = content.decode().strip()
    # Without a header that claims more, git looks itself what a tag leads to.
    return "".join(f"{found[name]} {name}\n" for name in sorted(found)).encode()
