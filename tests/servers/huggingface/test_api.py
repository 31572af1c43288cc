"""The HTTP side of the transformers server, over a decoder that computes nothing."""

import asyncio
import json
from typing import Any

import pytest
from aiohttp import ClientResponse

from orchestrator.measure.monitor import queued
from servers.huggingface.api import OWNER
from tests.machine import limit
from workloads.figures.server_metrics import parse_metrics


def body(**fields: Any) -> dict[str, Any]:
    return {"model": "m", "prompt": [5, 100], "max_tokens": 4, "temperature": 0, **fields}


async def events(reply: ClientResponse) -> list[dict[str, Any]]:
    lines = [line for line in (await reply.text()).split("\n\n") if line]
    assert lines[-1] == "data: [DONE]" or "error" in lines[-1]
    return [json.loads(line.removeprefix("data: ")) for line in lines if "[DONE]" not in line]


async def test_a_streamed_answer_and_a_whole_one_are_the_same(serve: Any, decoder: Any) -> None:
    client = await serve(decoder())
    whole = await (await client.post("/v1/completions", json=body(return_token_ids=True))).json()
    asked = body(stream=True, return_token_ids=True, stream_options={"include_usage": True})
    *parts, last = await events(await client.post("/v1/completions", json=asked))
    assert whole["choices"][0]["token_ids"] == [101, 102, 103, 104]
    assert [part["choices"][0]["token_ids"] for part in parts] == [[101], [102], [103], [104]]
    text = "".join(part["choices"][0]["text"] for part in parts)
    assert text == whole["choices"][0]["text"] == " <101> <102> <103> <104>"
    assert parts[-1]["choices"][0]["finish_reason"] == "length"
    assert last["usage"] == whole["usage"]
    assert whole["usage"] == {"prompt_tokens": 2, "completion_tokens": 4, "total_tokens": 6}


async def test_an_end_token_ends_an_answer_unless_it_is_ignored(serve: Any, decoder: Any) -> None:
    client = await serve(decoder())
    asked = body(prompt=[7], return_token_ids=True)
    stopped = await (await client.post("/v1/completions", json=asked)).json()
    assert stopped["choices"][0]["token_ids"] == [8, 9]
    assert stopped["choices"][0]["finish_reason"] == "stop"
    for ignoring in ({"ignore_eos": True}, {"min_tokens": 4}):
        reply = await client.post("/v1/completions", json={**asked, **ignoring})
        assert (await reply.json())["choices"][0]["token_ids"] == [8, 9, 10, 11]


async def test_several_prompts_give_several_choices(serve: Any, decoder: Any) -> None:
    client = await serve(decoder())
    asked = body(prompt=[[1], [20, 30]], return_token_ids=True)
    answer = await (await client.post("/v1/completions", json=asked)).json()
    found = {choice["index"]: choice["token_ids"] for choice in answer["choices"]}
    assert found == {0: [2, 3, 4, 5], 1: [31, 32, 33, 34]}
    assert answer["usage"]["prompt_tokens"] == 3


@pytest.mark.parametrize(
    ("fields", "status", "said"),
    [
        ({"model": "other"}, 404, "does not exist"),
        ({"prompt": []}, 400, "one token or more"),
        ({"prompt": [1000]}, 400, "0 to 999"),
        ({"prompt": [-1]}, 400, "0 to 999"),
        ({"prompt": "words"}, 400, "no tokenizer"),
        ({"prompt": [1, [2]]}, 400, "mixed"),
        ({"prompt": [1] * 61}, 400, "64 together"),
        ({"max_tokens": 0}, 400, "1 or more"),
        ({"max_tokens": 13}, 400, "a luckier number"),
        ({"temperature": 0.7}, 400, "greedy"),
        ({"n": 2}, 400, "greedy"),
        ({"logprobs": 1}, 400, "greedy"),
        ({"stop": ["a"]}, 400, "greedy"),
        ({"min_tokens": 2}, 400, "min_tokens"),
        ({"max_tokens": "four"}, 400, "max_tokens"),
    ],
)
async def test_what_it_cannot_do_is_refused_with_the_reason(
    serve: Any, decoder: Any, fields: dict[str, Any], status: int, said: str
) -> None:
    fake = decoder()
    client = await serve(fake)
    reply = await client.post("/v1/completions", json=body(**fields))
    assert reply.status == status
    assert said in (await reply.json())["error"]["message"]
    assert fake.batches == []


async def test_a_decoder_that_fails_fails_its_requests_and_goes_on(
    serve: Any, decoder: Any, capfd: Any
) -> None:
    fake = decoder(fail_after=2)
    client = await serve(fake)
    reply = await client.post("/v1/completions", json=body())
    assert reply.status == 500
    assert "out of something" in (await reply.json())["error"]["message"]
    streamed = await events(await client.post("/v1/completions", json=body(stream=True)))
    assert "out of something" in streamed[-1]["error"]["message"]
    fake.fail_after = None
    assert (await client.post("/v1/completions", json=body())).status == 200
    assert (await client.get("/health")).status == 200
    assert "RuntimeError" in capfd.readouterr().err


async def in_the_server(client: Any, requests: int) -> None:
    """Wait until so many requests are waiting or decoded."""
    async with asyncio.timeout(limit(30)):
        while queued(parse_metrics(await (await client.get("/metrics")).text())) < requests:
            await asyncio.sleep(0.01)


async def test_waiting_requests_of_one_shape_share_a_batch_in_the_order_they_came(
    serve: Any, decoder: Any
) -> None:
    fake = decoder(max_batch=2)
    client = await serve(fake)
    fake.gate.clear()
    prompts = [[1], [2], [3, 3], [4], [5]]
    replies = []
    for prompt in prompts:
        replies.append(
            asyncio.create_task(client.post("/v1/completions", json=body(prompt=prompt)))
        )
        await in_the_server(client, len(replies))
    fake.gate.set()
    assert [(await reply).status for reply in replies] == [200] * 5
    batches = [[list(ask.prompt) for ask in batch] for batch in fake.batches]
    assert batches == [[[1]], [[2], [4]], [[3, 3]], [[5]]]


async def test_a_client_that_leaves_stops_its_decoding(serve: Any, decoder: Any) -> None:
    fake = decoder(max_context=100_000, pause_s=0.005)
    client = await serve(fake)
    reply = await client.post("/v1/completions", json=body(max_tokens=90_000, stream=True))
    while not fake.batches:
        await reply.content.readline()
    reply.close()
    text = ""
    async with asyncio.timeout(limit(30)):
        while 'finished_reason="abort"} 1' not in text or not fake.closed:
            await asyncio.sleep(0.02)
            text = await (await client.get("/metrics")).text()
    assert fake.closed == 1
    assert "moeserve_decoder_batches_total 1" in text


async def test_the_chat_endpoint_speaks_its_own_shape(serve: Any, decoder: Any) -> None:
    client = await serve(decoder())
    asked = {**body(messages=[{"role": "user", "content": "hi"}]), "model": "m"}
    assert "no tokenizer" in await (await client.post("/v1/chat/completions", json=asked)).text()
    del asked["messages"]
    whole = await (await client.post("/v1/chat/completions", json=asked)).json()
    assert whole["object"] == "chat.completion"
    assert whole["choices"][0]["message"]["content"] == " <101> <102> <103> <104>"
    streamed = await events(
        await client.post("/v1/chat/completions", json={**asked, "stream": True})
    )
    assert streamed[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert "".join(e["choices"][0]["delta"]["content"] for e in streamed).startswith(" <101>")


async def test_it_says_what_it_is(serve: Any, decoder: Any) -> None:
    client = await serve(decoder())
    (model,) = (await (await client.get("/v1/models")).json())["data"]
    assert (model["id"], model["owned_by"], model["max_model_len"]) == ("m", OWNER, 64)
    assert model["details"] == {"decoder": "fake"}
