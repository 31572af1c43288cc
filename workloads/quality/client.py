"""Asking an OpenAI-compatible server for the log-probabilities of a prompt.

vLLM and moeserve's own servers answer `prompt_logprobs` with the likeliest tokens of each position;
others answer `echo` with those of the prompt alone, which gives a perplexity and no more.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp
import msgspec
import numpy as np
from numpy.typing import NDArray

from catalog.bounded import TOKEN_IDS, RealRange
from catalog.errors import EndpointError
from workloads.quality.scores import ABSENT, Scores
from workloads.transcript import clean_error
from workloads.transport.http_client import connector_of
from workloads.transport.target import Target

TIMEOUT_S = 600.0
IN_FLIGHT = 4
LARGEST_REPLY_BYTES = 256_000_000
"""A window of 32,768 tokens with twenty likeliest each is some 60 MB."""
LONGEST_SHOWN_BYTES = 16_384
LOGPROBS = RealRange(-1e6, 1e-3)
"""Of a probability; a rounding may lift one above 0."""
PositionLogprobs = tuple[float, list[tuple[int, float]]]
"""Log-probability of a prompt's token, and the likeliest tokens there, likeliest first."""


@dataclass(frozen=True, slots=True)
class QualityClient:
    """Asks one server; `top` likeliest tokens a position."""

    target: Target
    session: aiohttp.ClientSession
    top: int

    async def tokens(self, text: str) -> list[int]:
        """Turn text into tokens with the server's own tokenizer, without special ones."""
        # vLLM reads `prompt` and `add_special_tokens`, llama.cpp `content` and `add_special`.
        body = {
            "model": self.target.model,
            "prompt": text,
            "content": text,
            "add_special_tokens": False,
            "add_special": False,
        }
        reply = await self._post("/tokenize", body)
        tokens = reply.get("tokens")
        if not isinstance(tokens, list) or not all(token in TOKEN_IDS for token in tokens):
            raise EndpointError(f"{self.target.base_url}/tokenize: answered without token ids")
        return tokens

    async def score(
        self, windows: NDArray[np.int32], *, on_window: Callable[[int], None] = lambda _: None
    ) -> Scores:
        """Score every window; a server without `prompt_logprobs` is asked with `echo`."""
        ask = self._listed
        try:
            first = await ask(windows[0])
        except EndpointError as refused:
            ask = self._echoed
            try:
                first = await ask(windows[0])
            except EndpointError:
                raise refused from None
        gate = asyncio.Semaphore(IN_FLIGHT)
        done = 1
        on_window(done)

        async def one(window: NDArray[np.int32]) -> list[PositionLogprobs]:
            nonlocal done
            async with gate:
                entries = await ask(window)
            done += 1
            on_window(done)
            return entries

        rest = await asyncio.gather(*(one(window) for window in windows[1:]))
        return scores_of(windows, [first, *rest])

    async def _listed(self, window: NDArray[np.int32]) -> list[PositionLogprobs]:
        choice = await self._complete(window, {"prompt_logprobs": self.top})
        given = choice.get("prompt_logprobs")
        if not isinstance(given, list) or len(given) != len(window):
            raise EndpointError(f"{self.target.base_url}: answered without prompt_logprobs")
        listed = zip(given[1:], window[1:], strict=True)
        return [self._entry(row, int(token)) for row, token in listed]

    def _entry(self, row: object, token: int) -> PositionLogprobs:
        """Read vLLM's `{"17": {"logprob": -0.3, ...}, ...}`."""
        listed = dict(_logprobs(row))
        if token not in listed:
            raise EndpointError(
                f"{self.target.base_url}: prompt_logprobs: a position lacks its own token"
            )
        # The likeliest that were asked for, and the prompt's own where it is none of them.
        likeliest = sorted(listed.items(), key=lambda pair: -pair[1])
        return listed[token], likeliest[: self.top + 1]

    async def _echoed(self, window: NDArray[np.int32]) -> list[PositionLogprobs]:
        choice = await self._complete(window, {"echo": True, "logprobs": 1})
        logprobs = choice.get("logprobs")
        given = logprobs.get("token_logprobs") if isinstance(logprobs, dict) else None
        own = given[1 : len(window)] if isinstance(given, list) else []
        if len(own) != len(window) - 1 or not all(value in LOGPROBS for value in own):
            raise EndpointError(
                f"{self.target.base_url}: gives no log-probabilities of a prompt (neither "
                "prompt_logprobs nor echo): its perplexity cannot be measured"
            )
        return [(float(value), []) for value in own]

    async def _complete(self, window: NDArray[np.int32], how: dict[str, Any]) -> dict[str, Any]:
        body = {
            "model": self.target.model,
            "prompt": window.tolist(),
            "max_tokens": 1,
            "temperature": 0,
            **how,
        }
        choices = (await self._post("/v1/completions", body)).get("choices")
        if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
            raise EndpointError(f"{self.target.base_url}: answered without choices")
        return choices[0]

    async def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        root = "http://localhost" if self.target.unix_path else self.target.origin
        url = root + self.target.path_of(path)
        try:
            async with self.session.post(url, json=body, allow_redirects=False) as reply:
                data = await _whole(reply)
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
            what = clean_error(str(error)) or type(error).__name__
            raise EndpointError(f"{url}: {what}") from None
        if len(data) > LARGEST_REPLY_BYTES:
            raise EndpointError(f"{url}: answered more than {LARGEST_REPLY_BYTES} bytes")
        if reply.status != 200:
            text = clean_error(data[:LONGEST_SHOWN_BYTES].decode(errors="replace"))
            raise EndpointError(f"{url}: answered {reply.status}: {text}")
        try:
            return msgspec.json.decode(data, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise EndpointError(f"{url}: not JSON: {error}") from None


def client_session(target: Target) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=connector_of(target),
        headers=target.all_headers,
        timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
    )


async def _whole(reply: aiohttp.ClientResponse) -> bytes:
    """Read to the end, or a little more than any reply may have."""
    body = bytearray()
    async for part in reply.content.iter_any():
        body += part
        if len(body) > LARGEST_REPLY_BYTES:
            break
    return bytes(body)


def _logprobs(row: object) -> Iterator[tuple[int, float]]:
    """Yield token id and log-probability of what a position lists and can be both."""
    for name, each in row.items() if isinstance(row, dict) else ():
        token = TOKEN_IDS.parse(name)
        value = LOGPROBS.or_none(each.get("logprob")) if isinstance(each, dict) else None
        if token is not None and value is not None:
            yield token, value


def scores_of(windows: NDArray[np.int32], answers: Sequence[Sequence[PositionLogprobs]]) -> Scores:
    """Put the answers to all windows together."""
    count, length = windows.shape
    widest = max(len(listed) for entries in answers for _, listed in entries)
    shape = (count, length - 1, widest)
    ids = np.full(shape, ABSENT, dtype=np.int32)
    logprobs = np.full(shape, -np.inf, dtype=np.float32)
    own = np.array([[value for value, _ in entries] for entries in answers], dtype=np.float64)
    for number, entries in enumerate(answers):
        for position, (_, listed) in enumerate(entries):
            for place, (token, value) in enumerate(listed):
                ids[number, position, place] = token
                logprobs[number, position, place] = value
    return Scores(windows, own, ids, logprobs)
