"""Images: their names, those on this host, and the pulling of more."""

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
    r"|HTTP 40[134] response body",  # of something before the registry, in its own words
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Progress:
    """How far a pull is with one layer, or, where `layer` is empty, with the whole image."""

    layer: str
    status: str
    current_bytes: int
    total_bytes: int


@dataclass(frozen=True)
class Image:
    """A language image on this host. `size_bytes` includes what it shares with others."""

    name: str
    size_bytes: int
    created: dt.datetime


@dataclass(frozen=True)
class Page:
    """Some of the images, in the order of their names; an empty token ends the list."""

    images: list[Image]
    next_page_token: str


class Images:
    """The images of one engine. Any thread may use it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def page(self, page_size: int, page_token: str) -> Page:
        """Return the language images after those of the page that gave `page_token`.

        `page_size` 0 stands for the most. Raises InvalidArgument.
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

    def pull(self, image_name: str) -> "Pull":
        """Return a pull of the image, to be followed."""
        return Pull(self._engine, image_name)


class Pull:
    """The pulling of one image. Follow it in a thread; any other thread may `cancel()` it."""

    def __init__(self, engine: Engine, image_name: str) -> None:
        self._engine = engine
        self._image_name = image_name
        self._response: Any = None
        self._is_cancelled = False

    def progress(self) -> Iterator[Progress]:
        """Yield how far it is, until the image is here; nothing if it was here already.

        Raises ImageNotFound, RegistryUnavailable or EngineUnavailable.
        """
        wanted = image_names.tagged(self._image_name)
        if self._engine.has_image(wanted):
            return
        try:
            with translating_errors():
                yield from self._events()
        except docker.errors.APIError as error:
            raise self._refusal(str(error.explanation or error)) from error
        if self._is_cancelled:
            return
        if not self._engine.has_image(wanted):
            raise RegistryUnavailable(self._image_name, "the pull ended before its end")

    def cancel(self) -> None:
        """Stop the pull; whoever follows it is told the end."""
        self._is_cancelled = True
        if self._response is not None:
            with contextlib.suppress(ValueError, RuntimeError):  # it has ended already
                self._response.raw.shutdown()

    def _events(self) -> Iterator[Progress]:
        api = self._engine.api
        repository = image_names.repository(self._image_name)
        registry, _ = docker.auth.resolve_repository_name(repository)
        credentials = docker.auth.get_config_header(api, registry)
        self._response = api.post(
            f"{api.base_url}/v{api.api_version}/images/create",
            params={"fromImage": repository, "tag": image_names.tag(self._image_name)},
            headers={"X-Registry-Auth": credentials} if credentials else {},
            stream=True,
            timeout=None,  # a large layer is quiet for long; the caller's deadline holds
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
            yield Image(tag.removesuffix(":latest"), image["Size"], created)


def _token_of_name(name: str) -> str:
    return base64.urlsafe_b64encode(name.encode()).decode()


def _name_of_token(page_token: str) -> str:
    try:
        return base64.b64decode(page_token, altchars=b"-_", validate=True).decode()
    except ValueError:
        raise InvalidArgument("page_token", "was not given by an earlier page") from None
