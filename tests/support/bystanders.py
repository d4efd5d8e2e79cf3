"""Things of another user in the engine, which the tests must leave alone."""

import io
import json
import tarfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

import docker.errors

from dojo import kata_ids
from dojo.engine.client import Engine
from dojo.naming import Namespace

_IMAGE = "cyberdojofoundation/python_pytest"


@contextmanager
def bystanders(engine: Engine, name: str) -> Iterator[None]:
    """Create things in the engine that the tests know nothing of; fail if any of them is removed.

    Most are of the kind that a clean-up removes: an image without a name, an unused network,
    unused volumes, and a container that never ran. There are also a running container, and a kata
    of another installation. All names begin with `name`.
    """
    api = engine.api
    theirs = Namespace(name)
    kata = theirs.kata(kata_ids.new())
    inspections: dict[str, Callable[[], object]] = {}
    with ExitStack() as removals:

        def register(
            what: str, key: str, inspect: Callable[[str], object], remove: Callable[[str], object]
        ) -> None:
            inspections[f"{what} {key}"] = lambda: inspect(key)
            removals.callback(_remove_if_present, remove, key)

        image = json.loads(api.import_image_from_data(_empty_tar()))["status"]
        register("image", image, api.inspect_image, api.remove_image)
        network = api.create_network(name)["Id"]
        register("network", network, api.inspect_network, api.remove_network)
        volumes = [api.create_volume(name), api.create_volume()]
        volumes.append(api.create_volume(kata, labels=theirs.labels("kata")))
        for volume in volumes:
            register("volume", volume["Name"], api.inspect_volume, api.remove_volume)
        for container, labels in ((f"{name}-stopped", {}), (kata, theirs.labels("kata"))):
            api.create_container(_IMAGE, ["true"], name=container, labels=labels)
            register("container", container, api.inspect_container, api.remove_container)
        running = f"{name}-running"
        host = api.create_host_config(init=True, network_mode="none")
        api.create_container(_IMAGE, ["sleep", "infinity"], name=running, host_config=host)
        register("container", running, api.top, lambda key: api.remove_container(key, force=True))
        api.start(running)
        yield
        gone = [what for what, inspect in inspections.items() if _fails(inspect)]
        assert not gone, f"the tests removed things of another user: {', '.join(gone)}"


def _remove_if_present(remove: Callable[[str], object], key: str) -> None:
    with suppress(docker.errors.NotFound):
        remove(key)


def _fails(call: Callable[[], object]) -> bool:
    try:
        call()
    except docker.errors.APIError:
        return True
    return False


def _empty_tar() -> bytes:
    tar = io.BytesIO()
    tarfile.open(fileobj=tar, mode="w").close()
    return tar.getvalue()
