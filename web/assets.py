"""The scripts and styles that `make web` has built. They are read once, and served from memory."""

import gzip
import json
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from dojo.service.settings import BadSettings

_TYPES = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
}
_FOREVER = "public, max-age=31536000, immutable"


@dataclass(frozen=True)
class _Asset:
    kind: str
    content: bytes
    compressed: bytes


class Assets:
    """The files, by their names, which have a digest of the content: `style-3F2A.css`."""

    def __init__(self, folder: Path) -> None:
        """Read them. Raises BadSettings if they were not built."""
        try:
            names: dict[str, str] = json.loads((folder / "names.json").read_text())
            self._assets = {name: _read(folder / name) for name in names.values()}
        except (OSError, ValueError) as error:
            problem = f"CYBER_DOJO_WEB_ASSETS='{folder}' has no scripts and styles ({error})"
            raise BadSettings([f"{problem}: make web builds them"]) from error
        self._names = names

    def url(self, name: str) -> str:
        """Return the address of a file: of `style.css` that of `style-3F2A.css`."""
        return f"/assets/{self._names[name]}"

    async def answer(self, request: Request) -> Response:
        """Answer a file."""
        asset = self._assets.get(request.path_params["name"])
        if asset is None:
            return Response("There is no such file.", 404, media_type="text/plain")
        headers = {"Cache-Control": _FOREVER, "Vary": "Accept-Encoding"}
        content = asset.content
        if "gzip" in request.headers.get("accept-encoding", ""):
            headers["Content-Encoding"] = "gzip"
            content = asset.compressed
        return Response(content, headers=headers, media_type=asset.kind)


def _read(path: Path) -> _Asset:
    content = path.read_bytes()
    return _Asset(_TYPES[path.suffix], content, gzip.compress(content, 9, mtime=0))
