"""The archive in an S3-compatible store."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import grpc
import pytest

from cyberdojo.storer.v1 import storer_pb2
from dojo.engine.data_containers import DataContainers
from support.services import Service
from support.storer.backups import backup
from support.storer.copies import wait_until_copied
from support.storer.s3 import S3Server
from support.storer.storing import FILES, Katas, refused

BUCKET = "katas"


@pytest.fixture
def server() -> Iterator[S3Server]:
    """An S3-compatible store."""
    started = S3Server()
    yield started
    started.stop()


@pytest.fixture
def bucket(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A bucket in that store."""
    for name, value in server.environ.items():
        monkeypatch.setenv(name, value)
    made = boto3.resource("s3").Bucket(BUCKET)
    made.create(CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    return made


@pytest.fixture
def start(
    start_storer: Callable[..., Service],
    client: Callable[[Service], Katas],
    server: S3Server,
    bucket: Any,
) -> Callable[..., Katas]:
    """Starts a storer whose archive is in the bucket; gives its katas."""
    url = f"s3://{bucket.name}/some/where"
    return lambda **environ: client(
        start_storer(**{"CYBER_DOJO_ARCHIVE": url, **server.environ, **environ})
    )


def archive(katas: Katas, kata_id: str) -> None:
    """Put a kata into the archive."""
    katas.stub.ArchiveKata(storer_pb2.ArchiveKataRequest(kata_id=kata_id))


def test_a_kata_is_archived_in_the_store_found_and_fetched(
    start: Callable[..., Katas], bucket: Any, data_containers: DataContainers
) -> None:
    katas = start()
    kata_id = katas.started("whale")
    katas.record(kata_id, "whale")
    lights = katas.lights(kata_id, "whale")
    archive(katas, kata_id)
    assert not data_containers.folder(kata_id).exists()
    key = f"some/where/{kata_id[:2].lower()}/{kata_id.lower()}.{kata_id}.tar.zst"
    mark = "some/where/.namespace"
    entry = f"some/where/.index/{kata_id[:2].lower()}/{kata_id.lower()}.{kata_id}.json"
    assert [each.key for each in bucket.objects.all()] == [entry, mark, key]
    request = storer_pb2.CompleteKataIdRequest(partial_id=kata_id[:6].lower())
    assert list(katas.stub.CompleteKataId(request).kata_ids) == [kata_id]
    listing = storer_pb2.ListKatasRequest(prefix=kata_id[:1], check_index=True)
    (listed,) = katas.stub.ListKatas(listing).katas
    assert listed.source == storer_pb2.KATA_SOURCE_ARCHIVE
    assert listed.details.light_count == 1
    assert listed.details.size_bytes == bucket.Object(key).content_length
    assert katas.lights(kata_id, "whale") == lights
    katas.delete(kata_id)
    assert [each.key for each in bucket.objects.all()] == [mark]
    with refused(grpc.StatusCode.NOT_FOUND):
        katas.get(kata_id)


def test_an_incremental_backup_reads_only_the_end_of_what_was_archived_in_the_store(
    start: Callable[..., Katas],
) -> None:
    katas = start()
    kata_id = katas.started("whale")
    made = backup(katas)
    archive(katas, kata_id)
    assert backup(katas, since_token=made.token).states == {kata_id: "unchanged"}


def test_a_large_kata_is_uploaded_in_parts(
    start: Callable[..., Katas], bucket: Any, data_containers: DataContainers
) -> None:
    katas = start()
    kata_id = katas.started("whale")
    product = data_containers.folder(kata_id) / "whale" / "sandbox" / "core"
    content = os.urandom(20 * 1024**2)
    product.write_bytes(content)
    archive(katas, kata_id)
    *_, stored = bucket.objects.all()  # behind the index and the mark
    assert stored.size > 8 * 1024**2
    katas.import_(kata_id)
    assert product.read_bytes() == content


def test_recorded_lights_are_copied_to_the_store(
    start: Callable[..., Katas], bucket: Any, folder: Callable[[str], Path]
) -> None:
    katas = start(CYBER_DOJO_ARCHIVE_COPY_SECONDS="1")
    kata_id = katas.started("whale")
    wait_until_copied(folder(kata_id), whale=0)
    before = {each.key for each in bucket.objects.all()}
    katas.record(kata_id, "whale", {**FILES, "new.c": b"new\n"})
    wait_until_copied(folder(kata_id), whale=1)
    assert {each.key for each in bucket.objects.all()} > before


def test_a_store_that_does_not_answer_loses_nothing_and_stops_no_other_call(
    start: Callable[..., Katas], server: S3Server
) -> None:
    katas = start()
    here, archived = katas.started("whale"), katas.started("whale")
    archive(katas, archived)
    server.stop()
    assert katas.record(here, "whale").number == 1
    with refused(grpc.StatusCode.UNAVAILABLE, says="s3://katas/some/where/"):
        katas.get(archived)
    with refused(grpc.StatusCode.UNAVAILABLE, says="s3://katas/some/where/"):
        archive(katas, here)
    request = storer_pb2.CompleteKataIdRequest(partial_id=here[:6])
    assert list(katas.stub.CompleteKataId(request).kata_ids) == [here]
    assert len(katas.lights(here, "whale")) == 2


def test_a_missing_bucket_is_not_an_empty_archive(start: Callable[..., Katas]) -> None:
    katas = start(CYBER_DOJO_ARCHIVE="s3://nothing-here/katas")
    with refused(grpc.StatusCode.UNAVAILABLE, says="NoSuchBucket"):
        katas.get("0123456789")
    with refused(grpc.StatusCode.UNAVAILABLE, says="NoSuchBucket"):
        katas.create()
