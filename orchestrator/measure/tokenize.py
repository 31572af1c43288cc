"""Texts of a run in a running server's own tokens, where it has vLLM's `/tokenize`."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np

from catalog.bounded import TOKEN_IDS
from catalog.errors import EndpointError
from orchestrator.measure.control import Control
from workloads.load.content import Prompt, TokenIds, length_of
from workloads.load.traffic import Traffic
from workloads.transport.target import Target

PATH = "/tokenize"
AT_ONCE = 16


class _Tokenised(msgspec.Struct):
    tokens: list[int]


async def tokenised(
    traffic: Traffic, control: Control, target: Target, *, takes_ids: bool
) -> Traffic:
    """Return the traffic with every text counted, and where the server takes ids sent as such.

    Unchanged where there is no text, or the server does not say its tokens.
    """
    content = traffic.requests.content
    texts = [] if content is None else [n for n, p in content.literals.items() if not length_of(p)]
    if content is None or not texts:
        return traffic
    asked = [_asked(content.literals[number], target) for number in texts]
    found = await _ask_all(asked, control)
    if found is None:
        return traffic
    ids = dict(zip(texts, found, strict=True))
    lengths = traffic.requests.input_lens.copy()
    lengths[texts] = [len(each) for each in found]
    if not takes_ids:
        return replace(traffic, requests=replace(traffic.requests, input_lens=lengths))
    told = replace(content, literals={**content.literals, **ids})
    prompts: list[Prompt] = [
        ids.get(number, prompt) for number, prompt in enumerate(traffic.prompts)
    ]
    requests = replace(traffic.requests, input_lens=lengths, content=told)
    return replace(traffic, requests=requests, prompts=prompts)


def _asked(prompt: Prompt, target: Target) -> Mapping[str, Any]:
    """The body that asks for a prompt's tokens as the server will read it."""
    if isinstance(prompt, str) and target.endpoint == "completions":
        return {"model": target.model, "prompt": prompt, "add_special_tokens": True}
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
    return {"model": target.model, "messages": messages, "add_generation_prompt": True}


async def _ask_all(asked: Sequence[Mapping[str, Any]], control: Control) -> list[TokenIds] | None:
    """Return the tokens of each; None where the server does not say them of all."""
    turn = asyncio.Semaphore(AT_ONCE)

    async def one(body: Mapping[str, Any]) -> TokenIds:
        async with turn:
            reply = msgspec.json.decode(await control.post(PATH, body), type=_Tokenised)
        if not reply.tokens or any(each not in TOKEN_IDS for each in reply.tokens):
            raise EndpointError(f"{PATH}: no token ids")
        return np.array(reply.tokens, np.int32)

    try:
        first = await one(asked[0])
        return [first, *await asyncio.gather(*map(one, asked[1:]))]
    except (EndpointError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
