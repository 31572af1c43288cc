"""Answers as bytes, and a server that sends just the bytes a test asks for."""

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import pytest

Action = bytes | float | Literal["fin", "rst"]
Script = Sequence[Action]


def event(data: object, *, end: str = "\n\n") -> bytes:
    text = data if isinstance(data, str) else json.dumps(data)
    return f"data: {text}{end}".encode()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def token(text: str = " t", *, finish: str | None = None, **more: object) -> dict[str, object]:
    return {"choices": [{"index": 0, "text": text, "finish_reason": finish, **more}]}


def usage(count: object, prompt: int = 4) -> dict[str, object]:
    return {"choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": count}}


HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
DONE = event("[DONE]")
LAST = b"0\r\n\r\n"


def stream(tokens: int = 3) -> list[bytes]:
    """The events of a good answer of as many tokens."""
    finishes = [None] * (tokens - 1) + ["length"]
    return [event(token(finish=finish)) for finish in finishes] + [event(usage(tokens)), DONE]


def answer(events: Sequence[bytes]) -> bytes:
    """A whole chunked answer, an event a chunk."""
    return HEAD + b"".join(map(chunk, events)) + LAST


def plain(status: str, body: bytes = b"no", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@dataclass
class ScriptedServer:
    """Answers the n-th request with what `script(n)` says; counts what it sees."""

    script: Callable[[int], Script]
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0
    in_flight: int = 0
    peak: int = 0
    url: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while await self._request(reader):
                self.in_flight += 1
                self.peak = max(self.peak, self.in_flight)
                try:
                    going_on = await self._answer(self.script(len(self.requests) - 1), writer)
                finally:
                    self.in_flight -= 1
                if not going_on:
                    return
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _request(self, reader: asyncio.StreamReader) -> bool:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return False
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        self.requests.append(head + await reader.readexactly(length))
        return True

    async def _answer(self, script: Script, writer: asyncio.StreamWriter) -> bool:
        for action in script:
            if isinstance(action, bytes):
                writer.write(action)
                await writer.drain()
            elif isinstance(action, float):
                await asyncio.sleep(action)
            else:
                if action == "rst":
                    _reset(writer)
                return False
        return True


def _reset(writer: asyncio.StreamWriter) -> None:
    linger = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()


Serve = Callable[..., "asyncio.Future[ScriptedServer]"]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Start scripted servers: `await serve(script, ssl=…, path=…)`."""
    servers: list[asyncio.Server] = []

    async def start(
        script: Script | Callable[[int], Script], *, path: str | None = None, ssl: object = None
    ) -> ScriptedServer:
        scripted = ScriptedServer(script if callable(script) else lambda _: script)
        if path is not None:
            server = await asyncio.start_unix_server(scripted.serve, path)
            scripted.url = f"unix:{path}"
        else:
            server = await asyncio.start_server(
                scripted.serve, "127.0.0.1", 0, ssl=ssl, backlog=4096
            )
            scheme = "http" if ssl is None else "https"
            scripted.url = f"{scheme}://localhost:{server.sockets[0].getsockname()[1]}"
        servers.append(server)
        return scripted

    yield start
    for server in servers:
        server.close()


class Wire:
    """The builders above, for tests to reach."""

    event = staticmethod(event)
    chunk = staticmethod(chunk)
    token = staticmethod(token)
    usage = staticmethod(usage)
    stream = staticmethod(stream)
    answer = staticmethod(answer)
    plain = staticmethod(plain)
    HEAD, DONE, LAST = HEAD, DONE, LAST


@pytest.fixture(scope="session")
def wire() -> type[Wire]:
    return Wire
