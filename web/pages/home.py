"""The first page: start a kata from a language and an exercise, or from files that one brings."""

import asyncio
import hashlib
import secrets
from pathlib import PurePosixPath
from typing import Any

from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from cyberdojo.startpoints.v1 import startpoints_pb2
from cyberdojo.storer.v1 import storer_pb2
from web.access import browsers
from web.access.limits import MAX_UPLOAD_BYTES, MIB
from web.parts import Parts

_MAX_FILES = 4096
_BEGINNING_BYTES = 4000  # of instructions, for the menu


def routes(parts: Parts) -> list[BaseRoute]:
    """Return the routes of this page."""

    async def home(request: Request) -> Response:
        return await _page(parts, request)

    async def start(request: Request) -> Response:
        form = await parts.bodies.form(request, MIB)
        parts.check_form(request, _text(form, "form_token"))
        asked = startpoints_pb2.GetStartPointRequest(
            language=_text(form, "language"), exercise=_text(form, "exercise")
        )
        if custom := _text(form, "custom"):
            asked = startpoints_pb2.GetStartPointRequest(custom=custom)
        if not asked.language and not asked.custom:
            return await _page(parts, request, problems=["Choose a language first."])
        found = await parts.client.start_points.GetStartPoint(asked)
        return await _create(parts, request, found.manifest, _text(form, "once"))

    async def bring(request: Request) -> Response:
        form = await parts.bodies.form(request, MAX_UPLOAD_BYTES, _MAX_FILES)
        async with _closing(form):
            parts.check_form(request, _text(form, "form_token"))
            files = await _files(form)
        if not files:
            return await _page(parts, request, problems=["Choose files first."])
        asked = startpoints_pb2.CheckStartPointRequest(files=files)
        found = await parts.client.start_points.CheckStartPoint(asked)
        if found.problems:
            return await _page(parts, request, problems=list(found.problems), is_brought=True)
        return await _create(parts, request, found.manifest, _text(form, "once"))

    return [
        Route("/", home),
        Route("/start", start, methods=["POST"]),
        Route("/bring", bring, methods=["POST"]),
    ]


async def _page(parts: Parts, request: Request, **values: Any) -> Response:
    of = parts.client.start_points
    languages, exercises, customs = await asyncio.gather(
        of.ListLanguages(startpoints_pb2.ListLanguagesRequest()),
        of.ListExercises(startpoints_pb2.ListExercisesRequest()),
        of.ListCustomStartPoints(startpoints_pb2.ListCustomStartPointsRequest()),
    )
    instructions = {
        "exercise": {
            each.display_name: _beginning(each.instructions) for each in exercises.exercises
        },
        "custom": {
            each.display_name: _beginning(each.instructions) for each in customs.custom_start_points
        },
    }
    return parts.rendering.page(
        request,
        "home.html",
        400 if "problems" in values else 200,
        languages=[each.display_name for each in languages.languages],
        exercises=[each.display_name for each in exercises.exercises],
        customs=[each.display_name for each in customs.custom_start_points],
        instructions=instructions,
        once=secrets.token_hex(16),
        **{"problems": [], "is_brought": False, **values},
    )


async def _create(
    parts: Parts, request: Request, manifest: storer_pb2.Manifest, once: str
) -> Response:
    parts.new_katas.spend(browsers.address_of(request))
    # Somebody who presses twice gets one kata; another choice on the same page is another kata.
    digest = hashlib.sha256(manifest.SerializeToString(deterministic=True)).hexdigest()
    create = storer_pb2.CreateKataRequest(manifest=manifest)
    if len(once) == 32:
        create.request_id = f"{once}-{digest[:32]}"
    created = await parts.client.call(parts.client.storer.CreateKata, create)
    return RedirectResponse(f"/kata/{created.kata_id}?new", 303)


def _text(form: FormData, name: str) -> str:
    value = form.get(name, "")
    return value if isinstance(value, str) else ""


class _closing:  # noqa: N801 - as contextlib.closing
    """Closes the files of a form."""

    def __init__(self, form: FormData) -> None:
        self._form = form

    async def __aenter__(self) -> None:
        pass

    async def __aexit__(self, *exception: object) -> None:
        await self._form.close()


async def _files(form: FormData) -> dict[str, bytes]:
    """Return the files that came, by their names in the folder that was chosen."""
    uploads = [
        each
        for each in [*form.getlist("files"), *form.getlist("folder")]
        if isinstance(each, UploadFile) and each.filename
    ]
    names = [PurePosixPath(each.filename or "") for each in uploads]
    # A browser puts the name of a chosen folder before those of its files.
    tops = {name.parts[0] for name in names if name.parts}
    is_folder = len(tops) == 1 and all(len(name.parts) > 1 for name in names)
    return {
        str(PurePosixPath(*name.parts[1:])) if is_folder else str(name): await each.read()
        for name, each in zip(names, uploads, strict=True)
    }


def _beginning(instructions: bytes) -> str:
    return instructions[:_BEGINNING_BYTES].decode(errors="ignore")
