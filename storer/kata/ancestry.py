"""Whether a kata's history continues the history of another kata of the same id."""

import pygit2

from dojo.errors import KataDamaged
from storer.kata.head import DAMAGED, head_of
from storer.kata.history import GIT
from storer.kata.kata import Kata


def is_ancestor(was: Kata, now: Kata) -> bool:
    """Return whether `now` has the whole history of `was`, and maybe more.

    A damaged avatar has to be damaged in both, by the same files. Raises KataNotFound or
    KataDamaged.
    """
    before, after = head_of(was), head_of(now)
    if before.manifest_sha256 != after.manifest_sha256:
        return False
    newest = {name: (number, tag) for name, number, tag in after.lights}
    for name, number, tag in before.lights:
        if name not in newest or newest[name][0] < number:
            return False
        if number == DAMAGED:
            if newest[name] != (number, tag):
                return False
            continue
        old = _commit(was, name, number)
        new = _commit(now, name, newest[name][0])
        if not _continues(now, name, old, new) or _commit(now, name, number) != old:
            return False
    return True


def _continues(kata: Kata, avatar: str, old: pygit2.Oid, new: pygit2.Oid) -> bool:
    """Return whether an avatar's commit `new` is `old` or descends from it."""
    try:
        repository = kata.avatar(avatar).open_history().open_whole_repository()
        return old in repository and (new == old or repository.descendant_of(new, old))
    except (KeyError, pygit2.GitError) as error:
        raise KataDamaged(kata.kata_id, f"{avatar}/{GIT}", str(error)) from error


def _commit(kata: Kata, avatar: str, number: int) -> pygit2.Oid:
    tag = f"refs/tags/{number}"
    try:
        repository = kata.avatar(avatar).open_history().open_whole_repository()
        return repository.references[tag].peel(pygit2.Commit).id
    except (KeyError, pygit2.GitError) as error:
        raise KataDamaged(kata.kata_id, f"{avatar}/{tag}", str(error)) from error
