"""Latencies over lengths, by hand."""

from dataclasses import replace

import numpy as np
import pytest

from workloads.figures.normalised import normalised_figures
from workloads.transcript import RequestRow


def row(request: int, ttft_s: float, e2el_s: float, read: int | None, gave: int) -> RequestRow:
    return RequestRow(
        request=request, due_s=1.0, sent_s=1.5, first_token_s=1.0 + ttft_s, done_s=1.0 + e2el_s,
        input_tokens=read, output_tokens=gave,
    )  # fmt: skip


def test_each_request_is_divided_by_its_own_length_from_when_it_was_due() -> None:
    found = normalised_figures([row(0, 0.1, 1.1, 100, 11), row(1, 0.4, 0.8, 200, 4)])
    assert found["mean_ttft_per_input_token_ms"] == pytest.approx((1.0 + 2.0) / 2)
    assert found["median_e2el_per_output_token_ms"] == pytest.approx((100 + 200) / 2)


def test_an_answer_ends_with_its_last_token_not_with_what_the_server_sends_after_it() -> None:
    late = replace(row(0, 0.1, 9.0, 10, 2), token_times_s=np.array([1.1, 1.5]))
    found = normalised_figures([late])
    assert found["mean_e2el_per_output_token_ms"] == pytest.approx(250)


def test_percentiles_of_few_requests_and_lengths_nobody_knows_are_empty() -> None:
    found = normalised_figures([row(0, 0.1, 1.1, None, 11)])
    assert found["mean_ttft_per_input_token_ms"] is None
    assert found["mean_e2el_per_output_token_ms"] == pytest.approx(100)
    assert found["p90_e2el_per_output_token_ms"] is None
    many = normalised_figures([row(i, 0.1, 1.0, 10, 10) for i in range(2000)])
    assert many["p99_ttft_per_input_token_ms"] == pytest.approx(10)


def test_failed_requests_and_none_at_all_count_for_nothing() -> None:
    failed = RequestRow(request=0, due_s=0.0, status="error", input_tokens=5)
    assert set(normalised_figures([failed]).values()) == {None}
    assert normalised_figures([]) == normalised_figures([failed])
