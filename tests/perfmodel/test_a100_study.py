"""The four-constant calibration against the A100 study it was fitted to, and what it leaves out."""

from statistics import fmean

import numpy as np
import pytest

from perfmodel.a100_study import Cell, simulate_cells, study_cells
from perfmodel.reference import table

TABLE_4 = {
    (row["model"], row["strategy"]): float(row["output_throughput_tok_s"])
    for row in table("parallelism_table4_throughput")
}
TOLERANCE = {"tp": 0.06, "ep": 0.12, "tp+ep": 0.12}


@pytest.fixture(scope="module")
def cells() -> dict[Cell, float]:
    return simulate_cells(study_cells())


def mean_where(cells: dict[Cell, float], **fixed: object) -> float:
    chosen = [
        value
        for cell, value in cells.items()
        if all(getattr(cell, name) == wanted for name, wanted in fixed.items())
    ]
    assert chosen
    return fmean(chosen)


def eta_squared(cells: dict[Cell, float], factor: str) -> float:
    values = np.array(list(cells.values()))
    levels = {getattr(cell, factor) for cell in cells}
    between = sum(
        sum(getattr(cell, factor) == level for cell in cells)
        * (mean_where(cells, **{factor: level}) - values.mean()) ** 2
        for level in levels
    )
    return between / float(((values - values.mean()) ** 2).sum())


def test_the_grid_is_the_papers(cells):
    assert len(cells) == 189


@pytest.mark.parametrize(("name", "strategy"), TABLE_4)
def test_table_iv_within_what_four_constants_allow(cells, name, strategy):
    mean = mean_where(cells, model=name, strategy=strategy)
    assert mean == pytest.approx(TABLE_4[name, strategy], rel=TOLERANCE[strategy])


@pytest.mark.parametrize(
    ("factor", "share"), [("concurrency", 0.517), ("strategy", 0.066), ("model", 0.038)]
)
def test_anova_shares_though_they_were_not_fitted(cells, factor, share):
    assert eta_squared(cells, factor) == pytest.approx(share, abs=0.02)


def test_known_failure_the_crossover_at_concurrency_128_does_not_come_out(cells):
    """The study: EP 3070, TP 2317. A launch-bound model puts both near 3000, TP ahead."""
    at = {"model": "Qwen1.5-MoE-A2.7B", "workload": "decode-heavy", "concurrency": 128}
    tp, ep = (mean_where(cells, strategy=strategy, **at) for strategy in ("tp", "ep"))
    assert ep < tp
    assert tp > 1.3 * 2317


def test_known_failure_hybrid_keeps_half_of_tp_at_concurrency_128(cells):
    """The study: 0.20 to 0.28."""
    for name in {name for name, _ in TABLE_4}:
        at = {"model": name, "workload": "decode-heavy", "concurrency": 128}
        ratio = mean_where(cells, strategy="tp+ep", **at) / mean_where(cells, strategy="tp", **at)
        assert 0.4 < ratio < 0.6
