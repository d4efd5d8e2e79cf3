"""What the fuzzers try: functions that give an input to the services and judge what they do.

An input consists of JSON values and bytes, so that it can be kept as a case.
"""

import contextlib
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor

from cyberdojo.runner.v1 import runner_pb2
from cyberdojo.storer.v1 import storer_pb2
from support.fuzz import cases, concurrent, katas, messages, strengths
from support.fuzz.cases import Case
from support.fuzz.history import History
from support.fuzz.watched import World
from support.storer import backups
from support.storer.storing import Katas, git, restore_requests

METHODS: dict[str, MethodDescriptor] = {
    method.full_name: method for method in (*messages.STORER, *messages.RUNNER)
}
_PREFIX = "cyberdojo.storer.v1.StorerService."

OK, DATA_LOSS = grpc.StatusCode.OK, grpc.StatusCode.DATA_LOSS
_IS_NEW = {storer_pb2.RESTORE_OUTCOME_RESTORED, storer_pb2.RESTORE_OUTCOME_REPLACED}
_REFUSALS = {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED, DATA_LOSS}

Files = Mapping[str, bytes]


def try_(world: World, target: str, given: Any) -> None:
    """Give an input to a target; if a check fails, write the input as a case and say where."""
    try:
        TARGETS[target](world, given)
        world.storer.check()
        world.runner.check()
    except BaseException as error:
        if isinstance(error, Exception):
            error.add_note(f"the input is in {cases.write(Case(target, given))}")
        raise


def call(world: World, given: Mapping[str, Any]) -> None:
    """Make one call. What CreateKata and ForkKata make has to be readable."""
    method = METHODS[given["method"]]
    if "whale" not in _avatars(world.katas):
        _restore_good(world)
    is_runners = method.containing_service.file is runner_pb2.DESCRIPTOR
    watched = world.runner if is_runners else world.storer
    code, answers = watched.call(method, given["messages"], is_open=given["is_open"])
    if code is OK and method.name in {"CreateKata", "ForkKata"}:
        _read_all(world, answers[0].kata_id)
        world.katas.delete(answers[0].kata_id)


def restore(world: World, given: Mapping[str, Any]) -> None:
    """Restore a kata from any bytes, then use it in every way.

    If it is refused, what was there before is there still, unless a report said before that it was
    restored.
    """
    is_over = given["overwrite"]
    if is_over:
        _restore_good(world)
    else:
        _delete(world)
    before = _shown(world)
    requests = [part.SerializeToString() for part in restore_requests(given["tar"])]
    header = storer_pb2.RestoreKataHeader(overwrite=is_over)
    rpc = "RestoreKatas" if given["many"] else "RestoreKata"
    requests[0] = storer_pb2.RestoreKataRequest(header=header).SerializeToString()
    code, answers = _call(world, rpc, requests)
    assert code is OK or code in _REFUSALS, f"{rpc} ended with {code.name}"
    reports = answers if given["many"] else []
    if code is not OK and not any(each.report.outcome in _IS_NEW for each in reports):
        assert _shown(world) == before, "a tar that was refused changed the kata"
    if _shown(world) is not None:
        _read_all(world, katas.KATA)
    _delete(world)


def diff(world: World, given: Mapping[str, Files]) -> None:
    """Compare two lights by lines and by a patch: `git apply` judges the patch, in both ways."""
    was, now = given["was"], given["now"]
    _delete(world)
    _restore_good(world)
    first = world.katas.record(katas.KATA, "whale", was).number
    second = world.katas.record(katas.KATA, "whale", now).number
    for one, files, two, others in ((first, was, second, now), (second, now, first, was)):
        found = world.katas.diff(katas.KATA, "whale", one, two)
        assert sorted(file.old_name for file in found if file.old_name) == sorted(files)
        assert sorted(file.new_name for file in found if file.new_name) == sorted(others)
        for file in found:
            if not (file.binary or file.too_large):
                _check_lines(file, files.get(file.old_name, b""), others.get(file.new_name, b""))
        patch = world.katas.patch(katas.KATA, "whale", one, two)
        assert _applied(files, patch) == others, "git apply makes other files of the patch"


def history(world: World, given: list[list[Any]]) -> None:
    """Take the steps of a history; each compares the storer with a model of it."""
    with History(world.katas) as steps:
        for name, *arguments in given:
            steps.take(name, *arguments)


TARGETS: dict[str, Callable[[World, Any], None]] = {
    "call": call,
    "restore": restore,
    "diff": diff,
    "history": history,
    "cancelled_run": concurrent.cancelled_run,
    "held_kata": concurrent.held_kata,
    "changing_sandbox": concurrent.changing_sandbox,
}


def _call(world: World, rpc: str, requests: list[bytes]) -> tuple[grpc.StatusCode, list[Any]]:
    return world.storer.call(METHODS[_PREFIX + rpc], requests)


def _restore_good(world: World) -> None:
    world.katas.restore(katas.GOOD, overwrite=True)


def _delete(world: World) -> None:
    with contextlib.suppress(grpc.RpcError):  # there is none
        world.katas.delete(katas.KATA)


def _avatars(behind: Katas) -> list[str]:
    try:
        return list(behind.get(katas.KATA).avatars)
    except grpc.RpcError:
        return []


def _shown(world: World) -> tuple[bytes, bytes] | None:
    """Return what the kata and its newest light look like; None if there is no kata."""
    code, kata = _call(world, "GetKata", [_of_kata(storer_pb2.GetKataRequest)])
    if code is grpc.StatusCode.NOT_FOUND:
        return None
    request = storer_pb2.GetFilesRequest(kata_id=katas.KATA, avatar="whale", light_number=-1)
    _, files = _call(world, "GetFiles", [request.SerializeToString()])
    shown = [each.SerializeToString(deterministic=True) for each in (*kata, *files)]
    return b"".join(shown[:1]), b"".join(shown[1:])


def _of_kata(request: Any, **fields: Any) -> bytes:
    serialized: bytes = request(kata_id=fields.pop("kata_id", katas.KATA), **fields)
    return serialized.SerializeToString()  # type: ignore[attr-defined, no-any-return]


def _read_all(world: World, kata_id: str) -> None:
    """Use a kata by every RPC; none may fail otherwise than by saying that it is damaged."""

    def use(rpc: str, request: Any, **fields: Any) -> list[Any]:
        code, answers = _call(world, rpc, [_of_kata(request, kata_id=kata_id, **fields)])
        is_fine = code in {OK, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.FAILED_PRECONDITION}
        may_be_damaged = code is DATA_LOSS and not strengths.ACCEPTED_IS_READABLE
        assert is_fine or may_be_damaged, f"{rpc} of a kata that was accepted: {code.name}"
        return answers

    kata = use("GetKata", storer_pb2.GetKataRequest)
    damaged = {each.avatar for found in kata for each in found.damaged}
    names = [name for found in kata for name in found.avatars if name not in damaged]
    for name in damaged:
        files = _of_kata(storer_pb2.GetFilesRequest, kata_id=kata_id, avatar=name, light_number=0)
        assert _call(world, "GetFiles", [files])[0] is DATA_LOSS, f"{name} is said to be damaged"
    use("ListAvatars", storer_pb2.ListAvatarsRequest)
    use("ListLights", storer_pb2.ListLightsRequest)
    use("ListLights", storer_pb2.ListLightsRequest, with_edits=True, page_size=1)
    lights = [
        storer_pb2.WhichLight(avatar=name, light_number=number)
        for name in (*sorted(damaged), *names)
        for number in (0, -1)
    ]
    outputs = use("GetOutputs", storer_pb2.GetOutputsRequest, lights=lights) if lights else []
    told = {each.avatar for page in outputs for each in page.outputs if each.HasField("light")}
    assert not told & damaged, f"{damaged} are said to be damaged"
    for name in names:
        for number in (0, 1, 2):
            use("GetFiles", storer_pb2.GetFilesRequest, avatar=name, light_number=number)
        for rpc, request in (
            ("DiffLights", storer_pb2.DiffLightsRequest),
            ("DownloadPatch", storer_pb2.DownloadPatchRequest),
        ):
            use(rpc, request, avatar=name, was_number=0, now_number=-1)
            use(rpc, request, avatar=name, was_number=1, now_number=2)
        forks = use("ForkKata", storer_pb2.ForkKataRequest, avatar=name, light_number=-1)
        for fork in forks:
            world.katas.get(fork.kata_id)
            world.katas.delete(fork.kata_id)
        _run(world, kata_id, name)
        test = {"files": {"cyber-dojo.sh": b"true\n"}, "colour": 1}
        use("RecordTest", storer_pb2.RecordTestRequest, avatar=name, **test)
    use("StartAvatar", storer_pb2.StartAvatarRequest)
    verify = storer_pb2.VerifyKatasRequest(kata_ids=[kata_id], share_percent=100, mend=True)
    assert _call(world, "VerifyKatas", [verify.SerializeToString()])[0] is OK
    listing = storer_pb2.ListKatasRequest(prefix=kata_id, with_details=True)
    assert _call(world, "ListKatas", [listing.SerializeToString()])[0] is OK
    backup = storer_pb2.BackupKatasRequest(prefix=kata_id)
    code, parts = _call(world, "BackupKatas", [backup.SerializeToString()])
    assert code is OK, f"BackupKatas ended with {code.name}"
    backups.restore_into(world.katas, b"".join(part.data for part in parts))
    downloaded = use("DownloadKata", storer_pb2.DownloadKataRequest)
    tar = b"".join(part.data for part in downloaded)
    use("ArchiveKata", storer_pb2.ArchiveKataRequest)
    use("ImportKata", storer_pb2.ImportKataRequest)
    if tar and downloaded[-1].HasField("end"):
        _restore_again(world, tar)


def _run(world: World, kata_id: str, avatar: str) -> None:
    """Run a test, in whatever the avatar's folder has."""
    request = runner_pb2.RunRequest(
        kata_id=kata_id, avatar=avatar, image_name=messages.IMAGE, max_seconds=10
    )
    request.files["cyber-dojo.sh"] = b"true\n"
    method = METHODS[f"{runner_pb2.DESCRIPTOR.package}.RunnerService.Run"]
    code, _ = world.runner.call(method, [request.SerializeToString()])
    assert code is OK, f"Run of a kata that was accepted: {code.name}"


def _restore_again(world: World, tar: bytes) -> None:
    requests = [part.SerializeToString() for part in restore_requests(tar, overwrite=True)]
    code, _ = _call(world, "RestoreKata", requests)
    is_damaged = code in _REFUSALS and not strengths.ACCEPTED_IS_READABLE
    assert code is OK or is_damaged, f"what was downloaded is refused: {code.name}"


def _check_lines(file: storer_pb2.FileDiff, old: bytes, new: bytes) -> None:
    """Assert that a file's lines add up to both of its contents, and its counts to its lines."""
    same, added = storer_pb2.LINE_CHANGE_SAME, storer_pb2.LINE_CHANGE_ADDED
    deleted = storer_pb2.LINE_CHANGE_DELETED
    kinds = [line.change for line in file.lines]
    counts = (file.same_count, file.added_count, file.deleted_count)
    assert counts == tuple(kinds.count(kind) for kind in (same, added, deleted))
    for content, others, number in ((old, deleted, "old_number"), (new, added, "new_number")):
        lines = [line for line in file.lines if line.change in (same, others)]
        text = b"".join(line.text + (b"" if line.no_newline else b"\n") for line in lines)
        assert text == content
        assert [getattr(line, number) for line in lines] == list(range(1, len(lines) + 1))


def _applied(files: Files, patch: bytes) -> dict[str, bytes]:
    """Return what plain git makes of files and a patch."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for path, content in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
            (folder / path).chmod(0o755 if path.endswith(".sh") else 0o644)
        git(folder, "apply", "--allow-empty", "-", text=patch)
        found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*")}
        made = {name: path for name, path in found.items() if path.is_file()}
        for each in made.values():
            assert bool(each.stat().st_mode & 0o100) == (each.suffix == ".sh"), f"mode of {each}"
        return {name: path.read_bytes() for name, path in made.items()}
