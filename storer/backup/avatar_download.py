"""One avatar's repository, for people who take their session elsewhere.

As a tar it is a folder that `git clone` takes, with the files of the newest light checked out. As a
bundle it is one file that `git clone` takes, too.
"""

from collections.abc import Generator, Iterator
from contextlib import ExitStack
from itertools import chain
from pathlib import PurePosixPath

import pygit2

from dojo import limits
from dojo.budget import Budget, BudgetExceeded
from dojo.chunks import rechunk
from dojo.errors import KataDamaged
from storer.backup.download import Compression, compress
from storer.backup.resume import Resumption
from storer.git import bundle
from storer.git.libgit2 import in_words
from storer.git.reader import GitReader, packed_references
from storer.kata.history import GIT
from storer.katas.repository import Katas
from storer.tar import snapshot
from storer.tar.snapshot import Snapshot

_ERRORS = (pygit2.GitError, KeyError, ValueError, OSError, BudgetExceeded)


def filename(kata_id: str, avatar: str, compression: Compression, *, as_bundle: bool) -> str:
    """Return a filename for the repository of an avatar."""
    ending = ".bundle" if as_bundle else f".tar{compression.value}"
    return f"{kata_id}-{avatar}{ending}"


def download(
    katas: Katas,
    kata_id: str,
    avatar: str,
    compression: Compression,
    resumption: Resumption | None = None,
    *,
    as_bundle: bool,
) -> Generator[bytes, None, None]:
    """Yield an avatar's repository, in chunks, as it is when the first is asked for.

    `compression` is that of a tar. All else is as in `download.download`. Raises AvatarNotFound,
    and KataDamaged if git's objects can't be read.
    """
    with ExitStack() as opened:
        with katas.using(kata_id) as kata:
            kata.avatar(avatar).lights()  # says what is damaged, if anything
            taken = Snapshot(kata, opened)
        if resumption is not None:
            resumption.compare(taken, f"{compression.name} {avatar} {as_bundle}")
        references = _references(taken, avatar)
        reader = GitReader(taken.kata.folder / avatar / GIT)
        if as_bundle:
            budget = Budget(max_entries=limits.GIT_OBJECTS)
            pieces = bundle.bundle(reader, references, budget)
        else:
            pieces = compress(_tar(taken, avatar, reader, references[bundle.HEAD]), compression)
        yield from rechunk(_reading(taken, avatar, pieces))


def _tar(taken: Snapshot, avatar: str, reader: GitReader, head: str) -> Iterator[bytes]:
    yield from snapshot.repository_members(taken, avatar)
    yield from snapshot.tree_members(taken, avatar, reader, head)
    yield snapshot.END


def _reading(taken: Snapshot, avatar: str, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield pieces; raise KataNotFound if the kata was deleted meanwhile, or else KataDamaged."""
    try:
        yield from pieces
    except _ERRORS as error:
        taken.check_whole()
        reason = error.reason if isinstance(error, BudgetExceeded) else in_words(error)
        raise KataDamaged(taken.kata.kata_id, f"{avatar}/{GIT}", reason) from error
    taken.check_whole()


def _references(taken: Snapshot, avatar: str) -> dict[str, str]:
    """Return an avatar's references as the snapshot has them, HEAD first, each with its object."""
    git = PurePosixPath(avatar) / GIT
    packed = packed_references(taken.references.get(git / "packed-refs", b"").splitlines())
    found = {name: target for name, target in packed if name.startswith("refs/")}
    for path, content in taken.references.items():
        if path.is_relative_to(git / "refs"):
            found[str(path.relative_to(git))] = content.decode("ascii", "replace").strip()
    head = taken.references[git / bundle.HEAD].decode("utf-8", "replace").strip()
    target = found.get(head.removeprefix("ref:").strip(), head)
    return dict(chain([(bundle.HEAD, target)], sorted(found.items())))
