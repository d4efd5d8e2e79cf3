"""A replay reads the katas of all machines, whichever storer it is told."""

import json
import os
import subprocess
import sys
from pathlib import Path

from cyberdojo.colour.v1 import colour_pb2
from cyberdojo.storer.v1 import storer_pb2
from dojo.engine.client import Engine
from dojo.naming import Namespace
from support.storer.several import Storers
from support.storer.storing import GREEN, RED, a_manifest

AVATAR = "whale"

# Red in each kata, and now green.
FILES = {"cyber-dojo.sh": b"echo all tests passed\n"}
RULE = colour_pb2.ColourRule(
    patterns=colour_pb2.ColourPatterns(
        patterns=[colour_pb2.ColourPattern(colour=GREEN, pattern="passed")]
    )
)


def test_the_lights_of_all_machines_are_run_again(
    storers: Storers, engine: Engine, namespace: Namespace, tmp_path: Path
) -> None:
    kata_ids = []
    for number in range(3):
        katas = storers.katas(number)
        manifest = a_manifest(FILES, colour_rule=RULE)
        created = katas.stub.CreateKata(storer_pb2.CreateKataRequest(manifest=manifest))
        kata_ids.append(created.kata_id)
        katas.start(created.kata_id, AVATAR)
        katas.record(created.kata_id, AVATAR, FILES, colour=RED)
    report = tmp_path / "report.json"
    command = [sys.executable, "-m", "cli", "replay", "--storer", storers.address(1)]
    command += ["--state", str(tmp_path / "state.jsonl"), "--json", str(report)]
    command += ["--min-same", "0"]
    own = {"CYBER_DOJO_NAMESPACE": namespace.name, "DOCKER_HOST": engine.url, "NO_COLOR": ""}
    environ = {**os.environ, **own}
    done = subprocess.run(
        command, env=environ, capture_output=True, text=True, check=False, timeout=100
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (image,) = json.loads(report.read_text())["images"]
    assert image["confusion"] == {"red": {"green": 3}}
    assert {each["kata_id"] for each in image["differing"]} == set(kata_ids)
    assert [storers.owner(each) for each in kata_ids] == [0, 1, 2]  # reading moves none
