"""Layouts that one source measured in one run: the estimate names no wrong winner."""

import statistics

import pytest

from perfmodel.constants import VLLM_2026
from perfmodel.known_error import TIE, tied
from perfmodel.published_pairs import Pair, estimated_ratio, published_pairs

PAIRS = [pair for pair in published_pairs() if pair.tps_b_over_a]


def apart(ratio: float | None) -> bool:
    return ratio is not None and max(ratio, 1 / ratio) >= TIE


def test_every_pair_is_of_equal_gpus_and_names_where_it_was_read() -> None:
    assert len(published_pairs()) == 19
    for pair in published_pairs():
        assert pair.source_url.startswith("https://")
        a, b = pair.point(pair.layout_a), pair.point(pair.layout_b)
        assert a.model == b.model
        assert a.layout != b.layout


@pytest.mark.slow
@pytest.mark.parametrize("pair", PAIRS, ids=lambda p: f"{p.model} {p.gpu} {p.layout_b}")
def test_what_was_measured_apart_is_estimated_right_or_a_tie(pair: Pair) -> None:
    ratio, measured = estimated_ratio(pair, VLLM_2026), pair.tps_b_over_a
    assert measured is not None
    if apart(measured) and not tied(ratio, 1.0):
        assert (ratio > 1) == (measured > 1)
    if pair.layout_b == f"{pair.layout_a}+ep" and pair.engine == "vllm":
        assert max(ratio / measured, measured / ratio) < 1.06


@pytest.mark.slow
def test_a_tie_is_a_lead_below_the_error_that_half_of_the_ratios_have() -> None:
    errors = []
    for pair in PAIRS:
        assert pair.tps_b_over_a is not None
        if pair.layout_b == f"{pair.layout_a}+ep" and pair.engine != "trtllm":
            off = estimated_ratio(pair, VLLM_2026) / pair.tps_b_over_a
            errors.append(max(off, 1 / off))
    assert TIE == pytest.approx(statistics.median(errors), abs=0.004)
