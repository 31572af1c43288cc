"""The OpenAI-compatible HTTP side of the simulated server."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import msgspec
from aiohttp import web

from catalog.errors import Infeasible
from orchestrator.engines.control import SIMULATED_OWNER
from orchestrator.simserver.engine import Engine
from orchestrator.simserver.faults import Faults

SERVICE_UNAVAILABLE = 503
WORD = " token"
TOLD_TO_FAIL = b'data: {"error":{"message":"told to fail","code":500}}\n\n'


class StreamOptions(msgspec.Struct):
    include_usage: bool = False


class Ask(msgspec.Struct):
    """What is read of a completion request; everything else is ignored."""

    model: str = ""
    prompt: str | list[int | str | list[int]] = ""
    messages: list[dict[str, Any]] = []
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    return_token_ids: bool = False

    @property
    def output_tokens(self) -> int:
        return self.max_completion_tokens or self.max_tokens or 16


@dataclass(frozen=True, slots=True)
class Service:
    """Answers requests for one engine under one model name."""

    engine: Engine
    served_name: str
    max_model_len: int
    faults: Faults
    count_tokens: Callable[[str], int]
    numbers: "itertools.count[int]"
    routing: Callable[[int], str] | None = None
    """Gives the routed experts of so many tokens, where they are to be returned."""

    def app(self) -> web.Application:
        app = web.Application(client_max_size=64 * 2**20)
        app.router.add_get("/health", self._health)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/version", self._version)
        app.router.add_post("/v1/completions", self._complete)
        app.router.add_post("/v1/chat/completions", self._chat)
        return app

    async def _health(self, _: web.Request) -> web.Response:
        return web.Response()

    async def _version(self, _: web.Request) -> web.Response:
        return web.json_response({"version": "simulated"})

    async def _models(self, _: web.Request) -> web.Response:
        entry = {
            "id": self.served_name,
            "object": "model",
            "owned_by": SIMULATED_OWNER,
            "max_model_len": self.max_model_len,
        }
        return web.json_response({"object": "list", "data": [entry]})

    async def _metrics(self, _: web.Request) -> web.Response:
        batchers = [batcher for _, batcher in self.engine.replicas]
        return web.Response(text=self.engine.metrics.text(batchers))

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        return await self._answer(request, chat=False)

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        return await self._answer(request, chat=True)

    async def _answer(self, request: web.Request, *, chat: bool) -> web.StreamResponse:
        arrived_s, number = perf_counter(), next(self.numbers)
        if self.faults.fail_every and number % self.faults.fail_every == 0:
            return _error(SERVICE_UNAVAILABLE, "told to fail")
        try:
            ask = msgspec.json.decode(await request.read(), type=Ask)
        except msgspec.DecodeError as error:
            return _error(400, str(error))
        if ask.model != self.served_name:
            return _error(404, f"The model `{ask.model}` does not exist.")
        prompt_tokens = self._prompt_tokens(ask)
        if prompt_tokens + ask.output_tokens > self.max_model_len or prompt_tokens < 1:
            return _error(400, f"1 to {self.max_model_len} tokens, prompt and answer together")
        answer = _Answer(self, ask, prompt_tokens, chat=chat, number=number, arrived_s=arrived_s)
        try:
            answer.begin()
        except Infeasible as error:
            return _error(400, str(error))
        return await (answer.stream(request) if ask.stream else answer.whole())

    def _prompt_tokens(self, ask: Ask) -> int:
        prompt = ask.prompt
        if ask.messages:
            return self.count_tokens(" ".join(str(m.get("content", "")) for m in ask.messages))
        if isinstance(prompt, str):
            return self.count_tokens(prompt)
        first = prompt[0] if prompt else 0
        if isinstance(first, list):
            return len(first)
        return self.count_tokens(first) if isinstance(first, str) else len(prompt)


class _Answer:
    """One request's answer, streamed or whole."""

    def __init__(
        self,
        service: Service,
        ask: Ask,
        prompt_tokens: int,
        *,
        chat: bool,
        number: int,
        arrived_s: float,
    ) -> None:
        self._service, self._ask, self._chat = service, ask, chat
        self._prompt_tokens = prompt_tokens
        self._id = f"{'chatcmpl' if chat else 'cmpl'}-{number:x}"
        self._tokens: asyncio.Queue[int] = asyncio.Queue()
        self._request = -1
        self._arrived_s = arrived_s

    def begin(self) -> None:
        ask = self._ask
        self._request = self._service.engine.add(
            self._prompt_tokens,
            ask.output_tokens,
            self._tokens.put_nowait,
            arrived_s=self._arrived_s,
        )

    async def whole(self) -> web.Response:
        async for _ in self._counts():
            pass
        text = WORD * self._ask.output_tokens
        choice = {"index": 0, "finish_reason": "length", **self._text(text, delta=False)}
        if self._service.routing is not None:
            # The last token has not gone through the model, as with vLLM.
            seen = self._prompt_tokens + self._ask.output_tokens - 1
            choice["routed_experts"] = self._service.routing(seen)
        kind = "chat.completion" if self._chat else "text_completion"
        body = {**self._head(), "object": kind, "choices": [choice], "usage": self._usage()}
        return web.json_response(body)

    async def stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)
        try:
            async for data in self._events(request):
                await response.write(data)
        except (ConnectionError, asyncio.CancelledError):
            self._service.engine.abort(self._request)
            raise
        return response

    async def _events(self, request: web.Request) -> AsyncIterator[bytes]:
        faults, sent = self._service.faults, 0
        if self._chat:
            yield self._event({"index": 0, "delta": {"role": "assistant", "content": ""}})
        async for count in self._counts():
            sent += count
            yield self._token_event(count, last=sent >= self._ask.output_tokens)
            if faults.cut_after_tokens is not None and sent >= faults.cut_after_tokens:
                self._cut(request)
                return
            if faults.error_after_tokens is not None and sent >= faults.error_after_tokens:
                self._service.engine.abort(self._request)
                yield TOLD_TO_FAIL
                return
        options = self._ask.stream_options
        if options and options.include_usage and not faults.no_usage:
            yield self._line({**self._head(), "choices": [], "usage": self._usage()})
        if not faults.no_done:
            yield b"data: [DONE]\n\n"

    async def _counts(self) -> AsyncIterator[int]:
        """Yield how many tokens each event is to carry."""
        left, each = self._ask.output_tokens, self._service.faults.tokens_per_event
        ready = 0
        while left:
            ready += await self._tokens.get()
            if ready >= min(each, left):
                yield ready
                left, ready = left - ready, 0

    def _cut(self, request: web.Request) -> None:
        self._service.engine.abort(self._request)
        if request.transport is not None:
            request.transport.abort()

    def _token_event(self, count: int, *, last: bool) -> bytes:
        ids = {"token_ids": [7] * count} if self._ask.return_token_ids else {}
        reason = "length" if last else None
        text = self._text(WORD * count, delta=True)
        return self._event({"index": 0, **text, "logprobs": None, "finish_reason": reason, **ids})

    def _event(self, choice: dict[str, Any]) -> bytes:
        return self._line({**self._head(), "choices": [choice]})

    def _line(self, body: dict[str, Any]) -> bytes:
        return b"data: " + msgspec.json.encode(body) + b"\n\n"

    def _text(self, text: str, *, delta: bool) -> dict[str, Any]:
        if not self._chat:
            return {"text": text}
        return {"delta" if delta else "message": {"role": "assistant", "content": text}}

    def _head(self) -> dict[str, Any]:
        kind = "chat.completion.chunk" if self._chat else "text_completion"
        return {"id": self._id, "object": kind, "created": 0, "model": self._service.served_name}

    def _usage(self) -> dict[str, int]:
        output = self._ask.output_tokens + self._service.faults.usage_off_by
        return {
            "prompt_tokens": self._prompt_tokens,
            "completion_tokens": output,
            "total_tokens": self._prompt_tokens + output,
        }


def _error(status: int, message: str) -> web.Response:
    body = {"error": {"message": message, "type": "BadRequestError", "code": status}}
    return web.Response(status=status, text=json.dumps(body), content_type="application/json")
