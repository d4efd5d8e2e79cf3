"""The Node client, against real services."""

import json
import subprocess
from pathlib import Path

from dojo.engine.data_containers import DataContainers
from support.paths import TOP
from support.services import Service


def test_a_client_in_node_does_the_main_job_and_downloads_a_kata(
    storer_service: Service,
    runner_service: Service,
    data_containers: DataContainers,
    tmp_path: Path,
) -> None:
    tar = tmp_path / "kata.tar.gz"
    start_point = TOP / "start_points/languages/gcc_assert"
    client = ["node", "example.js", storer_service.address, runner_service.address]
    done = subprocess.run(
        [*client, start_point, tar], cwd=TOP / "clients/node", capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    saw = json.loads(done.stdout)
    try:
        assert saw["lights"] == ["UNSPECIFIED", "RED", "GREEN"]
        assert saw["recorded"] == [1, 2]
        assert saw["changed"] == [["hiker.c", "    return 6 * 7;"]]
        assert saw["watched"] == [
            ["whale", 0, "UNSPECIFIED"],
            ["whale", 1, "RED"],
            ["whale", 2, "GREEN"],
        ]
        assert saw["downloaded"] == tar.name
        name, code, fields = saw["refused"]
        assert (name, code, list(fields)) == ("MalformedField", "INVALID_ARGUMENT", ["kata_id"])
        listed = subprocess.run(["tar", "-tzf", tar], capture_output=True, check=True, text=True)
        folder = f"{saw['kataId'][:2]}/{saw['kataId'][2:]}"
        assert f"{folder}/whale/sandbox/hiker.c" in listed.stdout.splitlines()
    finally:
        data_containers.delete(saw["kataId"])
