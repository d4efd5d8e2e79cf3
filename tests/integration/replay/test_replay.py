"""`cyber-dojo replay` runs recorded lights again and compares their colours."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard

from dojo.engine.client import Engine
from dojo.engine.data_containers import DataContainers
from dojo.naming import LABEL, Namespace
from support.services import Service, wait_until

PASSES, FAILS = "echo 1 tests passed", "echo Assertion 1 == 2 failed."
BREAKS = "echo syntax error >&2; exit 1"

WHALE, ZEBRA, DAMAGED, UNKNOWN = "A0000000AA", "A0000000BB", "A0000000CC", "B0000000DD"


def write_kata(
    top: Path, kata_id: str, avatar: str, lights: list[tuple[str, dict[str, str]]], **manifest: Any
) -> Path:
    """Write a legacy kata with the layout of 2017: a folder for each light."""
    folder = top / kata_id[:2] / kata_id[2:]
    (folder / avatar).mkdir(parents=True)
    made = {
        "id": kata_id,
        "created": [2017, 11, 25, 14, 33, 34],
        "display_name": "C (gcc), assert",
        "image_name": "cyberdojofoundation/gcc_assert",
        "visible_files": {"cyber-dojo.sh": "echo", "output": ""},
        **manifest,
    }
    (folder / "manifest.json").write_text(json.dumps(made))
    increments = []
    for number, (colour, files) in enumerate(lights, 1):
        time = [2017, 11, 25, 14, 40, number]
        increments.append({"colour": colour, "time": time, "number": number})
        (folder / avatar / str(number)).mkdir()
        (folder / avatar / str(number) / "manifest.json").write_text(json.dumps(files))
    (folder / avatar / "increments.json").write_text(json.dumps(increments))
    return folder


def script(text: str, output: str = "as it was\n", **files: str) -> dict[str, str]:
    """Return the files of a light, including the legacy file `output`."""
    return {"cyber-dojo.sh": text, "output": output, **files}


@pytest.fixture
def katas(tmp_path: Path) -> Path:
    """A katas directory with good, damaged and unknown katas."""
    top = tmp_path / "katas"
    write_kata(
        top,
        WHALE,
        "whale",
        [
            ("red", script(FAILS)),
            ("green", script(f"touch left-behind; {PASSES}")),
            # Green only if it runs in the sandbox of the light before.
            ("green", script(f"[ -e left-behind ] && {PASSES}")),
            ("amber", script(BREAKS)),
            ("green", script(BREAKS, output="all was\nwell\n")),
        ],
    )
    write_kata(top, ZEBRA, "zebra", [("amber", script(BREAKS)), ("green", script(PASSES))])
    damaged = write_kata(top, DAMAGED, "owl", [("red", script(FAILS))])
    (damaged / "owl" / "increments.json").write_text("[{")
    write_kata(top, UNKNOWN, "bear", [("red", script(FAILS))] * 2, image_name="somebody/not_here")
    return top


Replay = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def environ(engine: Engine, namespace: Namespace) -> dict[str, str]:
    """The environment variables of a replay."""
    own = {"CYBER_DOJO_NAMESPACE": namespace.name, "DOCKER_HOST": engine.url}
    return {**os.environ, **own, "NO_COLOR": ""}


@pytest.fixture
def replay(environ: dict[str, str], tmp_path: Path) -> Replay:
    """Runs a replay: `replay(katas, "--jobs", "2")`. Its journal and report are in `tmp_path`."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command(tmp_path, *arguments),
            env=environ,
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )

    return run


# The warnings are those of `support.services`.
def command(tmp_path: Path, *arguments: object) -> list[str]:
    files = ["--state", tmp_path / "state.jsonl", "--json", tmp_path / "report.json"]
    return [
        sys.executable,
        "-W",
        "error",
        "-W",
        "ignore::ResourceWarning",
        "-m",
        "cli",
        "replay",
        *map(str, [*files, *arguments]),
    ]


@pytest.fixture(autouse=True)
def _nothing_is_left(engine: Engine, namespace: Namespace) -> Iterator[None]:
    """A replay leaves nothing in the engine."""
    yield
    assert left_behind(engine, namespace) == []


def left_behind(engine: Engine, namespace: Namespace) -> list[str]:
    labelled = {"label": f"{LABEL}={namespace.name}-replay"}
    containers = engine.api.containers(all=True, filters=labelled)
    volumes = engine.api.volumes(filters=labelled)["Volumes"] or []
    images = [tag for image in engine.api.images() for tag in image["RepoTags"] or []]
    return [
        *(container["Names"][0] for container in containers),
        *(volume["Name"] for volume in volumes),
        *(tag for tag in images if tag.startswith(f"{namespace.name}-replay")),
    ]


def report(tmp_path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((tmp_path / "report.json").read_text())
    return found


def of_image(tmp_path: Path, image_name: str) -> dict[str, Any]:
    (found,) = [each for each in report(tmp_path)["images"] if each["image_name"] == image_name]
    return dict(found)


def assert_as_expected(tmp_path: Path) -> None:
    """Assert that the report is right for the katas of the fixture `katas`."""
    gcc = of_image(tmp_path, "cyberdojofoundation/gcc_assert")
    assert (gcc["lights"], gcc["ran"], gcc["same"]) == (7, 7, 6)
    assert gcc["confusion"] == {
        "red": {"red": 1},
        "amber": {"amber": 2},
        "green": {"amber": 1, "green": 3},
    }
    (differing,) = gcc["differing"]
    assert (differing["kata_id"], differing["avatar"], differing["number"]) == (WHALE, "whale", 5)
    assert (differing["recorded"], differing["now"]) == ("green", "amber")
    assert 0 < gcc["seconds_p50"] <= gcc["seconds_p99"]
    assert re.fullmatch("sha256:[0-9a-f]{64}", gcc["image_ids"][0])
    (skipped,) = of_image(tmp_path, "somebody/not_here")["skipped"]
    assert (skipped["kata_id"], skipped["avatar"], skipped["lights"]) == (UNKNOWN, "bear", 2)
    assert skipped["reason"] == "the image somebody/not_here is not on this host"
    (skipped,) = gcc["skipped"]
    assert (skipped["kata_id"], skipped["avatar"], skipped["lights"]) == (DAMAGED, "owl", None)
    assert "owl/increments.json" in skipped["reason"]
    (cause,) = report(tmp_path)["causes"]
    assert (cause["cause"], cause["lights"]) == ("syntax error", [f"{WHALE}/whale/5"])
    assert report(tmp_path)["totals"]["same"] == 6
    assert report(tmp_path)["is_complete"]


def test_a_katas_directory_is_replayed_and_what_can_not_be_run_is_reported(
    replay: Replay, katas: Path, tmp_path: Path
) -> None:
    done = replay(katas)
    assert done.returncode == 1  # 6 of 7 are fewer than 95 %
    assert_as_expected(tmp_path)
    rows = [line.split() for line in done.stdout.splitlines()]
    assert ["gcc_assert", "7", "7", "6", "85.7", "1", "3", "3", ".", "."] in [
        row[:10] for row in rows
    ]
    assert f"{WHALE}/whale/5  green -> amber  cyberdojofoundation/gcc_assert" in done.stdout
    assert "2 lights: the image somebody/not_here is not on this host (B0000000DD/bear)" in (
        done.stdout
    )
    assert "Traceback" not in done.stderr
    assert "\x1b" not in done.stdout + done.stderr


def test_enough_lights_with_the_recorded_colour_are_a_success(replay: Replay, katas: Path) -> None:
    done = replay(katas, "--min-same", "85")
    assert done.returncode == 1
    assert "2 of 9 lights did not run, for the reasons above; --min-ran" in done.stderr
    assert replay(katas, "--min-same", "85", "--min-ran", "70").returncode == 0


@pytest.mark.parametrize("compression", ["gz", "zst", "xz", ""])
def test_tars_are_replayed_alone_or_in_a_folder(
    replay: Replay, katas: Path, tmp_path: Path, compression: str
) -> None:
    folder = tmp_path / "tars"
    folder.mkdir()
    for kata in katas.glob("*/*"):
        name = f"{kata.parent.name}/{kata.name}"
        packed = io.BytesIO()
        mode: Any = f"w:{compression}" if compression in {"gz", "xz"} else "w"
        with tarfile.open(fileobj=packed, mode=mode) as tar:
            tar.add(kata, name)
        content = packed.getvalue()
        if compression == "zst":
            content = zstandard.ZstdCompressor().compress(content)
        suffix = f".tar.{compression}" if compression else ".tar"
        (folder / f"{kata.parent.name}{kata.name}{suffix}").write_bytes(content)
    source = folder if compression != "zst" else None
    replay(*([source] if source else sorted(folder.iterdir())))
    assert_as_expected(tmp_path)


def test_the_katas_before_the_damage_of_a_tar_are_replayed(
    replay: Replay, katas: Path, tmp_path: Path
) -> None:
    packed = tmp_path / "katas.tar"
    with tarfile.open(packed, "w") as tar:
        for kata_id in (ZEBRA, WHALE):
            tar.add(katas / kata_id[:2] / kata_id[2:], f"katas/{kata_id[:2]}/{kata_id[2:]}")
        # None of these may leave the folder that the tar is unpacked to.
        for name in ("../escaped", "/escaped", f"A0/{'0' * 8}/../../../escaped"):
            tar.addfile(tarfile.TarInfo(name))
    packed.write_bytes(packed.read_bytes()[: packed.stat().st_size * 3 // 5])
    done = replay(packed)
    assert of_image(tmp_path, "cyberdojofoundation/gcc_assert")["ran"] == 2
    assert f"the tar {packed} is damaged" in done.stdout


def test_a_running_storer_is_read_and_its_katas_stay_as_they_are(
    replay: Replay,
    katas: Path,
    start_service: Callable[..., Service],
    data_containers: DataContainers,
) -> None:
    storer = start_service("storer", CYBER_DOJO_KATAS_DIRECTORY=str(katas))
    try:
        # This storer has no start points, so only a kata's own rule could give a colour.
        done = replay("--storer", storer.address, "--kata", WHALE)
        assert "no rule for the colour" in done.stdout
        assert "5 lights" in done.stdout
        avatar = data_containers.folder(WHALE) / "whale"
        assert {path.name for path in (avatar / "sandbox").iterdir()} == {"cyber-dojo.sh"}
        assert not (avatar / "submission.json").exists()
    finally:
        storer.stop()
        data_containers.delete(WHALE)


def test_an_interrupted_replay_leaves_nothing_and_resumes_where_it_stopped(
    replay: Replay, environ: dict[str, str], tmp_path: Path
) -> None:
    top = tmp_path / "long"
    write_kata(top, WHALE, "whale", [("green", script(PASSES))] * 2)
    write_kata(top, ZEBRA, "zebra", [("green", script(f"sleep 50; {PASSES}"))])
    with subprocess.Popen(
        command(tmp_path, top, "--jobs", "1"), env=environ, stderr=subprocess.PIPE, text=True
    ) as process:
        journal = tmp_path / "state.jsonl"
        begun = f'{{"begin": ["{ZEBRA}", "zebra"]}}'
        wait_until(lambda: journal.exists() and begun in journal.read_text(), 60)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "run the same command again to resume" in said
    assert not report(tmp_path)["is_complete"]
    write_kata(tmp_path / "short", WHALE, "whale", [("green", script(PASSES))] * 2)
    done = replay(tmp_path / "short")
    assert "0 lights run, 0 the same, 2 done before" in done.stderr
    assert of_image(tmp_path, "cyberdojofoundation/gcc_assert")["ran"] == 2
    done = replay(tmp_path / "short", "--fresh")
    assert "2 lights run, 2 the same" in done.stderr


def test_the_next_replay_removes_what_a_killed_one_left(
    replay: Replay,
    environ: dict[str, str],
    tmp_path: Path,
    engine: Engine,
    namespace: Namespace,
) -> None:
    top = tmp_path / "long"
    write_kata(top, ZEBRA, "zebra", [("green", script(f"sleep 50; {PASSES}"))])
    with subprocess.Popen(
        command(tmp_path, top), env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        journal = tmp_path / "state.jsonl"
        wait_until(lambda: journal.exists() and "begin" in journal.read_text(), 60)
        blocked = replay(top, "--state", tmp_path / "other.jsonl")
        assert blocked.returncode == 3
        assert "another replay is at work" in blocked.stderr
        process.kill()
    assert left_behind(engine, namespace)
    write_kata(tmp_path / "short", WHALE, "whale", [("green", script(PASSES))])
    wait_until(lambda: not services_of(namespace))
    assert replay(tmp_path / "short").returncode == 0


def services_of(namespace: Namespace) -> list[str]:
    wanted = f"CYBER_DOJO_NAMESPACE={namespace.name}-replay".encode()
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        try:
            if wanted in environ.read_bytes().split(b"\0"):
                found.append(environ.parent.name)
        except OSError:
            continue  # the process has just ended
    return found


def test_a_light_is_shown_side_by_side_from_the_journal_alone(replay: Replay, katas: Path) -> None:
    done = replay(katas, "--show", f"{WHALE}/whale/5")
    assert done.returncode == 0
    again = replay("--show", f"{WHALE}/whale/5")
    assert again.stdout == done.stdout
    assert "recorded green, now amber" in done.stdout
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["all", "was", "|", "---", "standard", "error"] in lines
    assert ["well", "|", "syntax", "error"] in lines
    missing = replay(katas, "--show", f"{WHALE}/whale/6")
    assert missing.returncode == 1
    assert "there is no such light" in missing.stderr


def test_an_image_can_be_replaced_by_a_candidate(
    replay: Replay, katas: Path, tmp_path: Path
) -> None:
    gcc, python = "cyberdojofoundation/gcc_assert", "cyberdojofoundation/python_pytest"
    replay(katas, "--kata", ZEBRA)
    before = of_image(tmp_path, gcc)["image_ids"]
    replay(katas, "--kata", ZEBRA, "--replace", f"{gcc}={python}")
    assert of_image(tmp_path, gcc)["ran"] == 2
    assert of_image(tmp_path, gcc)["image_ids"] != before


def test_a_candidate_that_is_not_there_ends_the_replay_at_once(
    replay: Replay, katas: Path, tmp_path: Path
) -> None:
    gcc = "cyberdojofoundation/gcc_assert"
    for candidate, reason in (
        (f"{gcc}_mistyped", f"the image {gcc}_mistyped is not on this host"),
        ("Mine;", "Mine;"),
    ):
        done = replay(katas, "--replace", f"{gcc}={candidate}")
        assert done.returncode == 2
        assert reason in done.stderr
        assert not done.stdout
        assert not (tmp_path / "report.json").exists()


def test_an_untagged_image_stands_in_for_a_tag_that_is_not_on_this_host(
    replay: Replay, tmp_path: Path
) -> None:
    gcc = "cyberdojofoundation/gcc_assert:a-tag-of-2019"
    write_kata(tmp_path / "katas", WHALE, "whale", [("green", script(PASSES))], image_name=gcc)
    assert replay(tmp_path / "katas").returncode == 0
    assert of_image(tmp_path, gcc)["same"] == 1


def test_only_the_images_that_match_are_replayed(
    replay: Replay, katas: Path, tmp_path: Path
) -> None:
    replay(katas, "--image", "somebody/*")
    (image,) = report(tmp_path)["images"]
    assert image["image_name"] == "somebody/not_here"


def test_a_legacy_light_that_took_too_long_counts_as_timed_out(
    replay: Replay, tmp_path: Path
) -> None:
    sentence = "Terminated by the cyber-dojo server after 1 seconds."
    top = tmp_path / "katas"
    lights = [("amber", script("sleep 70", output=sentence))]
    write_kata(top, WHALE, "whale", lights, image_name="cyberdojofoundation/python_behave")
    done = replay(top)
    assert done.returncode == 0
    (image,) = report(tmp_path)["images"]
    assert image["confusion"] == {"timed_out": {"timed_out": 1}}


def test_legacy_files_run_as_they_did_when_they_were_recorded(
    replay: Replay, tmp_path: Path
) -> None:
    makefile = "VALUE = 1\n\ntest:\n    @echo $(VALUE) tests passed\n"
    top = tmp_path / "katas"
    lights = [
        ("green", script("make", makefile=makefile)),
        ("green", {"cyberdojo.sh": "make", "makefile": makefile, "output": ""}),
    ]
    write_kata(top, WHALE, "whale", lights)
    replay(top)
    (image,) = report(tmp_path)["images"]
    assert (image["ran"], image["same"]) == (2, 2)


def test_a_light_that_can_not_be_run_does_not_stop_the_next_one(
    replay: Replay, tmp_path: Path
) -> None:
    top = tmp_path / "katas"
    lights = [
        ("red", {"hiker.c": "int", "output": ""}),
        ("red", script(FAILS)),
    ]
    write_kata(top, WHALE, "whale", lights)
    done = replay(top)
    assert done.returncode == 1
    assert "1 of 2 lights did not run" in done.stderr
    (image,) = report(tmp_path)["images"]
    assert (image["lights"], image["ran"], image["same"]) == (2, 1, 1)
    (skipped,) = image["skipped"]
    assert skipped["number"] == 1
    assert "the light has no cyber-dojo.sh" in skipped["reason"]


def test_an_avatar_with_a_light_that_no_sandbox_can_hold_is_named(
    replay: Replay, tmp_path: Path
) -> None:
    top = tmp_path / "katas"
    lights = [("red", script(FAILS, **{"../hiker.c": "int"})), ("red", script(FAILS))]
    write_kata(top, WHALE, "whale", lights)
    done = replay(top)
    assert done.returncode == 1
    assert f"{WHALE}/whale: not run: whale/1/manifest.json: files['../hiker.c']" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "a SOURCE or --storer is required"),
        (["/nowhere"], "/nowhere: there is no such file or folder"),
        (["--kata", "../etc", "."], "is not an id: 10 letters and digits"),
        (["--show", "A0000000AA/dog/1", "."], "is not like 493A06504A/whale/17"),
        (["--jobs", "0", "."], "0 is not in the range 1<=x<=256"),
        (["--min-seconds", "61", "."], "61 is not in the range 1<=x<=60"),
        (["--min-same", "101", "."], "101.0 is not in the range 0<=x<=100"),
        (["--replace", "one", "."], "is not IMAGE=OTHER"),
    ],
)
def test_a_wrong_call_is_explained(replay: Replay, arguments: list[str], says: str) -> None:
    done = replay(*arguments)
    assert done.returncode == 2
    assert says in done.stderr
