"""Whether a kata's history continues that of another kata of the same id, and what it lacks."""

import contextlib

import pygit2

from dojo.errors import KataDamaged
from storer.git.libgit2 import in_words
from storer.kata import edit, options
from storer.kata.head import DAMAGED, head_of, newest
from storer.kata.history import GIT
from storer.kata.kata import Kata


def is_ancestor(was: Kata, now: Kata) -> bool:
    """Return whether `now` has the whole history of `was`, and maybe more.

    It also has the options of `was`, or later ones.

    A damaged avatar has to be damaged in both, by the same files. Raises KataNotFound or
    KataDamaged.
    """
    before, after = head_of(was), head_of(now)
    if before.manifest_sha256 != after.manifest_sha256 or not options.go_on(was.folder, now.folder):
        return False
    ends = {name: (number, tag) for name, number, tag in after.lights}
    for name, number, tag in before.lights:
        if name not in ends or ends[name][0] < number:
            return False
        if number == DAMAGED:
            if ends[name] != (number, tag):
                return False
            continue
        old = _commit(was, name, number)
        new = _commit(now, name, ends[name][0])
        if not _continues(now, name, old, new) or _commit(now, name, number) != old:
            return False
    numbers = {name: number for name, number, _ in before.lights}
    return all(
        now.avatar(name).open_history().leads_to(edit.tag_of(numbers[name], minor), commit)
        for name, minor, commit in before.edits
    )


def _continues(kata: Kata, avatar: str, old: pygit2.Oid, new: pygit2.Oid) -> bool:
    """Return whether an avatar's commit `new` is `old` or descends from it."""
    try:
        repository = kata.avatar(avatar).open_history().open_whole_repository()
        return old in repository and (new == old or repository.descendant_of(new, old))
    except (KeyError, pygit2.GitError) as error:
        raise KataDamaged(kata.kata_id, f"{avatar}/{GIT}", in_words(error)) from error


def lights_only_in(was: Kata, now: Kata) -> dict[str, range]:
    """Return the numbers of the lights that `was` has and `now` has not, by avatar.

    Avatars of `was` that can't be read are left out.
    """
    found: dict[str, range] = {}
    theirs = {name: newest(now, name)[0] for name in now.avatar_names()}
    for name in was.avatar_names():
        # What can't be read is lost already.
        with contextlib.suppress(KataDamaged, OSError, ValueError):
            number, _ = newest(was, name)
            shared = min(number, theirs.get(name, DAMAGED))
            while shared >= 0 and _commit(was, name, shared) != _commit(now, name, shared):
                shared -= 1
            if shared < number:
                found[name] = range(shared + 1, number + 1)
    return found


def _commit(kata: Kata, avatar: str, number: int) -> pygit2.Oid:
    tag = f"refs/tags/{number}"
    try:
        repository = kata.avatar(avatar).open_history().open_whole_repository()
        return repository.references[tag].peel(pygit2.Commit).id
    except (KeyError, pygit2.GitError) as error:
        raise KataDamaged(kata.kata_id, f"{avatar}/{GIT}", in_words(error)) from error
