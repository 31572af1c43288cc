"""The four-constant calibration against the A100 study it was fitted to, and what it leaves out."""

from statistics import fmean

import numpy as np
import pytest

from perfmodel.a100_study import MODELS, StudyCell, simulate_cells, study_cells
from perfmodel.constants import A100_VLLM_GROWTH
from perfmodel.reference import table

TABLE_4 = {
    (row["model"], row["strategy"]): float(row["output_throughput_tok_s"])
    for row in table("parallelism_table4_throughput")
}
TABLE_6 = {
    (row["model"], row["workload"]): float(row["ep_over_tp_percent"]) / 100
    for row in table("parallelism_table6_ep_over_tp")
}
QWEN = "Qwen1.5-MoE-A2.7B"
QWEN_PEAK = {"model": QWEN, "workload": "decode-heavy", "concurrency": 128}
TOLERANCE = {"tp": 0.06, "ep": 0.12, "tp+ep": 0.12}


@pytest.fixture(scope="module")
def cells() -> dict[StudyCell, float]:
    return simulate_cells(study_cells())


@pytest.fixture(scope="module")
def growing() -> dict[StudyCell, float]:
    return simulate_cells(study_cells(), constants=A100_VLLM_GROWTH)


def mean_where(cells: dict[StudyCell, float], **fixed: object) -> float:
    chosen = [
        value
        for cell, value in cells.items()
        if all(getattr(cell, name) == wanted for name, wanted in fixed.items())
    ]
    assert chosen
    return fmean(chosen)


def hybrid_over_tp(cells: dict[StudyCell, float], name: str) -> float:
    at = {"model": name, "workload": "decode-heavy", "concurrency": 128}
    return mean_where(cells, strategy="tp+ep", **at) / mean_where(cells, strategy="tp", **at)


def eta_squared(cells: dict[StudyCell, float], factor: str) -> float:
    values = np.array(list(cells.values()))
    levels = {getattr(cell, factor) for cell in cells}
    between = sum(
        sum(getattr(cell, factor) == level for cell in cells)
        * (mean_where(cells, **{factor: level}) - values.mean()) ** 2
        for level in levels
    )
    return between / float(((values - values.mean()) ** 2).sum())


def test_the_grid_is_the_papers(cells: dict[StudyCell, float]) -> None:
    assert len(cells) == 189


@pytest.mark.parametrize(("name", "strategy"), TABLE_4)
def test_table_iv_within_what_four_constants_allow(
    cells: dict[StudyCell, float], name: str, strategy: str
) -> None:
    mean = mean_where(cells, model=name, strategy=strategy)
    assert mean == pytest.approx(TABLE_4[name, strategy], rel=TOLERANCE[strategy])


@pytest.mark.parametrize(
    ("factor", "share"), [("concurrency", 0.517), ("strategy", 0.066), ("model", 0.038)]
)
def test_anova_shares_though_they_were_not_fitted(
    cells: dict[StudyCell, float], factor: str, share: float
) -> None:
    assert eta_squared(cells, factor) == pytest.approx(share, abs=0.02)


def test_known_failure_the_crossover_at_concurrency_128_does_not_come_out(
    cells: dict[StudyCell, float],
) -> None:
    """The study: EP 3070, TP 2317. A launch-bound model puts both near 3000, TP ahead."""
    tp, ep = (mean_where(cells, strategy=strategy, **QWEN_PEAK) for strategy in ("tp", "ep"))
    assert ep < tp
    assert tp > 1.3 * 2317


def test_known_failure_hybrid_keeps_half_of_tp_at_concurrency_128(
    cells: dict[StudyCell, float],
) -> None:
    """The study: 0.20 to 0.28."""
    for name in MODELS:
        assert 0.4 < hybrid_over_tp(cells, name) < 0.6


@pytest.mark.slow
@pytest.mark.parametrize(("name", "strategy"), TABLE_4)
def test_growing_costs_keep_the_means(
    growing: dict[StudyCell, float], name: str, strategy: str
) -> None:
    mean = mean_where(growing, model=name, strategy=strategy)
    assert mean == pytest.approx(TABLE_4[name, strategy], rel=TOLERANCE[strategy])


@pytest.mark.slow
def test_growing_costs_give_the_crossover_with_expert_parallelisms_side_held_out(
    growing: dict[StudyCell, float],
) -> None:
    tp, ep = (mean_where(growing, strategy=strategy, **QWEN_PEAK) for strategy in ("tp", "ep"))
    assert tp == pytest.approx(2317, rel=0.01)  # fitted
    assert ep == pytest.approx(3070, rel=0.03)  # held out


@pytest.mark.parametrize(
    ("workload", "error"), [("decode-heavy", 0.03), ("prefill-heavy", 0.03), ("balanced", 0.11)]
)
def test_growing_costs_give_table_vi_for_qwen_though_it_was_held_out(
    growing: dict[StudyCell, float], workload: str, error: float
) -> None:
    at = {"model": QWEN, "workload": workload}
    ratio = mean_where(growing, strategy="ep", **at) / mean_where(growing, strategy="tp", **at)
    assert ratio == pytest.approx(TABLE_6[QWEN, workload], rel=error)


def test_growing_costs_bring_hybrid_at_concurrency_128_down_to_the_study_for_two_of_three(
    growing: dict[StudyCell, float],
) -> None:
    """The study: 0.20 to 0.28, held out. Qwen's tensor-parallel side is low as well."""
    ratios = {name: hybrid_over_tp(growing, name) for name in MODELS}
    assert all(0.20 <= ratios[name] <= 0.28 for name in MODELS if name != QWEN)
    assert 0.28 < ratios[QWEN] < 0.36
