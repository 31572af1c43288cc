"""Contrasts of strategies: verdicts, refusals, pairing, Tukey and crossovers."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.compare import Comparison, ComparisonSpec, Contrast, compare
from analysis.crossover import crossovers
from analysis.data.pairs import strata
from analysis.statistics.contrast import Rule, planned_runs
from analysis.tukey import tukey, tukey_pairs
from catalog.errors import BadFile, BadValue, InputError, UnknownName
from orchestrator.results.quantities import is_higher_better

Study = Callable[..., pd.DataFrame]


def by_strategy(comparison: Comparison) -> dict[str, Contrast]:
    return {contrast.strategy: contrast for contrast in comparison.contrasts}


def arms(replicates: int = 8, *, seed: int = 0, noise: float = 0.01, **ratios: Any) -> pd.DataFrame:
    """One condition: strategy tp and others at a known ratio to it, in shared blocks."""
    rng = np.random.default_rng(seed)
    blocks = rng.normal(0, 0.2, replicates)
    return pd.DataFrame(
        [
            {
                "model": "m",
                "workload": "w",
                "max_concurrency": 8,
                "strategy": strategy,
                "block": b,
                "output_throughput": 100 * ratio * np.exp(blocks[b] + rng.normal(0, noise)),
            }
            for strategy, ratio in {"tp": 1.0, **ratios}.items()
            for b in range(replicates)
        ]
    )


def test_each_verdict_is_reached_by_data_that_deserve_it() -> None:
    found = by_strategy(compare(arms(ep=1.2, single=0.8, dp2=1.0)))
    verdicts = {name: contrast.verdict for name, contrast in found.items()}
    assert verdicts == {"ep": "better", "single": "worse", "dp2": "equivalent"}
    noisy = compare(arms(ep=1.0, noise=0.1, seed=1)).contrasts[0]
    assert noisy.verdict == "undecided"
    assert noisy.runs_needed > 8


def test_for_a_latency_lower_is_better() -> None:
    rows = arms(ep=0.8).rename(columns={"output_throughput": "mean_ttft_ms"})
    assert compare(rows, ComparisonSpec(response="mean_ttft_ms")).contrasts[0].verdict == "better"
    assert is_higher_better("request_throughput")
    assert not is_higher_better("p99_itl_ms")


def test_a_ratio_and_its_interval_are_those_of_the_paired_logs() -> None:
    rows = arms(ep=0.9)
    wide = rows.pivot_table(index="block", columns="strategy", values="output_throughput")
    logs = np.log(wide["ep"] / wide["tp"])
    reference = stats.ttest_1samp(logs, 0).confidence_interval(0.95)
    ratio = compare(rows).contrasts[0].ratio
    assert ratio.value == pytest.approx(np.exp(logs.mean()), rel=1e-8)
    assert ratio.low == pytest.approx(np.exp(reference.low), rel=1e-8)
    assert ratio.high == pytest.approx(np.exp(reference.high), rel=1e-8)


@pytest.mark.parametrize("replicates", [1, 2])
def test_fewer_than_three_pairs_are_not_tested_and_told_how_many_are_needed(
    replicates: int,
) -> None:
    contrast = compare(arms(replicates, ep=2.0)).contrasts[0]
    assert (contrast.p, contrast.p_sign_flip, contrast.verdict) == (None, None, "undecided")
    assert contrast.runs_needed == planned_runs(Rule())
    assert f"plan {contrast.runs_needed}" in contrast.reason


@pytest.mark.parametrize("replicates", [3, 5])
def test_three_to_five_pairs_are_decided_by_their_interval_which_is_said(replicates: int) -> None:
    contrast = compare(arms(replicates, ep=2.0)).contrasts[0]
    assert (contrast.verdict, contrast.runs_needed) == ("better", None)
    assert "by t-interval" in contrast.reason
    assert f"cannot fall below {2.0 ** (1 - replicates):.3g}" in contrast.reason


def test_interval_test_and_verdict_of_one_contrast_agree() -> None:
    for seed in range(40):
        (found,) = compare(arms(3 + seed % 6, seed=seed, ep=1.02, noise=0.02)).contrasts
        apart = not found.ratio.low <= 1 <= found.ratio.high
        assert apart == (found.p <= 0.05)
        assert found.verdict == "equivalent" or (found.verdict != "undecided") == apart
        assert (found.runs_needed is not None) == (found.verdict == "undecided")


@pytest.mark.slow
@pytest.mark.parametrize("adjust", ["holm", "bh"])
def test_a_twofold_loss_is_decided_in_a_large_family(study: Study, adjust: Any) -> None:
    found = compare(study(6), ComparisonSpec(adjust=adjust)).contrasts
    assert {c.verdict for c in found if c.strategy == "tp+ep"} == {"worse"}
    holm = adjust == "holm"
    assert all(
        ("cannot fall below 0.0312" in c.reason) == holm for c in found if c.ratio.high < 0.7
    )


def one_launch_each(rows: pd.DataFrame, runs: int) -> pd.DataFrame:
    """Blocks in groups of `runs` share the launch of their strategy."""
    launch = rows["strategy"] + "-" + (rows["block"] // runs).astype(str)
    return rows.assign(server_group=launch)


def test_blocks_that_share_a_launch_are_one_observation() -> None:
    rows = one_launch_each(arms(8, ep=1.1), 2)
    (found,) = compare(rows).contrasts
    assert (found.pairs, found.paired_by) == (4, "launch")
    assert "8 pairs of runs share 4 server launches" in found.reason
    wide = rows.pivot_table(index="block", columns="strategy", values="output_throughput")
    logs = np.log(wide["ep"] / wide["tp"]).groupby(wide.index // 2).mean()
    assert found.p == pytest.approx(stats.ttest_1samp(logs, 0).pvalue, rel=1e-8)
    assert {pair.ratio.n for pair in tukey(rows)} == {4}
    with pytest.raises(BadValue, match="launches of its own"):
        tukey(one_launch_each(arms(8, ep=1.1), 8))


def test_one_launch_of_the_reference_makes_one_observation_of_all() -> None:
    rows = one_launch_each(arms(8, ep=1.1), 1)
    rows.loc[rows["strategy"] == "tp", "server_group"] = "tp-0"
    (found,) = compare(rows).contrasts
    assert (found.pairs, found.verdict) == (1, "undecided")


def test_conditions_of_one_launch_make_no_claim(study: Study) -> None:
    found = compare(study(), ComparisonSpec(by=("model",))).contrasts
    assert {(c.p, c.verdict) for c in found} == {(None, "undecided")}
    assert "conditions of one server launch, not replicates" in found[0].reason
    assert {c.runs_needed for c in found} == {planned_runs(Rule())}
    unsaid = study().drop(columns="server_group")
    assert compare(unsaid, ComparisonSpec(by=("model",))).contrasts[0].p is not None


@pytest.mark.slow
def test_rows_in_another_order_unit_or_block_level_change_nothing() -> None:
    rows = arms(ep=0.93, single=1.01)
    level = rows["block"].map(lambda b: 1.5**b)
    other = rows.assign(output_throughput=1e3 * rows["output_throughput"] * level).sample(
        frac=1, random_state=1
    )
    pairs = zip(compare(rows).contrasts, compare(other).contrasts, strict=True)
    for before, after in pairs:
        assert after.ratio.value == pytest.approx(before.ratio.value, rel=1e-8)
        assert after.ratio.low == pytest.approx(before.ratio.low, rel=1e-8)
        assert after.p == pytest.approx(before.p, rel=1e-8)
        assert after.verdict == before.verdict


def test_swapping_the_arms_turns_the_ratio_over() -> None:
    rows = arms(ep=0.9)
    there = compare(rows, ComparisonSpec(reference="tp")).contrasts[0]
    back = compare(rows, ComparisonSpec(reference="ep")).contrasts[0]
    assert back.ratio.value == pytest.approx(1 / there.ratio.value, rel=1e-8)
    assert back.ratio.low == pytest.approx(1 / there.ratio.high, rel=1e-8)
    assert back.p == pytest.approx(there.p)
    assert {there.verdict, back.verdict} == {"better", "worse"}


def test_only_complete_blocks_are_paired() -> None:
    rows = arms(8, ep=0.9)
    lost = rows[~((rows["strategy"] == "ep") & (rows["block"] == 3))]
    assert compare(lost).contrasts[0].pairs == 7


def test_single_runs_are_paired_by_condition_and_say_so(study: Study) -> None:
    contrast = compare(study(), ComparisonSpec(by=("model",))).contrasts[0]
    assert (contrast.pairs, contrast.paired_by) == (21, "condition")
    assert "not replicates" in contrast.reason


def test_a_launch_that_shifts_all_its_conditions_counts_once(study: Study) -> None:
    contrast = compare(study(6), ComparisonSpec(by=("model",))).contrasts[0]
    assert (contrast.pairs, contrast.paired_by) == (6, "block")


@pytest.mark.slow
def test_false_alarms_stay_at_their_rate_when_nothing_differs() -> None:
    """Slow for its 300 studies: with equal arms, better or worse is said in at most 5 % + 3 SE."""
    alone = ComparisonSpec(adjust="none")
    said = [compare(arms(6, seed=s, ep=1.0), alone).contrasts[0].verdict for s in range(300)]
    wrong = sum(v in {"better", "worse"} for v in said) / 300
    assert wrong <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 300)


def test_copies_of_one_run_are_not_evidence() -> None:
    contrast = compare(arms(8, noise=0.0, ep=0.9)).contrasts[0]
    assert (contrast.p, contrast.p_equivalence, contrast.verdict) == (None, None, "undecided")
    assert "repeat one number" in contrast.reason
    assert contrast.ratio.value == pytest.approx(0.9)


def test_other_hardware_under_one_strategy_is_a_confound() -> None:
    rows = arms(ep=0.9)
    rows["gpu_type"] = rows["strategy"].map({"tp": "A100-80GB", "ep": "A100-40GB"})
    assert any("A100-40GB" in note and "both differences" in note for note in compare(rows).notes)


def test_questions_that_make_no_sense_are_refused() -> None:
    rows = arms(ep=0.9)
    with pytest.raises(UnknownName, match="Did you mean tp"):
        compare(rows, ComparisonSpec(reference="tpp"))
    for rule in (Rule(alpha=0), Rule(margin=0), Rule(power=1)):
        with pytest.raises(BadValue):
            compare(rows, ComparisonSpec(rule=rule))
    with pytest.raises(InputError, match="one level"):
        compare(rows[rows["strategy"] == "tp"])
    with pytest.raises(BadFile, match="no logarithm"):
        compare(rows.assign(output_throughput=0.0))


@pytest.mark.slow
def test_tukey_is_its_textbook_formula_and_without_blocks_scipys() -> None:
    """Centred blocks leave the residual of y = strategy + block; scipy's test has no blocks."""
    rows = arms(5, ep=1.02, single=0.99, noise=0.02)
    stratum = next(strata(rows, "output_throughput", ("model", "workload", "max_concurrency")))
    found = {(pair.strategy, pair.reference): pair for pair in tukey_pairs(stratum)}
    wide = np.log(rows.pivot_table(index="block", columns="strategy", values="output_throughput"))
    centred = wide.sub(wide.mean(axis=1), axis=0)
    reference = stats.tukey_hsd(*(centred[name] for name in ("tp", "ep", "single")))
    # Same q up to the residual degrees of freedom: (k−1)(b−1) = 8 here, k(b−1) = 12 there.
    for (late, early), (i, j) in {("ep", "tp"): (1, 0), ("single", "ep"): (2, 1)}.items():
        q_there = stats.studentized_range.isf(reference.pvalue[i, j], 3, 12)
        q_here = stats.studentized_range.isf(found[late, early].p, 3, 8)
        assert q_here == pytest.approx(q_there * np.sqrt(8 / 12), rel=1e-4)


def test_tukey_needs_complete_blocks() -> None:
    assert len(tukey(arms(5, ep=1.02, single=0.99))) == 3
    with pytest.raises(BadValue, match="--num-runs"):
        tukey(arms(1, ep=1.02))


def crossing(replicates: int, at: int, *, seed: int = 0, noise: float = 0.02) -> pd.DataFrame:
    """Arm ep overtakes tp at a known concurrency."""
    rng = np.random.default_rng(seed)
    rows = []
    for b in range(replicates):
        for load in (1, 4, 8, 16, 32, 64, 128):
            for strategy in ("tp", "ep"):
                gain = 0.05 * np.log2(load / at) if strategy == "ep" else 0.0
                value = 100 * load**0.7 * np.exp(gain + rng.normal(0, noise))
                rows.append(("m", "w", load, strategy, b, value))
    names = ["model", "workload", "max_concurrency", "strategy", "block", "output_throughput"]
    return pd.DataFrame(rows, columns=names)


def test_a_crossover_is_found_where_it_was_put() -> None:
    found = crossovers(crossing(6, 20, noise=1e-6))
    assert len(found) == 1
    assert found[0].load == pytest.approx(20, rel=1e-3)
    assert (found[0].better_below, found[0].better_above) == ("tp", "ep")


def test_for_a_latency_the_crossover_turns_round() -> None:
    rows = crossing(6, 20, noise=1e-6).rename(columns={"output_throughput": "mean_itl_ms"})
    found = crossovers(rows, ComparisonSpec(response="mean_itl_ms"))[0]
    assert (found.better_below, found.better_above) == ("ep", "tp")


@pytest.mark.slow
def test_crossover_intervals_cover_at_their_level() -> None:
    """Slow for its 300 studies. The load 16 is a node of the interpolation: the t-test is exact."""
    covered = 0
    for seed in range(300):
        found = crossovers(crossing(6, 16, seed=seed))
        covered += any(
            (c.low or 0) <= 16 <= (c.high or np.inf) for c in found if c.load is not None
        )
    assert covered / 300 >= 0.95 - 3 * np.sqrt(0.05 * 0.95 / 300)


def test_no_crossover_and_one_run_are_said_plainly() -> None:
    none = crossovers(crossing(6, 4000, noise=1e-3))[0]
    assert none.load is None
    assert "tp is ahead at every load" in none.note
    single = crossovers(crossing(1, 20, noise=1e-6))[0]
    assert (single.low, single.high) == (None, None)
    assert "no interval" in single.note
