"""Measuring a server that already runs, and what is said of one that is not what it should be."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web

from catalog.errors import EndpointError, InputError
from orchestrator.experiment.experiment import Experiment
from orchestrator.host.ports import port_range
from orchestrator.study import prepare, run_study
from orchestrator.table import run_rows
from tests.simulated_server import simulated


@contextlib.asynccontextmanager
async def answering(answer: Callable[[web.Request], Awaitable[web.Response]]) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    with port_range() as ports:
        await web.TCPSite(runner, "127.0.0.1", ports.start).start()
        try:
            yield f"http://127.0.0.1:{ports.start}"
        finally:
            await runner.cleanup()


@pytest.mark.slow
async def test_a_running_server_is_measured_as_what_the_user_says_it_is(tmp_path: Path) -> None:
    async with simulated(tmp_path) as url:
        asked = Experiment(
            endpoint=url, strategies=("tp4",), workloads=("16:8:6",), concurrency="2"
        )
        await run_study(await prepare(asked), tmp_path / "out", listen=lambda _: None)
    (row,) = run_rows(tmp_path / "out")
    assert row["completed"] == 6
    assert row["verdict_reasons"] in ("", "CLIENT_LIMITED")  # a busy test machine may limit it
    assert (row["model"], row["strategy"], row["num_gpus"]) == ("OLMoE-1B-7B", "tp4", 4)
    assert row["engine"] == "endpoint"
    assert row["provenance"] == "simulated"


@pytest.mark.slow
async def test_a_layout_nobody_named_is_as_served(tmp_path: Path) -> None:
    async with simulated(tmp_path) as url:
        asked = Experiment(endpoint=url, workloads=("16:8:6",), concurrency="2")
        await run_study(await prepare(asked), tmp_path / "out", listen=lambda _: None)
    (row,) = run_rows(tmp_path / "out")
    assert (row["strategy"], row["tp"], row["num_gpus"]) == ("as served", None, None)
    assert row["output_throughput_per_gpu"] is None


async def test_html_a_404_and_an_empty_list_are_not_an_openai_server() -> None:
    async def html(_: web.Request) -> web.Response:
        return web.Response(text="<html>hello</html>", content_type="text/html")

    async def missing(_: web.Request) -> web.Response:
        return web.Response(status=404)

    async def empty(_: web.Request) -> web.Response:
        return web.json_response({"data": []})

    for answer, told in ((html, "HTML"), (missing, "404"), (empty, "lists no model")):
        async with answering(answer) as url:
            with pytest.raises(EndpointError, match=told):
                await prepare(Experiment(endpoint=url))


@pytest.mark.slow
async def test_a_server_that_lists_a_model_but_cannot_complete_is_refused(tmp_path: Path) -> None:
    async def models_only(request: web.Request) -> web.Response:
        if request.path == "/v1/models":
            return web.json_response({"data": [{"id": "m"}]})
        return web.Response(status=500)

    async with answering(models_only) as url:
        study = await prepare(Experiment(endpoint=url, workloads=("16:8:6",), concurrency="2"))
        events: list[object] = []
        await run_study(study, tmp_path / "out", listen=events.append)
    (row,) = run_rows(tmp_path / "out")
    assert row["verdict"] == "failed"
    assert "HTTP" in row["error"]


async def test_nobody_there_is_said_in_a_line() -> None:
    with port_range() as ports, pytest.raises(EndpointError, match="no server answers there"):
        await prepare(Experiment(endpoint=f"http://127.0.0.1:{ports.start}"))


@pytest.mark.parametrize("url", ["nonsense", "ftp://x", "http://", "http://a:b@c:1"])
async def test_what_is_no_url_is_bad_input(url: str) -> None:
    with pytest.raises(InputError):
        await prepare(Experiment(endpoint=url))
