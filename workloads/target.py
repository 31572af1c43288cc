"""The server to measure and the bytes of a request to it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

import msgspec
import numpy as np
from numpy.typing import NDArray

from catalog.errors import BadValue

Endpoint = Literal["completions", "chat"]
Prompt = NDArray[np.int32] | str

PATHS: dict[str, str] = {"completions": "/v1/completions", "chat": "/v1/chat/completions"}
ALLOWED_URL = "http://HOST:PORT, https://HOST:PORT or unix:/PATH.sock"
PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """An OpenAI-compatible server; `return_token_ids` needs vLLM 0.10.2 or later."""

    base_url: str
    model: str
    api_key: str = field(default="", repr=False)
    endpoint: Endpoint = "completions"
    return_token_ids: bool = False
    extra_body: Mapping[str, object] = field(default_factory=dict)
    ca_file: str | None = None
    """Trusted certificates for https instead of the system's."""
    connect_timeout_s: float = 10.0
    idle_timeout_s: float = 600.0
    """The longest silence of a request in flight."""
    request_timeout_s: float = math.inf

    def __post_init__(self) -> None:
        for text in (self.api_key, self.model, self.base_url):
            if any(ord(char) < 32 for char in text):
                raise BadValue("endpoint", "a control character", "printable text")
        if self.unix_path is None:
            _ = self.address
        elif not self.unix_path.startswith("/"):
            raise BadValue("endpoint", self.base_url, ALLOWED_URL)

    @property
    def unix_path(self) -> str | None:
        scheme, _, path = self.base_url.partition(":")
        return path.removeprefix("//") if scheme == "unix" else None

    @property
    def secure(self) -> bool:
        return self.base_url.startswith("https:")

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of an http or https URL."""
        try:
            url = urlsplit(self.base_url)
            port = url.port or PORTS.get(url.scheme, 0)
        except ValueError:
            raise BadValue("endpoint", self.base_url, ALLOWED_URL) from None
        odd = url.scheme not in PORTS or url.username is not None or url.query or url.fragment
        if not port or not url.hostname or odd:
            raise BadValue("endpoint", self.base_url, ALLOWED_URL)
        return url.hostname, port

    @property
    def host_header(self) -> str:
        if self.unix_path is not None:
            return "localhost"
        return urlsplit(self.base_url).netloc

    @property
    def path(self) -> str:
        """The request path; a base URL may or may not end in /v1, as others' do."""
        prefix = "" if self.unix_path is not None else urlsplit(self.base_url).path
        return prefix.rstrip("/").removesuffix("/v1") + PATHS[self.endpoint]

    def request(self, prompt: Prompt, output_len: int) -> bytes:
        """Return the whole HTTP request for exactly `output_len` tokens after one prompt."""
        body = msgspec.json.encode(self._body(prompt, output_len))
        secret = f"Authorization: Bearer {self.api_key}\r\n" if self.api_key else ""
        head = (
            f"POST {self.path} HTTP/1.1\r\nHost: {self.host_header}\r\n{secret}"
            "Accept: text/event-stream\r\nAccept-Encoding: identity\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode("latin-1", "replace") + body

    def _body(self, prompt: Prompt, output_len: int) -> dict[str, object]:
        body: dict[str, object] = {
            "model": self.model,
            **self._asked(prompt),
            "max_tokens": output_len,
            "min_tokens": output_len,
            "ignore_eos": True,
            "temperature": 0.0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if self.return_token_ids:
            body["return_token_ids"] = True
        return {**body, **self.extra_body}

    def _asked(self, prompt: Prompt) -> dict[str, object]:
        if self.endpoint == "completions":
            return {"prompt": prompt if isinstance(prompt, str) else prompt.tolist()}
        if not isinstance(prompt, str):
            raise BadValue("prompt", "token ids", "text: the chat endpoint takes no token ids")
        return {"messages": [{"role": "user", "content": prompt}]}
