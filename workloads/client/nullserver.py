"""A server that answers at once: `python -m workloads.client.nullserver` says its port and listens.

What a client measures of it is the client's own (and the machine's) doing.
"""

import asyncio
import re
import sys
from collections.abc import Iterator
from typing import cast

import msgspec

MODEL = "null"
LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
LIMIT = re.compile(rb'"max_tokens": *(\d+)')
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def answer(tokens: int) -> list[bytes]:
    """What is sent for an answer of as many tokens, a send a token."""
    choice = {"index": 0, "text": " a", "finish_reason": None}
    event = {"id": "cmpl-0", "object": "text_completion", "model": MODEL, "choices": [choice]}
    final = {**event, "choices": [{**choice, "finish_reason": "length"}]}
    usage = {"prompt_tokens": 1, "completion_tokens": tokens}
    sends = [_chunk(msgspec.json.encode(event))] * (tokens - 1) + [
        _chunk(msgspec.json.encode(final))
    ]
    sends[0] = HEAD + sends[0]
    sends[-1] += _chunk(msgspec.json.encode({**event, "choices": [], "usage": usage}))
    sends[-1] += _chunk(b"[DONE]") + b"0\r\n\r\n"
    return sends


def _chunk(data: bytes) -> bytes:
    event = b"data: " + data + b"\n\n"
    return b"%x\r\n%s\r\n" % (len(event), event)


class NullProtocol(asyncio.Protocol):
    """Answers each request of a connection as soon as its body is there."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport
        self._buffer = b""
        self._answers: dict[int, list[bytes]] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, separator, body = self._buffer.partition(b"\r\n\r\n")
        length = LENGTH.search(head)
        if not separator or length is None or len(body) < int(length[1]):
            return
        self._buffer = body[int(length[1]) :]
        limit = LIMIT.search(body)
        tokens = int(limit[1]) if limit else 1
        if tokens not in self._answers:
            self._answers[tokens] = answer(tokens)
        self._send(iter(self._answers[tokens]))

    def _send(self, sends: Iterator[bytes]) -> None:
        """Send one token; the other connections have their turn before the next."""
        data = next(sends, None)
        if data is not None:
            self._transport.write(data)
            asyncio.get_running_loop().call_soon(self._send, sends)


async def serve() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(NullProtocol, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201 - how the port is told
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    # The end of the input is the end of the parent, however it ended.
    await reader.read()
    server.close()


if __name__ == "__main__":
    import uvloop

    uvloop.run(serve())
