"""The whole client with the sanitized reader against a server that lies, cuts and breaks off."""

import argparse
import asyncio
import socket
import struct
import sys
import time
from collections import Counter
from random import Random
from typing import TYPE_CHECKING

from tests.fuzz.answers import SEEDS, answer, pieces
from tests.fuzz.sanitized import NAME, load_reader, open_files, resident_mb

if TYPE_CHECKING:
    from workloads.transcript import RequestRow

REQUESTS = 200
MOST_GROWN_MB = 300.0


class LyingServer:
    """Answers each request with damaged bytes, in pieces, and may end the connection anywhere."""

    def __init__(self, seed: int) -> None:
        self._rng = Random(seed)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._requested(reader):
                if not await self._answer(writer):
                    return
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            writer.close()

    async def _requested(self, reader: asyncio.StreamReader) -> bool:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return False
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
        return True

    async def _answer(self, writer: asyncio.StreamWriter) -> bool:
        rng = self._rng
        # Half are right: a reader that only ever fails does not come to read on by itself.
        data = SEEDS[0] if rng.random() < 0.5 else answer(rng)
        if rng.random() < 0.02:
            data = data + b"x" * 300_000
        for piece in pieces(rng, data):
            writer.write(piece)
            await writer.drain()
            if rng.random() < 0.1:
                await asyncio.sleep(0.001)
        fate = rng.random()
        if fate < 0.05:
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()
        return data in SEEDS[:3] and fate >= 0.15


async def attack(rounds_until: float, seed: int, counts: Counter[str]) -> None:
    from tests.measured_path import run

    server = await asyncio.start_server(LyingServer(seed).serve, "127.0.0.1", 0, backlog=4096)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    before: tuple[int, float] | None = None
    rng = Random(seed)
    while time.perf_counter() < rounds_until:
        concurrency = rng.choice((1, 8, 64, REQUESTS))
        rows, stats = await run(
            url, REQUESTS, concurrency=concurrency, output_len=4,
            idle_timeout_s=0.5, request_timeout_s=2.0,
        )  # fmt: skip
        _count(rows, counts)
        counts["reads"] += stats.reads
        await asyncio.sleep(0.05)
        if before is None:
            before = (open_files(), resident_mb())
    server.close()
    assert before is not None
    grown = resident_mb() - before[1]
    print(f"client: {dict(sorted(counts.items()))}, memory {grown:+.0f} MB")
    assert open_files() <= before[0] + REQUESTS, "files are left open"
    assert grown < MOST_GROWN_MB


def _count(rows: "list[RequestRow]", counts: Counter[str]) -> None:
    assert len(rows) == REQUESTS, "a request without a row"
    counts["requests"] += len(rows)
    for row in rows:
        counts[row.error_class or "ok"] += 1


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    module = load_reader()
    counts: Counter[str] = Counter()
    asyncio.run(attack(time.perf_counter() + given.seconds, given.seed, counts))
    assert sys.modules[NAME] is module, "the client has loaded another reader"
    assert counts["ok"], "no request was answered rightly: the reader was hardly used"


if __name__ == "__main__":
    main()
