"""The image that data-containers are created from. It has no files: the engine insists on one."""

import hashlib
import io
import json
import tarfile

import docker.errors

from dojo.engine.client import Engine, translating_errors


def load(engine: Engine, name: str) -> None:
    """Load the empty image into the engine, under this name."""
    with translating_errors():
        architecture = engine.api.version()["Arch"]
        # An engine without room reports it here, in an answer whose status says that all is well.
        for message in engine.api.load_image(_tar(name, architecture)):
            if "error" in message:
                raise docker.errors.APIError(message["error"], explanation=message["error"])


def _tar(name: str, architecture: str) -> bytes:
    """Return an image without a layer, as `docker load` takes it.

    The bytes are the same each time. Otherwise processes that load it at the same time would each
    leave an image, and all but the last would lose their name. The format is that of
    https://github.com/moby/docker-image-spec/blob/main/spec.md.
    """
    config = json.dumps(
        {
            "architecture": architecture,
            "os": "linux",
            "config": {},
            "created": "1970-01-01T00:00:00Z",
            "rootfs": {"type": "layers", "diff_ids": []},
        }
    ).encode()
    config_name = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = json.dumps([{"Config": config_name, "RepoTags": [name], "Layers": []}]).encode()
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for filename, content in ((config_name, config), ("manifest.json", manifest)):
            header = tarfile.TarInfo(filename)
            header.size = len(content)
            tar.addfile(header, io.BytesIO(content))
    return archive.getvalue()
