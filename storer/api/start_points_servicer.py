"""The RPCs of the start points, which the storer serves too."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import grpc.aio

from cyberdojo.startpoints.v1 import startpoints_pb2, startpoints_pb2_grpc
from dojo.errors import InvalidArgument
from storer.api import converters, page_tokens
from storer.start_points.start_point import EXERCISES, LANGUAGES, LONGEST_NAME
from storer.start_points.start_points import IndexEntry, StartPoints

Context = grpc.aio.ServicerContext[Any, Any]

MAX_PAGE_NAMES = 1000


class StartPointsServicer(startpoints_pb2_grpc.StartPointsServiceServicer):
    """cyberdojo.startpoints.v1.StartPointsService; the proto is its contract."""

    def __init__(self, start_points: StartPoints) -> None:
        self._start_points = start_points

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

    async def GetStartPoint(
        self, request: startpoints_pb2.GetStartPointRequest, context: Context
    ) -> startpoints_pb2.GetStartPointResponse:
        """Read the manifest that a kata is created from."""
        if not request.language:
            raise InvalidArgument("language", "is required")
        converters.check_length("language", request.language, LONGEST_NAME)
        converters.check_length("exercise", request.exercise, LONGEST_NAME)
        found = await asyncio.to_thread(self._start_points.get, request.language, request.exercise)
        return startpoints_pb2.GetStartPointResponse(manifest=converters.manifest_to(found))

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
