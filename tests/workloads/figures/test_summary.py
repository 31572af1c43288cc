"""Which percentiles of a run are published: those that their own samples carry."""

import numpy as np
from numpy.typing import NDArray

from workloads.figures.summary import figures_of
from workloads.transcript import RequestRow


def row(request: int, sent_s: float, tokens: int) -> RequestRow:
    times_s: NDArray[np.float64] = sent_s + np.arange(1, tokens + 1, dtype=np.float64) / 10
    return RequestRow(
        request=request,
        due_s=sent_s,
        sent_s=sent_s,
        first_token_s=float(times_s[0]),
        done_s=float(times_s[-1]),
        token_times_s=times_s,
        input_tokens=10,
        output_tokens=tokens,
    )


def test_gaps_of_the_steady_window_carry_its_percentiles_not_those_of_the_whole_run() -> None:
    """Two long answers while two are in flight, then forty gaps and more one after another."""
    rows = [row(0, 0.0, 6), row(1, 0.0, 6), *(row(2 + i, 10.0 + 10 * i, 40) for i in range(20))]
    figures = figures_of(rows, goodput={}, max_concurrency=2)
    assert figures["steady_requests"] == 2
    assert figures["p99_itl_ms"] is not None, "790 gaps of the whole run"
    assert figures["steady_p90_itl_ms"] is None, "ten gaps of the window"
    assert figures["steady_mean_itl_ms"] is not None


def test_answers_of_one_token_carry_no_percentile_of_the_time_per_token() -> None:
    rows = [row(i, float(i), 2 if i < 10 else 1) for i in range(100)]
    figures = figures_of(rows, goodput={}, max_concurrency=None)
    assert figures["p90_ttft_ms"] is not None
    assert figures["p90_tpot_ms"] is None, "of ten answers"
