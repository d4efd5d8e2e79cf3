"""The location of the archive, from the setting: none, a directory, or an S3-compatible store."""

from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlsplit

from storer.archive.archive import Archive, NoArchive
from storer.archive.directory_store import DirectoryStore
from storer.archive.stored_archive import StoredArchive


def check(text: str) -> str:
    """Return the setting if it names a location; raise ValueError if not."""
    found = urlsplit(text)
    is_place = (
        (found.scheme == "" and text.startswith("/"))
        or (found.scheme == "file" and found.netloc in {"", "localhost"} and found.path != "")
        or (found.scheme == "s3" and found.netloc != "")
    )
    if not is_place or found.query or found.fragment:
        raise ValueError("is no absolute path, no file:///path and no s3://bucket/prefix")
    return text


def directory(text: str) -> Path | None:
    """Return the directory that the setting names; None if it names none."""
    found = urlsplit(text)
    return None if found.scheme == "s3" or not text else Path(unquote(found.path))


def open_archive(
    text: str,
    namespace: str,
    edition_of: Callable[[str], int] | None = None,
    on_unanswered: Callable[[str], object] = lambda _: None,
) -> Archive:
    """Open the archive that the setting names, for the katas of a namespace.

    `edition_of` and `on_unanswered` are as for StoredArchive. Raises ArchiveUnavailable if that is
    impossible.
    """
    if not text:
        return NoArchive()
    if (folder := directory(text)) is not None:
        return StoredArchive(DirectoryStore(folder), namespace, edition_of, on_unanswered)
    # Imported only if used: boto3 takes longer to import than all the rest, and more memory.
    from storer.archive.s3_store import S3Store  # noqa: PLC0415

    found = urlsplit(text)
    store = S3Store(found.netloc, found.path)
    return StoredArchive(store, namespace, edition_of, on_unanswered)
