"""The simulated server over HTTP: the shared surface, and the faults it can be told to have."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import ClientPayloadError, web
from aiohttp.test_utils import TestClient, TestServer

from catalog.from_hf import load_model
from catalog.hardware_table import gpu
from perfmodel.serving import DEFAULT_SETTINGS, ServerSettings, server
from servers.metrics import Metrics
from servers.simulated.api import SimulatedApi
from servers.simulated.engine import EngineCore
from servers.simulated.faults import Faults
from strategies.layout import Layout

Client = TestClient[web.Request, web.Application]
Serve = Callable[..., Awaitable[Client]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    opened: list[Client] = []

    async def start(setup: ServerSettings = DEFAULT_SETTINGS, dp: int = 1, **faults: Any) -> Client:
        told = Faults(**faults)
        built = server(
            load_model("OLMoE-1B-7B"), Layout(dp=dp), gpu("H100"), longest=4096, setup=setup
        )
        engine = EngineCore(built, Metrics("m", dp), told)
        simulation = SimulatedApi(
            engine, "m", 4096, told, lambda text: range(len(text.split())),
            prompt_tokens_details=setup.prefix_caching,
        )  # fmt: skip
        client = TestClient(TestServer(simulation.app()))
        await client.start_server()
        opened.append(client)
        return client

    yield start
    for client in opened:
        await client.close()


def body(**fields: Any) -> dict[str, Any]:
    asked = {"model": "m", "prompt": [5, 100], "max_tokens": 4, "return_token_ids": True}
    return {**asked, "stream_options": {"include_usage": True}, **fields}


async def ask(client: Client, **fields: Any) -> tuple[int, str]:
    async with client.post("/v1/completions", json=body(**fields)) as reply:
        return reply.status, await reply.text()


def events(text: str) -> list[Any]:
    datas = [line.removeprefix("data: ") for line in text.split("\n\n") if line]
    return [data if data == "[DONE]" else json.loads(data) for data in datas]


async def test_a_streamed_answer_and_a_whole_one_hold_the_same_tokens(serve: Serve) -> None:
    client = await serve()
    whole = json.loads((await ask(client))[1])
    *parts, last, done = events((await ask(client, stream=True))[1])
    (choice,) = whole["choices"]
    assert len(choice["token_ids"]) == 4
    streamed = [token for part in parts for token in part["choices"][0]["token_ids"]]
    assert streamed == choice["token_ids"]
    assert "".join(part["choices"][0]["text"] for part in parts) == choice["text"]
    assert [part["choices"][0]["finish_reason"] for part in parts] == [None] * 3 + ["length"]
    assert last["usage"] == whole["usage"]
    assert whole["usage"] == {"prompt_tokens": 2, "completion_tokens": 4, "total_tokens": 6}
    assert done == "[DONE]"


async def test_several_prompts_give_several_choices(serve: Serve) -> None:
    client = await serve(tokens_per_event=3)
    whole = json.loads((await ask(client, prompt=[[1], [2, 3], [4, 5, 6]]))[1])
    assert [choice["index"] for choice in whole["choices"]] == [0, 1, 2]
    assert whole["usage"] == {"prompt_tokens": 6, "completion_tokens": 12, "total_tokens": 18}
    *parts, _, _ = events((await ask(client, prompt=["one", "one two"], stream=True))[1])
    counts = {index: [] for index in (0, 1)}
    for part in parts:
        counts[part["choices"][0]["index"]].append(len(part["choices"][0]["token_ids"]))
    assert counts == {0: [3, 1], 1: [3, 1]}


@pytest.mark.parametrize(
    ("fields", "status", "said"),
    [
        ({"model": "other"}, 404, "does not exist"),
        ({"prompt": []}, 400, "one token or more"),
        ({"prompt": [1, [2]]}, 400, "mixed"),
        ({"prompt": [1] * 4093}, 400, "4096 together"),
        ({"max_tokens": 0}, 400, "1 or more"),
        ({"max_tokens": -5}, 400, "1 or more"),
        ({"max_tokens": 10**30}, 400, "4096 together"),
        ({"max_completion_tokens": -1}, 400, "1 or more"),
        ({"prompt": ["a"] * 4097}, 400, "at most 4096"),
        ({"prompt": [[10**40]], "max_tokens": 4096}, 400, "4096 together"),
        ({"max_tokens": "four"}, 400, "max_tokens"),
    ],
)
async def test_a_request_that_no_server_can_answer_is_refused_with_the_reason(
    serve: Serve, fields: dict[str, Any], status: int, said: str
) -> None:
    client = await serve()
    found, text = await ask(client, **fields)
    assert (found, said in json.loads(text)["error"]["message"]) == (status, True)
    assert 'prompt_tokens_total{engine="0",model_name="m"} 0' in await metrics(client)


async def metrics(client: Client) -> str:
    return await (await client.get("/metrics")).text()


async def test_what_the_prefix_cache_held_is_in_usage_and_counters_of_its_own_replica(
    serve: Serve,
) -> None:
    client = await serve(ServerSettings(prefix_caching=True), dp=2)
    prompt, held = list(range(64)), []
    for _ in range(4):  # they go to the two replicas in turn
        usage = json.loads((await ask(client, prompt=[*prompt, 1]))[1])["usage"]
        held.append(usage["prompt_tokens_details"]["cached_tokens"])
    answered = [*prompt, 1, *[7] * 3]  # the fourth token of the answer was never computed
    last = json.loads((await ask(client, prompt=[*answered, *[9] * 20], max_tokens=1))[1])
    held.append(last["usage"]["prompt_tokens_details"]["cached_tokens"])
    assert held == [0, 0, 64, 64, 64]
    told = await metrics(client)
    for rank, queries, hits in ((0, 130 + 88, 128), (1, 130, 64)):
        labels = f'{{engine="{rank}",model_name="m"}}'
        assert f"prefix_cache_queries_total{labels} {queries}\n" in told
        assert f"prefix_cache_hits_total{labels} {hits}\n" in told


async def test_every_nth_request_fails_when_told_to(serve: Serve) -> None:
    client = await serve(fail_every=3)
    assert [(await ask(client))[0] for _ in range(6)] == [200, 200, 503] * 2


async def test_a_cut_ends_the_connection_within_the_stream_and_the_request_with_it(
    serve: Serve,
) -> None:
    client = await serve(cut_after_tokens=2)
    with pytest.raises(ClientPayloadError):
        await ask(client, stream=True, max_tokens=500)
    assert 'finished_reason="abort"} 1' in await metrics(client)
    assert (await ask(client))[0] == 200, "only streams are cut"


async def test_an_error_in_the_stream_is_its_last_event(serve: Serve) -> None:
    client = await serve(error_after_tokens=2)
    found = events((await ask(client, stream=True))[1])
    assert found[-1] == {"error": {"message": "told to fail", "code": 500}}
    assert len(found) == 3


@pytest.mark.parametrize(
    ("faults", "ending"),
    [
        ({}, ["4", "[DONE]"]),
        ({"no_done": True}, ["4"]),
        ({"no_usage": True}, ["[DONE]"]),
        ({"usage_off_by": 1}, ["5", "[DONE]"]),
    ],
)
async def test_a_stream_ends_as_it_was_told_to(
    serve: Serve, faults: dict[str, Any], ending: list[str]
) -> None:
    client = await serve(**faults)
    found = events((await ask(client, stream=True))[1])[4:]
    said = [e if e == "[DONE]" else str(e["usage"]["completion_tokens"]) for e in found]
    assert said == ending


async def test_only_the_first_chat_event_says_who_speaks(serve: Serve) -> None:
    client = await serve()
    asked = body(messages=[{"role": "user", "content": "one two three"}], stream=True)
    async with client.post("/v1/chat/completions", json=asked) as reply:
        *parts, last, _ = events(await reply.text())
    assert [part["choices"][0]["delta"].get("role") for part in parts] == ["assistant"] + [None] * 4
    assert last["usage"]["prompt_tokens"] == 3
