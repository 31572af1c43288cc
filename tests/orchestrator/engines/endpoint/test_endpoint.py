"""Measuring a server that already runs, and what is said of one that is not what it should be."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web

from catalog.errors import EndpointError, InputError
from orchestrator.engines.endpoint.inspect import inspect
from orchestrator.experiment.endpoint_options import EndpointOptions
from orchestrator.experiment.experiment import Experiment
from orchestrator.host.ports import port_range
from orchestrator.study import prepare, run_study
from orchestrator.table import run_rows
from tests.machine import against
from tests.simulated_server import simulated

Handler = Callable[[web.Request], Awaitable[web.Response]]


@contextlib.asynccontextmanager
async def answering(answer: Handler) -> AsyncIterator[str]:
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
    assert not against(row)
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


def listing(text: str, status: int = 200, **headers: str) -> Handler:
    async def handler(request: web.Request) -> web.Response:
        if request.path != "/v1/models":
            return web.Response(status=404)
        return web.Response(
            text=text, status=status, content_type="application/json", headers=headers
        )

    return handler


@pytest.mark.parametrize("text", ['{"data": []}', '{"object": "list", "data": null}'])
async def test_a_server_that_lists_no_model_is_asked_for_the_one_that_is_named(text: str) -> None:
    async with answering(listing(text)) as url:
        with pytest.raises(EndpointError, match=r"lists no model; name its model with --model"):
            await inspect(Experiment(endpoint=url))
        found = await inspect(Experiment(endpoint=url, models=("b",)))
    assert (found.identity.asked, found.identity.listed) == ("b", None)
    assert found.notes[0].startswith("UNLISTED")


@pytest.mark.parametrize(
    "text",
    [
        '[{"id": "m"}]',
        '{"models": [{"name": "m"}]}',
        '{"data": ["m"]}',
        '{"data": [{"name": "m"}]}',
    ],
)
async def test_a_list_of_models_may_have_several_shapes(text: str) -> None:
    async with answering(listing(text)) as url:
        found = await inspect(Experiment(endpoint=url))
    assert (found.identity.asked, found.identity.listed) == ("m", ("m",))


@pytest.mark.parametrize(
    ("text", "status"),
    [('{"error": "none"}', 200), ("", 200), ("<html>", 200), ("no", 500), ("", 400)],
)
async def test_with_the_name_to_ask_for_no_list_is_needed(text: str, status: int) -> None:
    async with answering(listing(text, status)) as url:
        with pytest.raises(EndpointError, match="--served-model-name"):
            await inspect(Experiment(endpoint=url))
        options = EndpointOptions(served_name="b")
        found = await inspect(Experiment(endpoint=url, endpoint_options=options))
    assert (found.identity.asked, found.identity.listed) == ("b", None)


async def test_a_model_that_is_listed_twice_is_one() -> None:
    async with answering(listing('{"data": [{"id": "m"}, {"id": "m"}]}')) as url:
        found = await inspect(Experiment(endpoint=url))
    assert (found.identity.asked, found.identity.listed) == ("m", ("m",))


async def test_a_redirect_is_told_with_its_place() -> None:
    handler = listing("", 308, Location="https://h/v1/models")
    async with answering(handler) as url:
        with pytest.raises(EndpointError, match=r"308.*redirects to https://h/v1/models"):
            await inspect(Experiment(endpoint=url))


async def test_a_key_that_may_not_list_may_complete_for_a_model_that_is_named() -> None:
    async with answering(listing('{"detail": "no"}', 403)) as url:
        with pytest.raises(EndpointError, match=r"403.*--served-model-name"):
            await inspect(Experiment(endpoint=url))
        options = EndpointOptions(served_name="b")
        found = await inspect(Experiment(endpoint=url, endpoint_options=options))
    assert found.identity.asked == "b"


async def test_a_server_that_hangs_up_may_be_one_with_tls() -> None:
    async def hang_up(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.close()
        return web.Response()

    async with answering(hang_up) as url:
        with pytest.raises(EndpointError, match=r"closed the connection unanswered.*https://"):
            await inspect(Experiment(endpoint=url))


async def test_a_server_that_breaks_off_tls_may_want_a_certificate_of_the_client() -> None:
    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        with pytest.raises(EndpointError, match="client's certificate") as raised:
            await inspect(Experiment(endpoint=url))
    assert not raised.value.absent


async def test_what_speaks_no_http_is_told_as_such() -> None:
    async def speak(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")
        writer.close()

    async with await asyncio.start_server(speak, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        with pytest.raises(EndpointError, match="speaks no HTTP"):
            await inspect(Experiment(endpoint=url))


async def test_a_limit_on_questions_is_told_as_one() -> None:
    async with answering(listing('{"detail": "slow down"}', 429)) as url:
        with pytest.raises(EndpointError, match=r"429.*slow down.*limits how much"):
            await inspect(Experiment(endpoint=url))


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
