"""What llama.cpp's server says, read as any other's."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from orchestrator.engines.llamacpp.control import Facts, LlamaCppControl
from orchestrator.measure.monitor import ServerMonitor, queued
from tests.machine import slowness, until_async
from workloads.figures.server_metrics import parse_metrics, window

METRICS = """\
# HELP llamacpp:prompt_tokens_total Number of prompt tokens processed.
# TYPE llamacpp:prompt_tokens_total counter
llamacpp:prompt_tokens_total 160
llamacpp:tokens_predicted_total {made}
llamacpp:n_decode_total {steps}
llamacpp:requests_processing 3
llamacpp:requests_deferred 2
"""
LISTED = {"data": [{"id": "NAME", "meta": {"ftype": "Q8_0", "n_params": 625280, "size": 672256,
                                           "n_ctx": 256}}]}  # fmt: skip
PROPERTIES = {"total_slots": 4, "build_info": "b9999-abc", "model_ftype": "Q8_0"}


class Fake:
    """A server whose answers a test sets."""

    def __init__(self) -> None:
        self.made, self.properties = "128", dict[str, Any](PROPERTIES)
        self.steps, self.steps_a_look = 40, 0
        self.url = ""

    async def started(self) -> TestServer:
        app = web.Application()
        app.router.add_get("/metrics", self.metrics)
        app.router.add_get("/v1/models", self.models)
        app.router.add_get("/props", self.props)
        server = TestServer(app)
        await server.start_server()
        self.url = str(server.make_url("/")).rstrip("/")
        return server

    async def metrics(self, request: web.Request) -> web.Response:
        self.steps += self.steps_a_look
        return web.Response(text=METRICS.format(made=self.made, steps=self.steps))

    async def models(self, request: web.Request) -> web.Response:
        return web.json_response(LISTED)

    async def props(self, request: web.Request) -> web.Response:
        return web.json_response(self.properties)

    async def account(self, facts: Facts) -> dict[str, Any]:
        async with LlamaCppControl(self.url, facts=facts) as control:
            (entry,) = await control.models()
        found: dict[str, Any] = entry["details"]
        return found


@pytest.fixture
async def fake() -> AsyncIterator[Fake]:
    made = Fake()
    server = await made.started()
    yield made
    await server.close()


async def test_its_counters_stand_under_the_names_that_are_read(fake: Fake) -> None:
    async with LlamaCppControl(fake.url, facts={"device": "cpu"}) as control:
        before = parse_metrics(await control.metrics() or "")
        fake.made = "256"
        after = parse_metrics(await control.metrics() or "")
        assert await control.version() == "b9999-abc"
    figures = window(before, after).figures()
    assert (figures["server_generation_tokens"], figures["server_prompt_tokens"]) == (128, 0)
    assert queued(after) == 5


async def test_a_counter_that_the_server_rounds_is_not_compared(fake: Fake) -> None:
    async with LlamaCppControl(fake.url, facts={"device": "cpu"}) as control:
        before = parse_metrics(await control.metrics() or "")
        fake.made = "1.00013e+06"
        after = parse_metrics(await control.metrics() or "")
    found = window(before, after)
    assert found.figures()["server_generation_tokens"] is None
    assert not found.restarted


async def test_its_account_holds_what_it_loaded_and_what_is_known_beside(fake: Fake) -> None:
    assert await fake.account({"device": "cpu", "gguf_bytes": 684416}) == {
        "quantisation": "Q8_0",
        "parameters": 625280,
        "weight_bytes": 672256,
        "model_memory_bytes": 672256,
        "slots": 4,
        "kv_tokens_capacity": 1024,
        "device": "cpu",
        "gguf_bytes": 684416,
    }


async def test_weights_divided_between_gpu_and_host_are_no_figure_of_either(fake: Fake) -> None:
    divided = await fake.account({"device": "CUDA0: GPU", "experts_on_host": "2"})
    assert "model_memory_bytes" not in divided
    assert divided["weight_bytes"] == 672256
    assert "model_memory_bytes" in await fake.account({"device": "CUDA0: GPU"})


async def test_a_server_that_says_less_has_a_shorter_account(fake: Fake) -> None:
    fake.properties = {"total_slots": "many"}
    found = await fake.account({"device": "cpu"})
    assert "slots" not in found
    assert found["quantisation"] == "Q8_0"


@pytest.mark.parametrize("steps_a_look", [0, 1])
async def test_a_long_answer_is_no_stall_while_the_server_makes_steps(
    fake: Fake, steps_a_look: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    stall_s = 0.2 * slowness()
    monkeypatch.setattr("orchestrator.measure.monitor.STALL_S", stall_s)
    monkeypatch.setattr("orchestrator.measure.monitor.PERIOD_S", 0.02)
    fake.steps_a_look = steps_a_look
    async with LlamaCppControl(fake.url, facts={"device": "cpu"}) as control:
        monitor = ServerMonitor(control, asyncio.Event(), alive=lambda: None)
        async with monitor.sampling():
            if steps_a_look:
                await asyncio.sleep(2 * stall_s)
                assert monitor.failure is None
            else:
                await until_async(lambda: monitor.failure is not None)
