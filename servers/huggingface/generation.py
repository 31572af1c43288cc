"""One request in the decoder's queue, and its tokens on their way back."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from servers.http.generation import CompletionFailed, Delta, Finish
from servers.huggingface.decoder import CompletionRequest
from servers.huggingface.scoring import TokenLogprobs, as_vllm
from servers.huggingface.text import TextCodec, TextStream
from servers.huggingface.worker import DecodeJob, DecodeWorker, Update
from servers.metrics import Metrics

SERVICE_UNAVAILABLE = 503


@dataclass(slots=True)
class Part:
    """The answer to one prompt so far."""

    text: TextStream
    finish: Finish | None = None
    times_s: list[float] = field(default_factory=list)
    """When each token came, on `perf_counter`."""
    extras: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class DecoderGeneration:
    """One job a prompt, whose updates come in as they may."""

    worker: DecodeWorker
    metrics: Metrics
    text: TextCodec
    requests: Sequence[CompletionRequest]
    listed: Sequence[list[TokenLogprobs]]
    """The prompts' own log-probabilities, where they were asked for."""
    arrived_s: float
    _updates: "asyncio.Queue[tuple[int, Update]]" = field(default_factory=asyncio.Queue)
    _parts: list[Part] = field(init=False)
    _jobs: list[DecodeJob] = field(init=False)

    @property
    def cached_tokens(self) -> None:
        """Nothing is kept from one request to the next."""
        return None

    def __post_init__(self) -> None:
        self._parts = [Part(TextStream(self.text)) for _ in self.requests]
        self._jobs = [
            DecodeJob(request, self._listener(index)) for index, request in enumerate(self.requests)
        ]

    def _listener(self, index: int) -> Callable[[Update], None]:
        return lambda update: self._updates.put_nowait((index, update))

    @property
    def prompt_tokens(self) -> Sequence[int]:
        return [len(request.prompt) for request in self.requests]

    def begin(self) -> None:
        """Queue every job; raise CompletionFailed where there is no room."""
        if not all(self.worker.add(job) for job in self._jobs):
            self.close()
            raise CompletionFailed("the queue is full", SERVICE_UNAVAILABLE)
        for tokens in self.prompt_tokens:
            self.metrics.arrived(0, tokens)

    async def deltas(self) -> AsyncIterator[Delta]:
        left = len(self._jobs)
        while left:
            index, update = await self._updates.get()
            if update.error:
                raise CompletionFailed(update.error)
            part = self._parts[index]
            part.times_s += [perf_counter()] * len(update.tokens)
            part.finish, part.extras = update.finish, update.extras
            left -= update.last
            text = part.text.add(update.tokens, last=update.last)
            yield Delta(text, update.tokens, update.finish, index)

    def extras(self, choice: int) -> Mapping[str, Any]:
        listed = {"prompt_logprobs": as_vllm(self.listed[choice])} if self.listed else {}
        return {**self._parts[choice].extras, **listed}

    def close(self) -> None:
        """Cancel the jobs that still run, and count how each ended."""
        for job, part in zip(self._jobs, self._parts, strict=True):
            self.worker.cancel(job)
            self.metrics.finished(0, part.finish or "abort", self.arrived_s, part.times_s)
