"""What the simulated server puts behind the HTTP surface, its faults on request among it."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from aiohttp import web

from catalog.errors import Infeasible
from perfmodel.prefix_cache import block_hashes
from servers.http.generation import AnswerEnd, CompletionFailed, ConnectionCut, Delta, Finish
from servers.http.requests import CompletionBody, Prompt, check_length, prompts
from servers.http.surface import Surface
from servers.identity import SIMULATED_OWNER
from servers.simulated.engine import EngineCore, RunningRequest
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
    tokenize: Callable[[str], Sequence[int]]
    routing: Callable[[int], str] | None = None
    """Gives the routed experts of so many tokens, where they are to be returned."""
    prompt_tokens_details: bool = False
    """Say in each answer's usage how much of the prompt was cached."""
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
        prompts_ids = self._prompts(body)
        for ids in prompts_ids:
            check_length(len(ids), wanted, self.max_model_len)
        generation = SimulatedGeneration(self, prompts_ids, wanted, body)
        try:
            generation.begin(arrived_s)
        except Infeasible:
            generation.close()
            raise
        return generation

    def _prompts(self, body: CompletionBody) -> list[Sequence[int]]:
        if body.messages:
            said = " ".join(str(each.get("content", "")) for each in body.messages)
            return [self.tokenize(said)]
        return [self._ids(prompt) for prompt in prompts(body)]

    def _ids(self, prompt: Prompt) -> Sequence[int]:
        return self.tokenize(prompt) if isinstance(prompt, str) else prompt

    def hashes(self, ids: Sequence[int], wanted: int, salt: str | None) -> Sequence[Hashable]:
        """Return the hashes of a prompt's full blocks and its answer's, where they are shared.

        Only requests of one `cache_salt` share any, as with vLLM.
        """
        limits = self.engine.limits
        if not limits.prefix_caching:
            return ()
        found = block_hashes([*ids, *[WORD_ID] * wanted], limits.block_tokens)
        return found if salt is None else [(salt, each) for each in found]


class SimulatedGeneration:
    """The tokens of one request as the engine's clock brings them."""

    def __init__(
        self, api: SimulatedApi, ids: Sequence[Sequence[int]], wanted: int, body: CompletionBody
    ) -> None:
        self._api, self._wanted = api, wanted
        self._streamed, self._salt = body.stream, body.cache_salt
        self._prompts = ids
        self.prompt_tokens = [len(each) for each in ids]
        self._came: asyncio.Queue[tuple[int, int]] = asyncio.Queue()
        self._requests: list[RunningRequest] = []

    @property
    def cached_tokens(self) -> int | None:
        """Prompt tokens that the prefix cache held, where the server is to tell."""
        if not self._api.prompt_tokens_details:
            return None
        return sum(request.sequence.cached_tokens for request in self._requests)

    def begin(self, arrived_s: float) -> None:
        """Queue every prompt; raise Infeasible for one that can never fit."""
        for choice, ids in enumerate(self._prompts):
            listen = partial(self._listen, choice)
            hashes = self._api.hashes(ids, self._wanted, self._salt)
            request = self._api.engine.add(
                len(ids), self._wanted, listen, arrived_s=arrived_s, hashes=hashes
            )
            self._requests.append(request)

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
