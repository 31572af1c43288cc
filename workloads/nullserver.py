"""A server that answers at once: `python -m workloads.nullserver` says its port and listens.

What a client measures of it is the client's own (and the machine's) doing.
"""

import asyncio
import re
import sys
from typing import cast

import msgspec

MODEL = "null"
LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
LIMIT = re.compile(rb'"max_tokens": *(\d+)')
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def answer(tokens: int) -> bytes:
    """A whole answer of as many tokens, an event a chunk."""
    choice = {"index": 0, "text": " a", "finish_reason": None}
    event = {"id": "cmpl-0", "object": "text_completion", "model": MODEL, "choices": [choice]}
    middle = _chunk(msgspec.json.encode(event))
    last = _chunk(
        msgspec.json.encode({**event, "choices": [{**choice, "finish_reason": "length"}]})
    )
    usage = {"prompt_tokens": 1, "completion_tokens": tokens}
    end = _chunk(msgspec.json.encode({**event, "choices": [], "usage": usage}))
    return HEAD + middle * (tokens - 1) + last + end + _chunk(b"[DONE]") + b"0\r\n\r\n"


def _chunk(data: bytes) -> bytes:
    event = b"data: " + data + b"\n\n"
    return b"%x\r\n%s\r\n" % (len(event), event)


class NullProtocol(asyncio.Protocol):
    """Answers each request of a connection as soon as its body is there."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport
        self._buffer = b""
        self._answers: dict[int, bytes] = {}

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
        self._transport.write(self._answers[tokens])


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
