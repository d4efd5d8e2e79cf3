"""The rules that images contain: a Ruby lambda in a file.

Reading a rule takes some 50 ms, for a container that is created and never started. So rules are
cached by the image's id. Two threads that need the same rule at once both read it; that is
harmless.
"""

import io
import secrets
import tarfile
from dataclasses import dataclass

import docker.errors

from dojo import image_names, ruby_lambdas
from dojo.engine.client import Engine, translating_errors
from dojo.errors import EngineUnavailable
from dojo.lru_cache import LruCache
from dojo.naming import Namespace
from runner.colour.rules import RubyLambda
from runner.engine.container_remover import LAMBDA_KIND, ContainerRemover

PATH = "/usr/local/bin/red_amber_green.rb"
MAX_CACHED = 256
# A tar of one file has headers, the content in whole blocks, and an end.
_MAX_TAR_BYTES = ruby_lambdas.MAX_SOURCE_BYTES + 64 * 1024


@dataclass(frozen=True)
class ImageRule:
    """An image's rule; `fault` says why a file that should have one is no rule."""

    rule: RubyLambda | None = None
    fault: str = ""


class ImageRules:
    """Reads and caches the rules of images. Any thread may use it."""

    def __init__(self, engine: Engine, namespace: Namespace, remover: ContainerRemover) -> None:
        self._engine = engine
        self._namespace = namespace
        self._remover = remover
        self._cache: LruCache[str, ImageRule] = LruCache(MAX_CACHED)

    def of(self, image_name: str) -> ImageRule:
        """Return the rule of an image; raise EngineUnavailable."""
        image_id = self._engine.image_id(image_names.tagged(image_name))
        if image_id is None:
            return ImageRule()
        found = self._cache.get(image_id)
        if found is None:
            found = self._read(image_id)
            self._cache.put(image_id, found)
        return found

    def _read(self, image_id: str) -> ImageRule:
        name = f"{self._namespace.name}-rule-{secrets.token_hex(4)}"
        config = {
            "Image": image_id,
            "Entrypoint": ["never-started"],
            "NetworkDisabled": True,
            "Labels": self._remover.labels(LAMBDA_KIND),
        }
        try:
            with translating_errors():
                self._engine.api.create_container_from_config(config, name)
                return self._read_from(name)
        except docker.errors.APIError as error:
            is_missing = isinstance(error, docker.errors.ImageNotFound)
            if is_missing or not self._engine.has_image(image_id):
                return ImageRule()  # somebody removed the image
            if self._engine.container_state(name) is None:
                raise EngineUnavailable(f"somebody removed the container {name}") from None
            raise
        finally:
            self._remover.remove(name)

    def _read_from(self, container: str) -> ImageRule:
        try:
            pieces, status = self._engine.api.get_archive(container, PATH)
        except docker.errors.NotFound as error:
            if "No such container" in str(error.explanation):
                raise EngineUnavailable(f"somebody removed the container {container}") from None
            return ImageRule()
        if status["size"] > ruby_lambdas.MAX_SOURCE_BYTES:
            reason = f"{status['size']} bytes are more than {ruby_lambdas.MAX_SOURCE_BYTES}"
            pieces.close()
            return ImageRule(fault=f"the image's {PATH}: {reason}")
        tar = bytearray()
        for piece in pieces:
            tar += piece
            if len(tar) > _MAX_TAR_BYTES:  # a folder, which can be of any size
                return ImageRule(fault=f"the image's {PATH}: is no file")
        return _rule_in(bytes(tar))


def _rule_in(tar: bytes) -> ImageRule:
    with tarfile.open(fileobj=io.BytesIO(tar)) as opened:
        first = opened.next()
        content = opened.extractfile(first) if first is not None and first.isreg() else None
        if content is None:
            return ImageRule(fault=f"the image's {PATH}: is no file")
        source = content.read().decode(errors="replace")
    if (fault := ruby_lambdas.fault(source)) is not None:
        return ImageRule(fault=f"the image's {PATH}: {fault}")
    return ImageRule(RubyLambda(source))
