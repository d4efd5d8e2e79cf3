"""The storer's RPCs: each validates, calls the domain in a thread, and converts the result."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from functools import partial
from typing import Any

import grpc.aio

from cyberdojo.storer.v1 import storer_pb2, storer_pb2_grpc
from dojo import avatars, chunks, kata_ids, limits
from dojo.access import caller, guesses
from dojo.access.audit import Audit
from dojo.engine.data_containers import DataContainers
from dojo.processes import Processes
from dojo.service.call_threads import CallThreads
from dojo.service.forwarding import is_forwarded
from storer.api import (
    converters,
    facts_converters,
    large_lights,
    option_converters,
    outputs,
    page_tokens,
)
from storer.api.backup_servicer import (
    answer_backup_katas,
    answer_list_backups,
    answer_restore_katas,
)
from storer.api.comparer import DIFF_OUTPUTS, Output
from storer.api.comparisons import Comparisons
from storer.api.light_messages import LightMessages
from storer.api.peers import Peers
from storer.api.streaming import Streams
from storer.api.verify_everywhere import answer_everywhere
from storer.api.verify_servicer import answer_verify_katas
from storer.api.watch_servicer import answer_watch_kata, answer_watch_katas
from storer.backup import avatar_download, download, restore, saver_download
from storer.backup.catalog import Catalog
from storer.kata import diff
from storer.kata.diff import Comparison
from storer.kata.edit import At, Edit
from storer.kata.kata import DamagedAvatar
from storer.kata.light import Light
from storer.kata.manifest import RED_AMBER_GREEN
from storer.kata.options import KataOptions
from storer.katas import light_source
from storer.katas.listing import ListedDetails
from storer.katas.repository import Katas, avatars_of
from storer.katas.watch import Watches
from storer.start_points.start_points import StartPoints
from storer.verify.katas import Verifier
from storer.workers.archiver import Archiver

Context = grpc.aio.ServicerContext[Any, Any]

DEFAULT_PAGE_KATAS, MAX_PAGE_KATAS = 1000, 10_000
DEFAULT_PAGE_LIGHTS, MAX_PAGE_LIGHTS = 5000, 10_000


class StorerServicer(storer_pb2_grpc.StorerServiceServicer):
    """The storer's RPCs. The proto is their contract.

    Requests that can be large are checked in threads, and such responses are serialized there: the
    event loop serves all other calls.

    The servicer, `Watches`, `Streams`, `Comparisons` and `CallThreads` belong to the event loop's
    thread. Any thread may use `Katas`.
    """

    def __init__(
        self,
        *,
        katas: Katas,
        watches: Watches,
        archiver: Archiver,
        catalog: Catalog,
        data_containers: DataContainers,
        start_points: StartPoints,
        light_messages: LightMessages,
        streams: Streams,
        comparisons: Comparisons,
        checking: Processes,
        large: Processes,
        threads: CallThreads,
        audit: Audit,
        shortest_partial_id: int,
        peers: Peers,
    ) -> None:
        self._peers = peers
        self._audit = audit
        self._shortest_partial_id = shortest_partial_id
        self._katas = katas
        self._watches = watches
        self._archiver = archiver
        self._catalog = catalog
        self._containers = data_containers
        self._start_points = start_points
        self._light_messages = light_messages
        self._streams = streams
        self._comparisons = comparisons
        self._checking = checking
        self._large = large
        self._threads = threads

    async def CreateKata(
        self, request: storer_pb2.CreateKataRequest, context: Context
    ) -> storer_pb2.CreateKataResponse:
        """Create a kata."""
        created = converters.time_from(
            request.created, "created", given=request.HasField("created")
        )

        def create() -> str:
            repeatable = converters.creating_request_from(request)
            described = converters.manifest_from(request.manifest)
            chosen = option_converters.options_from(request.options)
            return self._katas.create(described, created, repeatable, chosen)

        kata_id = await self._threads.run(create)
        guesses.used(kata_id)
        return storer_pb2.CreateKataResponse(kata_id=kata_id)

    async def GetKata(self, request: storer_pb2.GetKataRequest, context: Context) -> Any:
        """Read how a kata was created and who has started in it; return that, serialized."""
        given = kata_ids.check_whole_or_old(request.kata_id)

        def get() -> tuple[str, bytes]:
            kata_id = self._katas.whole_id(given)
            with self._katas.using(kata_id) as kata:
                found, options = avatars_of(kata), kata.read_options()
                is_set = options != KataOptions()
                return kata_id, storer_pb2.GetKataResponse(
                    kata_id=kata_id,
                    manifest=self._with_colour_rule(converters.manifest_to(kata.read_manifest())),
                    created=converters.time_to(kata.read_created()),
                    avatars=found.names,
                    damaged=converters.damaged_to(found.damaged),
                    options=option_converters.options_to(options) if is_set else None,
                ).SerializeToString()

        kata_id, response = await self._threads.run(get)
        guesses.used(kata_id)
        return response

    async def SetOptions(
        self, request: storer_pb2.SetOptionsRequest, context: Context
    ) -> storer_pb2.SetOptionsResponse:
        """Set options of a kata, or of one of its avatars."""
        kata_id = kata_ids.check(request.kata_id)
        name = avatars.check(request.avatar) if request.avatar else ""
        given = option_converters.options_from(request.options)
        unset = option_converters.unset_from(request.unset, given)
        found = await self._threads.run(self._katas.set_options, kata_id, name, given, unset)
        return storer_pb2.SetOptionsResponse(options=option_converters.options_to(found))

    async def CompleteKataId(
        self, request: storer_pb2.CompleteKataIdRequest, context: Context
    ) -> storer_pb2.CompleteKataIdResponse:
        """List the ids that a partial id can stand for."""
        given = request.partial_id
        if kata_ids.is_old(given) and self._shortest_partial_id > kata_ids.OLD_LENGTH:
            # It is no part of an id, but a whole one of a saver.
            of_old = await self._threads.run_long(self._katas.of_old_id, given)
            if of_old is not None:
                return storer_pb2.CompleteKataIdResponse(kata_ids=[of_old])
            guesses.nothing_completed()
        partial_id = kata_ids.check_partial(given, self._shortest_partial_id)
        found, truncated = await self._threads.run_long(self._katas.complete, partial_id)
        if not found:
            guesses.nothing_completed()
        return storer_pb2.CompleteKataIdResponse(kata_ids=found, truncated=truncated)

    async def ListKatas(
        self, request: storer_pb2.ListKatasRequest, context: Context
    ) -> storer_pb2.ListKatasResponse:
        """List katas by prefix, in pages."""
        prefix = kata_ids.check_prefix(request.prefix)
        size = converters.page_size(request.page_size, DEFAULT_PAGE_KATAS, MAX_PAGE_KATAS)
        after = page_tokens.after_kata(request.page_token)
        page = partial(self._katas.page, prefix, after, size + 1, ignore_case=request.ignore_case)
        found = await self._threads.run_long(page)
        details: dict[str, ListedDetails] = {}
        if request.with_details or request.with_sizes or request.check_index:
            read = partial(
                self._katas.details,
                found[:size],
                with_sizes=request.with_sizes,
                checks_index=request.check_index,
            )
            details = await self._threads.run_long(read)
        response = storer_pb2.ListKatasResponse(
            katas=(
                storer_pb2.ListedKata(
                    kata_id=each.kata_id,
                    source=converters.source_to(each),
                    in_archive=each.in_archive,
                    details=converters.details_to(details.get(each.kata_id)),
                )
                for each in found[:size]
            )
        )
        if len(found) > size:
            response.next_page_token = page_tokens.token(found[size - 1].kata_id)
        return response

    async def ImportKata(
        self, request: storer_pb2.ImportKataRequest, context: Context
    ) -> storer_pb2.ImportKataResponse:
        """Import a kata from the katas directory, or from a saver's."""
        given = kata_ids.check_whole_or_old(request.kata_id)
        kata_id = await self._threads.run(self._katas.whole_id, given)
        import_ = partial(self._katas.import_, kata_id, undelete=request.undelete)
        if request.undelete:
            caller.require_operator("undelete")
            with self._audit.doing("ImportKata", kata=kata_id, undelete=True):
                found, was_imported = await self._threads.run(import_)
        else:
            found, was_imported = await self._threads.run(import_)
        guesses.used(kata_id)
        return storer_pb2.ImportKataResponse(
            avatars=found.names,
            already_imported=was_imported,
            kata_id=kata_id,
            damaged=converters.damaged_to(found.damaged),
        )

    async def ForkKata(
        self, request: storer_pb2.ForkKataRequest, context: Context
    ) -> storer_pb2.ForkKataResponse:
        """Create a kata that starts from a light's files, or has the avatar as it was then."""
        kata_id, avatar = converters.kata_and_avatar(request.kata_id, request.avatar)
        number = converters.light_number(request)
        created = converters.time_from(
            request.created, "created", given=request.HasField("created")
        )
        repeatable = converters.creating_request_from(request)
        forked = await self._threads.run(
            partial(
                self._katas.fork_avatar if request.with_avatar else self._katas.fork,
                processes=self._large,
            ),
            *(kata_id, avatar, number, created, repeatable),
        )
        guesses.used(forked)
        return storer_pb2.ForkKataResponse(kata_id=forked)

    async def DeleteKata(
        self, request: storer_pb2.DeleteKataRequest, context: Context
    ) -> storer_pb2.DeleteKataResponse:
        """Delete a kata's data-container and volume."""
        kata_id = kata_ids.check(request.kata_id)
        with self._audit.doing("DeleteKata", kata=kata_id) as deed:
            stays = await self._threads.run_long(self._katas.delete, kata_id)
            deed.about["stays_in_katas_directory"] = stays
        return storer_pb2.DeleteKataResponse(stays_in_katas_directory=stays)

    async def ArchiveKata(
        self, request: storer_pb2.ArchiveKataRequest, context: Context
    ) -> storer_pb2.ArchiveKataResponse:
        """Put a kata into the archive."""
        kata_id = kata_ids.check(request.kata_id)
        with self._audit.doing("ArchiveKata", kata=kata_id):
            await self._threads.run_long(self._archiver.archive, kata_id)
        return storer_pb2.ArchiveKataResponse()

    async def StartAvatar(self, request: storer_pb2.StartAvatarRequest, context: Context) -> Any:
        """Start the first free avatar of the order; return the response, serialized."""
        kata_id = kata_ids.check(request.kata_id)
        order = converters.avatars_from(list(request.avatars))
        if not order:
            order = random.sample(avatars.NAMES, len(avatars.NAMES))
        time = converters.time_from(request.time, "time", given=request.HasField("time"))
        repeatable = converters.request_from(request)
        source = facts_converters.source_from(request)

        def start() -> bytes:
            name, files = self._katas.start_avatar(kata_id, order, time, repeatable, source)
            response = storer_pb2.StartAvatarResponse(avatar=name, files=files)
            return response.SerializeToString()

        return await self._threads.run(start)

    async def ListAvatars(
        self, request: storer_pb2.ListAvatarsRequest, context: Context
    ) -> storer_pb2.ListAvatarsResponse:
        """List the started avatars with their newest lights."""
        kata_id = kata_ids.check(request.kata_id)

        def read() -> storer_pb2.ListAvatarsResponse:
            with self._katas.using(kata_id) as kata:
                lights, damaged = kata.lights()
            return storer_pb2.ListAvatarsResponse(
                avatars=(
                    storer_pb2.ListedAvatar(avatar=name, newest=converters.light_to(found[-1]))
                    for name, found in lights.items()
                ),
                damaged=converters.damaged_to(damaged),
            )

        return await self._threads.run(read)

    async def ListLights(
        self, request: storer_pb2.ListLightsRequest, context: Context
    ) -> storer_pb2.ListLightsResponse:
        """List the lights of one avatar or of all, in pages."""
        kata_id = kata_ids.check(request.kata_id)
        only = avatars.check(request.avatar) if request.avatar else None
        size = converters.page_size(request.page_size, DEFAULT_PAGE_LIGHTS, MAX_PAGE_LIGHTS)
        after = page_tokens.after_light(request.page_token)

        def read() -> storer_pb2.ListLightsResponse:
            damaged: list[DamagedAvatar] = []
            with self._katas.using(kata_id) as kata:
                if only:
                    lights = {only: kata.avatar(only).lights()}
                else:
                    lights, damaged = kata.lights()
                if request.with_edits:
                    page = self._light_messages.page_with_edits(
                        kata_id, lights, kata.edits, after, size
                    )
                else:
                    page = self._light_messages.page(kata_id, lights, after, size)
            if not damaged:
                return page
            named = storer_pb2.ListLightsResponse(damaged=converters.damaged_to(damaged))
            named.MergeFrom(page)
            return named

        return await self._threads.run(read)

    async def WatchKata(
        self, request: storer_pb2.WatchKataRequest, context: Context
    ) -> AsyncIterator[storer_pb2.WatchKataResponse]:
        """Stream lights as they are recorded, and options as they are set."""
        async with aclosing(
            answer_watch_kata(self._threads, self._katas, self._watches, request)
        ) as parts:
            async for part in parts:
                yield part

    async def WatchKatas(
        self, request: storer_pb2.WatchKatasRequest, context: Context
    ) -> AsyncIterator[storer_pb2.WatchKatasResponse]:
        """Stream the lights of several katas as they are recorded."""
        async with aclosing(
            answer_watch_katas(self._threads, self._katas, self._watches, self._peers, request)
        ) as parts:
            async for part in parts:
                yield part

    async def RecordTest(
        self, request: storer_pb2.RecordTestRequest, context: Context
    ) -> storer_pb2.RecordTestResponse:
        """Record a test as the avatar's next light."""
        kata_id, name = converters.kata_and_avatar(request.kata_id, request.avatar)

        def work() -> Light:
            light, submission, expected = converters.light_from(request)
            light, submission = light_source.take(self._katas, light, submission)
            record = partial(self._katas.record, kata_id, name, light, submission, expected)
            if submission.size <= limits.LARGE_LIGHT_BYTES:
                return record()
            with self._large.one() as process:
                return record(dump_files=partial(large_lights.dump_files, process))

        recorded = await self._threads.run(work)
        return storer_pb2.RecordTestResponse(light=converters.light_to(recorded))

    async def RecordEdit(
        self, request: storer_pb2.RecordEditRequest, context: Context
    ) -> storer_pb2.RecordEditResponse:
        """Record what was changed since the newest light or edit."""
        kata_id, name = converters.kata_and_avatar(request.kata_id, request.avatar)

        def work() -> Edit | None:
            return self._katas.record_edit(
                kata_id,
                name,
                converters.files_from(request),
                converters.time_from(request.time, "time", given=request.HasField("time")),
                after=converters.after_from(request),
                writer=facts_converters.writer_from(request),
                request=converters.request_from(request),
            )

        recorded = await self._threads.run(work)
        edit = None if recorded is None else converters.edit_to(recorded)
        return storer_pb2.RecordEditResponse(edit=edit)

    async def GetFiles(self, request: storer_pb2.GetFilesRequest, context: Context) -> Any:
        """Read the visible files and the output of a light; return the response, serialized."""
        kata_id, name = converters.kata_and_avatar(request.kata_id, request.avatar)
        at = converters.at_from(request)

        def read() -> bytes:
            with self._katas.using(kata_id) as kata:
                return large_lights.files_of(kata.avatar(name), at, self._large)

        return await self._threads.run(read)

    async def GetOutputs(self, request: storer_pb2.GetOutputsRequest, context: Context) -> Any:
        """Read the outputs of many lights, in pages; return the response, serialized."""
        kata_id = kata_ids.check(request.kata_id)
        asked = converters.lights_from(request)
        first = page_tokens.place(request.page_token, len(asked))

        def read() -> bytes:
            with self._katas.using(kata_id) as kata:
                return outputs.page(
                    kata, asked, first, self._large, with_results=request.with_test_results
                )

        return await self._threads.run(read)

    async def DiffLights(self, request: storer_pb2.DiffLightsRequest, context: Context) -> Any:
        """Compare two lights, line by line; return the response, serialized."""
        kata_id, name = converters.kata_and_avatar(request.kata_id, request.avatar)
        was, now = _two_places(request)

        output = DIFF_OUTPUTS[request.changed_only, request.counts_only]
        read = partial(self._read_two, kata_id, name, was, now)
        return await self._comparisons.compare(output, read)

    async def DownloadPatch(
        self, request: storer_pb2.DownloadPatchRequest, context: Context
    ) -> AsyncIterator[storer_pb2.DownloadPatchResponse]:
        """Stream the difference of two lights as a unified patch."""
        kata_id, name = converters.kata_and_avatar(request.kata_id, request.avatar)
        was, now = _two_places(request)

        read = partial(self._read_two, kata_id, name, was, now)
        patch = await self._comparisons.compare(Output.PATCH, read)
        pieces = (piece for piece in chunks.rechunk([patch]))
        filename = f"{kata_id}-{name}-{was}-{now}.patch"
        async for part in self._streams.send(
            pieces, filename, storer_pb2.DownloadPatchResponse, held_bytes=len(patch)
        ):
            yield part

    def _read_two(
        self, kata_id: str, name: str, was: At, now: At, max_bytes: int | None
    ) -> Comparison:
        with self._katas.using(kata_id) as kata:
            return diff.read(kata.avatar(name), was, now, max_bytes)

    async def DownloadKata(
        self, request: storer_pb2.DownloadKataRequest, context: Context
    ) -> AsyncIterator[storer_pb2.DownloadKataResponse]:
        """Stream a kata as a tar, or an avatar's repository as a tar or a bundle."""
        kata_id = kata_ids.check(request.kata_id)
        compression = converters.compression_from(request.compression)
        resumption = converters.resumption_from(request)
        if request.for_saver:
            converters.check_whole_kata(request)
            filename = saver_download.filename(kata_id, compression)
            pieces = saver_download.download(self._katas, kata_id, compression, resumption)
        elif request.avatar or request.as_bundle:
            name = avatars.check(request.avatar)
            as_bundle = converters.as_bundle_from(request)
            filename = avatar_download.filename(kata_id, name, compression, as_bundle=as_bundle)
            pieces = avatar_download.download(
                *(self._katas, kata_id, name, compression, resumption), as_bundle=as_bundle
            )
        else:
            filename = download.filename(kata_id, compression)
            pieces = download.download(self._katas, kata_id, compression, resumption)
        header = partial(converters.stream_header, filename, resumption)
        async for part in self._streams.send(pieces, header, storer_pb2.DownloadKataResponse):
            yield part

    async def RestoreKata(
        self, request_iterator: AsyncIterator[storer_pb2.RestoreKataRequest], context: Context
    ) -> storer_pb2.RestoreKataResponse:
        """Create a kata from a tar."""
        first = await self._streams.header(request_iterator)
        overwrite, digest = first.header.overwrite, chunks.Digest()
        repeatable = None
        if first.header.request_id:
            repeatable = partial(converters.request_from, first.header, digest, "header.request_id")
            repeatable()  # it is checked now, and the tar's digest is known at its end

        def unpack(pieces: Iterator[bytes]) -> restore.Restored:
            return restore.restore(self._katas, pieces, overwrite=overwrite, request=repeatable)

        with self._audit.doing("RestoreKata", overwrite=overwrite) as deed:
            restored = await self._streams.receive(request_iterator, unpack, digest)
            deed.about["kata"] = restored.kata_id
        return storer_pb2.RestoreKataResponse(
            kata_id=restored.kata_id,
            avatars=restored.avatars.names,
            damaged=converters.damaged_to(restored.avatars.damaged),
            left_out=converters.left_out_to(restored.left_out),
        )

    async def VerifyKatas(
        self, request: storer_pb2.VerifyKatasRequest, context: Context
    ) -> AsyncIterator[storer_pb2.VerifyKatasResponse]:
        """Verify katas, and mend them if requested."""
        own = partial(
            answer_verify_katas,
            *(self._threads, self._containers, self._katas, self._checking),
            audit=self._audit,
        )
        installation = self._katas.installation
        parts = own(request)
        if installation.is_shared and not is_forwarded(context):
            parts = answer_everywhere(installation, self._peers, own, request)
        async with aclosing(parts):
            async for part in parts:
                yield part

    async def BackupKatas(
        self, request: storer_pb2.BackupKatasRequest, context: Context
    ) -> AsyncIterator[storer_pb2.BackupKatasResponse]:
        """Stream all katas, or those that changed, as a tar."""
        async for part in answer_backup_katas(
            self._threads, self._streams, self._katas, self._catalog, request, audit=self._audit
        ):
            yield part

    async def ListBackups(
        self, request: storer_pb2.ListBackupsRequest, context: Context
    ) -> storer_pb2.ListBackupsResponse:
        """List the backups that are remembered."""
        return await answer_list_backups(self._threads, self._catalog)

    async def RestoreKatas(
        self, request_iterator: AsyncIterator[storer_pb2.RestoreKatasRequest], context: Context
    ) -> AsyncIterator[storer_pb2.RestoreKatasResponse]:
        """Create katas from a tar, and report each."""
        verifier = Verifier(self._containers, self._katas, self._checking, mend=False)
        async for part in answer_restore_katas(
            self._streams, self._katas, verifier, request_iterator, audit=self._audit
        ):
            yield part

    def _with_colour_rule(self, manifest: storer_pb2.Manifest) -> storer_pb2.Manifest:
        """Add the colour rule of the image's start point to a kata that has no rule.

        The rule is added to the response and never written into the kata, so that a better rule
        applies to all existing katas.
        """
        has_unusable_rule = RED_AMBER_GREEN in manifest.other and manifest.other[RED_AMBER_GREEN]
        if not (manifest.colour_rule.WhichOneof("rule") or has_unusable_rule):
            found = self._start_points.for_image(manifest.image_name, manifest.display_name)
            if found is not None:
                manifest.colour_rule.CopyFrom(converters.manifest_to(found).colour_rule)
        return manifest


def _two_places(
    request: storer_pb2.DiffLightsRequest | storer_pb2.DownloadPatchRequest,
) -> tuple[At, At]:
    was = converters.at_from(request, "was_number", "was_edit_number")
    return was, converters.at_from(request, "now_number", "now_edit_number")
