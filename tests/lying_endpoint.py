"""An OpenAI endpoint of this process that is honest for a while, and then lies in one way."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from orchestrator.experiment.experiment import Experiment
from orchestrator.study import prepare, run_study
from orchestrator.table import run_rows
from tests.aside import aside

HONEST = 4
"""Completions answered truly: the proof that the server is ready, and the warm-up."""


@dataclass
class LyingEndpoint:
    """What it says of itself and of each answer; `{key}` stands for the key it was sent."""

    model: str = "m"
    version: str = "0.18"
    completion_tokens: str = ""
    """JSON; empty is the truth."""
    prompt_tokens: str = ""
    finish_reason: str = "length"
    status: int = 200
    body: str = ""
    """Of an answer with another status."""
    reason: str | None = None
    event: str = ""
    """An event to begin each stream with."""
    metrics: str = ""
    tokenize: str = ""
    """What it refuses to tokenize with."""
    headers: Mapping[str, str] = field(default_factory=dict)
    url: str = ""
    answers: int = 0

    async def models(self, request: web.Request) -> web.Response:
        entry = {"id": _echo(self.model, request), "object": "model"}
        return web.json_response({"object": "list", "data": [entry]})

    async def say_version(self, request: web.Request) -> web.Response:
        return web.json_response({"version": _echo(self.version, request)})

    async def say_metrics(self, request: web.Request) -> web.Response:
        if not self.metrics:
            raise web.HTTPNotFound
        return web.Response(text=_echo(self.metrics, request))

    async def refuse_tokens(self, request: web.Request) -> web.Response:
        return web.Response(status=401, text=_echo(self.tokenize, request))

    async def complete(self, request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        self.answers += 1
        lies = self.answers > HONEST
        if lies and self.status != 200:
            reason = self.reason and _echo(self.reason, request)
            headers = {name: _echo(value, request) for name, value in self.headers.items()}
            body = _echo(self.body, request).encode()
            return web.Response(status=self.status, reason=reason, body=body, headers=headers)
        return await self._stream(request, asked, lies=lies)

    async def _stream(
        self, request: web.Request, asked: Mapping[str, Any], *, lies: bool
    ) -> web.StreamResponse:
        count = asked["max_tokens"]
        kind = {"Content-Type": "text/event-stream"}
        if lies:
            kind |= {name: _echo(value, request) for name, value in self.headers.items()}
        reply = web.StreamResponse(headers=kind)
        await reply.prepare(request)
        if lies and self.event:
            await reply.write(f"data: {_echo(self.event, request)}\n\n".encode())
        finish = _echo(self.finish_reason, request) if lies else "length"
        for number in range(count):
            last = number == count - 1
            choice = {"index": 0, "text": " a", "finish_reason": finish if last else None}
            await reply.write(b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n")
        prompt = (lies and _echo(self.prompt_tokens, request)) or str(len(asked["prompt"]))
        completion = (lies and _echo(self.completion_tokens, request)) or str(count)
        usage = f'{{"prompt_tokens":{prompt},"completion_tokens":{completion}}}'
        await reply.write(f'data: {{"choices":[],"usage":{usage}}}\n\n'.encode())
        await reply.write(b"data: [DONE]\n\n")
        return reply


def _echo(text: str, request: web.Request) -> str:
    key = request.headers.get("Authorization", "").removeprefix("Bearer ")
    escaped = "".join(f"\\u{ord(letter):04x}" for letter in key)
    return text.replace("{key}", key).replace("{escaped}", escaped)


@contextlib.asynccontextmanager
async def serving(endpoint: LyingEndpoint) -> AsyncIterator[LyingEndpoint]:
    """Serve it on a free port of loopback; its `url` says where."""
    app = web.Application()
    app.router.add_get("/v1/models", endpoint.models)
    app.router.add_get("/version", endpoint.say_version)
    app.router.add_get("/metrics", endpoint.say_metrics)
    app.router.add_get("/health", _empty)
    app.router.add_post("/tokenize", endpoint.refuse_tokens)
    app.router.add_post("/v1/completions", endpoint.complete)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    endpoint.url = f"http://{host}:{port}"
    try:
        yield endpoint
    finally:
        await runner.cleanup()


async def _empty(_: web.Request) -> web.Response:
    return web.Response()


async def measured(endpoint: LyingEndpoint, root: Path, **changes: Any) -> dict[str, Any]:
    """Run a small study against it; return its one row."""
    asked = Experiment(
        endpoint=endpoint.url,
        workloads=("16:8:6",),
        concurrency="1",
        num_warmups=1,
        retries=0,
        **changes,
    )
    async with asyncio.timeout(120):
        await run_study(await prepare(asked), root, listen=lambda _: None)
    (row,) = run_rows(root)
    return row


@contextlib.contextmanager
def served_aside(endpoint: LyingEndpoint) -> Iterator[LyingEndpoint]:
    """Serve it from a thread of its own, for a command that has the loop of this one."""
    with aside(serving(endpoint)):
        yield endpoint
