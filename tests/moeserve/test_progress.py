"""Progress in 80 columns: how many of how many and the time left are never cut."""

import asyncio
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest

from moeserve.cli import progress as module
from moeserve.cli import run
from orchestrator.results.record import RunRecord

LONG = "Mixtral-8x7B-Instruct-v0.1 tp2+dp4+ep prefill-heavy c=128  37/512 requests, 128 in flight"


@contextmanager
def bar(monkeypatch: pytest.MonkeyPatch, width: int) -> Iterator[tuple[Any, io.StringIO]]:
    from rich import console

    out = io.StringIO()

    class Terminal(console.Console):
        def __init__(self, **_: Any) -> None:
            super().__init__(file=out, width=width, force_terminal=True, legacy_windows=False)

    monkeypatch.setattr(console, "Console", Terminal)
    with module._live(189, 42) as listen:
        yield listen, out


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_the_count_and_the_time_left_stand_whatever_is_going_on(
    width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with bar(monkeypatch, width) as (listen, out):
        listen._say(LONG)
        listen._bar.refresh()
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue()).replace("\r", "\n")
    lines = [line for line in shown.splitlines() if "Mi" in line]
    assert lines
    for line in lines:
        assert len(line) <= width
        assert " 42/189 " in line
        assert re.search(r"(\d:\d\d:\d\d|-:--:--)", line)


def test_a_first_token_that_never_came_is_no_zero() -> None:
    record = SimpleNamespace(
        model="m", strategy="tp2", workload="16:16:8", max_concurrency=2, request_rate=None,
        output_throughput=0.0, mean_ttft_ms=None, verdict="invalid", error="",
    )  # fmt: skip
    line = module.summary_line(cast("RunRecord", record), ("ERRORS: 8 of 8 requests failed",))
    assert "0.0 tok/s, no first token (invalid: ERRORS" in line


async def test_a_second_interrupt_says_that_it_was_heard_and_what_it_does(
    capsys: pytest.CaptureFixture[str],
) -> None:
    stop, task = asyncio.Event(), asyncio.ensure_future(asyncio.sleep(60))
    run._interrupt(stop, task)
    assert stop.is_set()
    assert not task.cancelling()
    run._interrupt(stop, task)
    assert task.cancelling()
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("stopping: requests in flight may finish")
    assert second.startswith("giving up requests in flight")
