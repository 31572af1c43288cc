"""Two runs small enough for paper: every column of their rows, and where each number comes from."""

from math import sqrt
from typing import Any

import numpy as np
import pytest

from orchestrator.engine import Measurement
from orchestrator.experiment.experiment import Experiment
from orchestrator.plan import make_plan
from orchestrator.results.record import MEASURED
from orchestrator.run.outcome import build_record, identity_of
from orchestrator.table import rows_of
from workloads.figures.summary import figures_of
from workloads.transcript import RequestRow

# Two in flight. A failure that had a token, and one request that was never sent.
#      request  due   sent   token times       done  prompt
CLOSED = [
    (0,        0.0,  0.0,   [1.0, 1.5, 2.5],  3.0,  10, "ok"),
    (1,        0.0,  0.5,   [1.5, 2.0, 4.0],  4.0,  20, "ok"),
    (2,        3.0,  3.0,   [5.0, 5.5, 6.5],  7.0,  10, "ok"),
    (3,        4.0,  4.25,  [4.75],           5.25, 10, "failed"),
    (4,        5.25, 5.5,   [6.0, 7.0, 7.5],  8.0,  20, "ok"),
    (5,        7.0,  None,  [],               None, 10, "interrupted"),
]  # fmt: skip
# Due at a rate of one a second. One had no connection, one failed before it was sent.
OPEN = [
    (0,        0.0,  0.0,   [0.5, 1.0],       1.0,  10, "ok"),
    (1,        1.0,  1.0,   [2.0, 2.25],      2.5,  10, "ok"),
    (2,        1.5,  1.75,  [2.75, 4.0],      4.0,  10, "ok"),
    (3,        3.0,  3.0,   [],               3.5,  10, "failed"),
    (4,        4.0,  4.5,   [5.5, 6.5],       7.0,  10, "ok"),
    (5,        4.25, None,  [],               4.75, 10, "failed"),
]  # fmt: skip

CLOSED_FIGURES: dict[str, Any] = {
    "completed": 4,
    "failed": 1,
    "interrupted": 1,
    # From the first send, 0, to the last end, 8.
    "duration": 8.0,
    "total_input_tokens": 10 + 20 + 10 + 20,
    "total_output_tokens": 4 * 3,
    "request_throughput": 4 / 8,
    "output_throughput": 12 / 8,
    "total_token_throughput": (60 + 12) / 8,
    # Requests 0 and 4: of the others one took 1250 ms a token, one 2000 ms to the first.
    "request_goodput": 2 / 8,
    "good_requests": 2,
    "slo_attainment": 2 / 6,
    # Wilson: p = 1/3, n = 6, z = 1.959964, z² = 3.841459; centre (p + z²/12)/(1 + z²/6) = 0.398389,
    # half z·sqrt(p(1 - p)/6 + z²/144)/(1 + z²/6) = 0.301618.
    "slo_attainment_low": 0.398389 - 0.301618,
    "slo_attainment_high": 0.398389 + 0.301618,
    # 1.0 - 0, 1.5 - 0, 5 - 3, 6 - 5.25.
    "mean_ttft_ms": (1000 + 1500 + 2000 + 750) / 4,
    "median_ttft_ms": (1000 + 1500) / 2,
    "std_ttft_ms": sqrt((312.5**2 + 187.5**2 + 687.5**2 + 562.5**2) / 4),
    # The rest of each answer over two gaps: 1.5, 2.5, 1.5 and 1.5 s.
    "mean_tpot_ms": (750 + 1250 + 750 + 750) / 4,
    "median_tpot_ms": 750.0,
    "std_tpot_ms": sqrt((3 * 125**2 + 375**2) / 4),
    "mean_itl_ms": (500 + 1000 + 500 + 2000 + 500 + 1000 + 1000 + 500) / 8,
    "median_itl_ms": (500 + 1000) / 2,
    "std_itl_ms": sqrt((4 * 375**2 + 3 * 125**2 + 1125**2) / 8),
    # To the last token, not to the end: 2.5 - 0, 4 - 0, 6.5 - 3, 7.5 - 5.25.
    "mean_e2el_ms": (2500 + 4000 + 3500 + 2250) / 4,
    "median_e2el_ms": (2500 + 3500) / 2,
    "std_e2el_ms": sqrt((562.5**2 + 937.5**2 + 437.5**2 + 812.5**2) / 4),
    # 1 - 0, 1.5 - 0.5, 5 - 3, 6 - 5.5.
    "mean_ttft_from_send_ms": (1000 + 1000 + 2000 + 500) / 4,
    "median_ttft_from_send_ms": 1000.0,
    "std_ttft_from_send_ms": sqrt((2 * 125**2 + 875**2 + 625**2) / 4),
    "mean_e2el_from_send_ms": (2500 + 3500 + 3500 + 2000) / 4,
    "median_e2el_from_send_ms": (2500 + 3500) / 2,
    "std_e2el_from_send_ms": sqrt((375**2 + 2 * 625**2 + 875**2) / 4),
    # Of all that were sent: 0, 500, 0, 250, 250.
    "mean_dispatch_lag_ms": (500 + 250 + 250) / 5,
    "max_dispatch_lag_ms": 500.0,
    # (3 - 0) + (4 - 0.5) + (7 - 3) + (5.25 - 4.25) + (8 - 5.5) = 14 s in flight, in 8 s.
    "effective_concurrency": 14 / 8,
    "peak_concurrency": 2,
    # Two in flight first at 0.5, last until request 2 ends at 7.
    "steady_start_s": 0.5,
    "steady_duration": 6.5,
    # Sent in it: 1, 2, 4.
    "steady_requests": 3,
    # All but 7.5, the last token of request 4.
    "steady_output_throughput": 11 / 6.5,
    # 2.5 + 3.5 + 4 + 1 + 1.5.
    "steady_effective_concurrency": 12.5 / 6.5,
    "steady_mean_ttft_ms": (1500 + 2000 + 750) / 3,
    "steady_median_ttft_ms": 1500.0,
    "steady_std_ttft_ms": sqrt((1500**2 + 2000**2 + 750**2) / 3 - (4250 / 3) ** 2),
    "steady_mean_tpot_ms": (1250 + 750 + 750) / 3,
    "steady_median_tpot_ms": 750.0,
    "steady_std_tpot_ms": sqrt((1250**2 + 2 * 750**2) / 3 - (2750 / 3) ** 2),
    "steady_mean_itl_ms": (500 + 2000 + 500 + 1000 + 1000 + 500) / 6,
    "steady_median_itl_ms": (500 + 1000) / 2,
    "steady_std_itl_ms": sqrt((3 * 500**2 + 2 * 1000**2 + 2000**2) / 6 - (5500 / 6) ** 2),
    "steady_mean_e2el_ms": (4000 + 3500 + 2250) / 3,
    "steady_median_e2el_ms": 3500.0,
    "steady_std_e2el_ms": sqrt((750**2 + 250**2 + 1000**2) / 3),
}
"""All but the percentiles, which so few requests do not carry."""

CLOSED_PERCENTILES = {
    # Linear between ranks: of n sorted values the one at place p(n - 1), counted from 0.
    "ttft": (1500 + 0.7 * 500, 1500 + 0.85 * 500, 1500 + 0.97 * 500),
    "tpot": (750 + 0.7 * 500, 750 + 0.85 * 500, 750 + 0.97 * 500),
    "itl": (1000 + 0.3 * 1000, 1000 + 0.65 * 1000, 1000 + 0.93 * 1000),
    "e2el": (3500 + 0.7 * 500, 3500 + 0.85 * 500, 3500 + 0.97 * 500),
    "ttft_from_send": (1000 + 0.7 * 1000, 1000 + 0.85 * 1000, 1000 + 0.97 * 1000),
    "e2el_from_send": (3500.0, 3500.0, 3500.0),
    "steady_ttft": (1500 + 0.8 * 500, 1500 + 0.9 * 500, 1500 + 0.98 * 500),
    "steady_tpot": (750 + 0.8 * 500, 750 + 0.9 * 500, 750 + 0.98 * 500),
    "steady_itl": (1000 + 0.5 * 1000, 1000 + 0.75 * 1000, 1000 + 0.95 * 1000),
    "steady_e2el": (3500 + 0.8 * 500, 3500 + 0.9 * 500, 3500 + 0.98 * 500),
}
CLOSED_P99_LAG = 250 + 0.96 * 250

OPEN_FIGURES: dict[str, Any] = {
    "completed": 4,
    "failed": 2,
    "interrupted": 0,
    "duration": 7.0,
    "total_input_tokens": 40,
    "total_output_tokens": 8,
    "request_throughput": 4 / 7,
    "output_throughput": 8 / 7,
    "total_token_throughput": 48 / 7,
    "request_goodput": None,
    "mean_ttft_ms": (500 + 1000 + 1250 + 1500) / 4,
    "median_ttft_ms": (1000 + 1250) / 2,
    "std_ttft_ms": sqrt((562.5**2 + 62.5**2 + 187.5**2 + 437.5**2) / 4),
    "mean_tpot_ms": (500 + 250 + 1250 + 1000) / 4,
    "median_tpot_ms": (500 + 1000) / 2,
    "std_tpot_ms": sqrt((250**2 + 500**2 + 500**2 + 250**2) / 4),
    "mean_itl_ms": (500 + 250 + 1250 + 1000) / 4,
    "median_itl_ms": (500 + 1000) / 2,
    "std_itl_ms": sqrt((250**2 + 500**2 + 500**2 + 250**2) / 4),
    "mean_e2el_ms": (1000 + 1250 + 2500 + 2500) / 4,
    "median_e2el_ms": (1250 + 2500) / 2,
    "std_e2el_ms": sqrt((812.5**2 + 562.5**2 + 2 * 687.5**2) / 4),
    "mean_ttft_from_send_ms": (500 + 1000 + 1000 + 1000) / 4,
    "median_ttft_from_send_ms": 1000.0,
    "std_ttft_from_send_ms": sqrt((375**2 + 3 * 125**2) / 4),
    "mean_e2el_from_send_ms": (1000 + 1250 + 2250 + 2000) / 4,
    "median_e2el_from_send_ms": (1250 + 2000) / 2,
    "std_e2el_from_send_ms": sqrt((625**2 + 375**2 + 625**2 + 375**2) / 4),
    # 0, 0, 250, 0, 500.
    "mean_dispatch_lag_ms": 750 / 5,
    "max_dispatch_lag_ms": 500.0,
    "effective_concurrency": (1 + 1.5 + 2.25 + 0.5 + 2.5) / 7,
    "peak_concurrency": 2,
    # From the first end, 1, to the last send, 4.5: 1, 2 and 4 were sent in it.
    "steady_start_s": 1.0,
    "steady_duration": 3.5,
    "steady_requests": 3,
    # 2, 2.25, 2.75, 4; the token at 1 had come before.
    "steady_output_throughput": 4 / 3.5,
    "steady_effective_concurrency": (1.5 + 2.25 + 0.5) / 3.5,
    "steady_mean_ttft_ms": (1000 + 1250 + 1500) / 3,
    "steady_median_ttft_ms": 1250.0,
    "steady_std_ttft_ms": sqrt(2 * 250**2 / 3),
    "steady_mean_tpot_ms": (250 + 1250 + 1000) / 3,
    "steady_median_tpot_ms": 1000.0,
    "steady_std_tpot_ms": sqrt((250**2 + 1250**2 + 1000**2) / 3 - (2500 / 3) ** 2),
    "steady_mean_itl_ms": (250 + 1250 + 1000) / 3,
    "steady_median_itl_ms": 1000.0,
    "steady_std_itl_ms": sqrt((250**2 + 1250**2 + 1000**2) / 3 - (2500 / 3) ** 2),
    "steady_mean_e2el_ms": (1250 + 2500 + 2500) / 3,
    "steady_median_e2el_ms": 2500.0,
    "steady_std_e2el_ms": sqrt((1250**2 + 2 * 2500**2) / 3 - (6250 / 3) ** 2),
}

TOLD = {"server_preemptions": 2.0, "output_throughput": 999.0, "client_busy_share": 0.25}
"""By the server and the client; a throughput is not theirs to tell."""


def rows(table: list[tuple[Any, ...]]) -> list[RequestRow]:
    return [
        RequestRow(
            request=number, due_s=due, sent_s=sent, done_s=done, input_tokens=prompt,
            first_token_s=times[0] if times else None, output_tokens=len(times),
            token_times_s=np.array(times), status=status,
            error_class={"failed": "CONNECT", "interrupted": "INTERRUPTED"}.get(status, ""),
        )
        for number, due, sent, times, done, prompt, status in table
    ]  # fmt: skip


def recorded(table: list[tuple[Any, ...]], output: int, **asked: Any) -> dict[str, Any]:
    """Return the row of the run table, of the second replicate, in the second block."""
    experiment = Experiment(
        models=("mixtral",), strategies=("tp",), workloads=(f"10:{output}:6",), num_runs=2,
        hardware="A100-80GB", seed=7, price_per_hour_usd=3.6, **asked,
    )  # fmt: skip
    plan = make_plan(experiment, "simulated")
    group = plan.groups[1]
    (run,) = group.runs
    identity = identity_of(run, group, None, attempt=3, started_at="then", server_group="s")
    told = Measurement(TOLD, ("CLIENT_LIMITED: busy",))
    record, _ = build_record(
        run, rows(table), told, plan=plan, identity={**identity, "provenance": MEASURED}
    )
    (row,) = rows_of([record])
    assert row.pop("run_id") == f"{row.pop('cell_id')}-r1" == run.run_id
    return row


WHAT = {
    "replicate": 1, "attempt": 3, "block": 1, "started_at": "then", "verdict": "invalid",
    "engine": "simulated", "provenance": "measured", "model": "Mixtral-8x7B", "strategy": "tp",
    "tp": 2, "dp": 1, "pp": 1, "ep": False, "num_gpus": 2, "gpu_type": "A100-80GB",
    "technique": "none", "input_len": 10, "num_prompts": 6, "server_group": "s", "seed": 7,
    "engine_version": "", "server_args": "", "server_env": "", "endpoint": "", "error": "",
    "server_preemptions": 2.0, "client_busy_share": 0.25, "verdict_notes": "PREEMPTED",
    "request_form": "", "rate_curve": "", "output_ends": "", "served_model": "", "answered_by": "",
}  # fmt: skip


def same(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert set(found) == set(wanted)
    for name, value in wanted.items():
        about = pytest.approx(value, abs=2e-6) if isinstance(value, float) else value
        assert found[name] == about, name


def no_percentiles() -> dict[str, None]:
    names = [f"p{p}_{name}_ms" for name in CLOSED_PERCENTILES for p in (90, 95, 99)]
    names = [f"steady_{n.replace('steady_', '')}" if "steady" in n else n for n in names]
    return dict.fromkeys([*names, "p99_dispatch_lag_ms"])


def test_a_closed_loop_with_a_failure_has_these_figures_in_its_row_and_no_others() -> None:
    row = recorded(CLOSED, 3, concurrency="2", goodput={"ttft": 1500.0, "tpot": 800.0})
    own = {
        **WHAT,
        "verdict_reasons": "ERRORS;CLIENT_LIMITED",
        "workload": "10:3:6",
        "output_len": 3,
        "max_concurrency": 2,
        "request_rate": None,
        "burstiness": None,
        "output_throughput_per_gpu": 1.5 / 2,
        "goodput_limits": "ttft:1500 tpot:800",
        "slo_target": 0.99,
        # Two GPUs at 3.6 USD an hour are 0.002 USD a second, for 1.5 tokens.
        "usd_per_million_output_tokens": 0.002 / 1.5 * 1e6,
    }
    configuration = {name: row.pop(name) for name in ("configuration", "configuration_text")}
    assert all(configuration.values())
    same(row, {**own, **CLOSED_FIGURES, **no_percentiles()})


def test_an_open_loop_with_failures_has_these_figures_in_its_row_and_no_others() -> None:
    row = recorded(OPEN, 2, request_rates=(1.0,))
    own = {
        **WHAT,
        "verdict_reasons": "ERRORS;CLIENT_LIMITED",
        "workload": "10:2:6",
        "output_len": 2,
        "max_concurrency": None,
        "request_rate": 1.0,
        "burstiness": 1.0,
        "output_throughput_per_gpu": 8 / 7 / 2,
        "usd_per_million_output_tokens": 0.002 / (8 / 7) * 1e6,
    }
    configuration = {name: row.pop(name) for name in ("configuration", "configuration_text")}
    assert all(configuration.values())
    # Sends took 4.5 s, due times 4.25 s: 1.059 times as long.
    same(row, {**own, "verdict_notes": "RATE_NOT_REACHED;PREEMPTED", **OPEN_FIGURES,
               **no_percentiles()})  # fmt: skip


def test_percentiles_are_linear_between_ranks_of_the_whole_run_and_of_its_steady_window() -> None:
    figures = figures_of(rows(CLOSED), goodput={}, max_concurrency=2, percentiles_of_few=True)
    wanted = {
        name.replace("steady_", f"steady_p{p}_") if "steady" in name else f"p{p}_{name}": value
        for name, values in CLOSED_PERCENTILES.items()
        for p, value in zip((90, 95, 99), values, strict=True)
    }
    assert {name: figures[f"{name}_ms"] for name in wanted} == pytest.approx(wanted)
    assert figures["p99_dispatch_lag_ms"] == pytest.approx(CLOSED_P99_LAG)
