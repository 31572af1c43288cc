"""Listening with limits: for how long a request may take to arrive, and how much may be held.

A client that sends half a request would hold its connection and memory for ever: the HTTP library
bounds a body, but neither the time until it is whole nor the sum over connections.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

HEAD_S, BODY_S = 10.0, 60.0
"""From the first byte (or the connection) to a whole head, and from there to a whole body."""
LARGEST_BODY_BYTES = 16 * 2**20
"""A million token ids take 7 MB."""
MOST_HELD_BYTES = 256 * 2**20
"""Of all bodies that are arriving."""
BACKLOG = 1024

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Factory = Callable[[], asyncio.Protocol]


async def listen(
    runner: web.AppRunner, *, host: str = "", port: int = 0, path: str = ""
) -> asyncio.Server:
    """Serve a runner that is set up at a TCP address, or at the path of a Unix socket."""
    loop, server = asyncio.get_running_loop(), runner.server
    assert server is not None
    guards: dict[Any, _Guard] = runner.app[GUARDS]

    def connected() -> asyncio.Protocol:
        return _Guard(server(), guards)

    if path:
        return await loop.create_unix_server(connected, path, backlog=BACKLOG)
    return await loop.create_server(connected, host, port, backlog=BACKLOG)


class _Guard(asyncio.Protocol):
    """Hands everything on to the HTTP library, and drops a connection whose head does not come."""

    def __init__(self, inner: asyncio.Protocol, guards: "dict[Any, _Guard]") -> None:
        self._inner, self._guards = inner, guards
        self._transport: asyncio.BaseTransport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._guards[transport] = self
        self._wait()
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if self._timer is None and not self._busy:
            self._wait()
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._guards.pop(self._transport, None)
        self._rest()
        self._inner.connection_lost(exc)

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()

    def begin(self) -> None:
        """A whole head is there: what follows has limits of its own."""
        self._busy = True
        self._rest()

    def end(self) -> None:
        self._busy = False

    def _wait(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(HEAD_S, self._drop)

    def _rest(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _drop(self) -> None:
        self._timer = None
        if isinstance(self._transport, asyncio.Transport):
            self._transport.abort()


GUARDS = web.AppKey("guards", dict)


def limited(app: web.Application) -> web.Application:
    """Give an application the limits that `listen` and its bodies need."""
    held = 0

    @web.middleware
    async def whole(request: web.Request, handler: Handler) -> web.StreamResponse:
        nonlocal held
        guard = app[GUARDS].get(request.transport)
        if guard is not None:
            guard.begin()
        size = min(request.content_length or LARGEST_BODY_BYTES, LARGEST_BODY_BYTES)
        size = size if request.can_read_body else 0
        if held + size > MOST_HELD_BYTES:
            return _refusal(request, 503, "too many requests are arriving at once")
        held += size
        try:
            async with asyncio.timeout(BODY_S):
                await request.read()
        except TimeoutError:
            return _refusal(request, 408, f"the body was not whole within {BODY_S:g} s")
        finally:
            held -= size
        try:
            return await handler(request)
        finally:
            if guard is not None:
                guard.end()

    app[GUARDS] = {}
    app.middlewares.append(whole)
    return app


def _refusal(request: web.Request, status: int, message: str) -> web.Response:
    """Answer and close: what is left of the body is not waited for."""
    answer = web.json_response({"error": {"message": message, "code": status}}, status=status)
    answer.force_close()
    if request.transport is not None:
        asyncio.get_running_loop().call_later(1.0, request.transport.abort)
    return answer
