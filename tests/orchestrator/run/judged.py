"""Rows made to a rule's edge, judged as a runner does: through the whole record of their run."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from orchestrator.engine import Measurement
from orchestrator.experiment.experiment import Experiment
from orchestrator.plan import make_plan
from orchestrator.results.record import MEASURED, RunRecord
from orchestrator.run.outcome import build_record, identity_of
from workloads.transcript import RequestRow

INPUT, OUTPUT = 16, 4


def row(number: int, **changes: Any) -> RequestRow:
    """Sent when due, each second; four tokens, one each quarter of a second."""
    base = RequestRow(request=number, due_s=number, input_tokens=INPUT, output_tokens=OUTPUT)
    return replace(timed(base, float(number), 0.25, 0.25), **changes)


def timed(row: RequestRow, sent_s: float, ttft_s: float, itl_s: float) -> RequestRow:
    """The same request, sent then, with tokens at equal distances, done with the last of them."""
    times = sent_s + ttft_s + itl_s * np.arange(OUTPUT)
    return replace(
        row,
        sent_s=sent_s,
        first_token_s=float(times[0]),
        done_s=float(times[-1]),
        token_times_s=times,
    )


def failed(number: int, error_class: str = "TIMEOUT") -> RequestRow:
    return RequestRow(request=number, due_s=number, status="failed", error_class=error_class)


def good(count: int = 8) -> list[RequestRow]:
    return [row(number) for number in range(count)]


def judge(
    rows: Sequence[RequestRow],
    told: Mapping[str, Any] | None = None,
    *,
    prompts: int | None = None,
    provenance: str = MEASURED,
    reasons: tuple[str, ...] = (),
    **asked: Any,
) -> tuple[RunRecord, tuple[str, ...]]:
    """Build the record of a run of two A100; one request at a time, but for what is `asked`."""
    if "request_rates" not in asked:
        asked = {"concurrency": "1", **asked}
    defaults: dict[str, Any] = {
        "models": ("mixtral",),
        "strategies": ("tp",),
        "workloads": (f"{INPUT}:{OUTPUT}:{prompts or len(rows)}",),
        "hardware": "A100-80GB",
    }
    plan = make_plan(Experiment(**{**defaults, **asked}), "simulated")
    (group,) = plan.groups
    (run,) = group.runs
    identity = identity_of(run, group, None, attempt=1, started_at="", server_group="s")
    return build_record(
        run,
        rows,
        Measurement(told or {}, reasons),
        plan=plan,
        identity={**identity, "provenance": provenance},
    )


def codes(*args: Any, **asked: Any) -> list[str]:
    """The codes against a run and, after them, its notes, as they stand in its row."""
    record, _ = judge(*args, **asked)
    both = f"{record.verdict_reasons};{record.verdict_notes}"
    return [code for code in both.split(";") if code]


def drifting(change: float, count: int = 100) -> list[RequestRow]:
    """Latencies on a straight line around 1 s whose ends differ by `change` of their mean."""
    rows = []
    for number in range(count):
        latency = 1 + change * (number / (count - 1) - 0.5)
        gap = (latency - 0.25) / (OUTPUT - 1)
        rows.append(timed(row(number, due_s=2.0 * number), 2.0 * number, 0.25, gap))
    return rows


def queueing(at_first: int, ttft_change: float, step: int = 10) -> list[RequestRow]:
    """A hundred sends a second apart; one more in flight after every `step` of them.

    `at_first` requests are sent before. Each ends half a second before a send, but for the sends
    that make the queue longer; TTFT is a line around 1 s, whose ends differ by `ttft_change`.
    """
    ends = [at_first + n - 0.5 for n in range(100) if n == 0 or n % step]
    last = at_first + 99.5
    ends += [last + n for n in range(at_first + 100 - len(ends))]
    rows = []
    for number in range(at_first + 100):
        place = (number - at_first) / 99 - 0.5
        ttft = 0.5 if number < at_first else 1 + ttft_change * place
        gap = (ends[number] - number - ttft) / (OUTPUT - 1)
        rows.append(timed(row(number), float(number), ttft, gap))
    return rows


def held_back(slower: float) -> list[RequestRow]:
    """Due each second, sent in `slower` times as long."""
    return [timed(row(number), number * slower, 0.25, 0.125) for number in range(20)]
