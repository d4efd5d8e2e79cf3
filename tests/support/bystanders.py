"""What somebody else has in the engine while the tests run, and has to have still in the end."""

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
    """Have things in the engine that the tests know nothing of; fail if any of them goes.

    They are those that clean-ups take away: an image without a name, a network and volumes that
    nobody uses, a container that never ran. Beside them a container runs, and another installation
    has a kata. The names of all of them begin with `name`.
    """
    api = engine.api
    theirs = Namespace(name)
    kata = theirs.kata(kata_ids.new())
    there: dict[str, Callable[[], object]] = {}
    with ExitStack() as removals:

        def has(
            what: str, key: str, inspect: Callable[[str], object], remove: Callable[[str], object]
        ) -> None:
            there[f"{what} {key}"] = lambda: inspect(key)
            removals.callback(_unless_it_is_gone, remove, key)

        image = json.loads(api.import_image_from_data(_empty_tar()))["status"]
        has("image", image, api.inspect_image, api.remove_image)
        network = api.create_network(name)["Id"]
        has("network", network, api.inspect_network, api.remove_network)
        volumes = [api.create_volume(name), api.create_volume()]
        volumes.append(api.create_volume(kata, labels=theirs.labels("kata")))
        for volume in volumes:
            has("volume", volume["Name"], api.inspect_volume, api.remove_volume)
        for container, labels in ((f"{name}-stopped", {}), (kata, theirs.labels("kata"))):
            api.create_container(_IMAGE, ["true"], name=container, labels=labels)
            has("container", container, api.inspect_container, api.remove_container)
        running = f"{name}-running"
        host = api.create_host_config(init=True, network_mode="none")
        api.create_container(_IMAGE, ["sleep", "infinity"], name=running, host_config=host)
        has("container", running, api.top, lambda key: api.remove_container(key, force=True))
        api.start(running)
        yield
        gone = [what for what, inspect in there.items() if _is_refused(inspect)]
        assert not gone, f"the tests took away what is somebody else's: {', '.join(gone)}"


def _unless_it_is_gone(remove: Callable[[str], object], key: str) -> None:
    with suppress(docker.errors.NotFound):
        remove(key)


def _is_refused(call: Callable[[], object]) -> bool:
    try:
        call()
    except docker.errors.APIError:
        return True
    return False


def _empty_tar() -> bytes:
    tar = io.BytesIO()
    tarfile.open(fileobj=tar, mode="w").close()
    return tar.getvalue()
