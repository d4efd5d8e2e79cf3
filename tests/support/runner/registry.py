"""A registry of images on this host, and an image that is small enough to pull in a test."""

import gzip
import hashlib
import io
import json
import re
import subprocess
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self

from dojo.engine.client import Engine
from runner.engine.images import LANGUAGE_LABEL

# https://distribution.github.io/distribution/spec/manifest-v2-2/
_TYPES = "application/vnd.docker."
_MANIFEST = _TYPES + "distribution.manifest.v2+json"
_CONFIG = _TYPES + "container.image.v1+json"
_LAYER = _TYPES + "image.rootfs.diff.tar.gzip"

# The engine reports progress after about every 500 KB of a layer.
_LAYER_BYTES = 4 * 1024 * 1024
_PIECE_BYTES = 1024


class Registry:
    """Serves images on `address`, without TLS, which docker accepts on 127.0.0.1.

    Half of each layer is sent at once and the rest when `rest_may_go` is set, which it is at
    first. `was_hung_up` is set when a client disconnects before the end. If `answer` is not None,
    every request gets this status and body.
    """

    def __init__(self) -> None:
        self.rest_may_go = threading.Event()
        self.rest_may_go.set()
        self.was_hung_up = threading.Event()
        self.answer: tuple[int, bytes] | None = None
        self._content: dict[str, tuple[str, bytes]] = {}
        handler = type("Handler", (_Handler,), {"registry": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), name="registry"
        )

    @property
    def address(self) -> str:
        """The host and port that the names of the images begin with."""
        host, port = self._server.server_address[:2]
        return f"{host!s}:{port}"

    def add(self, engine: Engine, image_name: str, name: str) -> None:
        """Serve the engine's image `image_name` as `<address>/<name>`."""
        exported = io.BytesIO(b"".join(engine.api.get_image(image_name)))
        with tarfile.open(fileobj=exported) as tar:

            def blob(
                media_type: str, path: str, packed: Callable[[bytes], bytes] = bytes
            ) -> object:
                found = tar.extractfile(path)
                assert found is not None
                content = packed(found.read())
                digest = _digest(content)
                self._content[f"{name}/blobs/{digest}"] = media_type, content
                return {"mediaType": media_type, "size": len(content), "digest": digest}

            listed = tar.extractfile("manifest.json")
            assert listed is not None
            (image,) = json.load(listed)
            manifest = {
                "schemaVersion": 2,
                "mediaType": _MANIFEST,
                "config": blob(_CONFIG, image["Config"]),
                "layers": [blob(_LAYER, path, gzip.compress) for path in image["Layers"]],
            }
        content = json.dumps(manifest).encode()
        for reference in ("latest", _digest(content)):
            self._content[f"{name}/manifests/{reference}"] = _MANIFEST, content

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.rest_may_go.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def found(self, path: str) -> tuple[str, bytes] | None:
        """Return the media type and the content at a path; None if there is none."""
        return self._content.get(path.removeprefix("/v2/"))


class _Handler(BaseHTTPRequestHandler):
    registry: Registry

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        found = self.registry.found(self.path)
        if self.registry.answer is not None:
            self._say(*self.registry.answer)
        elif found is not None:
            self._send(*found)
        elif self.path == "/v2/":
            self._say(HTTPStatus.OK, b"{}")
        else:
            self._say(HTTPStatus.NOT_FOUND, error("MANIFEST_UNKNOWN", "manifest unknown"))

    def log_message(self, *arguments: object) -> None:
        """Log nothing."""

    def _say(self, status: int, content: bytes) -> None:
        self.send_response(status)
        if status == HTTPStatus.UNAUTHORIZED:
            self.send_header("WWW-Authenticate", 'Basic realm="registry"')
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _send(self, media_type: str, content: bytes) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Docker-Content-Digest", _digest(content))
        self.end_headers()
        if self.command == "HEAD":
            return
        rest = memoryview(content)
        try:
            if media_type == _LAYER:
                half = len(rest) // 2
                self.wfile.write(rest[:half])
                rest = rest[half:]
            # Small pieces, so that this notices soon when the engine disconnects.
            while not self.registry.rest_may_go.wait(0.02):
                self.wfile.write(rest[:_PIECE_BYTES])
                rest = rest[_PIECE_BYTES:]
            self.wfile.write(rest)
        except ConnectionError:
            self.registry.was_hung_up.set()


def error(code: str, message: str) -> bytes:
    """Return the body of a registry's refusal."""
    return json.dumps({"errors": [{"code": code, "message": message}]}).encode()


def _digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


@contextmanager
def shell_image(engine: Engine, image_name: str) -> Iterator[None]:
    """Make an image that has a shell and a big file, and nothing else; remove it at the end."""
    listed = subprocess.run(["ldd", "/bin/sh"], capture_output=True, text=True, check=True)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", dereference=True) as tar:
        tar.add("/bin/sh", "bin/sh")
        for library in re.findall(r"(/\S+) \(", listed.stdout):
            tar.add(Path(library).resolve(), library.lstrip("/"))
        big = tarfile.TarInfo("big")
        big.size = _LAYER_BYTES
        tar.addfile(big, io.BytesIO(hashlib.shake_256(b"").digest(_LAYER_BYTES)))
    repository, _, tag = image_name.partition(":")
    engine.api.import_image_from_data(
        packed.getvalue(),
        repository=repository,
        tag=tag or "latest",
        changes=[f"LABEL {LANGUAGE_LABEL}=sh"],
    )
    try:
        yield
    finally:
        engine.api.remove_image(image_name)
