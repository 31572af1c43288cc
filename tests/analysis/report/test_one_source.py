"""Interval, test, verdict, winner and headline are said from one family of contrasts."""

import json
import re
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.compare import Comparison, ComparisonSpec, compare
from analysis.report.write import ReportOptions, report_html
from analysis.winners import winners

LOADS = (1, 2, 4, 8, 16, 32, 64, 128)
LOGS = np.array([-0.02, 0.06, 0.05, 0.12, 0.03, 0.09])
"""Six log-ratios whose own 95 % interval excludes zero, which eight comparisons do not bear out."""


def runs(ratios: dict[str, list[np.ndarray]]) -> pd.DataFrame:
    """One model under eight loads: tp, and strategies with these log-ratios to it in each block."""
    rng, rows = np.random.default_rng(0), []
    for place, load in enumerate(LOADS):
        for block in range(len(LOGS)):
            tp = np.log(100 * load) + rng.normal(0, 0.1)
            for name, logs in {"tp": [np.zeros(len(LOGS))] * len(LOADS), **ratios}.items():
                tokens = np.exp(tp + logs[place][block])
                launch = f"{name}.{load}.{block}"
                rows.append(("m", "w", load, name, block, tokens, launch))
    names = ["model", "workload", "max_concurrency", "strategy", "block", "output_throughput"]
    made = pd.DataFrame(rows, columns=[*names, "server_group"])
    return made.assign(provenance="measured", num_gpus=2)


def noise(seed: int, mean: float = 0.0, spread: float = 0.02) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.normal(mean, spread, len(LOGS)) for _ in LOADS]


def alike() -> list[np.ndarray]:
    """Six log-ratios of mean zero in every condition."""
    return [logs - logs.mean() for logs in noise(1)]


def payload(text: str) -> Any:
    found = re.search(r'id="data">(.*?)</script>', text, re.S)
    assert found
    return json.loads(found[1])


def column(table: Any, name: str) -> list[Any]:
    cells = table["cells"][table["columns"].index(name)]
    return [cells["levels"][c] for c in cells["codes"]] if isinstance(cells, dict) else cells


@pytest.mark.slow
def test_a_lead_that_only_its_own_interval_shows_is_claimed_nowhere() -> None:
    rows = runs({"ep": [LOGS if place == 3 else logs for place, logs in enumerate(alike())]})
    (own,) = [r for r in compare(rows).rows() if r["max_concurrency"] == LOADS[3]]
    assert own["ratio_low"] > 1
    assert own["p"] < 0.05 < own["p_adjusted"]
    assert own["verdict"] == "undecided"
    assert "not after the correction" in own["reason"]
    assert not winners(rows)["settled"].any()
    text = report_html(rows)
    assert "ep (2 GPUs) or tp (2 GPUs): which is better is open" in text
    assert "How sure: shown equal within 3 % in 7 of 8 conditions, open in 1" in text
    assert not any(winner["settled"] for winner in payload(text)["winners"])
    assert "better" not in column(payload(text)["contrasts"], "verdict")


@pytest.mark.slow
def test_a_headline_claims_no_condition_that_the_verdicts_leave_open() -> None:
    rows = runs({"ep": [logs + 0.3 * (place > 5) for place, logs in enumerate(alike())]})
    text = report_html(rows)
    shown = winners(rows)["settled"].sum()
    assert shown == (np.array(column(payload(text)["contrasts"], "verdict")) == "better").sum() == 2
    assert "Use ep (2 GPUs): +7.8 % tokens/s over tp (2 GPUs)" in text
    sure = "shown to lead (by more than 3 % in the mean) in 2 of 8 conditions, shown equal within"
    assert f"{sure} 3 % in 6" in text


@pytest.mark.slow
def test_where_the_winner_changes_only_shown_loads_are_named() -> None:
    shifts = (-0.3, -0.3, -0.3, 0, 0, 0.3, 0.3, 0.3)
    rows = runs({"ep": [own + shift for own, shift in zip(alike(), shifts, strict=True)]})
    assert (
        "It depends on the load: tp (2 GPUs) at concurrency 1 to 4, +35 %; tp or ep (2 GPUs) at "
        "concurrency 8 to 16; ep at concurrency 32 to 128, +35 %."
    ) in report_html(rows)


def verdicts(found: Comparison) -> dict[tuple[object, str], str]:
    return {
        (dict(c.stratum.key)["max_concurrency"], c.strategy): c.verdict for c in found.contrasts
    }


@pytest.mark.slow
@pytest.mark.parametrize("reference", ["tp", "ep", "single"])
@pytest.mark.parametrize("seed", range(6))
def test_winners_never_say_what_a_verdict_denies(seed: int, reference: str) -> None:
    ratios = {"ep": noise(seed, 0.02), "single": noise(100 + seed, -0.02)}
    rows, spec = runs(ratios), ComparisonSpec(reference=reference)
    found = verdicts(compare(rows, spec))
    best = winners(rows, spec)
    assert len(best) == len(LOADS)
    for row in best.to_dict("records"):
        against = {name: verdict for (load, name), verdict in found.items() if load == row["load"]}
        if row["strategy"] == reference:
            beaten = set(against.values()) == {"worse"}
            assert row["settled"] == (beaten and row["lead"] > 1 + spec.rule.margin)
        elif row["settled"]:
            assert against[row["strategy"]] == "better"


def test_a_third_strategy_that_is_as_good_leaves_the_winner_open() -> None:
    rows = runs({"ep": noise(7, 0.3), "single": noise(8, 0.3)})
    assert set(verdicts(compare(rows)).values()) == {"better"}
    assert not winners(rows)["settled"].all()


@pytest.mark.slow
def test_averages_over_conditions_are_against_the_pages_reference() -> None:
    text = report_html(runs({"ep": noise(9, 0.3)}), ReportOptions(reference="ep"))
    assert "tp gives 74" in text or "tp gives 73" in text
    assert "% of ep&#39;s throughput on average" in text
