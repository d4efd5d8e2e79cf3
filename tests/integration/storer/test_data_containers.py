"""A kata's data-container is a handle for its volume, and nothing more."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import docker.errors
import grpc
import pytest

from cyberdojo.storer.v1 import storer_pb2
from dojo.engine.data_containers import DataContainers
from dojo.naming import LABEL
from support.services import Service, code_of, wait_until
from support.storer.calls import ALL_OF_A_KATA, call
from support.storer.katas_directories import SPIDER
from support.storer.storing import Katas, refused, restore_requests

PYTHON = "cyberdojofoundation/python_pytest"
KATAS = "/usr/src/cyber-dojo/katas"

# DeleteKata and ArchiveKata remove the handle, so they don't make one.
TOUCHING = sorted(set(ALL_OF_A_KATA) - {"ArchiveKata", "DeleteKata", "WatchKata"})


def prune(data_containers: DataContainers) -> None:
    """Do what `docker container prune` does, in the tests' namespace only."""
    label = f"{LABEL}={data_containers.namespace.name}"

    def pruned() -> bool:
        try:
            data_containers.engine.api.prune_containers(filters={"label": [label]})
        except docker.errors.APIError as error:
            if "already running" not in str(error):
                raise
            return False  # another prune is running: the engine allows one at a time
        return True

    wait_until(pruned)


def handle(data_containers: DataContainers, kata_id: str) -> dict[str, Any] | None:
    """Return the engine's description of a kata's container."""
    try:
        found: dict[str, Any] = data_containers.engine.api.inspect_container(
            data_containers.namespace.kata(kata_id)
        )
    except docker.errors.NotFound:
        return None
    return found


def remove_by_hand(data_containers: DataContainers, kata_id: str) -> None:
    name = data_containers.namespace.kata(kata_id)
    data_containers.engine.api.remove_container(name)
    data_containers.engine.api.remove_volume(name)


def test_a_container_with_the_volumes_of_two_katas_finds_both_in_one_folder(
    katas: Katas, data_containers: DataContainers
) -> None:
    made = [katas.started("whale", files={"here.txt": b"x"}) for _ in range(2)]
    names = [data_containers.namespace.kata(kata_id) for kata_id in made]
    found = subprocess.run(
        ["docker", "--host", data_containers.engine.url, "run", "--rm", "--network=none", "--label"]
        + [f"{LABEL}={data_containers.namespace.name}"]
        + [f"--volumes-from={name}" for name in names]
        + [PYTHON, "sh", "-c", f"echo {KATAS}/*/*/*/sandbox/*.txt"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout.split()
    assert sorted(found) == sorted(
        f"{KATAS}/{kata_id[:2]}/{kata_id[2:]}/whale/sandbox/here.txt" for kata_id in made
    )


def test_a_data_container_is_created_and_never_started(
    katas: Katas, data_containers: DataContainers
) -> None:
    kata_id = katas.started("whale")
    katas.record(kata_id, "whale")
    container = handle(data_containers, kata_id)
    assert container is not None
    assert container["State"]["Status"] == "created"
    assert container["State"]["StartedAt"] == "0001-01-01T00:00:00Z"
    assert container["HostConfig"]["NetworkMode"] == "none"
    with pytest.raises(docker.errors.APIError):
        data_containers.engine.api.start(container["Id"])
    assert code_of(lambda: katas.get(kata_id)) is grpc.StatusCode.OK


def test_container_and_volume_have_the_same_name_and_descriptive_labels(
    katas: Katas, data_containers: DataContainers
) -> None:
    kata_id = katas.create()
    name = f"{data_containers.namespace.name}-kata-{kata_id}"
    labels = {
        "cyber-dojo.namespace": data_containers.namespace.name,
        "cyber-dojo.kind": "kata",
        "cyber-dojo.kata": kata_id,
    }
    container = handle(data_containers, kata_id)
    assert container is not None
    assert container["Name"] == f"/{name}"
    assert container["Config"]["Labels"] == labels
    (mount,) = container["Mounts"]
    assert (mount["Type"], mount["Name"]) == ("volume", name)
    assert mount["Destination"] == f"{KATAS}/{kata_id[:2]}/{kata_id[2:]}"
    volume = data_containers.engine.api.inspect_volume(name)
    assert volume["Labels"] == labels
    assert Path(volume["Mountpoint"]) == data_containers.folder(kata_id)


@pytest.mark.parametrize("rpc", TOUCHING)
def test_the_next_call_makes_a_pruned_handle_again_and_nothing_is_lost(
    katas: Katas, data_containers: DataContainers, rpc: str
) -> None:
    kata_id = katas.started("whale")
    light = katas.record(kata_id, "whale")
    prune(data_containers)
    assert handle(data_containers, kata_id) is None

    def touched() -> bool:  # again and again: the engine reports the removal a moment later
        call(katas.stub, rpc, ALL_OF_A_KATA[rpc](kata_id))
        return handle(data_containers, kata_id) is not None

    wait_until(touched)
    assert light in katas.lights(kata_id, "whale")
    made = handle(data_containers, kata_id)
    assert made is not None
    assert [mount["Name"] for mount in made["Mounts"]] == [data_containers.namespace.kata(kata_id)]


def test_a_pruned_kata_can_be_deleted_and_restored(
    katas: Katas, data_containers: DataContainers
) -> None:
    kata_id = katas.started("whale")
    tar = katas.tar(kata_id)
    prune(data_containers)
    katas.stub.RestoreKata(restore_requests(tar, overwrite=True))
    assert list(katas.get(kata_id).avatars) == ["whale"]
    prune(data_containers)
    katas.delete(kata_id)
    assert not data_containers.folder(kata_id).exists()
    assert handle(data_containers, kata_id) is None


def test_a_starting_storer_makes_handles_again_that_were_removed_before(
    data_containers: DataContainers,
    start_storer: Callable[..., Service],
    client: Callable[[Service], Katas],
) -> None:
    service = start_storer()
    kata_id = client(service).started("whale")
    service.stop()
    prune(data_containers)
    assert list(client(start_storer()).get(kata_id).avatars) == ["whale"]
    assert handle(data_containers, kata_id) is not None


def test_a_kata_whose_volume_was_removed_by_hand_is_gone(
    katas: Katas, data_containers: DataContainers
) -> None:
    kata_id = katas.started("whale")
    remove_by_hand(data_containers, kata_id)
    for rpc, request in ALL_OF_A_KATA.items():
        with refused(grpc.StatusCode.NOT_FOUND, says=kata_id):
            call(katas.stub, rpc, request(kata_id))
    assert handle(data_containers, kata_id) is None
    assert not data_containers.folder(kata_id).parent.exists()
    listed = katas.stub.ListKatas(storer_pb2.ListKatasRequest(prefix=kata_id)).katas
    assert not listed


def test_a_kata_is_imported_again_after_its_volume_was_removed_by_hand(
    katas: Katas, data_containers: DataContainers
) -> None:
    katas.import_(SPIDER.id)
    remove_by_hand(data_containers, SPIDER.id)
    assert not katas.import_(SPIDER.id).already_imported
    assert len(katas.lights(SPIDER.id, SPIDER.avatar)) == SPIDER.newest + 1


def test_a_namespace_whose_name_begins_another_does_not_see_its_katas(
    katas: Katas, katas_elsewhere: Katas, elsewhere: DataContainers, data_containers: DataContainers
) -> None:
    assert elsewhere.namespace.name.startswith(data_containers.namespace.name)
    here, there = katas.create(), katas_elsewhere.create()
    assert list(data_containers.kata_ids()) == [here]
    assert list(elsewhere.kata_ids()) == [there]
    for each, other in ((katas, there), (katas_elsewhere, here)):
        with refused(grpc.StatusCode.NOT_FOUND):
            each.get(other)
        with refused(grpc.StatusCode.NOT_FOUND):
            each.delete(other)
        request = storer_pb2.CompleteKataIdRequest(partial_id=other[:6])
        assert other not in each.stub.CompleteKataId(request).kata_ids
        assert not each.stub.ListKatas(storer_pb2.ListKatasRequest(prefix=other)).katas
    prune(data_containers)
    assert handle(elsewhere, there) is not None
