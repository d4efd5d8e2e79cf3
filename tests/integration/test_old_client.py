"""A client of an earlier contract does its work, and sees what it saw, whatever is new."""

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest

from cyberdojo.results.v1 import results_pb2
from cyberdojo.storer.v1 import storer_pb2
from dojo.engine.data_containers import DataContainers
from support.old_client import BEFORE_EDITS, BEFORE_LIGHT_FACTS, OldClient, known
from support.runner.submissions import PYTHON
from support.services import Service
from support.storer.fixtures import delete_all
from support.storer.storing import (
    CREATED,
    FILES,
    GREEN,
    RED,
    STARTED,
    Katas,
    Stub,
    git,
    timestamp,
    unpacked,
)

RULE = {"patterns": {"patterns": [{"colour": GREEN, "pattern": "passed"}]}}
CHANGED = {**FILES, "hiker.c": b"int answer = 42;\n"}


@dataclass
class Pair:
    """A storer, and a runner that knows it, with channels to them."""

    storer: grpc.Channel
    runner: grpc.Channel
    katas: Katas

    def old(self, contract: str) -> tuple[OldClient, OldClient]:
        """Return clients of an earlier contract: of the storer, and of the runner."""
        return (
            OldClient(contract, "cyberdojo.storer.v1.StorerService", self.storer),
            OldClient(contract, "cyberdojo.runner.v1.RunnerService", self.runner),
        )


@pytest.fixture(scope="module")
def pair(start_service: Callable[..., Service]) -> Iterator[Pair]:
    storer = start_service("storer")
    runner = start_service("runner", CYBER_DOJO_STORER=storer.address)
    with (
        grpc.insecure_channel(storer.address) as to_storer,
        grpc.insecure_channel(runner.address) as to_runner,
    ):
        yield Pair(to_storer, to_runner, Katas(Stub(to_storer)))
    runner.stop()
    storer.stop()


@pytest.fixture(autouse=True)
def _tidy(data_containers: DataContainers) -> Iterator[None]:
    yield
    delete_all(data_containers)


def data_of(parts: Any) -> bytes:
    """Return the bytes of a stream that came to its end."""
    listed = list(parts)
    content = b"".join(part.data for part in listed)
    assert listed[-1].end.sha256 == hashlib.sha256(content).digest()
    return content


def restoring(old: OldClient, kind: str, tar: bytes) -> list[Any]:
    """Return the requests that restore a tar."""
    header = old.message(f"{kind}Header", overwrite=True)
    end = old.message("StreamEnd", size_bytes=len(tar), sha256=hashlib.sha256(tar).digest())
    pieces = [tar[at : at + 1024**2] for at in range(0, len(tar), 1024**2)]
    return [
        old.message(f"{kind}Request", header=header),
        *(old.message(f"{kind}Request", data=piece) for piece in pieces),
        old.message(f"{kind}Request", end=end),
    ]


def test_an_old_client_does_its_work(pair: Pair) -> None:
    storer, runner = pair.old(BEFORE_EDITS)
    files = {"cyber-dojo.sh": b"echo passed\n", "hiker.py": b"answer = 42\n"}
    manifest = {"display_name": "Python, pytest", "image_name": PYTHON, "files": files}
    kata_id = storer.call("CreateKata", manifest=manifest, created=CREATED).kata_id
    whale = {"kata_id": kata_id, "avatar": "whale"}
    started = storer.call("StartAvatar", kata_id=kata_id, avatars=["whale"])
    assert (started.avatar, dict(started.files)) == ("whale", files)
    ran = runner.call("Run", **whale, image_name=PYTHON, files=files, colour_rule=RULE)
    assert (ran.status, ran.stdout.content, ran.colour) == (0, b"passed\n", GREEN)
    recorded = storer.call(
        "RecordTest",
        **whale,
        files=files,
        stdout=ran.stdout,
        stderr=ran.stderr,
        status=ran.status,
        colour=ran.colour,
        time=STARTED,
    ).light
    assert (recorded.number, recorded.colour) == (1, GREEN)
    assert recorded.time.ToDatetime(UTC) == STARTED
    watch = storer.call("WatchKata", kata_id=kata_id)
    assert [next(watch).light.number for _ in range(2)] == [0, 1]
    watch.cancel()
    (listed,) = storer.call("ListLights", kata_id=kata_id).avatars
    assert listed.lights[1] == recorded
    found = storer.call("GetFiles", **whale, light_number=1)
    assert (dict(found.files), found.stdout.content) == (files, b"passed\n")
    compared = storer.call("DiffLights", **whale, was_number=0, now_number=1)
    assert sorted(each.new_name for each in compared.files) == sorted(files)
    assert data_of(storer.call("DownloadPatch", **whale, was_number=0, now_number=1)) == b""
    forked = storer.call("ForkKata", **whale, light_number=1).kata_id
    assert list(storer.call("GetKata", kata_id=forked).avatars) == []
    tar = data_of(storer.call("DownloadKata", kata_id=kata_id))
    parts = list(storer.call("BackupKatas"))
    backup = b"".join(part.data for part in parts)
    for kind, content in (("RestoreKata", tar), ("RestoreKatas", backup)):
        storer.call("DeleteKata", kata_id=kata_id)
        answer = storer.call(kind, *restoring(storer, kind, content))
        if kind == "RestoreKatas":
            (again,) = [each.report for each in answer if each.report.kata_id == kata_id]
            assert again.outcome == storer_pb2.RESTORE_OUTCOME_RESTORED
        assert storer.call("GetFiles", **whale, light_number=1) == found


def test_an_old_client_restores_what_new_clients_recorded(pair: Pair) -> None:
    storer, _ = pair.old(BEFORE_LIGHT_FACTS)
    kata_id = with_news(pair, BEFORE_LIGHT_FACTS)
    request = storer_pb2.ListLightsRequest(kata_id=kata_id, with_edits=True)
    before = pair.katas.stub.ListLights(request)
    assert before.avatars[0].edits
    tar = data_of(storer.call("DownloadKata", kata_id=kata_id))
    storer.call("DeleteKata", kata_id=kata_id)
    assert storer.call("RestoreKata", *restoring(storer, "RestoreKata", tar)).kata_id == kata_id
    assert pair.katas.stub.ListLights(request) == before


@pytest.mark.parametrize("contract", [BEFORE_LIGHT_FACTS, BEFORE_EDITS])
def test_an_old_client_sees_what_it_saw_without_what_is_new(pair: Pair, contract: str) -> None:
    storer, _ = pair.old(contract)
    plain, full = without_news(pair), with_news(pair, contract)
    for read in READS:
        assert read(storer, full) == read(storer, plain), read
    watches = {kata_id: storer.call("WatchKata", kata_id=kata_id) for kata_id in (plain, full)}
    seen = {kata_id: [known(next(watch)) for _ in range(4)] for kata_id, watch in watches.items()}
    edit(pair, full, {**FILES, "while": b"somebody watches\n"})
    for kata_id, watch in watches.items():
        pair.katas.record(kata_id, "whale", CHANGED)
        seen[kata_id].append(known(next(watch)))
        watch.cancel()
    assert seen[full] == seen[plain]
    assert [each.light.number for each in seen[full] if each.avatar] == [0, 1, 2, 3]


def without_news(pair: Pair) -> str:
    """Make a kata as clients made it before."""
    kata_id = pair.katas.started("whale")
    pair.katas.record(kata_id, "whale", FILES, stdout=b"54\n")
    pair.katas.record(kata_id, "whale", CHANGED, colour=GREEN)
    return kata_id


def with_news(pair: Pair, since: str) -> str:
    """Make the same kata with all that came since a contract, and go on in a fork of it."""
    katas, original = pair.katas, pair.katas.started("zebra")
    start = storer_pb2.StartAvatarRequest(avatars=["whale"], time=timestamp(STARTED))
    facts: dict[str, Any] = {}
    if since == BEFORE_LIGHT_FACTS:
        tests = [results_pb2.TestResult(name="answer")]
        results = results_pb2.TestResults(tests=tests, counts=results_pb2.TestCounts(failed=1))
        facts = {"predicted": RED, "writer": "tab 7", "test_results": results, "added_lines": 3}
        start.source.kata_id, start.source.avatar = original, "zebra"
    start.kata_id = kata_id = katas.create()
    katas.stub.StartAvatar(start)
    edit(pair, kata_id, {**FILES, "new": b"and deleted\n"})
    katas.record(kata_id, "whale", FILES, stdout=b"54\n", **facts)
    edit(pair, kata_id, CHANGED)
    taken = {"special": True, **facts} if facts else {}
    katas.record(kata_id, "whale", CHANGED, colour=GREEN, **taken)
    chosen = storer_pb2.Options(theme=storer_pb2.THEME_DARK)
    katas.stub.SetOptions(storer_pb2.SetOptionsRequest(kata_id=kata_id, options=chosen))
    return katas.stub.ForkKata(
        storer_pb2.ForkKataRequest(
            kata_id=kata_id,
            avatar="whale",
            light_number=-1,
            created=timestamp(CREATED + timedelta(days=1)),
            with_avatar=True,
        )
    ).kata_id


def edit(pair: Pair, kata_id: str, files: dict[str, bytes]) -> None:
    """Record an edit of the whale's."""
    request = storer_pb2.RecordEditRequest(kata_id=kata_id, avatar="whale", files=files)
    assert pair.katas.stub.RecordEdit(request).HasField("edit")


def _get(storer: OldClient, kata_id: str) -> object:
    found = known(storer.call("GetKata", kata_id=kata_id))
    assert found.kata_id == kata_id
    for name in ("kata_id", "created"):
        found.ClearField(name)
    found.manifest.ClearField("other")  # where the fork is from
    return found


# The keys of a light in the files beside a repository that clients have always read.
_OF_A_LIGHT = {"number", "colour", "time", "status", "stdout", "stderr"}


def _download(storer: OldClient, kata_id: str) -> object:
    """Return what an old client reads in a tar: the members, the lights, and the files of each."""
    tar = data_of(storer.call("DownloadKata", kata_id=kata_id))
    with tempfile.TemporaryDirectory() as folder:
        top = unpacked(tar, Path(folder), kata_id)
        whale = top / "whale"
        members = {path.relative_to(top).as_posix() for path in top.rglob("*")}
        lights = json.loads((whale / "increments.json").read_bytes())
        newest = json.loads((whale / "light.json").read_bytes())
        known_lights = [
            {key: each for key, each in light.items() if key in _OF_A_LIGHT}
            for light in [*lights, newest]
        ]
        tags = [tag for tag in git(whale, "tag").decode().split() if not _is_of_edit(tag)]
        return (
            {name for name in members if not _is_new(name)},
            json.loads((whale / "manifest.json").read_bytes()),
            known_lights,
            {tag: git(whale, "ls-tree", "-r", tag, "sandbox") for tag in tags},
            git(whale, "log", "--format=%s", "main"),
        )


def _is_of_edit(tag: str) -> bool:
    return "." in tag


def _is_new(name: str) -> bool:
    """Say whether a member is of options or of an edit, or an object, whose name a fork changes."""
    folder, _, last = name.rpartition("/")
    return (
        name == "options.json"
        or ".git/objects/" in name
        or (folder.endswith("refs/tags") and _is_of_edit(last))
    )


READS: list[Callable[[OldClient, str], object]] = [
    _get,
    lambda storer, kata_id: known(storer.call("ListAvatars", kata_id=kata_id)),
    lambda storer, kata_id: known(storer.call("ListLights", kata_id=kata_id)),
    lambda storer, kata_id: known(
        storer.call("GetFiles", kata_id=kata_id, avatar="whale", light_number=1)
    ),
    lambda storer, kata_id: known(
        storer.call("GetFiles", kata_id=kata_id, avatar="whale", light_number=-1)
    ),
    lambda storer, kata_id: known(
        storer.call("DiffLights", kata_id=kata_id, avatar="whale", was_number=1, now_number=2)
    ),
    lambda storer, kata_id: data_of(
        storer.call("DownloadPatch", kata_id=kata_id, avatar="whale", was_number=1, now_number=2)
    ),
    _download,
]
