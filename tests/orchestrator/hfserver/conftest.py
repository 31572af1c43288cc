"""A server over a decoder that computes nothing, for everything that lies before a decoder."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from catalog.errors import BadValue
from orchestrator.hfserver.api import Service
from orchestrator.hfserver.decoder import Ask, Passes, Piece
from orchestrator.hfserver.text import Text
from orchestrator.hfserver.worker import Worker
from orchestrator.simserver.metrics import Metrics

EOS = 9


@dataclass
class CountingDecoder:
    """Answers with the numbers after the prompt's last token, one a pass; notes its batches."""

    vocab: int = 1000
    max_context: int = 64
    eos: frozenset[int] = frozenset({EOS})
    max_batch: int = 1
    details: Mapping[str, str | int | float] = field(default_factory=lambda: {"decoder": "fake"})
    batches: list[list[Ask]] = field(default_factory=list)
    closed: int = 0
    fail_after: int | None = None
    pause_s: float = 0.0
    gate: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.gate.set()

    def check(self, ask: Ask) -> None:
        if ask.max_tokens == 13:
            raise BadValue("max_tokens", 13, "a luckier number")

    def counters(self) -> Mapping[str, float]:
        return {"batches": len(self.batches)}

    def decode(self, batch: Sequence[Ask]) -> Passes:
        self.batches.append(list(batch))
        try:
            for number in range(1, batch[0].max_tokens + 1):
                self.gate.wait(10)
                time.sleep(self.pause_s)
                if number == self.fail_after:
                    raise RuntimeError("out of something")
                yield tuple(Piece(row, (ask.prompt[-1] + number,)) for row, ask in enumerate(batch))
        finally:
            self.closed += 1


@pytest.fixture
def decoder() -> type[CountingDecoder]:
    return CountingDecoder


Serve = Callable[[CountingDecoder], Awaitable["TestClient[web.Request, web.Application]"]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    opened: list[tuple[TestClient[web.Request, web.Application], Worker]] = []

    async def start(decoder: CountingDecoder) -> "TestClient[web.Request, web.Application]":
        worker = Worker(decoder)
        service = Service(worker, "m", Text(), Metrics("m", 1))
        client = TestClient(TestServer(service.app()))
        await client.start_server()
        opened.append((client, worker))
        return client

    yield start
    for client, worker in opened:
        await client.close()
        await asyncio.to_thread(worker.stop)
