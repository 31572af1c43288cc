"""What is asked differs from request to request, and turns follow each other over the wire."""

import asyncio
import json
from typing import Any

import numpy as np
import pytest

from tests.machine import limit
from workloads.client.load_run import measure
from workloads.client.payloads import Answers
from workloads.client.worker_pool import WorkersPlan, measure_with_workers
from workloads.load.turns import TurnDispatcher, Turns
from workloads.transcript import RequestRow
from workloads.transport.target import Target

PROMPTS: list[Any] = [
    np.arange(3, dtype=np.int32),
    np.arange(5, dtype=np.int32),
    "texts",
    ({"role": "user", "content": "hello"},),
]
ANSWERS = Answers([3, 3, 3, 3], [False, True, False, True])
THINK_S = 0.05


def bodies(server: Any) -> list[tuple[str, dict[str, Any]]]:
    """Return the path and the body of each request, in the order of what was asked."""
    found = []
    for request in server.requests:
        head, _, body = request.partition(b"\r\n\r\n")
        found.append((head.split(b" ")[1].decode(), json.loads(body)))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
async def test_each_request_asks_for_its_own_in_its_own_way(
    serve: Any, wire: Any, workers: int
) -> None:
    server = await serve([wire.answer(wire.stream(3))])
    rows: list[RequestRow] = []
    target = Target(base_url=server.url, model="m")
    async with asyncio.timeout(limit(60)):
        if workers == 1:
            dispatcher = TurnDispatcher(Turns([-1] * 4, [0.0] * 4), max_concurrency=1, due_s=None)
            await measure(
                target, PROMPTS, output_len=ANSWERS, dispatcher=dispatcher, on_row=rows.append
            )
        else:
            plan = WorkersPlan(output_len=ANSWERS, workers=workers, max_concurrency=2)
            await measure_with_workers(target, PROMPTS, plan=plan, on_row=rows.append)
    sent = sorted(bodies(server), key=lambda each: len(str(each[1].get("prompt", "chat"))))
    assert [path for path, _ in sent] == [
        "/v1/chat/completions",
        *["/v1/completions"] * 3,
    ]
    chat, text, first, second = (body for _, body in sent)
    assert (first["prompt"], second["prompt"], text["prompt"]) == (
        [0, 1, 2],
        [0, 1, 2, 3, 4],
        "texts",
    )
    assert chat["messages"] == [{"role": "user", "content": "hello"}]
    for forced in (first, text):
        assert (forced["ignore_eos"], forced["min_tokens"], forced["max_tokens"]) == (True, 3, 3)
    for natural in (second, chat):
        assert not {"ignore_eos", "min_tokens"} & set(natural)
        assert natural["max_tokens"] == 3
    by_request = {row.request: row.input_tokens for row in rows}
    assert by_request[0] == 3
    assert by_request[1] == 5


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("open_loop", [False, True])
async def test_a_turn_is_sent_think_time_after_the_end_of_the_one_before(
    serve: Any, wire: Any, workers: int, open_loop: bool
) -> None:
    server = await serve([wire.answer(wire.stream(3))])
    count, nan = 24, float("nan")
    following = [request + 1 if request % 3 < 2 else -1 for request in range(count)]
    turns = Turns(following, [0.0 if request % 3 == 0 else THINK_S for request in range(count)])
    due_s = [0.02 * request if request % 3 == 0 else nan for request in range(count)]
    prompts = [np.array([request, 1], np.int32) for request in range(count)]
    rows: list[RequestRow] = []
    target = Target(base_url=server.url, model="m")
    cap = None if open_loop else 4
    async with asyncio.timeout(limit(60)):
        if workers == 1:
            dispatcher = TurnDispatcher(
                turns, max_concurrency=cap, due_s=due_s if open_loop else None
            )
            stats = await measure(
                target, prompts, output_len=3, dispatcher=dispatcher, on_row=rows.append
            )
        else:
            plan = WorkersPlan(
                output_len=3,
                workers=workers,
                max_concurrency=cap,
                due_s=due_s if open_loop else None,
                turns=turns,
            )
            stats = await measure_with_workers(target, prompts, plan=plan, on_row=rows.append)
    assert stats.unsent == 0
    assert sorted(row.request for row in rows) == list(range(count))
    found = {row.request: row for row in rows}
    for request, after in enumerate(following):
        if after >= 0:
            waited_s = (found[after].sent_s or 0) - (found[request].done_s or 0)
            assert waited_s >= THINK_S
            assert found[after].due_s >= (found[request].done_s or 0) + THINK_S - 1e-9
    if open_loop:
        assert all(found[r].due_s == due_s[r] for r in range(0, count, 3))
        late_s = [(found[r].sent_s or 0) - found[r].due_s for r in found]
        assert np.median(late_s) < limit(0.1), "the end of a turn wakes the sender in time"
