"""The names of the archive's files, which `storer.archive.stored_archive` describes."""

import re

from dojo import kata_ids
from storer.archive.archive import Copy

TAR = ".tar.zst"
DELETED = ".deleted"
COPY = re.compile(r"([0-9a-f]{16})\.([0-9]{6})\.tar\.zst\Z")
_EDITION = re.compile(r"\.([0-9a-f]{16})(\.tar\.zst|\.deleted)\Z")


def stem(kata_id: str) -> str:
    """Return what the keys of a kata begin with."""
    return f"{kata_id[:2].lower()}/{kata_id.lower()}.{kata_id}"


def with_edition(stem: str, edition: str) -> str:
    """Return what the keys of an edition of a kata begin with."""
    return f"{stem}.{edition}" if edition else stem


def copy_key(stem: str, copy: Copy) -> str:
    """Return the key of a copy; the stem is that of the edition."""
    return f"{stem}.copies/{copy.base}.{copy.number:06}{TAR}"


def body_key(kata_id: str, name: str) -> str:
    """Return the key of what is too large for etcd."""
    return f".bodies/{kata_id[:2].lower()}/{kata_id}/{name}{TAR}"


def index_key(kata_id: str) -> str:
    """Return the key of a kata's entry in the index."""
    return f".index/{kata_id[:2].lower()}/{kata_id.lower()}.{kata_id}.json"


def old_id_key(old_id: str) -> str:
    """Return the key of the note of an old id."""
    return f".old-ids/{old_id_path(old_id)}"


def old_id_path(old_id: str) -> str:
    """Return a path that one listing finds for an old id that is typed in any case."""
    lower = old_id.lower()
    return f"{lower[:2]}/{lower}.{old_id}"


def parts(key: str) -> tuple[str, str, bool]:
    """Return the id and the edition in the key of a kata's tar, and whether it was deleted.

    The edition is "" if there is none. All are empty for any other key.
    """
    edition, is_deleted = "", False
    if (match := _EDITION.search(key)) is not None:
        edition, is_deleted = match[1], match[2] == DELETED
        key = key[: match.start()] + TAR
    folder, _, name = key.partition("/")
    lower, _, rest = name.partition(".")
    kata_id = rest.removesuffix(TAR)
    is_key = kata_ids.is_whole(kata_id) and rest.endswith(TAR)
    if not (is_key and kata_id.lower() == lower and lower.startswith(folder)):
        return "", "", False
    return kata_id, edition, is_deleted
