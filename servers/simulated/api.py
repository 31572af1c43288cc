"""What the simulated server puts behind the HTTP surface, its faults on request among it."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from aiohttp import web

from catalog.errors import Infeasible
from servers.http.generation import AnswerEnd, CompletionFailed, ConnectionCut, Delta, Finish
from servers.http.requests import CompletionBody, Prompt, check_length, prompts
from servers.http.surface import Surface
from servers.identity import SIMULATED_OWNER
from servers.simulated.engine import EngineCore
from servers.simulated.faults import Faults

SERVICE_UNAVAILABLE = 503
WORD, WORD_ID = " token", 7
TOLD_TO_FAIL = "told to fail"


@dataclass(frozen=True, slots=True)
class SimulatedApi:
    """One engine under one model name."""

    engine: EngineCore
    served_name: str
    max_model_len: int
    faults: Faults
    count_tokens: Callable[[str], int]
    routing: Callable[[int], str] | None = None
    """Gives the routed experts of so many tokens, where they are to be returned."""
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def app(self) -> web.Application:
        faults = self.faults
        surface = Surface(
            served_name=self.served_name,
            owner=SIMULATED_OWNER,
            version="simulated",
            max_model_len=self.max_model_len,
            start=self.start,
            metrics_text=self.metrics_text,
            answer_end=AnswerEnd(not faults.no_usage, not faults.no_done, faults.usage_off_by),
        )
        return surface.app()

    def metrics_text(self) -> str:
        return self.engine.metrics.text([batcher for _, batcher in self.engine.replicas])

    async def start(
        self, body: CompletionBody, *, arrived_s: float, wanted: int
    ) -> "SimulatedGeneration":
        if self.faults.fail_every and next(self._numbers) % self.faults.fail_every == 0:
            raise CompletionFailed(TOLD_TO_FAIL, SERVICE_UNAVAILABLE)
        lengths = self._prompt_tokens(body)
        for length in lengths:
            check_length(length, wanted, self.max_model_len)
        generation = SimulatedGeneration(self, lengths, wanted, streamed=body.stream)
        try:
            generation.begin(arrived_s)
        except Infeasible:
            generation.close()
            raise
        return generation

    def _prompt_tokens(self, body: CompletionBody) -> list[int]:
        if body.messages:
            said = " ".join(str(each.get("content", "")) for each in body.messages)
            return [self.count_tokens(said)]
        return [self._length(prompt) for prompt in prompts(body)]

    def _length(self, prompt: Prompt) -> int:
        return self.count_tokens(prompt) if isinstance(prompt, str) else len(prompt)


class SimulatedGeneration:
    """The tokens of one request as the engine's clock brings them."""

    def __init__(
        self, api: SimulatedApi, prompt_tokens: Sequence[int], wanted: int, *, streamed: bool
    ) -> None:
        self._api, self._wanted, self._streamed = api, wanted, streamed
        self.prompt_tokens = prompt_tokens
        self._came: asyncio.Queue[tuple[int, int]] = asyncio.Queue()
        self._requests: list[int] = []

    def begin(self, arrived_s: float) -> None:
        """Queue every prompt; raise Infeasible for one that can never fit."""
        for choice, length in enumerate(self.prompt_tokens):
            listen = partial(self._listen, choice)
            engine = self._api.engine
            self._requests.append(engine.add(length, self._wanted, listen, arrived_s=arrived_s))

    def _listen(self, choice: int, tokens: int) -> None:
        self._came.put_nowait((choice, tokens))

    async def deltas(self) -> AsyncIterator[Delta]:
        each = self._api.faults.tokens_per_event
        left = [self._wanted for _ in self.prompt_tokens]
        ready = [0 for _ in self.prompt_tokens]
        while any(left):
            choice, tokens = await self._came.get()
            ready[choice] += tokens
            if (count := ready[choice]) >= min(each, left[choice]):
                left[choice], ready[choice] = left[choice] - count, 0
                finish: Finish | None = None if left[choice] else "length"
                yield Delta(WORD * count, [WORD_ID] * count, finish, choice)
                self._fail_after(self._wanted - left[choice])

    def _fail_after(self, sent: int) -> None:
        faults = self._api.faults
        if not self._streamed:
            return
        if faults.cut_after_tokens is not None and sent >= faults.cut_after_tokens:
            raise ConnectionCut
        if faults.error_after_tokens is not None and sent >= faults.error_after_tokens:
            raise CompletionFailed(TOLD_TO_FAIL)

    def extras(self, choice: int) -> Mapping[str, Any]:
        routing = self._api.routing
        if routing is None:
            return {}
        # The last token has not gone through the model, as with vLLM.
        return {"routed_experts": routing(self.prompt_tokens[choice] + self._wanted - 1)}

    def close(self) -> None:
        for request in self._requests:
            self._api.engine.abort(request)
