"""An archive in an S3-compatible store, by boto3.

boto3 takes the address, the region and the credentials from `AWS_ENDPOINT_URL_S3`, `AWS_REGION`,
`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and its configuration files.
"""

import contextlib
import io
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import IO, Any, cast

import boto3
import urllib3.exceptions
from boto3.exceptions import Boto3Error
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from dojo import waits
from dojo.errors import ArchiveUnavailable

# Callers wait for the store, so the timeouts are short.
_CONFIG = Config(
    connect_timeout=3,
    read_timeout=20,
    retries={"mode": "standard", "total_max_attempts": 3},
    # Older stores know only the checksums of the transport. The seal has our own.
    request_checksum_calculation="when_required",
    response_checksum_validation="when_required",
)
# Parts of 8 MiB, which become visible together with the last one. Without threads: the library
# would start ten for each upload.
_TRANSFER = TransferConfig(use_threads=False)

# A store takes milliseconds for each small object, and many at the same time; boto3 keeps ten
# connections.
_READERS = 8

_ABSENT = {"404", "NoSuchKey", "NotFound"}


class S3Store:
    """Objects in a bucket, `prefix/49/name` each."""

    def __init__(self, bucket: str, prefix: str) -> None:
        """Use the objects of a bucket under a prefix, which may be empty."""
        self._bucket = bucket
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._url = f"s3://{bucket}/{self._prefix}"
        with self._translating_errors():
            self._client: Any = boto3.client("s3", config=_CONFIG)

    def folders(self) -> list[str]:
        """Return the names of the folders, in order."""
        return sorted(
            each["Prefix"].removeprefix(self._prefix).rstrip("/")
            for page in self._pages("")
            for each in page.get("CommonPrefixes", [])
        )

    def keys(self, prefix: str) -> Iterator[str]:
        """Yield the keys that begin with `prefix`, in order."""
        for page in self._pages(prefix):
            for each in page.get("Contents", []):
                yield each["Key"].removeprefix(self._prefix)

    def status(self, key: str) -> tuple[int, str] | None:
        """Return the size in bytes and a version that each write changes; None if it is absent."""
        # By a listing: asked for the object itself, the store answers alike for an absent object
        # and an absent bucket.
        page = next(self._pages(key, MaxKeys=1))
        for each in page.get("Contents", []):
            if each["Key"] == self._prefix + key:
                written = each["LastModified"].timestamp()
                return each["Size"], f"{each['ETag'].strip(chr(34))}.{written:.0f}"
        return None

    @contextmanager
    def open(self, key: str) -> Iterator[IO[bytes]]:
        """Open an object; raise FileNotFoundError if there is none."""
        with self._translating_errors():
            found = self._client.get_object(Bucket=self._bucket, Key=self._prefix + key)
        with contextlib.closing(found["Body"]) as body:
            yield cast("IO[bytes]", _Body(self, body))

    def read_end(self, key: str, size: int) -> bytes:
        """Return the last bytes of an object; raise FileNotFoundError if there is none."""
        with self._translating_errors():
            found = self._client.get_object(
                Bucket=self._bucket, Key=self._prefix + key, Range=f"bytes=-{size}"
            )
            with contextlib.closing(found["Body"]) as body:
                return cast("bytes", body.read())

    def read_small(self, keys: Iterable[str], max_bytes: int) -> dict[str, bytes]:
        """Return the content of small objects, except those that are absent or larger."""
        waits.let_others_work()

        def read(key: str) -> tuple[str, bytes]:
            try:
                with self.open(key) as body:
                    return key, body.read(max_bytes + 1)
            except FileNotFoundError:
                return key, b""

        with ThreadPoolExecutor(_READERS, thread_name_prefix="s3-reader") as readers:
            found = dict(readers.map(read, keys))
        return {key: content for key, content in found.items() if 0 < len(content) <= max_bytes}

    def write(self, key: str, pieces: Iterator[bytes]) -> None:
        """Write an object; it becomes visible when all of it was sent."""
        with self._translating_errors():
            self._client.upload_fileobj(
                _Pieces(pieces), self._bucket, self._prefix + key, Config=_TRANSFER
            )

    def delete(self, key: str) -> None:
        """Delete an object, if there is one."""
        with contextlib.suppress(FileNotFoundError), self._translating_errors():
            self._client.delete_object(Bucket=self._bucket, Key=self._prefix + key)

    def sweep(self) -> None:
        """Do nothing: the store removes incomplete uploads by a lifecycle rule of its own."""

    @contextmanager
    def _translating_errors(self) -> Iterator[None]:
        """Translate the library's errors into the project's, except that an object is absent.

        The store can be slow: whoever asks it gives up the place among the calls that work.
        """
        waits.let_others_work()
        try:
            yield
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") in _ABSENT:
                raise FileNotFoundError(str(error)) from error
            raise ArchiveUnavailable(f"{self._url}: {error}") from error
        except (BotoCoreError, Boto3Error, urllib3.exceptions.HTTPError, ValueError) as error:
            raise ArchiveUnavailable(f"{self._url}: {error}") from error

    def _pages(self, prefix: str, **more_parameters: int) -> Iterator[dict[str, Any]]:
        parameters: dict[str, Any] = {"Bucket": self._bucket, "Prefix": self._prefix + prefix}
        parameters = {**parameters, "Delimiter": "/", **more_parameters}
        continuation: dict[str, str] | None = {}
        while continuation is not None:
            with self._translating_errors():
                page = self._client.list_objects_v2(**parameters, **continuation)
            yield page
            token = page.get("NextContinuationToken")
            continuation = {"ContinuationToken": token} if token else None


class _Body:
    """The content of an object, as a stream."""

    def __init__(self, store: S3Store, body: Any) -> None:
        self._store = store
        self._body = body

    def read(self, size: int) -> bytes:
        with self._store._translating_errors():  # noqa: SLF001 - the store's own class
            return cast("bytes", self._body.read(size))


class _Pieces(io.RawIOBase):
    """Pieces of bytes as a file to read; the library takes a short read for the end."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        parts, missing = [self._rest], size - len(self._rest)
        while size < 0 or missing > 0:
            piece = next(self._pieces, None)
            if piece is None:
                break
            parts.append(piece)
            missing -= len(piece)
        found = b"".join(parts)
        if size < 0:
            size = len(found)
        self._rest = found[size:]
        return found[:size]
