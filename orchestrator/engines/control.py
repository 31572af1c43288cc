"""Everything asked of a server beside the measured load: health, models, metrics, version."""

from types import TracebackType
from typing import Any, Self

import aiohttp
import msgspec

from catalog.errors import EndpointError

TIMEOUT_S = 15.0
"""Long enough for a saturated but healthy server; a short probe kills those."""
LARGEST_REPLY_BYTES = 16_000_000
SIMULATED_OWNER = "moeserve-simulated"
"""What our simulated server calls itself in /v1/models: its numbers are never «measured»."""


class Control:
    """A client for the slow questions; `base_url` is http(s)://… or unix:/path.sock."""

    def __init__(self, base_url: str, *, api_key: str | None = None) -> None:
        self.base_url = base_url
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        socket = base_url.removeprefix("unix:") if base_url.startswith("unix:") else None
        self._root = "http://localhost" if socket else base_url.rstrip("/").removesuffix("/v1")
        self._session = aiohttp.ClientSession(
            connector=aiohttp.UnixConnector(socket) if socket else None,
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._session.close()

    async def healthy(self) -> bool:
        try:
            async with self._session.get(self._root + "/health", allow_redirects=False) as reply:
                return reply.status == 200
        except (TimeoutError, aiohttp.ClientError, OSError):
            return False

    async def models(self) -> list[dict[str, Any]]:
        """Return what `/v1/models` lists, or say plainly what came instead."""
        url = self._root + "/v1/models"
        body = await self._get(url)
        try:
            listed = msgspec.json.decode(body, type=_Models).data
        except msgspec.DecodeError:
            seen = "HTML" if body.lstrip()[:1] == b"<" else repr(body[:60].decode(errors="replace"))
            raise EndpointError(
                f"{url}: not an OpenAI-compatible server, it answered {seen}"
            ) from None
        if not listed:
            raise EndpointError(f"{url}: the server lists no model")
        return listed

    async def metrics(self) -> str | None:
        """Return the Prometheus text, None where the server has none."""
        try:
            return (await self._get(self._root + "/metrics")).decode(errors="replace")
        except EndpointError:
            return None

    async def version(self) -> str | None:
        try:
            reply = msgspec.json.decode(await self._get(self._root + "/version"), type=_Version)
        except (EndpointError, msgspec.DecodeError):
            return None
        return reply.version

    async def post(self, path: str, body: object, *, limit_s: float = TIMEOUT_S) -> bytes:
        """Send JSON and return what came back; EndpointError unless that is a 200."""
        return await self._ask("POST", self._root + path, limit_s, msgspec.json.encode(body))

    async def _get(self, url: str) -> bytes:
        return await self._ask("GET", url, TIMEOUT_S)

    async def _ask(self, method: str, url: str, limit_s: float, body: bytes | None = None) -> bytes:
        kind = {"Content-Type": "application/json"} if body is not None else {}
        limit = aiohttp.ClientTimeout(total=limit_s)
        try:
            async with self._session.request(
                method, url, data=body, headers=kind, timeout=limit, allow_redirects=False
            ) as reply:
                if reply.status != 200:
                    raise EndpointError(f"{url}: answered {reply.status} {reply.reason}")
                return await _whole(reply, url)
        except TimeoutError:
            raise EndpointError(f"{url}: no answer within {limit_s:.0f} s") from None
        except aiohttp.ClientConnectorError as error:
            raise EndpointError(f"{url}: no server answers there ({error.strerror})") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise EndpointError(f"{url}: {error or type(error).__name__}") from None


async def _whole(reply: aiohttp.ClientResponse, url: str) -> bytes:
    """Read to the end, but no more than we take from any server."""
    body = bytearray()
    async for part in reply.content.iter_any():
        body += part
        if len(body) > LARGEST_REPLY_BYTES:
            raise EndpointError(f"{url}: answered more than {LARGEST_REPLY_BYTES} bytes")
    return bytes(body)


class _Models(msgspec.Struct):
    data: list[dict[str, Any]]


class _Version(msgspec.Struct):
    version: str
