"""A real Chromium, driven over its DevTools protocol."""

import asyncio
import itertools
import shutil
from pathlib import Path
from typing import Any

import aiohttp

from tests.machine import limit

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
Device = dict[str, Any]
PHONE: Device = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
DESKTOP: Device = {"width": 1280, "height": 900, "deviceScaleFactor": 1, "mobile": False}
FRAMES = "new Promise(r => requestAnimationFrame(() => requestAnimationFrame(r)))"


class Tab:
    """One page: commands, the errors it logs and the addresses it asks for."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.numbers = itertools.count(1)
        self.problems: list[Any] = []
        self.addresses: list[str] = []

    async def call(self, method: str, **parameters: Any) -> Any:
        number = next(self.numbers)
        await self.socket.send_json({"id": number, "method": method, "params": parameters})
        while True:
            answer = await asyncio.wait_for(self.socket.receive_json(), limit(30))
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]
            self._note(answer)

    def _note(self, event: dict[str, Any]) -> None:
        kind, details = event.get("method"), event.get("params", {})
        if kind == "Runtime.exceptionThrown":
            self.problems.append(details["exceptionDetails"])
        elif kind == "Log.entryAdded" and details["entry"]["level"] in {"error", "warning"}:
            self.problems.append(details["entry"]["text"])
        elif kind == "Runtime.consoleAPICalled" and details["type"] in {"error", "warning"}:
            self.problems.append(details["args"])
        elif kind == "Network.requestWillBeSent":
            self.addresses.append(details["request"]["url"])

    async def run(self, expression: str) -> Any:
        """Evaluate JavaScript and return its value."""
        result = await self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    async def open(
        self,
        page: Path | str,
        *,
        device: Device = DESKTOP,
        dark: bool = False,
        media: str = "",
        shows: str = "#run-table table",
    ) -> None:
        """Open a file or an address, and wait until it shows what its script puts there."""
        await self.call("Emulation.setDeviceMetricsOverride", **device)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.call("Emulation.setEmulatedMedia", media=media, features=[scheme])
        address = page if isinstance(page, str) else page.as_uri()
        await self.call("Page.navigate", url=address)
        ready = f"document.readyState === 'complete' && !!document.querySelector('{shows}')"
        async with asyncio.timeout(limit(30)):
            while not await self.run(ready):
                await asyncio.sleep(0.05)
        # Figures are drawn when their size is first observed, one frame later.
        await self.run(FRAMES)

    async def key(self, key: str) -> None:
        for kind in ("keyDown", "keyUp"):
            await self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key)
