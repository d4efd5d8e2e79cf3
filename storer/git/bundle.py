"""A repository as a stream that `git clone` and `git bundle` understand: references, and a pack.

The pack has every object that the references lead to, each once and whole. It is made while it is
sent: no more than one object is in memory, besides the names of all.

The formats are git's own: https://git-scm.com/docs/gitformat-bundle and gitformat-pack.
"""

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping

from dojo import waits
from dojo.budget import Budget
from storer.git import packs
from storer.git.reader import GitReader, entries, named_objects

HEAD = "HEAD"

_SIGNATURE = b"# v2 git bundle\n"


def bundle(reader: GitReader, references: Mapping[str, str], budget: Budget) -> Iterator[bytes]:
    """Yield the bytes of a bundle of these references, each with the object that it names.

    The names of objects are drawn on the budget. Raises BudgetExceeded, and what `reader` does.
    """
    names = reachable(reader, references.values(), budget)
    lines = (f"{target} {name}\n" for name, target in references.items())
    yield b"".join([_SIGNATURE, *(line.encode() for line in lines), b"\n"])
    yield from pack(reader, names)


def pack(reader: GitReader, names: Collection[str]) -> Iterator[bytes]:
    """Yield the bytes of a pack of the objects with these names. Raises what `reader` does."""
    digest = hashlib.sha1(usedforsecurity=False)
    header = packs.header(len(names))
    digest.update(header)
    yield header
    for name in names:
        waits.check()
        kind, content = reader.read(name)
        packed = packs.packed(kind, content)
        digest.update(packed)
        yield packed
    yield digest.digest()


def reachable(reader: GitReader, targets: Iterable[str], budget: Budget) -> list[str]:
    """Return the names of objects and of all that they lead to. Raises BudgetExceeded."""
    found: dict[str, None] = {}
    pending = [*targets]
    while pending:
        name = pending.pop()
        if name in found:
            continue
        budget.take_entry()
        found[name] = None
        kind, content = reader.read(name)
        if kind == "tree":
            for _, entry in entries(content):
                if entry.is_folder:
                    pending.append(entry.object)
                elif not entry.is_submodule and entry.object not in found:
                    budget.take_entry()
                    found[entry.object] = None  # a blob, which leads nowhere
        elif kind in {"commit", "tag"}:
            pending += named_objects(content)
    return list(found)
