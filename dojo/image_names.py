"""The names of images: which are valid, and their parts."""

import re

from dojo.errors import InvalidArgument

# The engine's 255, without the prefix that it adds to a name that has no host.
MAX_BYTES = 255 - len("docker.io/library/")

# https://github.com/distribution/reference: [host[:port]/]path[:tag][@digest]. A host has a dot or
# a port; without either it would be a part of the path, which is in lower case.
_PART = r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*"
_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_NAME = re.compile(
    rf"(?:{_LABEL}(?:(?:\.{_LABEL})+|(?:\.{_LABEL})*:[0-9]{{1,5}})/)?"
    rf"{_PART}(?:/{_PART})*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?"
    r"(?:@sha256:[0-9a-f]{64})?\Z"
)
# The engine would read such a name as an image's id.
_ID = re.compile(r"(?:[0-9a-f]{64}|sha256:[0-9a-f]+)\Z")


def check(image_name: str, field: str = "image_name") -> str:
    """Return `image_name` if it is the name of an image; raise InvalidArgument if not."""
    if len(image_name) > MAX_BYTES:
        reason = f"{len(image_name)} characters are more than {MAX_BYTES}"
        raise InvalidArgument(field, reason)
    if not _NAME.match(image_name) or _ID.match(image_name):
        raise InvalidArgument(field, f"{image_name!a} is not the name of an image")
    return image_name


def repository(image_name: str) -> str:
    """Return a name without its tag and digest."""
    name = image_name.partition("@")[0]
    folder, slash, last = name.rpartition("/")
    return f"{folder}{slash}{last.partition(':')[0]}"  # a colon further left comes before a port


def tag(image_name: str) -> str:
    """Return a name's digest, or else its tag, which is `latest` by default.

    The engine's own default is all tags.
    """
    name, at, digest = image_name.partition("@")
    return digest if at else name.rpartition("/")[2].partition(":")[2] or "latest"


def tagged(image_name: str) -> str:
    """Return the name with its tag or digest; without, the engine may read it as part of an id."""
    return image_name if "@" in image_name else f"{repository(image_name)}:{tag(image_name)}"
