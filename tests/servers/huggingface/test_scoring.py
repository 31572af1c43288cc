"""Prompt log-probabilities over HTTP: in vLLM's shape, and what is refused instead."""

import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient

Serve = Callable[[Any], Awaitable["TestClient[web.Request, web.Application]"]]
ASK = {"model": "m", "prompt": [3, 1, 4], "max_tokens": 1, "prompt_logprobs": 0}


def scoring(decoder: type[Any], *, fails: bool = False) -> Any:
    """A counting decoder that gives token t of a prompt the probability 1 / (t + 1)."""

    class Scoring(decoder):  # type: ignore[misc]
        def score(self, prompt: Sequence[int], top: int) -> list[dict[int, float]]:
            if fails:
                raise RuntimeError("out of memory")
            return [{token: -math.log(token + 1)} for token in prompt[1:]]

    return Scoring()


async def test_every_token_but_the_first_has_its_probability(
    serve: Serve, decoder: type[Any]
) -> None:
    client = await serve(scoring(decoder))
    reply = await client.post("/v1/completions", json=ASK)
    (choice,) = (await reply.json())["choices"]
    first, second, third = choice["prompt_logprobs"]
    assert first is None
    assert second["1"]["logprob"] == pytest.approx(-math.log(2))
    assert third["4"]["logprob"] == pytest.approx(-math.log(5))
    assert choice["text"]


@pytest.mark.parametrize(
    "changes", [{"stream": True}, {"prompt_logprobs": 21}, {"prompt_logprobs": -1}]
)
async def test_what_cannot_be_listed_is_refused(
    serve: Serve, decoder: type[Any], changes: dict[str, Any]
) -> None:
    client = await serve(scoring(decoder))
    assert (await client.post("/v1/completions", json=ASK | changes)).status == 400


async def test_a_decoder_without_an_order_says_so_and_a_failure_is_the_request_s_alone(
    serve: Serve, decoder: type[Any]
) -> None:
    client = await serve(decoder())
    reply = await client.post("/v1/completions", json=ASK)
    assert reply.status == 400
    assert "prompt_logprobs" in (await reply.json())["error"]["message"]
    client = await serve(scoring(decoder, fails=True))
    reply = await client.post("/v1/completions", json=ASK)
    assert reply.status == 500
    assert "out of memory" in (await reply.json())["error"]["message"]
    plain = {"model": "m", "prompt": [3], "max_tokens": 1}
    assert (await client.post("/v1/completions", json=plain)).status == 200
