"""The measured path against a server that does just what a test asks of it."""

import asyncio
import ssl
import subprocess
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from workloads.arrivals import due_times
from workloads.client import measure
from workloads.dispatch import Dispatcher
from workloads.prompts import token_prompts
from workloads.runstats import RunStats
from workloads.session import Progress
from workloads.target import Target
from workloads.transcript import RequestRow

BUSY_S = 0.25
"""What a machine that is busy with other things may add to an instant."""


@pytest.fixture(params=["python", "compiled"], autouse=True)
def reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Everything is promised for both ways of reading."""
    if request.param == "python":
        monkeypatch.setattr("workloads.waiting._compiled_reader", lambda *_: None)
    else:
        pytest.importorskip("workloads._native", reason="built only where there is a C compiler")
    return str(request.param)


async def run(
    url: str,
    count: int = 1,
    *,
    concurrency: int | None = 1,
    output_len: int = 3,
    due_s: Sequence[float] | None = None,
    stop: asyncio.Event | None = None,
    reports: list[Progress] | None = None,
    **target: Any,
) -> tuple[list[RequestRow], RunStats]:
    rows: list[RequestRow] = []
    prompts = token_prompts(np.random.default_rng(0), count=count, length=4, vocab=1000)
    async with asyncio.timeout(30):
        stats = await measure(
            Target(base_url=url, model="m", **target),
            prompts,
            output_len=output_len,
            dispatcher=Dispatcher(count, max_concurrency=concurrency, due_s=due_s),
            on_row=rows.append,
            on_progress=None if reports is None else reports.append,
            stop=stop,
        )
    return rows, stats


def classes(rows: list[RequestRow]) -> Counter[str]:
    return Counter(row.error_class for row in rows)


async def test_a_good_answer_is_a_row_with_a_time_for_each_token(
    serve: Any, wire: Any, reader: str
) -> None:
    server = await serve([wire.answer(wire.stream(3))])
    rows, stats = await run(server.url)
    assert stats.compiled_reader == (reader == "compiled")
    (row,) = rows
    assert (row.status, row.error_class, row.output_tokens, row.input_tokens) == ("ok", "", 3, 4)
    assert row.finish_reason == "length"
    assert row.sent_s is not None
    assert row.first_token_s is not None
    assert row.done_s is not None
    assert 0 <= row.due_s <= row.sent_s <= row.first_token_s <= row.token_times_s[-1] <= row.done_s
    assert (stats.requests, stats.reads, stats.connects, stats.unsent) == (1, 1, 1, 0)


async def test_token_times_are_when_the_tokens_came(serve: Any, wire: Any) -> None:
    events = wire.stream(3)
    pieces = [wire.chunk(one) for one in events]
    script = [wire.HEAD, 0.05, pieces[0], 0.1, pieces[1], 0.05, b"".join(pieces[2:]) + wire.LAST]
    server = await serve(script)
    rows, _ = await run(server.url)
    times = rows[0].token_times_s - rows[0].sent_s
    late = times - np.array([0.05, 0.15, 0.2])
    assert (late > -0.002).all()
    assert (late < BUSY_S).all()


async def test_a_closed_loop_never_has_more_in_flight_than_asked(serve: Any, wire: Any) -> None:
    answer = wire.answer(wire.stream(3))
    server = await serve(lambda n: [answer[:90], 0.001 * (n % 7), answer[90:]])
    rows, stats = await run(server.url, 200, concurrency=13)
    assert server.peak == stats.peak_in_flight == 13
    assert classes(rows) == {"": 200}
    assert server.connections == 13
    assert sorted(row.request for row in rows) == list(range(200))


async def test_an_open_loop_keeps_its_schedule(serve: Any, wire: Any) -> None:
    server = await serve([0.2, wire.answer(wire.stream(3))])
    due_s = due_times(np.random.default_rng(3), 100, rate_per_s=200.0)
    rows, stats = await run(server.url, 100, concurrency=None, due_s=due_s.tolist())
    assert classes(rows) == {"": 100}
    lags = np.array([(row.sent_s or 0) - row.due_s for row in rows])
    assert (lags >= 0).all()
    assert np.median(lags) < BUSY_S
    assert server.peak > 20
    assert stats.p99_dispatch_lag_s == pytest.approx(np.percentile(lags, 99))


async def test_a_capped_open_loop_counts_the_wait_for_a_slot(serve: Any, wire: Any) -> None:
    server = await serve([0.1, wire.answer(wire.stream(3))])
    rows, _ = await run(server.url, 3, concurrency=1, due_s=[0.0, 0.0, 0.0])
    late = np.array([(row.sent_s or 0) - row.due_s for row in rows]) - np.array([0.0, 0.1, 0.2])
    assert (late > -0.002).all()
    assert (late < BUSY_S).all()
    assert server.peak == 1


FAULTS = {
    "CONNECTION_LOST": ["fin"],
    "STREAM_TRUNCATED": lambda wire: [wire.answer(wire.stream(3))[:200], "fin"],
    "BAD_HTTP": lambda wire: [wire.HEAD + b"zz\r\n"],
    "NO_DONE": lambda wire: [wire.answer(wire.stream(3)[:-1])],
    "NO_FINISH_REASON": lambda wire: [
        wire.answer([wire.event(wire.token()), wire.event(wire.usage(1)), wire.DONE])
    ],
    "USAGE_MISSING": lambda wire: [wire.answer([*wire.stream(3)[:3], wire.DONE])],
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
    events = [item for event in wire.stream(6) for item in (0.3, event)]
    server = await serve([head, *events, "fin"])
    rows, _ = await run(server.url, output_len=6, idle_timeout_s=0.8)
    assert [(row.status, row.output_tokens) for row in rows] == [("ok", 6)]


async def test_an_answer_that_never_ends_is_a_time_out_if_one_was_set(
    serve: Any, wire: Any
) -> None:
    piece = wire.chunk(b": still here\n\n")
    server = await serve([wire.HEAD, *[piece, 0.05] * 100])
    rows, _ = await run(server.url, request_timeout_s=0.5)
    assert classes(rows) == {"TIMEOUT": 1}


async def test_a_connection_closed_between_requests_is_no_failure(serve: Any, wire: Any) -> None:
    server = await serve([wire.answer(wire.stream(3)), "fin"])
    rows, _ = await run(server.url, 40, concurrency=4)
    assert classes(rows) == {"": 40}
    assert server.connections >= 40


async def test_a_request_that_meets_a_closing_connection_is_sent_again(
    serve: Any, wire: Any
) -> None:
    good = [wire.answer(wire.stream(3))]
    server = await serve(lambda n: ["fin"] if n == 1 else good)
    rows, stats = await run(server.url, 3)
    assert classes(rows) == {"": 3}
    assert stats.reconnects == 1
    assert [row.reconnects for row in rows] == [0, 1, 0]


async def test_a_server_that_announces_its_close_is_believed(serve: Any, wire: Any) -> None:
    head = wire.HEAD.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    answer = head + b"".join(map(wire.chunk, wire.stream(3))) + wire.LAST
    server = await serve([answer, "fin"])
    rows, stats = await run(server.url, 5)
    assert classes(rows) == {"": 5}
    assert stats.reconnects == 0


@pytest.mark.parametrize("end", [b"\r\n", b"\r"])
async def test_servers_of_other_line_ends_are_measured_too(
    serve: Any, wire: Any, end: bytes
) -> None:
    events = [one.replace(b"\n", end) for one in wire.stream(3)]
    pieces = [wire.HEAD, *map(wire.chunk, events), wire.LAST]
    server = await serve([item for piece in pieces for item in (piece, 0.002)])
    rows, _ = await run(server.url, 6, concurrency=2)
    assert classes(rows) == {"": 6}


async def test_an_answer_of_single_bytes_is_measured_too(serve: Any, wire: Any) -> None:
    answer = wire.answer(wire.stream(3))
    server = await serve([answer[at : at + 1] for at in range(len(answer))])
    rows, _ = await run(server.url, 4, concurrency=2)
    assert classes(rows) == {"": 4}


async def test_bodies_of_known_length_and_up_to_the_close_are_streams_too(
    serve: Any, wire: Any
) -> None:
    body = b"".join(wire.stream(3))
    kind = "content-type: text/event-stream"
    until_close = b"HTTP/1.1 200 OK\r\n" + kind.encode() + b"\r\n\r\n" + body
    server = await serve(
        lambda n: [wire.plain("200 OK", body, kind)] if n % 2 else [until_close, "fin"]
    )
    rows, _ = await run(server.url, 6)
    assert classes(rows) == {"": 6}


async def test_a_head_and_trailers_in_many_pieces_are_read(serve: Any, wire: Any) -> None:
    head = wire.HEAD.replace(b"\r\n\r\n", b"\r\nX-Long: " + b"x" * 9000 + b"\r\n\r\n")
    end = b"0\r\nX-Trailer: yes\r\n\r\n"
    pieces = [head[:50], head[50:], *map(wire.chunk, wire.stream(3)), end]
    server = await serve([item for piece in pieces for item in (piece, 0.002)])
    rows, _ = await run(server.url, 4, concurrency=2)
    assert classes(rows) == {"": 4}


async def test_what_a_server_may_send_is_bounded(serve: Any, wire: Any) -> None:
    line = wire.chunk(b"data: " + b"x" * 60_000)
    endless = [wire.HEAD, line, *[wire.chunk(b"y" * 60_000)] * 400]
    server = await serve(endless)
    rows, _ = await run(server.url)
    assert classes(rows) == {"TOO_LARGE": 1}


async def test_large_prompts_are_sent_whole(serve: Any, wire: Any) -> None:
    server = await serve([wire.answer(wire.stream(3))])
    rows: list[RequestRow] = []
    prompts = token_prompts(np.random.default_rng(0), count=2, length=100_000, vocab=100_000)
    await measure(
        Target(base_url=server.url, model="m"),
        prompts,
        output_len=3,
        dispatcher=Dispatcher(2, max_concurrency=2, due_s=None),
        on_row=rows.append,
    )
    assert classes(rows) == {"": 2}
    assert min(map(len, server.requests)) > 500_000


async def test_text_prompts_go_to_the_chat_endpoint(serve: Any, wire: Any) -> None:
    role = wire.event({"choices": [{"delta": {"role": "assistant", "content": ""}}]})
    said = [wire.event({"choices": [{"delta": {"content": "a"}}]})] * 2
    last = wire.event({"choices": [{"delta": {"content": "b"}, "finish_reason": "length"}]})
    server = await serve([wire.answer([role, *said, last, wire.event(wire.usage(3)), wire.DONE])])
    rows: list[RequestRow] = []
    await measure(
        Target(base_url=server.url, model="m", endpoint="chat"),
        ["hello"],
        output_len=3,
        dispatcher=Dispatcher(1, max_concurrency=1, due_s=None),
        on_row=rows.append,
    )
    assert (rows[0].status, rows[0].output_tokens) == ("ok", 3)


async def test_a_stop_sends_nothing_more_and_drains_what_is_in_flight(
    serve: Any, wire: Any
) -> None:
    stop = asyncio.Event()

    def script(request: int) -> list[Any]:
        if request == 3:
            stop.set()
        return [0.1, wire.answer(wire.stream(3))]

    server = await serve(script)
    rows, stats = await run(server.url, 100, concurrency=2, stop=stop)
    assert classes(rows) == {"": 4}
    assert stats.unsent == 96


async def test_what_does_not_end_in_time_after_a_stop_is_interrupted(
    serve: Any, wire: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workloads.client.DRAIN_S", 0.1)
    server = await serve([wire.HEAD + wire.chunk(wire.stream(3)[0]), 20.0])
    stop = asyncio.Event()
    asyncio.get_running_loop().call_later(0.4, stop.set)
    rows, _ = await run(server.url, 5, concurrency=2, stop=stop)
    assert [(row.status, row.error_class) for row in rows] == [("interrupted", "INTERRUPTED")] * 2
    assert rows[0].output_tokens == 1


async def test_progress_is_reported_and_ends_with_everything(serve: Any, wire: Any) -> None:
    server = await serve([0.05, wire.answer(wire.stream(3))])
    reports: list[Progress] = []
    await run(server.url, 10, concurrency=2, reports=reports)
    assert len(reports) >= 2
    assert (reports[-1].sent, reports[-1].ended, reports[-1].in_flight) == (10, 10, 0)


async def test_a_unix_socket_is_an_endpoint(serve: Any, wire: Any, tmp_path: Path) -> None:
    server = await serve([wire.answer(wire.stream(3))], path=str(tmp_path / "s.sock"))
    rows, _ = await run(server.url, 5, concurrency=2)
    assert classes(rows) == {"": 5}


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj",
         "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", path, "-out",
         path.with_suffix(".crt")],
        check=True,
        capture_output=True,
    )  # fmt: skip
    path.write_bytes(path.read_bytes() + path.with_suffix(".crt").read_bytes())
    return path


async def test_tls_is_spoken_and_checked(serve: Any, wire: Any, certificate: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    answer = wire.answer(wire.stream(200))
    server = await serve([answer[:5000], 0.01, answer[5000:]], ssl=context)
    trusted, _ = await run(
        server.url, 20, concurrency=4, output_len=200, ca_file=str(certificate.with_suffix(".crt"))
    )
    assert classes(trusted) == {"": 20}
    assert sum(row.output_tokens for row in trusted) == 4000
    untrusted, _ = await run(server.url, 1)
    assert classes(untrusted) == {"CONNECT": 1}
    assert "certificate" in untrusted[0].error.lower()


async def test_proxies_of_the_environment_are_not_used(
    serve: Any, wire: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    server = await serve([wire.answer(wire.stream(3))])
    assert classes((await run(server.url))[0]) == {"": 1}


async def test_nothing_to_send_is_a_run_of_nothing(serve: Any, wire: Any) -> None:
    server = await serve([wire.answer(wire.stream(3))])
    rows, stats = await run(server.url, 0)
    assert (rows, stats.requests) == ([], 0)
