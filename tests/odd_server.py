"""An OpenAI-style server of this process with one odd habit, and what it really did."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.experiment.endpoint_options import EndpointOptions
from orchestrator.experiment.experiment import Experiment
from orchestrator.study import prepare, run_study
from orchestrator.table import run_rows
from tests.aside import aside

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
TTFT_S, GAP_S = 0.03, 0.004
PROBE_TOKENS = 4


@dataclass
class OddServer:
    """The defaults are a server without habits."""

    served: tuple[str, ...] | None = ("m",)
    """None has no list."""
    answers_as: str = ""
    loading_answers: int = 0
    """So many first requests are answered 503."""
    key: tuple[str, str] | None = None
    only: str = ""
    """`chat`: no completions; `string`: no token ids."""
    refused: tuple[str, ...] = ()
    """Fields that it does not take."""
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    per_event: int = 1
    empty_first: bool = False
    unseen_answers: int = 0
    """Of so many first answers no text is shown: their tokens make no whole character."""
    clump: int = 1
    """Events that a proxy holds back to send together; 0 is all of them."""
    finish: object = "length"
    stops_after: int = 10_000
    usage: bool = True
    done: bool = True
    last_chunk: bool = True
    between: bytes = b""
    broken: bytes = b""
    """Sent in place of the third token, once the server was proved ready."""
    delta: str = "content"
    metrics: str = ""
    """Prometheus text, `{n}` for its tokens; two separated by `|` take turns."""
    metrics_prefix: str = "/metrics"
    url: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    ttfts_s: list[float] = field(default_factory=list)
    tokens: int = 0
    scrapes: int = 0

    async def connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while not writer.is_closing():
                first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                headers = {
                    name.lower(): value.strip()
                    for name, _, value in (line.partition(":") for line in lines if line)
                }
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                method, path, _ = first.split(" ")
                await self.answer(writer, path.partition("?")[0], headers, body)
                self.paths.append(f"{method} {path}")
        writer.close()

    async def answer(
        self, writer: asyncio.StreamWriter, path: str, headers: Mapping[str, str], body: bytes
    ) -> None:
        if self.loading_answers > 0:
            self.loading_answers -= 1
            return await _send(writer, 503, {"error": {"message": "Loading model"}})
        if self.key and headers.get(self.key[0].lower()) != self.key[1]:
            return await _send(writer, 401, {"error": {"message": "no valid key"}})
        if path.endswith("completions"):
            self.headers.append(headers)
            return await self.complete(writer, json.loads(body), chat="chat" in path)
        if path.endswith("/v1/models") and self.served is not None:
            return await _send(writer, 200, {"data": [{"id": name} for name in self.served]})
        if path == self.metrics_prefix and self.metrics:
            texts = self.metrics.split("|")
            self.scrapes += 1
            text = texts[self.scrapes % len(texts)].replace("{n}", str(self.tokens))
            return await _send(writer, 200, text.encode())
        return await _send(writer, 404, {"detail": "Not Found"})

    async def complete(
        self, writer: asyncio.StreamWriter, asked: dict[str, Any], *, chat: bool
    ) -> None:
        got = time.perf_counter()
        self.asked.append(asked)
        refused = [name for name in self.refused if name in asked]
        if self.only == "chat" and not chat:
            return await _send(writer, 404, {"detail": "Not Found"})
        if self.only == "string" and not chat and not isinstance(asked["prompt"], str):
            return await _send(writer, 400, {"error": "prompt: Input should be a valid string"})
        if refused:
            return await _send(
                writer, 422, {"detail": [f"Extra inputs not permitted: {n}" for n in refused]}
            )
        writer.write(HEAD)
        events = self.events(asked, chat=chat)
        held = b""
        for number, (wait_s, event) in enumerate(events, start=1):
            await asyncio.sleep(wait_s)
            if number == 1:
                self.ttfts_s.append(time.perf_counter() - got)
            held += b"%x\r\n%b\r\n" % (len(event), event)
            if self.clump and number % self.clump == 0:
                writer.write(held)
                held = b""
                await writer.drain()
        writer.write(held + (b"0\r\n\r\n" if self.last_chunk else b""))
        return await writer.drain()

    def events(self, asked: Mapping[str, Any], *, chat: bool) -> list[tuple[float, bytes]]:
        """Each event with the time that it takes to make it."""
        count = min(asked.get("max_tokens") or asked["max_completion_tokens"], self.limit(asked))
        found: list[tuple[float, bytes]] = []
        if self.empty_first:
            found.append((0.0, self.event("", chat=chat)))
        made = range(0, count, self.per_event)
        if self.unseen_answers > 0:
            self.unseen_answers -= 1
            found.append((TTFT_S, self.event("", "length", chat=chat)))
            made = range(0)
        for start in made:
            if self.broken and start == 2 and count > PROBE_TOKENS:
                return [*found, (GAP_S, self.broken)]
            last = start + self.per_event >= count
            finish = (self.finish if count > PROBE_TOKENS else "length") if last else None
            wait_s = TTFT_S if start == 0 else GAP_S
            found.append((wait_s, self.event(" tok" * self.per_event, finish, chat=chat)))
            if self.between:
                found.append((0.0, self.between))
        self.tokens += count
        if self.usage:
            found.append((0.0, _data({"choices": [], "usage": self.counts(asked, count)})))
        return [*found, *([(0.0, b"data: [DONE]\n\n")] if self.done else [])]

    def limit(self, asked: Mapping[str, Any]) -> int:
        most = asked.get("max_tokens") or asked["max_completion_tokens"]
        return self.stops_after if most > PROBE_TOKENS else most

    def event(self, text: str, finish: object = None, *, chat: bool) -> bytes:
        part = {"delta": {self.delta: text}} if chat else {"text": text}
        choice = {"index": 0, "finish_reason": finish, **part}
        return _data({"model": self.answers_as or "m", "choices": [choice]})

    def counts(self, asked: Mapping[str, Any], count: int) -> dict[str, Any]:
        prompt = asked.get("prompt") or asked["messages"]
        ids = isinstance(prompt, list) and "prompt" in asked
        read = len(prompt) if ids else 5 + len(json.dumps(prompt).split())
        told: dict[str, Any] = {
            "prompt_tokens": read if self.prompt_tokens is None else self.prompt_tokens,
            "completion_tokens": count,
        }
        if self.cached_tokens is not None:
            told["prompt_tokens_details"] = {"cached_tokens": self.cached_tokens}
        return told


def _data(event: Mapping[str, Any]) -> bytes:
    return b"data: " + json.dumps(event).encode() + b"\n\n"


async def _send(writer: asyncio.StreamWriter, status: int, body: object) -> None:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = f"HTTP/1.1 {status} Status\r\nContent-Length: {len(data)}\r\n\r\n"
    writer.write(head.encode() + data)
    await writer.drain()


@contextlib.asynccontextmanager
async def serving(server: OddServer, *, port: int = 0) -> AsyncIterator[OddServer]:
    """Serve it on a port of loopback, a free one by default; its `url` says where."""
    with aside(_listening(server, port)):
        yield server


@contextlib.asynccontextmanager
async def _listening(server: OddServer, port: int) -> AsyncIterator[None]:
    listening = await asyncio.start_server(server.connection, "127.0.0.1", port)
    server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    async with listening:
        yield


async def measured(
    server: OddServer,
    root: Path,
    *,
    options: EndpointOptions | None = None,
    workload: str = "16:16:6",
    **changes: Any,
) -> dict[str, Any]:
    """Run a small study against it; return its last row."""
    asked = Experiment(
        endpoint=changes.pop("endpoint", server.url),
        endpoint_options=options or EndpointOptions(),
        workloads=(workload,),
        concurrency="2",
        num_warmups=1,
        retries=0,
        **changes,
    )
    async with asyncio.timeout(120):
        await run_study(await prepare(asked), root, listen=lambda _: None)
    return run_rows(root)[-1]
