"""Downloads and pictures, without a browser: what arrives is whole, or is told not to be."""

import io
import json
import os
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import grpc
import httpx
import pytest

from cyberdojo.storer.v1 import storer_pb2_grpc
from support.services import Service
from support.storer.storing import FILES
from support.web.practised import GREEN, RED, Practised

FIXED = {**FILES, "hiker.c": FILES["hiker.c"].replace(b"6 * 9", b"6 * 7")}


@pytest.fixture
def practised(new_practised: Callable[..., Practised]) -> Practised:
    """A kata with two lights of whale."""
    made = new_practised()
    made.join("whale", ago=3)
    made.press("whale", RED, ago=2)
    made.press("whale", GREEN, FIXED, ago=1)
    return made


def test_a_kata_is_downloaded_as_a_good_tar(http: httpx.Client, practised: Practised) -> None:
    kata_id = practised.kata_id
    answer = http.get(f"/kata/{kata_id}/download")
    assert answer.headers["content-type"] == "application/gzip"
    assert f'filename="{kata_id}' in answer.headers["content-disposition"]
    with tarfile.open(fileobj=io.BytesIO(answer.content), mode="r:gz") as tar:
        newest = tar.extractfile(f"{kata_id[:2]}/{kata_id[2:]}/whale/manifest.json")
        assert newest is not None
        assert json.load(newest)["hiker.c"] == FIXED["hiker.c"].decode()


def test_an_avatar_s_repository_can_be_cloned(
    http: httpx.Client, practised: Practised, tmp_path: Path
) -> None:
    answer = http.get(f"/kata/{practised.kata_id}/download", params={"avatar": "whale"})
    bundle = tmp_path / "whale.bundle"
    bundle.write_bytes(answer.content)
    subprocess.run(["git", "clone", "-q", bundle, tmp_path / "whale"], check=True)
    tags = subprocess.run(
        ["git", "-C", tmp_path / "whale", "tag"], check=True, capture_output=True, text=True
    )
    assert tags.stdout.split() == ["0", "1", "2"]


def test_what_changed_is_downloaded_as_a_patch_that_git_takes(
    http: httpx.Client, practised: Practised, tmp_path: Path
) -> None:
    query = {"avatar": "whale", "was": "1", "now": "2"}
    answer = http.get(f"/kata/{practised.kata_id}/patch", params=query)
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
    subprocess.run(["git", "apply"], cwd=tmp_path, input=answer.content, check=True)
    assert (tmp_path / "hiker.c").read_bytes() == FIXED["hiker.c"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("download?avatar=zebra", 404),
        ("download?avatar=..", 400),
        ("patch?avatar=whale&was=1&now=9", 404),
        ("patch?avatar=whale&was=1&now=x", 404),
        ("review/output?avatar=whale&number=x", 404),
        ("review/output?avatar=whale&number=9", 404),
    ],
)
def test_what_there_is_not_is_refused_before_anything_is_sent(
    http: httpx.Client, practised: Practised, path: str, status: int
) -> None:
    answer = http.get(f"/kata/{practised.kata_id}/{path}")
    assert answer.status_code == status
    assert "content-disposition" not in answer.headers


def test_a_download_of_a_storer_that_died_breaks_off(
    start_service: Callable[..., Service],
    start_web: Callable[..., Service],
    connect: Callable[[str], grpc.Channel],
) -> None:
    storer = start_service("storer")
    web = start_web(storer.address, "127.0.0.1:1")
    practised = Practised(storer_pb2_grpc.StorerServiceStub(connect(storer.address)))
    practised.join("whale")
    practised.press("whale", RED, {**FILES, "large": os.urandom(15 * 2**20)})
    url = f"http://{web.address}/kata/{practised.kata_id}/download"
    with httpx.stream("GET", url, trust_env=False) as answer:
        arriving = answer.iter_raw(65536)
        next(arriving)
        storer.kill()
        with pytest.raises(httpx.RemoteProtocolError):
            for _ in arriving:
                pass
    assert "a download broke off" in [event["event"] for event in web.events()]
    web.stop()
    storer = start_service("storer")
    stub = storer_pb2_grpc.StorerServiceStub(connect(storer.address))
    Practised(stub, practised.kata_id).delete()
    storer.stop()


def test_a_picture_is_kept_as_svg_and_as_png(http: httpx.Client, practised: Practised) -> None:
    svg = http.get(f"/kata/{practised.kata_id}/picture.svg", params={"offset": "120"})
    assert svg.headers["content-type"].startswith("image/svg+xml")
    assert "script" not in svg.headers["content-security-policy"]
    root = ET.fromstring(svg.text)  # noqa: S314 - our own
    said = " ".join(root.itertext())
    assert "whale: 1 red, 1 green; now green." in said
    assert "UTC+02:00" in said
    png = http.get(f"/kata/{practised.kata_id}/picture.png")
    assert png.headers["content-type"] == "image/png"
    assert png.content.startswith(b"\x89PNG")


def test_the_output_of_a_light_is_plain_text(http: httpx.Client, practised: Practised) -> None:
    practised.press("whale", RED, stdout=b"<b>" + b"x" * 100_000, stderr=b"!")
    query = {"avatar": "whale", "number": "3"}
    answer = http.get(f"/kata/{practised.kata_id}/review/output", params=query)
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.text == "<b>" + "x" * 100_000 + "!"
    page = http.get(f"/kata/{practised.kata_id}/review")
    assert "characters are left out" in page.text
    assert len(page.content) < 100_000
