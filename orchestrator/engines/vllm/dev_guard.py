"""What a vLLM server of ours answers while it can say its configuration: nothing else that is new.

`/server_info` exists in vLLM's development mode alone, which also opens `/collective_rpc`, `/sleep`
and more to whoever reaches the port, without the API key. vLLM loads this class into its own
server (`--middleware`); it is asked for only where the server listens on loopback.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

ANSWERED = (
    "/health", "/ping", "/version", "/metrics", "/load", "/server_info", "/tokenize", "/detokenize",
)  # fmt: skip
"""Beside the API itself, which vLLM guards by its key."""
API = "/v1/"


class DevGuard:
    """ASGI middleware: paths that are not on the list do not exist."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or is_answered(scope):
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            headers = [(b"content-type", b"text/plain")]
            await send({"type": "http.response.start", "status": 404, "headers": headers})
            await send({"type": "http.response.body", "body": b"not served here"})
        else:
            await send({"type": "websocket.close", "code": 1008})


def is_answered(scope: Scope) -> bool:
    """Whether a request is for the API or one of the few pages that only tell."""
    path = str(scope.get("path", ""))
    if path == "/server_info" and scope.get("method") != "GET":
        return False
    parts = path.split("/")
    if ".." in parts or "." in parts:
        return False
    return path.startswith(API) or path.rstrip("/") in ANSWERED
