import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from workloads.figures.metrics import mean_and_std, percentile_floor, percentiles, summarise
from workloads.transcript import RequestRow


def row(
    request: int, due: float, sent: float, times: Sequence[float], done: float, **more: object
) -> RequestRow:
    fields: dict[str, object] = {
        "input_tokens": 10,
        "output_tokens": len(times),
        "first_token_s": times[0] if times else None,
        "token_times_s": np.array(times, np.float64),
    }
    return RequestRow(request=request, due_s=due, sent_s=sent, done_s=done, **{**fields, **more})


ROWS = [
    row(0, 0.0, 0.0, [0.1, 0.2, 0.4], 0.5),
    row(1, 0.0, 0.1, [0.3], 0.6),
    row(2, 0.5, 0.6, [1.0, 1.5], 2.0),
    row(3, 0.5, 0.7, [0.9], 1.0, status="failed", error_class="STREAM_TRUNCATED"),
]


def test_counts_and_throughputs_are_those_of_completed_requests_over_the_window() -> None:
    figures = summarise(ROWS)
    assert figures["duration"] == 2.0
    assert (figures["completed"], figures["failed"], figures["interrupted"]) == (3, 1, 0)
    assert (figures["total_input_tokens"], figures["total_output_tokens"]) == (30, 6)
    assert figures["request_throughput"] == 1.5
    assert figures["output_throughput"] == 3.0
    assert figures["total_token_throughput"] == 18.0


def test_latencies_run_from_the_due_time_and_beside_it_from_the_send() -> None:
    figures = summarise(ROWS)
    assert figures["mean_ttft_ms"] == pytest.approx((100 + 300 + 500) / 3)
    assert figures["mean_ttft_from_send_ms"] == pytest.approx((100 + 200 + 400) / 3)
    assert figures["median_e2el_ms"] == pytest.approx(400)
    assert figures["median_e2el_from_send_ms"] == pytest.approx(400)
    assert figures["max_dispatch_lag_ms"] == pytest.approx(200)


def test_tpot_is_per_request_and_itl_is_pooled_over_gaps() -> None:
    figures = summarise(ROWS)
    assert figures["mean_tpot_ms"] == pytest.approx((150 + 500) / 2)
    assert figures["mean_itl_ms"] == pytest.approx((100 + 200 + 500) / 3)


def test_the_spread_is_the_populations_and_percentiles_are_linear() -> None:
    figures = summarise(ROWS)
    ttft = np.array([100.0, 300.0, 500.0])
    assert figures["std_ttft_ms"] == pytest.approx(np.std(ttft))
    assert figures["p90_ttft_ms"] == pytest.approx(np.percentile(ttft, 90))


def test_what_was_not_measured_is_missing_and_never_zero() -> None:
    figures = summarise([row(0, 0.0, 0.0, [1.0], 1.0)])
    assert figures["mean_tpot_ms"] is None
    assert figures["p99_itl_ms"] is None
    assert figures["request_goodput"] is None
    # Its only send comes before its end: no time lies between the first end and the last send.
    assert figures["steady_duration"] is None
    assert figures["steady_mean_ttft_ms"] is None


def test_a_run_without_a_single_answer_has_counts_and_nothing_else() -> None:
    lost = RequestRow(request=0, due_s=0.0, done_s=1.0, status="failed", error_class="CONNECT")
    figures = summarise([lost], max_concurrency=4)
    assert figures["failed"] == 1
    assert figures["output_throughput"] is None
    assert figures["mean_ttft_ms"] is None
    assert summarise([])["completed"] == 0


def test_goodput_counts_requests_within_every_slo() -> None:
    figures = summarise(ROWS, goodput={"ttft": 300.0, "e2el": 350.0})
    assert figures["request_goodput"] == 0.5


def test_concurrency_is_the_time_mean_and_the_peak() -> None:
    figures = summarise(ROWS)
    assert figures["effective_concurrency"] == pytest.approx((0.5 + 0.5 + 1.4 + 0.3) / 2)
    assert figures["peak_concurrency"] == 2


def test_a_slot_that_is_used_again_at_once_is_not_counted_twice() -> None:
    rows = [row(0, 0.0, 0.0, [0.5], 1.0), row(1, 1.0, 1.0, [1.5], 2.0)]
    assert summarise(rows)["peak_concurrency"] == 1


def test_the_steady_window_is_where_the_asked_concurrency_was_held() -> None:
    rows = [
        row(0, 0.0, 0.0, [1.0, 2.0, 3.0], 3.0),
        row(1, 0.0, 1.0, [2.0, 4.0], 4.0),
        row(2, 3.0, 3.0, [5.0, 6.0], 6.0),
    ]
    figures = summarise(rows, max_concurrency=2)
    assert figures["steady_start_s"] == 1.0
    assert figures["steady_duration"] == 3.0
    assert figures["steady_effective_concurrency"] == pytest.approx(2.0)
    assert figures["steady_output_throughput"] == pytest.approx(4 / 3)
    assert figures["steady_mean_ttft_ms"] == pytest.approx(2000)


def test_a_concurrency_that_was_never_reached_has_no_steady_window() -> None:
    figures = summarise(ROWS, max_concurrency=3)
    assert figures["steady_duration"] is None
    assert figures["steady_output_throughput"] is None


def test_a_steady_window_that_holds_every_request_has_the_run_s_own_latencies() -> None:
    rows = [row(0, 0.0, 0.0, [0.1, 0.2, 0.4], 0.4), row(1, 0.4, 0.4, [0.5, 0.8], 0.8)]
    figures = summarise(rows, max_concurrency=1)
    assert figures["steady_requests"] == figures["completed"] == 2
    for latency in ("ttft", "tpot", "itl", "e2el"):
        for statistic in ("mean", "std", "p99"):
            name = f"{statistic}_{latency}_ms"
            assert figures[f"steady_{name}"] == figures[name] is not None


@pytest.mark.slow
@given(
    arrays(np.float64, st.integers(1, 300), elements=st.floats(-1e9, 1e9)),
    st.lists(st.floats(0, 100), min_size=1),
)
def test_percentiles_are_numpy_s_to_the_last_bit(
    values: NDArray[np.float64], wanted: list[float]
) -> None:
    before = values.copy()
    assert percentiles(values, wanted) == np.percentile(values, wanted).tolist()
    assert (values == before).all()


@pytest.mark.parametrize(("percentile", "floor"), [(50, 11), (90, 64), (95, 130), (99, 662)])
def test_sample_floors_are_those_of_mlperf(percentile: int, floor: int) -> None:
    assert percentile_floor(percentile) == floor


@pytest.mark.slow
@given(
    st.lists(
        st.tuples(
            st.floats(0, 10),
            st.floats(0, 1),
            st.lists(st.floats(0.001, 1), min_size=1, max_size=6),
        ),
        min_size=1,
        max_size=12,
    )
)
def test_identities_hold_for_any_run(shapes: list[tuple[float, float, list[float]]]) -> None:
    rows = []
    for request, (due, lag, gaps) in enumerate(shapes):
        times = (due + lag + np.cumsum(gaps)).tolist()
        rows.append(row(request, due, due + lag, times, times[-1]))
    figures = summarise(rows)
    tokens = sum(len(gaps) for _, _, gaps in shapes)
    gap_count = tokens - len(rows)
    assert figures["total_output_tokens"] == tokens
    # E2EL = TTFT + the gaps of the same request.
    itl_sum = (figures["mean_itl_ms"] or 0.0) * gap_count
    e2el_sum = figures["mean_e2el_ms"] * len(rows)
    assert e2el_sum == pytest.approx(figures["mean_ttft_ms"] * len(rows) + itl_sum, rel=1e-6)
    # Little: mean in flight = throughput x mean time from send to end.
    mean_s = figures["mean_e2el_from_send_ms"] / 1e3
    assert figures["effective_concurrency"] == pytest.approx(
        figures["request_throughput"] * mean_s, rel=1e-6
    )
    assert figures["peak_concurrency"] >= math.floor(figures["effective_concurrency"])


@given(arrays(np.float64, st.integers(1, 300), elements=st.floats(-1e6, 1e6)))
def test_mean_and_spread_are_numpys_to_the_last_bit(values: NDArray[np.float64]) -> None:
    assert mean_and_std(values) == (float(values.mean()), float(values.std()))
