"""Latencies over lengths: what of a mixture can be compared with another mixture's.

Of a completed request with L prompt tokens and n tokens of answer (metrics.py has the times):

    TTFT / L    milliseconds a prompt token       E2EL / n    milliseconds an answer's token

The second is the «normalized latency» of Orca (OSDI 2022) and PagedAttention (SOSP 2023). TPOT is
per token as it is. Prompt tokens are all that were sent, cached or not.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from workloads.figures.metrics import percentile_floor
from workloads.transcript import RequestRow

PERCENTILES = {"median": 50.0, "p90": 90.0, "p95": 95.0, "p99": 99.0}
MS = 1e3


def normalised_figures(rows: Sequence[RequestRow]) -> dict[str, float | None]:
    """Mean and quantiles of both; None without a length, or with too few requests to claim it."""
    done = [row for row in rows if row.status == "ok" and row.first_token_s is not None]
    first = [
        (row.first_token_s - row.due_s) / row.input_tokens * MS
        for row in done
        if row.first_token_s is not None and row.input_tokens
    ]
    whole = [
        (end_s - row.due_s) / row.output_tokens * MS
        for row in done
        if (end_s := _last_token_s(row)) is not None and row.output_tokens
    ]
    return {
        **_statistics("ttft_per_input_token_ms", np.array(first)),
        **_statistics("e2el_per_output_token_ms", np.array(whole)),
    }


def _last_token_s(row: RequestRow) -> float | None:
    """E2EL ends with the last token; where the tokens' times were not kept, with the answer."""
    return float(row.token_times_s[-1]) if len(row.token_times_s) else row.done_s


def _statistics(name: str, values: NDArray[np.float64]) -> dict[str, float | None]:
    found = {f"mean_{name}": float(values.mean()) if len(values) else None}
    for statistic, percentile in PERCENTILES.items():
        enough = len(values) >= (1 if statistic == "median" else percentile_floor(percentile))
        found[f"{statistic}_{name}"] = float(np.percentile(values, percentile)) if enough else None
    return found
