"""Whether a browser came by https, and the address by which it reaches the pages."""

from starlette.requests import HTTPConnection


def is_https(request: HTTPConnection) -> bool:
    """Say whether the browser came by https, here or at a proxy."""
    return public_url(request).startswith("https:")


def public_url(request: HTTPConnection) -> str:
    """Return the address of the pages, for links that people share: `http://127.0.0.1:4500`."""
    told: str = request.app.state.public_url
    return told or f"{request.url.scheme}://{request.url.netloc}"
