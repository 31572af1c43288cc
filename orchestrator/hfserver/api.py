"""The OpenAI-compatible HTTP side, in the shapes of vLLM's server."""

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import perf_counter

import msgspec
from aiohttp import web

from catalog.errors import BadValue, MoeserveError
from orchestrator.hfserver.answer import Answer, AnswerFailed
from orchestrator.hfserver.decoder import Ask
from orchestrator.hfserver.scoring import Listed, Scorer, as_vllm
from orchestrator.hfserver.text import Text
from orchestrator.hfserver.wire import Body, TokenizeBody, asks
from orchestrator.hfserver.worker import Worker
from orchestrator.simserver.metrics import Metrics

OWNER = "moeserve-hfserver"
LARGEST_BODY_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Gauges:
    """The queue as the metrics want it."""

    num_running: int
    num_waiting: int
    kv_usage: float = 0.0
    """No cache outlives a request."""
    preemptions: int = 0


@dataclass(frozen=True, slots=True)
class Service:
    """Answers requests for one decoder under one model name."""

    worker: Worker
    served_name: str
    text: Text
    metrics: Metrics
    _numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    def app(self) -> web.Application:
        app = web.Application(client_max_size=LARGEST_BODY_BYTES)
        app.router.add_get("/health", self._health)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/version", self._version)
        app.router.add_post("/tokenize", self._tokenize)
        app.router.add_post("/v1/completions", self._complete)
        app.router.add_post("/v1/chat/completions", self._chat)
        return app

    async def _health(self, _: web.Request) -> web.Response:
        return web.Response(status=200 if self.worker.alive else 503)

    async def _version(self, _: web.Request) -> web.Response:
        return web.json_response({"version": version()})

    async def _models(self, _: web.Request) -> web.Response:
        decoder = self.worker.decoder
        entry = {
            "id": self.served_name,
            "object": "model",
            "owned_by": OWNER,
            "max_model_len": decoder.max_context,
            "details": dict(decoder.details),
        }
        return web.json_response({"object": "list", "data": [entry]})

    async def _metrics(self, _: web.Request) -> web.Response:
        gauges = Gauges(self.worker.num_running, self.worker.num_waiting)
        text = self.metrics.text([gauges])
        for name, value in self.worker.decoder.counters().items():
            metric = f"moeserve_decoder_{name}_total"
            text += f"# TYPE {metric} counter\n{metric} {value}\n"
        return web.Response(text=text)

    async def _tokenize(self, request: web.Request) -> web.Response:
        try:
            body = msgspec.json.decode(await request.read(), type=TokenizeBody)
            tokens = self.text.encode(body.prompt, special=body.add_special_tokens)
        except (msgspec.DecodeError, MoeserveError) as error:
            return refusal(400, str(error))
        return web.json_response({"tokens": list(tokens), "count": len(tokens)})

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        return await self._answer(request, chat=False)

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        return await self._answer(request, chat=True)

    async def _answer(self, request: web.Request, *, chat: bool) -> web.StreamResponse:
        arrived_s = perf_counter()
        try:
            body = msgspec.json.decode(await request.read(), type=Body)
            if body.model != self.served_name:
                return refusal(404, f"The model `{body.model}` does not exist.")
            wanted = asks(body, self.text)
            for ask in wanted:
                self._check(ask)
            top = body.prompt_logprobs
            listed = [] if top is None else [await self._score(ask, top) for ask in wanted]
        except (msgspec.DecodeError, MoeserveError) as error:
            return refusal(400, str(error))
        except AnswerFailed as error:
            return refusal(500, str(error))
        answer = Answer(body, wanted, self.text, chat=chat, number=next(self._numbers))
        if not all(self.worker.add(job) for job in answer.jobs):
            self._end(answer, arrived_s)
            return refusal(503, "the queue is full")
        for ask in wanted:
            self.metrics.arrived(0, len(ask.prompt))
        try:
            return await self._send(answer, request, stream=body.stream, listed=listed)
        finally:
            self._end(answer, arrived_s)

    def _check(self, ask: Ask) -> None:
        decoder = self.worker.decoder
        if not ask.prompt:
            raise BadValue("prompt", "", "one token or more")
        strange = next((each for each in ask.prompt if not 0 <= each < decoder.vocab), None)
        if strange is not None:
            raise BadValue("prompt", f"token {strange}", f"0 to {decoder.vocab - 1}")
        if sum(ask.shape) > decoder.max_context:
            given = f"{len(ask.prompt)} + {ask.max_tokens}"
            raise BadValue("tokens of prompt and answer", given, f"{decoder.max_context} together")
        decoder.check(ask)

    async def _score(self, ask: Ask, top: int) -> list[Listed]:
        decoder = self.worker.decoder
        if not isinstance(decoder, Scorer):
            raise BadValue("prompt_logprobs", top, "nothing: this decoder has no left to right")
        try:
            return await self.worker.call(lambda: decoder.score(ask.prompt, top))
        except RuntimeError as error:  # torch's own, memory that is not there among them
            raise AnswerFailed(f"{type(error).__name__}: {error}") from error

    async def _send(
        self,
        answer: Answer,
        request: web.Request,
        *,
        stream: bool,
        listed: Sequence[list[Listed]],
    ) -> web.StreamResponse:
        if not stream:
            try:
                body = await answer.whole()
                for choice, each in zip(body["choices"], listed, strict=False):
                    choice["prompt_logprobs"] = as_vllm(each)
                return web.json_response(body)
            except AnswerFailed as error:
                return refusal(500, str(error))
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)
        async for data in answer.events():
            await response.write(data)
        return response

    def _end(self, answer: Answer, arrived_s: float) -> None:
        """Let go of what still runs, and count how each part ended."""
        for job, part in zip(answer.jobs, answer.parts, strict=True):
            self.worker.cancel(job)
            self.metrics.finished(0, part.finish or "abort", arrived_s, part.times_s)


def version() -> str:
    """Name the libraries that compute."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as of

    named = []
    for package in ("transformers", "torch"):
        try:
            named.append(f"{package} {of(package)}")
        except PackageNotFoundError:
            continue
    return ", ".join(named)


def refusal(status: int, message: str) -> web.Response:
    body = {"error": {"message": message, "type": "BadRequestError", "code": status}}
    return web.Response(status=status, text=json.dumps(body), content_type="application/json")
