"""A server over a decoder that computes nothing, for everything that lies before a decoder."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from catalog.errors import BadValue
from servers.huggingface.api import HuggingFaceApi
from servers.huggingface.decoder import CompletionRequest, Passes, TokenChunk
from servers.huggingface.decoder_registry import Loaded
from servers.huggingface.text import TextCodec
from servers.huggingface.worker import DecodeWorker
from servers.metrics import Metrics
from tests.machine import limit
from tests.servers.huggingface.tiny_models import learn
from workloads.quality.client import QualityClient, client_session
from workloads.quality.scores import Scores
from workloads.quality.windows import read_text, windows_of
from workloads.transport.target import Target

EOS = 9


@dataclass
class CountingDecoder:
    """Answers with the numbers after the prompt's last token, one a pass; notes its batches."""

    vocab: int = 1000
    max_context: int = 64
    eos: frozenset[int] = frozenset({EOS})
    max_batch: int = 1
    details: Mapping[str, str | int | float] = field(default_factory=lambda: {"decoder": "fake"})
    batches: list[list[CompletionRequest]] = field(default_factory=list)
    closed: int = 0
    fail_after: int | None = None
    pause_s: float = 0.0
    gate: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.gate.set()

    def check(self, request: CompletionRequest) -> None:
        if request.max_tokens == 13:
            raise BadValue("max_tokens", 13, "a luckier number")

    def counters(self) -> Mapping[str, float]:
        return {"batches": len(self.batches)}

    def decode(self, batch: Sequence[CompletionRequest]) -> Passes:
        self.batches.append(list(batch))
        try:
            for number in range(1, batch[0].max_tokens + 1):
                self.gate.wait(limit(10))
                time.sleep(self.pause_s)
                if number == self.fail_after:
                    raise RuntimeError("out of something")
                yield tuple(
                    TokenChunk(row, (request.prompt[-1] + number,))
                    for row, request in enumerate(batch)
                )
        finally:
            self.closed += 1


@pytest.fixture(scope="session")
def learned(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny Mixtral that has seen the text that ships a few times, so that it can lose by it."""
    return learn(tmp_path_factory.mktemp("learned"))


@pytest.fixture
def decoder() -> type[CountingDecoder]:
    return CountingDecoder


Serve = Callable[[CountingDecoder], Awaitable["TestClient[web.Request, web.Application]"]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    opened: list[tuple[TestClient[web.Request, web.Application], DecodeWorker]] = []

    async def start(decoder: CountingDecoder) -> "TestClient[web.Request, web.Application]":
        worker = DecodeWorker(decoder)
        service = HuggingFaceApi(worker, "m", TextCodec(), Metrics("m", 1))
        client = TestClient(TestServer(service.app()))
        await client.start_server()
        opened.append((client, worker))
        return client

    yield start
    for client, worker in opened:
        await client.close()
        await asyncio.to_thread(worker.stop)


@pytest.fixture
def quality_over_http() -> Callable[[Loaded], Coroutine[Any, Any, Scores]]:
    """Ask a server in this process how well it predicts the text that ships."""

    async def ask(served: Loaded) -> Scores:
        worker = DecodeWorker(served.decoder)
        async with TestServer(
            HuggingFaceApi(worker, "m", served.text, Metrics("m", 1)).app()
        ) as server:
            target = Target(base_url=str(server.make_url("")), model="m")
            async with client_session(target) as session:
                client = QualityClient(target, session, 8)
                tokens = await client.tokens(read_text("sample"))
                scores = await client.score(windows_of(tokens, window=512, limit=4096))
        worker.stop()
        return scores

    return ask
