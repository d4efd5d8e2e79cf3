"""The RPCs of the start points, which the storer serves too."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import grpc.aio

from cyberdojo.startpoints.v1 import startpoints_pb2, startpoints_pb2_grpc
from dojo import visible_files
from dojo.errors import InvalidArgument
from dojo.service.call_threads import CallThreads
from storer.api import converters, page_tokens
from storer.start_points.start_point import CUSTOM, EXERCISES, LANGUAGES, LONGEST_NAME
from storer.start_points.start_points import IndexEntry, StartPoints

Context = grpc.aio.ServicerContext[Any, Any]

MAX_PAGE_NAMES = 1000


class StartPointsServicer(startpoints_pb2_grpc.StartPointsServiceServicer):
    """cyberdojo.startpoints.v1.StartPointsService; the proto is its contract."""

    def __init__(self, start_points: StartPoints, threads: CallThreads) -> None:
        self._start_points = start_points
        self._threads = threads

    async def ListLanguages(
        self, request: startpoints_pb2.ListLanguagesRequest, context: Context
    ) -> startpoints_pb2.ListLanguagesResponse:
        """List the languages."""
        page, next_page_token = await self._page(LANGUAGES, request.page_size, request.page_token)
        return startpoints_pb2.ListLanguagesResponse(
            languages=(
                startpoints_pb2.ListedLanguage(
                    display_name=each.display_name, image_name=each.image_name
                )
                for each in page
            ),
            next_page_token=next_page_token,
        )

    async def ListExercises(
        self, request: startpoints_pb2.ListExercisesRequest, context: Context
    ) -> startpoints_pb2.ListExercisesResponse:
        """List the exercises."""
        page, next_page_token = await self._page(EXERCISES, request.page_size, request.page_token)
        return startpoints_pb2.ListExercisesResponse(
            exercises=(
                startpoints_pb2.ListedExercise(
                    display_name=each.display_name, instructions=each.instructions
                )
                for each in page
            ),
            next_page_token=next_page_token,
        )

    async def ListCustomStartPoints(
        self, request: startpoints_pb2.ListCustomStartPointsRequest, context: Context
    ) -> startpoints_pb2.ListCustomStartPointsResponse:
        """List the custom start points."""
        page, next_page_token = await self._page(CUSTOM, request.page_size, request.page_token)
        return startpoints_pb2.ListCustomStartPointsResponse(
            custom_start_points=(
                startpoints_pb2.ListedCustomStartPoint(
                    display_name=each.display_name,
                    image_name=each.image_name,
                    instructions=each.instructions,
                )
                for each in page
            ),
            next_page_token=next_page_token,
        )

    async def GetStartPoint(
        self, request: startpoints_pb2.GetStartPointRequest, context: Context
    ) -> startpoints_pb2.GetStartPointResponse:
        """Read the manifest that a kata is created from."""
        for field in ("language", "exercise", "custom"):
            converters.check_length(field, getattr(request, field), LONGEST_NAME)
            if request.custom and field != "custom" and getattr(request, field):
                raise InvalidArgument(field, "does not go with a custom start point")
        if request.custom:
            found = await asyncio.to_thread(self._start_points.get_custom, request.custom)
        elif request.language:
            found = await asyncio.to_thread(
                self._start_points.get, request.language, request.exercise
            )
        else:
            raise InvalidArgument("language", "is required")
        return startpoints_pb2.GetStartPointResponse(manifest=converters.manifest_to(found))

    async def CheckStartPoint(
        self, request: startpoints_pb2.CheckStartPointRequest, context: Context
    ) -> Any:
        """Check a custom start point that the caller brings; return the response, serialized."""

        def check() -> bytes:
            files = dict(request.files)
            visible_files.check(files)
            findings, found = self._start_points.check(files)
            return startpoints_pb2.CheckStartPointResponse(
                manifest=None if found is None else converters.manifest_to(found),
                problems=findings.problems,
                warnings=findings.warnings,
            ).SerializeToString()

        return await self._threads.run_long(check)

    async def _page(
        self, kind: str, page_size: int, page_token: str
    ) -> tuple[Sequence[IndexEntry], str]:
        """Return a page of a list, and the token of the next page."""
        size = converters.page_size(page_size, MAX_PAGE_NAMES, MAX_PAGE_NAMES)
        after = page_tokens.after_name(page_token)
        listed = await asyncio.to_thread(self._start_points.list_all, kind)
        rest = [each for each in listed if each.display_name > after]
        page = rest[:size]
        return page, page_tokens.token(page[-1].display_name) if len(rest) > size else ""
