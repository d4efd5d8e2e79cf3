"""The editor of an avatar: its page, and what its script calls."""

import asyncio
import contextlib
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from cyber_dojo_client import CallFailed, in_order
from cyberdojo.runner.v1 import runner_pb2
from cyberdojo.storer.v1 import storer_pb2
from web import qr
from web.access import https
from web.pages import addresses, file_json
from web.parts import Parts
from web.streams import events, told
from web.words import Troubled

_PREPARE_SECONDS = 30.0


def routes(parts: Parts) -> list[BaseRoute]:
    """Return the routes of this page."""
    prepared: set[asyncio.Task[None]] = set()

    async def practise(request: Request) -> Response:
        try:
            kata_id, avatar = addresses.acting(parts, request)
        except Troubled as error:
            values = {"kata_id": request.path_params["kata_id"]}
            return parts.rendering.trouble(request, error.trouble, **values)
        state = await state_of(parts, kata_id, avatar)
        task = asyncio.create_task(_prepare(parts, kata_id, avatar, state["image_name"]))
        prepared.add(task)
        task.add_done_callback(prepared.discard)
        link = addresses.personal_link(parts, https.public_url(request), kata_id, avatar)
        return parts.rendering.page(
            request,
            "practise.html",
            kata_id=kata_id,
            avatar=avatar,
            state=state,
            link=link,
            qr=qr.svg(link, f"QR code of {avatar}'s personal link"),
            is_new="new" in request.query_params,
        )

    async def state(request: Request) -> Response:
        return JSONResponse(await state_of(parts, *addresses.acting(parts, request)))

    async def others(request: Request) -> Response:
        kata_id, avatar = addresses.acting(parts, request)
        lights: list[dict[str, Any]] = []
        asked = storer_pb2.ListLightsRequest(kata_id=kata_id)
        async for page in parts.client.pages(parts.client.storer.ListLights, asked):
            for each in page.avatars:
                if each.avatar != avatar:
                    lights += [told.light(each.avatar, light) for light in each.lights]
        return JSONResponse({"lights": lights})

    async def changes(request: Request) -> Response:
        kata_id, avatar = addresses.acting(parts, request)
        number: int = request.path_params["number"]
        asked = storer_pb2.DiffLightsRequest(
            kata_id=kata_id,
            avatar=avatar,
            was_number=max(number - 1, 0),
            now_number=number,
            changed_only=True,
            counts_only=True,
        )
        found = await parts.client.storer.DiffLights(asked)
        return JSONResponse({"files": [told.counts(each) for each in found.files]})

    async def happening(request: Request) -> Response:
        kata_id, avatar = addresses.acting(parts, request)
        return events.answer(request, parts.streams, parts.watches.events(kata_id, avatar))

    at = addresses.AVATAR
    return [
        Route(at, practise),
        Route(f"{at}/state", state),
        Route(f"{at}/others", others),
        Route(f"{at}/changes/{{number:int}}", changes),
        Route(f"{at}/events", happening),
    ]


async def state_of(parts: Parts, kata_id: str, avatar: str) -> dict[str, Any]:
    """Return all that the editor opens with: the newest light, and what was typed after it."""
    storer = parts.client.storer
    newest = storer_pb2.GetFilesRequest(kata_id=kata_id, avatar=avatar, light_number=-1)
    typed = storer_pb2.GetFilesRequest(
        kata_id=kata_id, avatar=avatar, light_number=-1, edit_number=-1
    )
    kata, light, edited = await asyncio.gather(
        storer.GetKata(storer_pb2.GetKataRequest(kata_id=kata_id)),
        storer.GetFiles(newest),
        storer.GetFiles(typed),
    )
    manifest = kata.manifest
    first, hidden = manifest.highlight_filenames, list(manifest.hidden_filenames)
    found: dict[str, Any] = {
        "kata_id": kata_id,
        "avatar": avatar,
        "display_name": manifest.display_name,
        "exercise": manifest.exercise,
        "image_name": manifest.image_name,
        "tab_size": manifest.tab_size or 4,
        "max_seconds": manifest.max_seconds or 10,
        "highlight": list(first),
        "extensions": list(manifest.filename_extensions),
        "options": told.options(kata.options),
        "light": told.light(avatar, light.light),
        "files": file_json.to_json(in_order(light.files, first), hidden),
        "output": told.output(light.stdout, light.stderr),
        "edit": None,
    }
    # A light that came between the two calls has no edit yet.
    if edited.HasField("edit") and edited.light.number == light.light.number:
        found["edit"] = told.edit(avatar, edited.edit)
        found["typed"] = file_json.to_json(in_order(edited.files, first), hidden)
    return found


async def _prepare(parts: Parts, kata_id: str, avatar: str, image_name: str) -> None:
    """Have a container wait for the avatar's first run."""
    asked = runner_pb2.PrepareRequest(kata_id=kata_id, avatar=avatar, image_name=image_name)
    # Without it the first test takes a moment longer, and says itself what is wrong.
    with contextlib.suppress(CallFailed):
        await parts.client.runner.Prepare(asked, timeout=_PREPARE_SECONDS)
