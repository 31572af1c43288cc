"""Asking servers of several kinds for the log-probabilities of a prompt."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from catalog.errors import EndpointError
from workloads.quality.client import QualityClient, client_session
from workloads.quality.scores import ABSENT
from workloads.transport.target import Target

WINDOWS = np.arange(12, dtype=np.int32).reshape(3, 4)
Answer = Callable[[dict[str, Any]], dict[str, Any]]
Ask = Callable[[Answer], Awaitable[QualityClient]]


@pytest.fixture
async def ask() -> AsyncIterator[Ask]:
    """Start a server that answers completions with a function of the body."""
    servers: list[TestServer] = []
    sessions: list[aiohttp.ClientSession] = []

    async def start(answer: Answer) -> QualityClient:
        async def complete(request: web.Request) -> web.Response:
            try:
                return web.json_response({"choices": [answer(await request.json())]})
            except KeyError as refused:
                return web.Response(status=400, text=f"not supported: {refused}")

        async def tokenize(request: web.Request) -> web.Response:
            text = (await request.json())["prompt"]
            return web.json_response({"tokens": [ord(letter) for letter in text]})

        app = web.Application()
        app.router.add_post("/v1/completions", complete)
        app.router.add_post("/tokenize", tokenize)
        server = TestServer(app)
        await server.start_server()
        servers.append(server)
        target = Target(base_url=str(server.make_url("")), model="m")
        sessions.append(client_session(target))
        return QualityClient(target, sessions[-1], 2)

    yield start
    for session in sessions:
        await session.close()
    for server in servers:
        await server.close()


def like_vllm(body: dict[str, Any]) -> dict[str, Any]:
    """Token t has log-probability -t; the likeliest is always token 99, in vLLM's odd order."""
    assert body["prompt_logprobs"] == 2
    assert body["temperature"] == 0
    rows = [
        {str(token): {"logprob": -float(token), "rank": 7}, "99": {"logprob": -0.1, "rank": 1}}
        for token in body["prompt"][1:]
    ]
    return {"prompt_logprobs": [None, *rows], "text": "x"}


async def test_windows_come_back_in_their_order_with_the_likeliest_token_first(ask: Ask) -> None:
    seen: list[int] = []
    scores = await (await ask(like_vllm)).score(WINDOWS, on_window=seen.append)
    assert seen == [1, 2, 3]
    np.testing.assert_allclose(scores.logprobs, -WINDOWS[:, 1:])
    assert (scores.top_ids[..., 0] == 99).all()
    assert (scores.top_ids[..., 1] == WINDOWS[:, 1:]).all()


async def test_lists_of_different_lengths_are_filled_up(ask: Ask) -> None:
    def uneven(body: dict[str, Any]) -> dict[str, Any]:
        answer = like_vllm(body)
        del answer["prompt_logprobs"][1]["99"]
        return answer

    scores = await (await ask(uneven)).score(WINDOWS)
    assert (scores.top_ids[:, 0, 1] == ABSENT).all()
    assert (scores.top_ids[:, 1:] != ABSENT).all()


async def test_a_server_that_only_echoes_gives_a_perplexity_and_no_lists(ask: Ask) -> None:
    def echoing(body: dict[str, Any]) -> dict[str, Any]:
        if "echo" not in body:
            return {"text": "no such field here"}
        given = [None, *(-float(token) for token in body["prompt"][1:]), -5.0]
        return {"logprobs": {"token_logprobs": given}}

    scores = await (await ask(echoing)).score(WINDOWS)
    np.testing.assert_allclose(scores.logprobs, -WINDOWS[:, 1:])
    assert scores.top_ids.shape == (3, 3, 0)


async def test_a_server_that_gives_neither_is_named_with_what_it_said(ask: Ask) -> None:
    def refusing(body: dict[str, Any]) -> dict[str, Any]:
        raise KeyError("prompt_logprobs")

    with pytest.raises(EndpointError, match=r"answered 400: not supported: 'prompt_logprobs'"):
        await (await ask(refusing)).score(WINDOWS)


async def test_a_position_without_its_own_token_is_no_answer(ask: Ask) -> None:
    def wrong(body: dict[str, Any]) -> dict[str, Any]:
        rows = [{"99": {"logprob": -0.1}} for _ in body["prompt"][1:]]
        return {"prompt_logprobs": [None, *rows]}

    with pytest.raises(EndpointError, match="lacks its own token"):
        await (await ask(wrong)).score(WINDOWS)


async def test_text_becomes_tokens_by_the_server_s_own_tokenizer(ask: Ask) -> None:
    assert await (await ask(like_vllm)).tokens("ab") == [97, 98]


async def test_a_server_behind_a_unix_socket_is_asked_there(tmp_path: Path) -> None:
    async def tokenize(_: web.Request) -> web.Response:
        return web.json_response({"tokens": [1, 2]})

    app = web.Application()
    app.router.add_post("/tokenize", tokenize)
    runner = web.AppRunner(app)
    await runner.setup()
    path = tmp_path / "s.sock"
    await web.UnixSite(runner, str(path)).start()
    target = Target(base_url=f"unix:{path}", model="m")
    async with client_session(target) as session:
        assert await QualityClient(target, session, 2).tokens("x") == [1, 2]
    await runner.cleanup()


@pytest.mark.parametrize(
    "listed",
    [
        {"5": {"logprob": -1.0}, "2147483648": {"logprob": -0.5}},
        {"5": {"logprob": -1.0}, "9" * 5000: {"logprob": -0.5}},
        {"5": {"logprob": -1.0}, "-3": {"logprob": -0.5}},
        {"5": {"logprob": -1.0}, "7": {"logprob": 1e300}},
        {"5": {"logprob": -1.0}, "7": "nothing"},
    ],
)
async def test_tokens_that_can_be_none_are_left_out(ask: Ask, listed: dict[str, Any]) -> None:
    def answer(body: dict[str, Any]) -> dict[str, Any]:
        assert "prompt_logprobs" in body
        return {"prompt_logprobs": [None, listed]}

    scores = await (await ask(answer)).score(np.array([[4, 5]], np.int32))
    assert scores.top_ids.tolist() == [[[5]]]


@pytest.mark.parametrize("value", [None, "x", True, 1e300, 10**400, [], 0.5])
async def test_an_echo_of_what_are_no_log_probabilities_is_refused(ask: Ask, value: object) -> None:
    def answer(body: dict[str, Any]) -> dict[str, Any]:
        if "echo" not in body:
            raise KeyError("prompt_logprobs")
        return {"logprobs": {"token_logprobs": [None, value]}}

    with pytest.raises(EndpointError):
        await (await ask(answer)).score(np.array([[4, 5]], np.int32))


async def test_a_position_that_lists_thousands_keeps_those_asked_for(ask: Ask) -> None:
    many = {str(token): {"logprob": -float(token)} for token in range(5000)}
    client = await ask(lambda _: {"prompt_logprobs": [None, many]})
    scores = await client.score(np.array([[4, 5]], np.int32))
    assert scores.top_ids.tolist() == [[[0, 1, 2]]]
    assert scores.logprobs.tolist() == [[-5.0]]


async def test_a_reply_without_end_is_not_read_to_its_end(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workloads.quality.client.LARGEST_REPLY_BYTES", 1000)
    client = await ask(lambda _: {"prompt_logprobs": "x" * 5000})
    with pytest.raises(EndpointError, match="more than 1000 bytes"):
        await client.score(np.array([[4, 5]], np.int32))
