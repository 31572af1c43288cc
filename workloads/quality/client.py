"""Asking an OpenAI-compatible server for the log-probabilities of a prompt.

vLLM and moeserve's own servers answer `prompt_logprobs` with the likeliest tokens of each position;
others answer `echo` with those of the prompt alone, which gives a perplexity and no more.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp
import msgspec
import numpy as np
from numpy.typing import NDArray

from catalog.errors import EndpointError
from workloads.quality.scores import ABSENT, Scores
from workloads.target import Target

TIMEOUT_S = 600.0
IN_FLIGHT = 4
MOST_TOP = 20
"""vLLM's own default limit."""
Entry = tuple[float, list[tuple[int, float]]]
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
        if not isinstance(tokens, list) or not all(isinstance(token, int) for token in tokens):
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

        async def one(window: NDArray[np.int32]) -> list[Entry]:
            nonlocal done
            async with gate:
                entries = await ask(window)
            done += 1
            on_window(done)
            return entries

        rest = await asyncio.gather(*(one(window) for window in windows[1:]))
        return scores_of(windows, [first, *rest])

    async def _listed(self, window: NDArray[np.int32]) -> list[Entry]:
        choice = await self._complete(window, {"prompt_logprobs": self.top})
        given = choice.get("prompt_logprobs")
        if not isinstance(given, list) or len(given) != len(window):
            raise EndpointError(f"{self.target.base_url}: answered without prompt_logprobs")
        return [_entry(row, int(token)) for row, token in zip(given[1:], window[1:], strict=True)]

    async def _echoed(self, window: NDArray[np.int32]) -> list[Entry]:
        choice = await self._complete(window, {"echo": True, "logprobs": 1})
        given = (choice.get("logprobs") or {}).get("token_logprobs")
        if not isinstance(given, list) or len(given) < len(window) or None in given[1:]:
            raise EndpointError(
                f"{self.target.base_url}: gives no log-probabilities of a prompt (neither "
                "prompt_logprobs nor echo): its perplexity cannot be measured"
            )
        return [(float(value), []) for value in given[1 : len(window)]]

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
        url = self.target.base_url.rstrip("/").removesuffix("/v1")
        root = "http://localhost" if self.target.unix_path else url
        try:
            async with self.session.post(root + path, json=body, allow_redirects=False) as reply:
                data = await reply.read()
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise EndpointError(f"{root}{path}: {error or type(error).__name__}") from None
        if reply.status != 200:
            told = data[:300].decode(errors="replace")
            raise EndpointError(f"{root}{path}: answered {reply.status}: {told}")
        try:
            return msgspec.json.decode(data, type=dict[str, Any])
        except msgspec.DecodeError as error:
            raise EndpointError(f"{root}{path}: not JSON: {error}") from None


def client_session(target: Target) -> aiohttp.ClientSession:
    headers = {"Authorization": f"Bearer {target.api_key}"} if target.api_key else {}
    socket = target.unix_path
    return aiohttp.ClientSession(
        connector=aiohttp.UnixConnector(socket) if socket else None,
        headers=headers,
        timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
    )


def _entry(row: object, token: int) -> Entry:
    """Read vLLM's `{"17": {"logprob": -0.3, ...}, ...}`."""
    try:
        assert isinstance(row, dict)
        listed = [(int(name), float(each["logprob"])) for name, each in row.items()]
        own = dict(listed)[token]
    except (AssertionError, KeyError, TypeError, ValueError):
        raise EndpointError("prompt_logprobs: a position lacks its own token") from None
    return own, sorted(listed, key=lambda pair: -pair[1])


def scores_of(windows: NDArray[np.int32], answers: Sequence[Sequence[Entry]]) -> Scores:
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
