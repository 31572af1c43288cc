"""The routes of an OpenAI-compatible server, in the shapes of vLLM's."""

import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Protocol

import msgspec
from aiohttp import web

from catalog.errors import MoeserveError
from servers.http.completion import Completion
from servers.http.generation import (
    GOOD_END,
    AnswerEnd,
    CompletionFailed,
    ConnectionCut,
    Generation,
)
from servers.http.listen import LARGEST_BODY_BYTES, limited
from servers.http.requests import CompletionBody, output_tokens

EVENT_STREAM = {"Content-Type": "text/event-stream; charset=utf-8"}


class Start(Protocol):
    """Begins to generate `wanted` tokens a prompt; `arrived_s` is on `perf_counter`.

    Raises a MoeserveError for a request that cannot be served, CompletionFailed for one that could
    have been.
    """

    async def __call__(
        self, body: CompletionBody, *, arrived_s: float, wanted: int
    ) -> Generation: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Surface:
    """Answers HTTP requests for one model under one name."""

    served_name: str
    owner: str
    """What the server calls itself in `/v1/models`."""
    version: str
    max_model_len: int
    """Tokens of prompt and answer together."""
    start: Start
    metrics_text: Callable[[], str]
    alive: Callable[[], bool] = lambda: True
    details: Mapping[str, Any] = field(default_factory=dict)
    """What runs and how, for `/v1/models`; left out where there is nothing to say."""
    answer_end: AnswerEnd = GOOD_END
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def app(self) -> web.Application:
        app = limited(web.Application(client_max_size=LARGEST_BODY_BYTES))
        app.router.add_get("/health", self._health)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/version", self._version)
        app.router.add_post("/v1/completions", self._complete)
        app.router.add_post("/v1/chat/completions", self._chat)
        return app

    async def _health(self, _: web.Request) -> web.Response:
        return web.Response(status=200 if self.alive() else 503)

    async def _version(self, _: web.Request) -> web.Response:
        return web.json_response({"version": self.version})

    async def _models(self, _: web.Request) -> web.Response:
        entry = {
            "id": self.served_name,
            "object": "model",
            "owned_by": self.owner,
            "max_model_len": self.max_model_len,
        }
        if self.details:
            entry["details"] = dict(self.details)
        return web.json_response({"object": "list", "data": [entry]})

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(text=self.metrics_text())

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        return await self._answer(request, chat=False)

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        return await self._answer(request, chat=True)

    async def _answer(self, request: web.Request, *, chat: bool) -> web.StreamResponse:
        arrived_s = perf_counter()
        try:
            body = msgspec.json.decode(await request.read(), type=CompletionBody)
            if body.model != self.served_name:
                return error_response(404, f"The model `{body.model}` does not exist.")
            wanted = output_tokens(body)
            generation = await self.start(body, arrived_s=arrived_s, wanted=wanted)
        except (msgspec.DecodeError, MoeserveError, UnicodeDecodeError, RecursionError) as error:
            return error_response(400, str(error))
        except CompletionFailed as error:
            return error_response(error.status, str(error))
        try:
            completion = Completion(body, generation, chat=chat, number=next(self._numbers))
            if body.stream:
                return await self._stream(completion, request)
            return web.json_response(await completion.whole(self.answer_end))
        except CompletionFailed as error:
            return error_response(error.status, str(error))
        finally:
            generation.close()

    async def _stream(self, completion: Completion, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers=EVENT_STREAM)
        await response.prepare(request)
        try:
            async for data in completion.events(self.answer_end):
                await response.write(data)
        except ConnectionCut:
            if request.transport is not None:
                request.transport.abort()
        return response


def error_response(status: int, message: str) -> web.Response:
    body = {"error": {"message": message, "type": "BadRequestError", "code": status}}
    return web.Response(status=status, text=json.dumps(body), content_type="application/json")
