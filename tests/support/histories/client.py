"""A client of the storer whose calls are recorded, and what it reads of a kata."""

from collections.abc import Iterable, Iterator, Sequence

import grpc

from cyberdojo.storer.v1 import storer_pb2, storer_pb2_grpc
from support.histories import attempts, digests
from support.histories.attempts import Attempt, Reading, Seen
from support.histories.digests import Contents
from support.histories.recorder import Recorder

Stub = storer_pb2_grpc.StorerServiceStub

_MAX_OUTPUTS = 256  # that one GetOutputs may ask for


class Client:
    """A client that sends each call once. It raises what the stub raises. Any thread may use it."""

    def __init__(
        self,
        stub: Stub,
        recorder: Recorder,
        name: str = "",
        *,
        contents: Contents = Contents.OUTPUT,
        seconds: float = 30,
    ) -> None:
        """Use a stub whose channel retries nothing; each call has a deadline of `seconds`."""
        self._stub = stub
        self._recorder = recorder
        self._name = name
        self._contents = contents
        self._seconds = seconds

    def create_kata(self, manifest: storer_pb2.Manifest, request_id: str = "") -> str:
        """Create a kata; return its id."""
        call = attempts.create_kata(digests.of_manifest(manifest), request_id)
        request = storer_pb2.CreateKataRequest(manifest=manifest, request_id=request_id)
        with self._recorder.sending(call, self._name) as sending:
            kata_id = self._stub.CreateKata(request, timeout=self._seconds).kata_id
            sending.acknowledge(kata_id)
        return kata_id

    def start_avatar(self, kata_id: str, order: Sequence[str] = (), request_id: str = "") -> str:
        """Start an avatar; return its name."""
        call = attempts.start_avatar(kata_id, tuple(order), request_id)
        request = storer_pb2.StartAvatarRequest(
            kata_id=kata_id, avatars=order, request_id=request_id
        )
        with self._recorder.sending(call, self._name) as sending:
            avatar = self._stub.StartAvatar(request, timeout=self._seconds).avatar
            sending.acknowledge(avatar)
        return avatar

    def record_test(self, request: storer_pb2.RecordTestRequest) -> int:
        """Record a test; return the number of its light."""
        call = attempts.record_test(
            request.kata_id,
            request.avatar,
            digests.of_test(request, self._contents),
            request.request_id,
            request.expected_number if request.HasField("expected_number") else None,
        )
        with self._recorder.sending(call, self._name) as sending:
            number = self._stub.RecordTest(request, timeout=self._seconds).light.number
            sending.acknowledge(number)
        return number

    def delete_kata(self, kata_id: str) -> None:
        """Delete a kata."""
        request = storer_pb2.DeleteKataRequest(kata_id=kata_id)
        with self._recorder.sending(attempts.delete_kata(kata_id), self._name) as sending:
            self._stub.DeleteKata(request, timeout=self._seconds)
            sending.acknowledge(None)

    def read(self, kata_id: str, avatar: str = "", *, with_contents: bool = False) -> Reading:
        """Read the lights of a kata, or of one of its avatars; with their contents if wanted."""
        with self._recorder.sending(attempts.read(kata_id, avatar), self._name) as sending:
            reading = self._read(kata_id, avatar, with_contents=with_contents)
            sending.acknowledge(reading)
        return reading

    def _read(self, kata_id: str, avatar: str, *, with_contents: bool) -> Reading:
        numbers, damaged = self._list(kata_id, avatar)
        seen = {}
        for name, listed in numbers.items():
            expected = range(max(listed) + 1)
            irregular = tuple(each for each in expected if listed.count(each) != 1)
            wanted = [each for each in listed if each > 0] if with_contents else []
            seen[name] = Seen(max(listed), dict(self._digests(kata_id, name, wanted)), irregular)
        content = ""
        if with_contents and not avatar:
            request = storer_pb2.GetKataRequest(kata_id=kata_id)
            manifest = self._stub.GetKata(request, timeout=self._seconds).manifest
            content = digests.of_manifest(manifest)
        return Reading(seen, content, tuple(damaged))

    def _list(self, kata_id: str, avatar: str) -> tuple[dict[str, list[int]], list[str]]:
        """Return the numbers of each avatar's lights, and the names of the damaged ones."""
        numbers: dict[str, list[int]] = {}
        damaged: dict[str, None] = {}
        request = storer_pb2.ListLightsRequest(kata_id=kata_id, avatar=avatar)
        while True:
            page = self._stub.ListLights(request, timeout=self._seconds)
            for each in page.avatars:
                numbers.setdefault(each.avatar, []).extend(light.number for light in each.lights)
            damaged.update(dict.fromkeys(each.avatar for each in page.damaged))
            if not page.next_page_token:
                return numbers, list(damaged)
            request.page_token = page.next_page_token

    def _digests(self, kata_id: str, name: str, numbers: list[int]) -> Iterator[tuple[int, str]]:
        """Yield the numbers of lights, each with the digest of its content."""
        if self._contents is Contents.ALL:
            for number in numbers:
                request = storer_pb2.GetFilesRequest(
                    kata_id=kata_id, avatar=name, light_number=number
                )
                found = self._stub.GetFiles(request, timeout=self._seconds)
                stdout, stderr = found.stdout.content, found.stderr.content
                yield number, digests.of_light(stdout, stderr, found.files)
            return
        for first in range(0, len(numbers), _MAX_OUTPUTS):
            asked = numbers[first : first + _MAX_OUTPUTS]
            for number, output in zip(asked, self._outputs(kata_id, name, asked), strict=True):
                if output.HasField("refusal"):  # that is no digest of anything
                    yield number, output.refusal.message
                else:
                    stdout, stderr = output.stdout.content, output.stderr.content
                    yield number, digests.of_light(stdout, stderr, {})

    def _outputs(
        self, kata_id: str, name: str, numbers: list[int]
    ) -> Iterator[storer_pb2.LightOutput]:
        """Yield the outputs of at most 256 lights, in their order."""
        lights = [storer_pb2.WhichLight(avatar=name, light_number=each) for each in numbers]
        request = storer_pb2.GetOutputsRequest(kata_id=kata_id, lights=lights)
        while True:
            page = self._stub.GetOutputs(request, timeout=self._seconds)
            yield from page.outputs
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token


def kata_ids(stub: Stub) -> list[str]:
    """Return the ids of all katas that a storer has."""
    found: list[str] = []
    request = storer_pb2.ListKatasRequest()
    while True:
        page = stub.ListKatas(request)
        found += [each.kata_id for each in page.katas]
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


def read_in_the_end(
    stub: Stub, kata_ids: Iterable[str], contents: Contents = Contents.OUTPUT
) -> list[Attempt]:
    """Return reads of these katas, with their contents, of which some may not be there.

    Raises grpc.RpcError if one can't be read.
    """
    recorder = Recorder()
    client = Client(stub, recorder, contents=contents)
    for kata_id in dict.fromkeys(kata_ids):
        try:
            client.read(kata_id, with_contents=True)
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.NOT_FOUND:
                raise
    return recorder.attempts()
