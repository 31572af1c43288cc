"""What a decoder puts behind the HTTP surface, and the route that is its own."""

from dataclasses import dataclass

import msgspec
from aiohttp import web

from catalog.errors import BadValue, MoeserveError
from servers.http.generation import CompletionFailed
from servers.http.requests import CompletionBody, check_length
from servers.http.surface import Surface, error_response
from servers.huggingface.decoder import CompletionRequest
from servers.huggingface.generation import DecoderGeneration
from servers.huggingface.requests import TokenizeBody, completion_requests
from servers.huggingface.scoring import Scorer, TokenLogprobs
from servers.huggingface.text import TextCodec
from servers.huggingface.worker import DecodeWorker
from servers.metrics import Metrics

OWNER = "moeserve-hfserver"


@dataclass(frozen=True, slots=True)
class HuggingFaceApi:
    """One decoder under one model name."""

    worker: DecodeWorker
    served_name: str
    text: TextCodec
    metrics: Metrics

    def app(self) -> web.Application:
        decoder = self.worker.decoder
        surface = Surface(
            served_name=self.served_name,
            owner=OWNER,
            version=version(),
            max_model_len=decoder.max_context,
            details=decoder.details,
            start=self.start,
            metrics_text=self.metrics_text,
            alive=lambda: self.worker.alive,
        )
        app = surface.app()
        app.router.add_post("/tokenize", self._tokenize)
        return app

    def metrics_text(self) -> str:
        text = self.metrics.text([self.worker])
        for name, value in self.worker.decoder.counters().items():
            metric = f"moeserve_decoder_{name}_total"
            text += f"# TYPE {metric} counter\n{metric} {value}\n"
        return text

    async def _tokenize(self, request: web.Request) -> web.Response:
        try:
            body = msgspec.json.decode(await request.read(), type=TokenizeBody)
            tokens = self.text.encode(body.prompt, special=body.add_special_tokens)
        except (msgspec.DecodeError, MoeserveError) as error:
            return error_response(400, str(error))
        return web.json_response({"tokens": list(tokens), "count": len(tokens)})

    async def start(
        self, body: CompletionBody, *, arrived_s: float, wanted: int
    ) -> DecoderGeneration:
        requests = completion_requests(body, self.text, wanted)
        for request in requests:
            self._check(request)
        top = body.prompt_logprobs
        listed = [] if top is None else [await self._score(request, top) for request in requests]
        generation = DecoderGeneration(
            self.worker, self.metrics, self.text, requests, listed, arrived_s
        )
        generation.begin()
        return generation

    def _check(self, request: CompletionRequest) -> None:
        decoder = self.worker.decoder
        check_length(len(request.prompt), request.max_tokens, decoder.max_context)
        strange = next((each for each in request.prompt if not 0 <= each < decoder.vocab), None)
        if strange is not None:
            raise BadValue("prompt", f"token {strange}", f"0 to {decoder.vocab - 1}")
        decoder.check(request)

    async def _score(self, request: CompletionRequest, top: int) -> list[TokenLogprobs]:
        decoder = self.worker.decoder
        if not isinstance(decoder, Scorer):
            raise BadValue("prompt_logprobs", top, "nothing: this decoder has no left to right")
        try:
            return await self.worker.call(lambda: decoder.score(request.prompt, top))
        except RuntimeError as error:  # torch's own, memory that is not there among them
            raise CompletionFailed(f"{type(error).__name__}: {error}") from error


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
