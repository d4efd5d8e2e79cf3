"""The rules that images bring with them: a Ruby lambda in a file of theirs.

Reading one takes a container that is made and never started, some 50 ms, so what was found is
remembered by the image's id. Any thread may use this; two that look for the same at once both
read it, which does no harm.
"""

import io
import secrets
import tarfile
from dataclasses import dataclass

import docker.errors

from dojo import image_names, ruby_lambdas
from dojo.engine.client import translating_errors
from dojo.engine.data_containers import DataContainers
from dojo.errors import EngineUnavailable
from dojo.lru_cache import LruCache
from runner.colour.ruby_container import KIND
from runner.colour.rules import RubyLambda
from runner.engine.container_remover import ContainerRemover

PATH = "/usr/local/bin/red_amber_green.rb"
MAX_KNOWN = 256
# A tar of one file: its headers, its content in whole blocks, its end.
_MAX_TAR_BYTES = ruby_lambdas.MAX_SOURCE_BYTES + 64 * 1024


@dataclass(frozen=True)
class ImageRule:
    """What an image has for a rule: a lambda, a file that can't be one (`fault`), or nothing."""

    rule: RubyLambda | None = None
    fault: str = ""


class ImageRules:
    """Reads the rules of images, and remembers those of the ones used last."""

    def __init__(self, data_containers: DataContainers, leftovers: ContainerRemover) -> None:
        self._engine = data_containers.engine
        self._namespace = data_containers.namespace
        self._leftovers = leftovers
        self._known: LruCache[str, ImageRule] = LruCache(MAX_KNOWN)

    def of(self, image_name: str) -> ImageRule:
        """Return the rule of the image of this name; raise EngineUnavailable."""
        image_id = self._engine.image_id(image_names.tagged(image_name))
        if image_id is None:
            return ImageRule()
        found = self._known.get(image_id)
        if found is None:
            found = self._read(image_id)
            self._known.put(image_id, found)
        return found

    def _read(self, image_id: str) -> ImageRule:
        name = f"{self._namespace.name}-rule-{secrets.token_hex(4)}"
        config = {
            "Image": image_id,
            "Entrypoint": ["never-started"],
            "NetworkDisabled": True,
            "Labels": self._namespace.labels(KIND),
        }
        try:
            with translating_errors():
                self._engine.api.create_container_from_config(config, name)
                return self._read_from(name)
        except docker.errors.APIError as error:
            is_missing = isinstance(error, docker.errors.ImageNotFound)
            if is_missing or not self._engine.has_image(image_id):
                return ImageRule()  # it went, and its rule with it
            if self._engine.container_state(name) is None:
                raise EngineUnavailable(f"somebody removed the container {name}") from None
            raise
        finally:
            self._leftovers.remove(name)

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
            if len(tar) > _MAX_TAR_BYTES:
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
