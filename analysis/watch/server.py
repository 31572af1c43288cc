"""The page and what it asks for, on loopback alone."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from aiohttp import web

from analysis.watch.onlooker import Onlooker
from analysis.web.assets import asset, policy_of, script_of
from analysis.web.packed import script_safe
from catalog.errors import BadValue

HOST = "127.0.0.1"
FRESH_S = 1.0
"""However many look, the directory is read once in this time."""
LINGER_S = 5.0
"""A page asks every two seconds: so long after the end it is still told how it ended."""
HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}
SCRIPTS = (("analysis.web", "dom.js"), ("analysis.web", "table.js"), (__package__, "watch.js"))


class WatchPage:
    """One results directory as a page."""

    def __init__(self, root: Path) -> None:
        self._onlooker, self._lock = Onlooker(root), asyncio.Lock()
        self._seen, self._when = "", 0.0
        self.asked: float | None = None
        """When a page last asked, by the monotonic clock."""
        self.ended = False
        self.told = asyncio.Event()
        """A page knows of the end."""

    async def page(self, _: web.Request) -> web.Response:
        style, script = asset("analysis.web", "page.css"), script_of(SCRIPTS)
        policy = policy_of(style, script, "connect-src 'self'", "frame-ancestors 'none'")
        text = asset(str(__package__), "page.html")
        text = text.replace("/*STYLE*/", style).replace("/*SCRIPT*/", script)
        headers = {**HEADERS, "Content-Security-Policy": policy}
        return web.Response(text=text, content_type="text/html", headers=headers)

    async def state(self, _: web.Request) -> web.Response:
        self.asked = time.monotonic()
        async with self._lock:
            if time.monotonic() - self._when >= FRESH_S or self.ended:
                seen = await asyncio.to_thread(self._onlooker.look)
                self._seen = script_safe({**seen, "ended": self.ended})
                self._when = time.monotonic()
            if self.ended:
                self.told.set()
        return web.Response(text=self._seen, content_type="application/json", headers=HEADERS)


@web.middleware
async def own_host(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Refuse a page that came by another name: a site's name may lead here (DNS rebinding)."""
    name, _, _ = request.host.rpartition(":") if ":" in request.host else (request.host, "", "")
    if name not in {HOST, "localhost"}:
        raise web.HTTPForbidden(text="ask by 127.0.0.1 or localhost", headers=HEADERS)
    return await handler(request)


async def serve_page(
    root: Path,
    port: int,
    *,
    until: asyncio.Event,
    tell: Callable[[str], None],
    linger: bool = False,
) -> None:
    """Serve the page until something happens, and tell its address; port 0 takes a free one.

    With `linger` a page that is open is first told of the end, of the study as of this page.
    Raises BadValue where the port is taken.
    """
    page = WatchPage(root)
    app = web.Application(middlewares=[own_host])
    app.add_routes([web.get("/", page.page), web.get("/state", page.state)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, HOST, port)
        try:
            await site.start()
        except OSError as error:
            allowed = f"a free port of {HOST}: {error.strerror or error}"
            raise BadValue("--port", port, allowed) from error
        tell(f"http://{HOST}:{runner.addresses[0][1]}/")
        await until.wait()
        page.ended = True
        if linger and page.asked is not None and time.monotonic() - page.asked < LINGER_S:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(page.told.wait(), LINGER_S)
    finally:
        await runner.cleanup()
