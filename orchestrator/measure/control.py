"""Everything asked of a server beside the measured load: health, models, metrics, version."""

import errno
import re
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import msgspec

from catalog.errors import EndpointError
from catalog.secrets import hide
from orchestrator.measure.metric_names import in_vllm_names
from orchestrator.results.record import MEASURED, SIMULATED, Provenance
from servers.identity import SIMULATED_OWNER
from workloads.transcript import clean_error
from workloads.transport.http_client import connector_of
from workloads.transport.target import Target

if TYPE_CHECKING:
    import aiohttp

TIMEOUT_S = 15.0
"""Long enough for a saturated but healthy server; a short probe kills those."""
LARGEST_REPLY_BYTES = 16_000_000
LONGEST_SHOWN_BYTES = 16_384
TITLE = re.compile(r"(?i)<title>([^<]{1,200})</title>")
"""What a page of HTML says in a few words."""
MOST_MODELS = 10_000
SIDE_LIMIT_S = 5.0
"""For what a server may say beside: some never answer it."""
LISTS_NONE = "the server lists no model"
"""It has none yet, or shows none to this key."""
TLS_WORDS = "; a server with TLS does so: ask it at https://"
CLIENT_WORDS = (
    "; a server that wants a client's certificate does so: put a proxy that has one before it "
    "(stunnel, nginx proxy_ssl_certificate) and measure that"
)
BROKEN_OFF = frozenset({None, errno.ECONNRESET, errno.EPIPE})
"""How a connection ends that was made and not secured."""
ANSWERED = 200
_Entries = list[dict[str, Any] | str] | None


class Control:
    """A client for the slow questions; `base_url` is http(s)://… or unix:/path.sock."""

    def __init__(
        self, base_url: str, *, api_key: str | None = None, reached: Target | None = None
    ) -> None:
        """`reached` says with which headers and certificates, where that is not the usual."""
        import aiohttp  # here, for a simulated study asks no server and need not wait for a client

        hide(api_key or "")
        self.base_url = base_url
        self._target = reached or Target(base_url=base_url, model="", api_key=api_key or "")
        self.metrics_url: str | None = self.url("/metrics")
        """Where its counters are read; None reads none."""
        self.metrics_trouble = ""
        """Why they could not be read the last time."""
        self._session = aiohttp.ClientSession(
            connector=connector_of(self._target),
            timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
        )

    def url(self, path: str) -> str:
        """Return the address of a path of this server."""
        target = self._target
        root = "http://localhost" if target.unix_path is not None else target.origin
        return root + target.path_of(path)

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
            await self._get(self.url("/health"))
        except EndpointError:
            return False
        return True

    async def models(self) -> list[dict[str, Any]]:
        """Return what `/v1/models` lists, or say plainly what came instead."""
        url = self.url("/v1/models")
        body = await self._get(url)
        try:
            listed = _listed(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            words = clean_error(body[:LONGEST_SHOWN_BYTES].decode(errors="replace"))
            seen = "HTML" if body.lstrip()[:1] == b"<" else repr(words[:60])
            raise EndpointError(
                f"{url}: not an OpenAI-compatible server, it answered {seen}", status=ANSWERED
            ) from None
        if not listed:
            raise EndpointError(f"{url}: {LISTS_NONE}", status=ANSWERED)
        if len(listed) > MOST_MODELS:
            raise EndpointError(f"{url}: the server lists {len(listed)} models")
        return listed

    async def metrics(self, *, limit_s: float = TIMEOUT_S, fresh: bool = False) -> str | None:
        """Return the Prometheus text in vLLM's names, None where the server has none.

        `fresh` asks over a connection of its own, which a balancer may give to another server.
        """
        if self.metrics_url is None:
            return None
        try:
            text = await self._ask("GET", self.metrics_url, limit_s, fresh=fresh)
        except EndpointError as error:
            self.metrics_trouble = str(error)
            return None
        self.metrics_trouble = ""
        return in_vllm_names(text.decode(errors="replace"))

    async def version(self, *, limit_s: float = TIMEOUT_S) -> str | None:
        try:
            told = await self._ask("GET", self.url("/version"), limit_s)
            reply = msgspec.json.decode(told, type=_Version)
        except (EndpointError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        return clean_error(reply.version)

    async def post(self, path: str, body: object, *, limit_s: float = TIMEOUT_S) -> bytes:
        """Send JSON and return what came back; EndpointError unless that is a 200."""
        return await self._ask("POST", self.url(path), limit_s, msgspec.json.encode(body))

    async def get(self, path: str, *, limit_s: float = TIMEOUT_S) -> bytes:
        """Return what came back; EndpointError unless that is a 200."""
        return await self._ask("GET", self.url(path), limit_s)

    async def _get(self, url: str) -> bytes:
        return await self._ask("GET", url, TIMEOUT_S)

    async def _ask(
        self,
        method: str,
        url: str,
        limit_s: float,
        body: bytes | None = None,
        *,
        fresh: bool = False,
    ) -> bytes:
        import aiohttp

        headers = {"Content-Type": "application/json"} if body is not None else {}
        headers |= {"Connection": "close"} if fresh else {}
        if url.startswith(self.url("").partition("?")[0]):
            headers |= self._target.all_headers  # no key goes to another server
        limit = aiohttp.ClientTimeout(total=limit_s)
        try:
            async with self._session.request(
                method, url, data=body, headers=headers, timeout=limit, allow_redirects=False
            ) as reply:
                if reply.status != ANSWERED:
                    raise await _refused(reply, url)
                return await _whole(reply, url)
        except TimeoutError:
            raise EndpointError(f"{url}: no answer within {limit_s:.0f} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _unanswered(error, url) from None


def _unanswered(error: Exception, url: str) -> EndpointError:
    """Say why no answer came, as plainly as what went wrong allows."""
    import aiohttp

    secure = url.startswith("https:")
    said = clean_error(str(error)) or type(error).__name__
    match error:
        case aiohttp.ClientSSLError():
            said = tls_failure(error)
        case aiohttp.ClientConnectorError(errno=code) if secure and code in BROKEN_OFF:
            said = f"it broke off the handshake{CLIENT_WORDS}"
        case aiohttp.ClientConnectorError(strerror=why):
            absent = f"{url}: no server answers there ({clean_error(str(why))})"
            return EndpointError(absent, absent=True)
        case aiohttp.ServerDisconnectedError():
            said = f"it closed the connection unanswered{CLIENT_WORDS if secure else TLS_WORDS}"
        case aiohttp.ClientResponseError():
            said = f"it speaks no HTTP ({said})"
    return EndpointError(f"{url}: {said}")


async def provenance_of(control: Control) -> Provenance:
    owners = {entry.get("owned_by") for entry in await control.models()}
    return SIMULATED if SIMULATED_OWNER in owners else MEASURED


async def _refused(reply: "aiohttp.ClientResponse", url: str) -> EndpointError:
    """Build the error of an answer that is no 200: the server's own words, bounded."""
    head = f"{url}: answered {reply.status} {clean_error(reply.reason or '')}"
    if place := clean_error(reply.headers.get("Location", "")):
        head += f", redirects to {place}, which is not followed: give the address that answers"
    body = (await reply.content.read(LONGEST_SHOWN_BYTES)).decode(errors="replace")
    if body.lstrip()[:1] == "<":
        title = TITLE.search(body)
        body = title[1] if title else ""
    words = clean_error(body)
    return EndpointError(f"{head.rstrip()}: {words}" if words else head, status=reply.status)


def tls_failure(error: BaseException) -> str:
    """Say what is wrong with a server's certificate, or that it speaks no TLS, and the way out."""
    said = clean_error(str(error))
    if "CERTIFICATE_VERIFY_FAILED" in said or "certificate" in said.lower():
        why = said.partition("certificate verify failed: ")[2].partition(" (_ssl")[0] or said
        return (
            f"its certificate is not trusted ({why}); give the authority's with --ca-file FILE "
            "(or SSL_CERT_FILE), or take any with --insecure"
        )
    if "WRONG_VERSION_NUMBER" in said or "record layer" in said.lower():
        return f"it speaks no TLS ({said}); ask it at http://"
    return f"TLS failed ({said})"


async def _whole(reply: "aiohttp.ClientResponse", url: str) -> bytes:
    """Read to the end, but no more than we take from any server."""
    body = bytearray()
    async for part in reply.content.iter_any():
        body += part
        if len(body) > LARGEST_REPLY_BYTES:
            raise EndpointError(f"{url}: answered more than {LARGEST_REPLY_BYTES} bytes")
    return bytes(body)


class _Models(msgspec.Struct):
    """Ollama's is null where it has no model; some name it `models`, and Together gives it bare."""

    data: _Entries | msgspec.UnsetType = msgspec.UNSET
    models: _Entries = None


def _listed(body: bytes) -> list[dict[str, Any]]:
    """Return the entries of a list, each with its name under `id`; raises ValidationError."""
    found = msgspec.json.decode(body, type=_Models | list[dict[str, Any] | str])
    if isinstance(found, _Models):
        if found.data is msgspec.UNSET and found.models is None:
            raise msgspec.ValidationError("neither `data` nor `models`")
        found = (found.models if found.data is msgspec.UNSET else found.data) or []
    entries = [{"id": each} if isinstance(each, str) else each for each in found]
    return [
        {**each, "id": each["name"]} if "id" not in each and "name" in each else each
        for each in entries
    ]


class _Version(msgspec.Struct):
    version: str
