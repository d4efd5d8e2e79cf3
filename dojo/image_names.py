"""Images' names: which there can be, and as they are compared."""

import re

from dojo.errors import InvalidArgument

# The engine's 255, without what it puts in front of a name that has no host.
MAX_NAME_BYTES = 255 - len("docker.io/library/")

# https://github.com/distribution/reference: [host[:port]/]path[:tag][@digest], where a host
# has a dot or a port: without, it would be a part of the path, which is in lower case.
_PART = r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*"
_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_NAME = re.compile(
    rf"(?:{_LABEL}(?:(?:\.{_LABEL})+|(?:\.{_LABEL})*:[0-9]{{1,5}})/)?"
    rf"{_PART}(?:/{_PART})*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?"
    r"(?:@sha256:[0-9a-f]{64})?\Z"
)
# The engine would take such a name for an image's id.
_ID = re.compile(r"(?:[0-9a-f]{64}|sha256:[0-9a-f]+)\Z")


def check(image_name: str, field: str = "image_name") -> str:
    """Return `image_name` if an image can have it; raise InvalidArgument if not."""
    if len(image_name) > MAX_NAME_BYTES:
        reason = f"{len(image_name)} characters are more than {MAX_NAME_BYTES}"
        raise InvalidArgument(field, reason)
    if not _NAME.match(image_name) or _ID.match(image_name):
        raise InvalidArgument(field, f"{image_name!a} is not the name of an image")
    return image_name


def repository(image_name: str) -> str:
    """Return an image's name without its tag and digest."""
    return repository_and_tag(image_name)[0]


def repository_and_tag(image_name: str) -> tuple[str, str]:
    """Split a name as the engine wants it, whose default is all tags instead of `latest`."""
    name, at, digest = image_name.partition("@")
    folder, slash, last = name.rpartition("/")  # what stands before may have a port
    last, _, tag = last.partition(":")
    return folder + slash + last, digest if at else tag or "latest"


def tagged(image_name: str) -> str:
    """Return the name with its tag: without one, the engine may take it for a part of an id."""
    name, tag = repository_and_tag(image_name)
    return image_name if "@" in image_name else f"{name}:{tag}"
