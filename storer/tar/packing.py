"""An avatar's git objects and tags as a few files, for a tar of the archive.

A light adds half a dozen files to a repository, one for each object and one for its tag. Most
of the time that a kata takes into a tar, and out of it, goes by the number of its files; so
here they come as one pack with its index, and one file of tags. Every object is in it, those
that nothing leads to as well.

The newest tag keeps its file, from which it is quicker to read.
"""

import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import pygit2

from storer.fs import durable, tree
from storer.kata.history import GIT
from storer.kata.kata import Kata

# In the kata's folder: on the same disk, and going with it.
_PACKING = ".packing-"
_TAGS = "refs/tags/"
# So few objects with a file of their own take less time as they are than packed with all others.
_FEW = 32

_OBJECT = re.compile(r"[0-9a-f]{2}/[0-9a-f]{38}")


@dataclass
class Packed:
    """What takes the place of files in a kata's folder: the content, or a file that has it.

    `avatars` are those whose objects come packed, `tags` the files of tags that stay as they are.
    """

    files: dict[PurePosixPath, bytes | Path] = field(default_factory=dict)
    avatars: set[str] = field(default_factory=set)
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
                return True
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
            if _loose_count(git) <= _FEW:
                continue
            folder = Path(
                made.enter_context(tempfile.TemporaryDirectory(prefix=_PACKING, dir=kata.folder))
            )
            with durable.translate_disk_errors():
                pygit2.Repository(str(git)).pack(folder, n_threads=1)
            for path in folder.iterdir():
                packed.files[at / "objects" / "pack" / path.name] = path
            packed.files[at / "packed-refs"] = _packed_references(references, at)
            packed.tags.update(_newest_tag(references, at))
            packed.avatars.add(name)
        yield packed


def _loose_count(git: Path) -> int:
    """Return how many objects have a file of their own."""
    found = tree.walk(git / "objects", lambda path: len(path.name) == 2)
    return sum(_OBJECT.fullmatch(str(each.path)) is not None for each in found)


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
