"""The parts of a RunStream: states at once, output in pieces."""

import asyncio
import threading

from cyberdojo.runner.v1 import runner_pb2
from runner.api.stream_parts import StreamParts

Part = runner_pb2.RunStreamResponse


async def collect(parts: StreamParts) -> list[Part]:
    return [part async for part in parts]


def test_output_that_was_collected_is_one_piece_of_each_stream() -> None:
    async def main() -> None:
        parts = StreamParts()
        for _ in range(1000):
            parts.add_output("out", b"o")
            parts.add_output("err", b"e")
        parts.end()
        assert await collect(parts) == [Part(stdout=b"o" * 1000), Part(stderr=b"e" * 1000)]

    asyncio.run(main())


def test_a_run_that_moves_up_before_it_is_told_is_told_the_newest_place() -> None:
    async def main() -> None:
        parts = StreamParts()
        for ahead in (3, 2, 1):
            parts.add_waiting(ahead)
        parts.add_started()
        parts.add_output("out", b"o")
        parts.end()
        waiting, started, output = await collect(parts)
        assert waiting.waiting.ahead == 1
        assert started.HasField("started")
        assert output.stdout == b"o"

    asyncio.run(main())


def test_nothing_of_what_a_thread_adds_is_lost_or_out_of_order() -> None:
    written = [b"%d " % number for number in range(20_000)]

    async def main() -> None:
        parts = StreamParts()

        def write() -> None:
            for each in written:
                parts.add_output("out", each)

        thread = threading.Thread(target=write)
        thread.start()
        collecting = asyncio.create_task(collect(parts))
        await asyncio.to_thread(thread.join)
        parts.end()
        found = await collecting
        assert b"".join(part.stdout for part in found) == b"".join(written)
        assert len(found) < len(written) / 2

    asyncio.run(main())


def test_a_stream_without_parts_ends() -> None:
    async def main() -> None:
        parts = StreamParts()
        parts.end()
        assert await collect(parts) == []

    asyncio.run(main())
