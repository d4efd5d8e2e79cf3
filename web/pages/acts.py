"""What an avatar does in its editor: tests, edits, check-outs, options."""

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from cyberdojo.storer.v1 import storer_pb2
from web.access.limits import Unreadable
from web.pages import addresses, file_json, practise
from web.pages.press import Press, Presses
from web.parts import Parts
from web.streams import told

_MAX_WRITER = 100
_EDIT_SECONDS = 10.0
_OPTIONS = ("syntax_colour", "predict", "revert_red", "revert_amber", "revert_green")


def routes(parts: Parts) -> list[BaseRoute]:
    """Return the routes of these calls; each is of somebody who holds the avatar's secret."""
    presses = Presses(parts.client)

    async def test(request: Request) -> Response:
        kata_id, avatar, asked = await _asked(request)
        parts.tests.spend(f"{kata_id}/{avatar}")
        predicted = asked.get("predicted")
        press = Press(
            kata_id=kata_id,
            avatar=avatar,
            files=file_json.from_json(asked.get("files")),
            expected_number=_number(asked, "expected_number"),
            predicted=told.colour_of(predicted) if isinstance(predicted, str) else 0,
            writer=_writer(asked),
        )
        return StreamingResponse(
            presses.parts(press),
            media_type="application/x-ndjson",
            headers={"X-Accel-Buffering": "no"},
        )

    async def edit(request: Request) -> Response:
        kata_id, avatar, asked = await _asked(request)
        parts.edits.spend(f"{kata_id}/{avatar}")
        record = storer_pb2.RecordEditRequest(
            kata_id=kata_id,
            avatar=avatar,
            files=file_json.from_json(asked.get("files")),
            after_number=_number(asked, "after_number"),
            writer=_writer(asked),
        )
        client = parts.client
        recorded = await client.call(client.storer.RecordEdit, record, _EDIT_SECONDS)
        made = recorded.edit if recorded.HasField("edit") else None
        return JSONResponse({"edit": told.edit(avatar, made) if made else None})

    async def check_out(request: Request) -> Response:
        kata_id, avatar, asked = await _asked(request)
        parts.tests.spend(f"{kata_id}/{avatar}")
        source = storer_pb2.LightSource(
            kata_id=kata_id,
            avatar=_name(asked, "source_avatar"),
            light_number=_number(asked, "source_number"),
        )
        if source.light_number == 0:
            # Nobody ran the start, so no light can have its outcome: its files are as if typed.
            start = storer_pb2.GetFilesRequest(
                kata_id=kata_id, avatar=source.avatar, light_number=0
            )
            found = await parts.client.storer.GetFiles(start)
            return JSONResponse({"start": file_json.to_json(found.files)})
        record = storer_pb2.RecordTestRequest(
            kata_id=kata_id,
            avatar=avatar,
            source=source,
            expected_number=_number(asked, "expected_number"),
            writer=_writer(asked),
        )
        await parts.client.call(parts.client.storer.RecordTest, record)
        return JSONResponse(await practise.state_of(parts, kata_id, avatar))

    async def options(request: Request) -> Response:
        kata_id, avatar, asked = await _asked(request)
        own, unset = _options(asked)
        change = storer_pb2.SetOptionsRequest(
            kata_id=kata_id, avatar=avatar, options=own, unset=unset
        )
        found = await parts.client.call(parts.client.storer.SetOptions, change)
        return JSONResponse(told.options(found.options))

    async def _asked(request: Request) -> tuple[str, str, dict[str, Any]]:
        kata_id, avatar = addresses.acting(parts, request)
        parts.check_form(request)
        return kata_id, avatar, await parts.bodies.json(request)

    at = addresses.AVATAR
    return [
        Route(f"{at}/test", test, methods=["POST"]),
        Route(f"{at}/edit", edit, methods=["POST"]),
        Route(f"{at}/check-out", check_out, methods=["POST"]),
        Route(f"{at}/options", options, methods=["POST"]),
    ]


def _number(asked: dict[str, Any], name: str) -> int:
    value = asked.get(name)
    if not isinstance(value, int) or not 0 <= value < 2**31:
        raise Unreadable(f"{name}: it is no number of a light")
    return value


def _name(asked: dict[str, Any], name: str) -> str:
    value = asked.get(name)
    if not isinstance(value, str):
        raise Unreadable(f"{name}: it is no text")
    return value


def _writer(asked: dict[str, Any]) -> str:
    writer = _name(asked, "writer")
    if len(writer) > _MAX_WRITER or not writer.isascii() or not writer.isprintable():
        raise Unreadable("writer: it is no name of a window")
    return writer


def _options(asked: dict[str, Any]) -> tuple[storer_pb2.Options, list[str]]:
    """Return the options to set, and the names of those to set no longer."""
    own, unset = storer_pb2.Options(), []
    for name, value in asked.items():
        if name == "theme" and value in {"light", "dark"}:
            own.theme = storer_pb2.THEME_DARK if value == "dark" else storer_pb2.THEME_LIGHT
        elif name in _OPTIONS and isinstance(value, bool):
            setattr(own, name, value)
        elif name in {"theme", *_OPTIONS} and value is None:
            unset.append(name)
        else:
            raise Unreadable(f"{name[:40]!r}: it is no option, or can't have this value")
    return own, unset
