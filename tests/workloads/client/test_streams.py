"""The same answer in all the shapes that servers give it."""

from typing import Any

import pytest

from tests.measured_path import classes, run
from workloads.client.load_run import measure
from workloads.load.dispatch import Dispatcher
from workloads.transcript import RequestRow
from workloads.transport.target import Target

pytestmark = pytest.mark.usefixtures("reader")


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
