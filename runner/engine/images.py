"""Lists the language images on this host, and pulls more."""

import base64
import contextlib
import datetime as dt
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import docker.auth
import docker.errors

from dojo import image_names
from dojo.engine.client import Engine, translating_errors
from dojo.errors import ImageNotFound, InvalidArgument, RegistryUnavailable

LANGUAGE_LABEL = "cyber-dojo.language"
LANGUAGE_PREFIX = "cyberdojofoundation/"

MAX_PAGE_SIZE = 1000
_NO_SUCH_IMAGE = re.compile(
    r"not found|manifest unknown|does not exist|access denied|name unknown|no matching manifest"
    r"|authentication required|unauthorized|no basic auth credentials"
    r"|HTTP 40[134] response body",  # from a proxy in front of the registry
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Progress:
    """The progress of a pull, with one layer or, if `layer` is empty, with the whole image."""

    layer: str
    status: str
    current_bytes: int
    total_bytes: int


@dataclass(frozen=True)
class Image:
    """A language image on this host. `size_bytes` includes layers that other images share."""

    name: str
    id: str
    size_bytes: int
    created: dt.datetime


@dataclass(frozen=True)
class Page:
    """A page of images, sorted by name. The last page has an empty token."""

    images: list[Image]
    next_page_token: str


class Images:
    """The images of one engine. Any thread may use it."""

    def __init__(self, engine: Engine, registry: str = "") -> None:
        """`registry` (host:port) has images under names that have no registry in them."""
        self._engine = engine
        self._registry = registry

    @property
    def has_registry(self) -> bool:
        """Say whether there is a registry from which missing images can be had without a call."""
        return bool(self._registry)

    def has(self, image_name: str) -> bool:
        """Say whether an image is here. Raises EngineUnavailable."""
        return self._engine.has_image(image_names.tagged(image_name))

    def page(self, page_size: int, page_token: str) -> Page:
        """Return the page of language images that `page_token` stands for; "" is the first page.

        `page_size` 0 means the largest size. Raises InvalidArgument.
        """
        if not 0 <= page_size <= MAX_PAGE_SIZE:
            raise InvalidArgument("page_size", f"{page_size} is not from 1 to {MAX_PAGE_SIZE}")
        after = _name_of_token(page_token)
        with translating_errors():
            found = self._engine.api.images()
        images = sorted(_language_images(found), key=lambda image: image.name)
        rest = [image for image in images if image.name > after]
        shown = rest[: page_size or MAX_PAGE_SIZE]
        return Page(shown, _token_of_name(shown[-1].name) if len(rest) > len(shown) else "")

    def pull(self, image_name: str, how: "How | None" = None) -> "Pull":
        """Return a pull of the image, which its `progress()` performs."""
        return Pull(self._engine, image_name, self._registry, how or How())


@dataclass(frozen=True)
class How:
    """How to pull: also what is here already, and nowhere but from the installation's registry."""

    newest: bool = False
    only_registry: bool = False


class Pull:
    """The pull of one image. One thread iterates `progress()`; any other may `cancel()` it."""

    def __init__(self, engine: Engine, image_name: str, registry: str, how: How) -> None:
        self._engine = engine
        self._image_name = image_name
        self._registry = registry
        self._how = how
        self._response: Any = None
        self._is_cancelled = False

    def progress(self) -> Iterator[Progress]:
        """Pull the image, and yield the progress; yields nothing if the image is here already.

        Raises ImageNotFound, RegistryUnavailable or EngineUnavailable.
        """
        wanted = image_names.tagged(self._image_name)
        if self._engine.has_image(wanted) and not self._how.newest:
            return
        try:
            with translating_errors():
                yield from self._everywhere(image_names.repository(self._image_name))
        except docker.errors.APIError as error:
            raise self._refusal(str(error.explanation or error)) from error
        if self._is_cancelled:
            return
        if not self._engine.has_image(wanted):
            raise RegistryUnavailable(self._image_name, "the pull ended before its end")

    def cancel(self) -> None:
        """Stop the pull; `progress()` then ends."""
        self._is_cancelled = True
        if self._response is not None:
            with contextlib.suppress(ValueError, RuntimeError):  # the response has ended already
                self._response.raw.shutdown()

    def _everywhere(self, repository: str) -> Iterator[Progress]:
        """Pull from the installation's registry, or else from where the name says."""
        registry, _ = docker.auth.resolve_repository_name(repository)
        if self._registry and registry == docker.auth.INDEX_NAME:
            there = f"{self._registry}/{repository}"
            try:
                yield from self._events(there)
            except (ImageNotFound, RegistryUnavailable):
                if self._how.only_registry or self._is_cancelled:
                    raise
            else:
                if not self._is_cancelled:
                    self._rename(there, repository)
                return
        yield from self._events(repository)

    def _rename(self, there: str, repository: str) -> None:
        """Give the image, which was pulled under its name in the registry, its own name."""
        api, tag = self._engine.api, image_names.tag(self._image_name)
        api.tag(f"{there}:{tag}", repository, tag)
        api.remove_image(f"{there}:{tag}", noprune=True)

    def _events(self, repository: str) -> Iterator[Progress]:
        api = self._engine.api
        registry, _ = docker.auth.resolve_repository_name(repository)
        credentials = docker.auth.get_config_header(api, registry)
        self._response = api.post(
            f"{api.base_url}/v{api.api_version}/images/create",
            params={"fromImage": repository, "tag": image_names.tag(self._image_name)},
            headers={"X-Registry-Auth": credentials} if credentials else {},
            stream=True,
            timeout=None,  # a large layer brings no event for long; the caller has a deadline
        )
        with self._response:
            if not self._response.ok:
                raise self._refusal(self._response.json()["message"])
            if self._is_cancelled:
                return
            for line in self._response.iter_lines(chunk_size=None):
                event = json.loads(line)
                if "error" in event:
                    raise self._refusal(event["error"])
                detail = event.get("progressDetail") or {}
                yield Progress(
                    layer=event.get("id", ""),
                    status=event.get("status", ""),
                    current_bytes=detail.get("current") or 0,
                    total_bytes=detail.get("total") or 0,
                )

    def _refusal(self, reason: str) -> ImageNotFound | RegistryUnavailable:
        reason = " ".join(reason.split())[:500]
        kind = ImageNotFound if _NO_SUCH_IMAGE.search(reason) else RegistryUnavailable
        return kind(self._image_name, reason)


def _language_images(found: list[dict[str, Any]]) -> Iterator[Image]:
    for image in found:
        is_labelled = LANGUAGE_LABEL in (image["Labels"] or {})
        for tag in image["RepoTags"] or []:
            if tag == "<none>:<none>" or not (is_labelled or tag.startswith(LANGUAGE_PREFIX)):
                continue
            created = dt.datetime.fromtimestamp(image["Created"], dt.UTC)
            yield Image(tag.removesuffix(":latest"), image["Id"], image["Size"], created)


def _token_of_name(name: str) -> str:
    return base64.urlsafe_b64encode(name.encode()).decode()


def _name_of_token(page_token: str) -> str:
    try:
        return base64.b64decode(page_token, altchars=b"-_", validate=True).decode()
    except ValueError:
        raise InvalidArgument("page_token", "was not given by an earlier page") from None
