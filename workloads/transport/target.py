"""The server to measure and the bytes of a request to it."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import SplitResult, parse_qsl, quote, urlsplit

import msgspec
import numpy as np
from numpy.typing import NDArray

from catalog.errors import BadValue
from catalog.secret_names import is_secret_name
from catalog.secrets import hide, redact

EndpointKind = Literal["completions", "chat"]
Messages = tuple[Mapping[str, object], ...]
Prompt = NDArray[np.int32] | str | Messages

PATHS: dict[str, str] = {"completions": "/v1/completions", "chat": "/v1/chat/completions"}
ALLOWED_URL = (
    "http://HOST:PORT, https://HOST:PORT or unix:/PATH.sock, the first two with a path prefix and "
    "?NAME=VALUE where the server wants them"
)
LENGTHS = ("max_tokens", "max_completion_tokens")
"""Fields that say how many tokens are asked for: one of them must be sent."""
NEEDED = frozenset({"prompt", "messages", "stream"})
FIXED = NEEDED | {"model", "n", "best_of", *LENGTHS}
"""What a measurement sets itself: it counts one answer of a known length."""
SLASHES = re.compile("/{2,}")
PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """An OpenAI-compatible server; `return_token_ids` needs vLLM 0.10.2 or later."""

    base_url: str
    model: str
    api_key: str = field(default="", repr=False)
    endpoint: EndpointKind = "completions"
    return_token_ids: bool = False
    extra_body: Mapping[str, object] = field(default_factory=dict)
    omit_fields: tuple[str, ...] = ()
    """Fields of a request that are not sent: some servers refuse what they do not know."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Further headers of each request; some hold keys."""
    ca_file: str | None = None
    """Trusted certificates for https instead of the system's."""
    insecure: bool = False
    """Take any certificate."""
    ends_at_done: bool = False
    """Whether the server is known to leave a response open behind the end of its stream."""
    takes_cache_salt: bool = False
    """Whether the server knows vLLM's `cache_salt`, which keeps prompts apart in its cache."""
    connect_timeout_s: float = 10.0
    idle_timeout_s: float = 600.0
    """The longest silence of a request in flight."""
    request_timeout_s: float = math.inf

    def __post_init__(self) -> None:
        hide(self.api_key)
        for text in (
            self.api_key,
            self.model,
            self.base_url,
            *self.headers,
            *self.headers.values(),
        ):
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
        shown = redact(self.base_url)
        try:
            url = urlsplit(self.base_url)
            port = url.port or PORTS.get(url.scheme, 0)
        except ValueError:
            raise BadValue("endpoint", shown, ALLOWED_URL) from None
        if url.username is not None or url.password is not None:
            way_out = "without a user and password: give them with --header Authorization=…"
            raise BadValue("endpoint", "a URL with a user and password in it", way_out)
        odd = url.scheme not in PORTS or url.fragment or not _is_query(url.query)
        odd = odd or any(letter.isspace() for letter in self.base_url)
        if not port or not url.hostname or odd:
            raise BadValue("endpoint", shown, ALLOWED_URL)
        _refuse_keys(url)
        return url.hostname, port

    @property
    def host_header(self) -> str:
        if self.unix_path is not None:
            return "localhost"
        return urlsplit(self.base_url).netloc

    @property
    def path(self) -> str:
        """The request path; a base URL may or may not end in /v1, as others' do."""
        return self.path_of(PATHS[self.endpoint])

    def path_of(self, path: str) -> str:
        """Return a path of this server as a request line has it: with prefix and query."""
        if self.unix_path is not None:
            return path
        url = urlsplit(self.base_url)
        root, api = _root(url.path)
        query = f"?{_quoted(url.query)}" if url.query else ""
        if api is not None and path.startswith("/v1/"):  # beside the API, wherever that is
            return root + path.removeprefix("/v1") + query
        return root.removesuffix("/v1") + path + query

    @property
    def api_named(self) -> EndpointKind | None:
        """The API whose whole address was given; None of a base URL."""
        return None if self.unix_path is not None else _root(urlsplit(self.base_url).path)[1]

    @property
    def origin(self) -> str:
        """The base URL without path and query."""
        url = urlsplit(self.base_url)
        return f"{url.scheme}://{url.netloc}"

    @property
    def all_headers(self) -> dict[str, str]:
        """Headers of each request beside those that HTTP itself needs, the key among them."""
        named = {name.lower() for name in self.headers}
        key = {"Authorization": f"Bearer {self.api_key}"} if self.api_key else {}
        return {**({} if "authorization" in named else key), **self.headers}

    def request(self, prompt: Prompt, output_len: int, *, natural: bool = False) -> bytes:
        """Return the whole HTTP request for exactly `output_len` tokens after one prompt.

        A `natural` one ends where the model ends it, after at most so many. The messages of a chat
        go to the chat API, whatever the others go to.
        """
        api = "chat" if isinstance(prompt, tuple) else self.endpoint
        body = msgspec.json.encode(self._body(prompt, output_len, api=api, natural=natural))
        own = "".join(f"{name}: {value}\r\n" for name, value in self.all_headers.items())
        head = (
            f"POST {self.path_of(PATHS[api])} HTTP/1.1\r\nHost: {self.host_header}\r\n{own}"
            "Accept: text/event-stream\r\nAccept-Encoding: identity\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode("latin-1", "replace") + body

    def _body(
        self, prompt: Prompt, output_len: int, *, api: str, natural: bool
    ) -> dict[str, object]:
        forced = {} if natural else {"min_tokens": output_len, "ignore_eos": True}
        body: dict[str, object] = {
            "model": self.model,
            **_asked(prompt, api),
            **dict.fromkeys(LENGTHS if api == "chat" else LENGTHS[:1], output_len),
            **forced,
            "temperature": 0.0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if self.return_token_ids:
            body["return_token_ids"] = True
        whole = {**body, **self.extra_body}
        return {name: value for name, value in whole.items() if name not in self.omit_fields}


def _root(path: str) -> tuple[str, EndpointKind | None]:
    """Split the path of a whole API's address, as other tools take it, from that API's name."""
    plain = _quoted(SLASHES.sub("/", path).rstrip("/"))
    apis: tuple[EndpointKind, ...] = ("chat", "completions")
    for api in apis:
        ending = PATHS[api].removeprefix("/v1")
        if plain.endswith(ending):
            return plain.removesuffix(ending), api
    return plain, None


def _quoted(part: str) -> str:
    """Write what no request line may hold in percent; what is so written stays."""
    return quote(part, safe="/%:@!$&'()*+,;=?~")


def _asked(prompt: Prompt, api: str) -> dict[str, object]:
    if isinstance(prompt, tuple):
        return {"messages": list(prompt)}
    if api == "completions":
        return {"prompt": prompt if isinstance(prompt, str) else prompt.tolist()}
    if not isinstance(prompt, str):
        raise BadValue("prompt", "token ids", "text: the chat endpoint takes no token ids")
    return {"messages": [{"role": "user", "content": prompt}]}


def _is_query(query: str) -> bool:
    return all("=" in part for part in query.split("&")) if query else True


def _refuse_keys(url: SplitResult) -> None:
    """A key in a URL would stand in every record, log and proxy on its way."""
    for name, value in parse_qsl(url.query):
        if value and is_secret_name(name):
            hide(value)
            way_out = f"without a key in it: give it with --header, not as ?{name}="
            raise BadValue("endpoint", "a URL with a key in it", way_out)
