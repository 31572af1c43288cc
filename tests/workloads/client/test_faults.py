"""Servers that fail: each fault is a row of its class, and the rest of the run goes on."""

import asyncio
from typing import Any

import pytest

from tests.machine import slowness
from tests.measured_path import classes, run

pytestmark = pytest.mark.usefixtures("reader")

FAULTS = {
    "CONNECTION_LOST": ["fin"],
    "STREAM_TRUNCATED": lambda wire: [wire.answer(wire.stream(3))[:200], "fin"],
    "BAD_HTTP": lambda wire: [wire.HEAD + b"zz\r\n"],
    "NO_DONE": lambda wire: [wire.answer(wire.stream(3)[1:3])],
    "NO_FINISH_REASON": lambda wire: [
        wire.answer([wire.event(wire.token()), wire.event(wire.usage(1)), wire.DONE])
    ],
    "USAGE_MISSING": lambda wire: [wire.answer([*wire.stream(3)[1:3], wire.DONE])],
    "ABORTED": lambda wire: [
        wire.answer([wire.event(wire.token(finish="abort")), wire.event(wire.usage(1)), wire.DONE])
    ],
    "STREAM_ERROR": lambda wire: [
        wire.answer([wire.stream(3)[0], wire.event({"error": {"message": "dead"}}), wire.DONE])
    ],
    "BAD_JSON": lambda wire: [wire.answer([wire.event("{"), wire.DONE])],
    "HTTP_4XX": lambda wire: [wire.plain("429 Too Many Requests")],
    "HTTP_5XX": lambda wire: [wire.plain("503 Unavailable")],
    "HTTP_3XX": lambda wire: [wire.plain("307 Elsewhere", b"", "location: http://x/")],
    "BAD_CONTENT": lambda wire: [
        wire.plain(
            "200 OK", b"\x1f\x8b...", "content-encoding: gzip", "content-type: text/event-stream"
        )
    ],
    "ZERO_TOKENS": lambda wire: [
        wire.answer(
            [wire.event(wire.token("", finish="stop")), wire.event(wire.usage(0)), wire.DONE]
        )
    ],
    "TOKEN_COUNT_MISMATCH": lambda wire: [
        wire.answer([*wire.stream(3)[:3], wire.event(wire.usage(2)), wire.DONE])
    ],
}


@pytest.mark.slow
@pytest.mark.parametrize("error_class", FAULTS)
async def test_each_fault_is_a_failed_row_of_its_class_and_the_rest_goes_on(
    serve: Any, wire: Any, error_class: str
) -> None:
    fault = FAULTS[error_class]
    script = fault(wire) if callable(fault) else fault
    good = [wire.answer(wire.stream(3))]
    server = await serve(lambda n: script if n == 0 else good)
    rows, _ = await run(server.url, 4)
    by_request = {row.request: row for row in rows}
    assert by_request[0].status == "failed"
    assert by_request[0].error_class == error_class
    assert all(by_request[request].status == "ok" for request in (1, 2, 3))


async def test_a_reset_in_the_middle_keeps_the_tokens_that_had_come(serve: Any, wire: Any) -> None:
    first = wire.HEAD + wire.chunk(wire.stream(3)[0])
    server = await serve([first, 0.05, "rst"])
    rows, _ = await run(server.url)
    assert (rows[0].error_class, rows[0].output_tokens) == ("STREAM_TRUNCATED", 1)


async def test_a_server_that_is_not_there_is_a_failed_row() -> None:
    rows, _ = await run("http://127.0.0.1:9", 3, concurrency=2)
    assert classes(rows) == {"CONNECT": 3}
    assert rows[0].sent_s is None


async def test_silence_is_a_time_out(serve: Any, wire: Any) -> None:
    server = await serve([wire.HEAD, 20.0])
    rows, _ = await run(server.url, idle_timeout_s=0.3)
    assert classes(rows) == {"TIMEOUT": 1}


async def test_an_answer_that_is_decoded_as_it_comes_is_not_silent(serve: Any, wire: Any) -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
    pause_s = 0.1 * slowness()
    events = [item for event in wire.stream(6) for item in (pause_s, event)]
    server = await serve([head, *events, "fin"])
    rows, _ = await run(server.url, output_len=6, idle_timeout_s=4 * pause_s)
    assert [(row.status, row.output_tokens) for row in rows] == [("ok", 6)]


async def test_an_answer_that_never_ends_is_a_time_out_if_one_was_set(
    serve: Any, wire: Any
) -> None:
    piece = wire.chunk(b": still here\n\n")
    server = await serve([wire.HEAD, *[piece, 0.05] * 100])
    rows, _ = await run(server.url, request_timeout_s=0.5)
    assert classes(rows) == {"TIMEOUT": 1}


async def test_what_a_server_may_send_is_bounded(serve: Any, wire: Any) -> None:
    line = wire.chunk(b"data: " + b"x" * 60_000)
    endless = [wire.HEAD, line, *[wire.chunk(b"y" * 60_000)] * 400]
    server = await serve(endless)
    rows, _ = await run(server.url)
    assert classes(rows) == {"TOO_LARGE": 1}


async def test_what_does_not_end_in_time_after_a_stop_is_interrupted(
    serve: Any, wire: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workloads.client.load_run.DRAIN_S", 0.1)
    server = await serve([wire.HEAD + wire.chunk(wire.stream(3)[0]), 20.0])
    stop = asyncio.Event()
    asyncio.get_running_loop().call_later(0.3 * slowness(), stop.set)
    rows, _ = await run(server.url, 5, concurrency=2, stop=stop)
    assert [(row.status, row.error_class) for row in rows] == [("interrupted", "INTERRUPTED")] * 2
    assert rows[0].output_tokens == 1
