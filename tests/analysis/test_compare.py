"""Contrasts of strategies: verdicts, refusals, pairing, Tukey and crossovers."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.compare import Question, compare, higher_is_better
from analysis.contrast import Rule
from analysis.crossover import crossovers
from analysis.pairs import strata
from analysis.tukey import tukey, tukey_pairs
from catalog.errors import BadFile, BadValue, InputError, UnknownName


def by_strategy(comparison):
    return {contrast.strategy: contrast for contrast in comparison.contrasts}


def arms(replicates=8, *, seed=0, noise=0.01, **ratios):
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


def test_each_verdict_is_reached_by_data_that_deserve_it():
    found = by_strategy(compare(arms(ep=1.2, single=0.8, dp2=1.0)))
    verdicts = {name: contrast.verdict for name, contrast in found.items()}
    assert verdicts == {"ep": "better", "single": "worse", "dp2": "equivalent"}
    noisy = compare(arms(ep=1.0, noise=0.1, seed=1)).contrasts[0]
    assert noisy.verdict == "undecided"
    assert noisy.runs_needed > 8


def test_for_a_latency_lower_is_better():
    rows = arms(ep=0.8).rename(columns={"output_throughput": "mean_ttft_ms"})
    assert compare(rows, Question(response="mean_ttft_ms")).contrasts[0].verdict == "better"
    assert higher_is_better("request_throughput")
    assert not higher_is_better("p99_itl_ms")


def test_a_ratio_and_its_interval_are_those_of_the_paired_logs():
    rows = arms(ep=0.9)
    wide = rows.pivot_table(index="block", columns="strategy", values="output_throughput")
    logs = np.log(wide["ep"] / wide["tp"])
    reference = stats.ttest_1samp(logs, 0).confidence_interval(0.95)
    ratio = compare(rows).contrasts[0].ratio
    assert ratio.value == pytest.approx(np.exp(logs.mean()), rel=1e-8)
    assert ratio.low == pytest.approx(np.exp(reference.low), rel=1e-8)
    assert ratio.high == pytest.approx(np.exp(reference.high), rel=1e-8)


@pytest.mark.parametrize("replicates", [1, 3, 5])
def test_a_test_that_cannot_reach_its_level_is_refused(replicates):
    contrast = compare(arms(replicates, ep=2.0)).contrasts[0]
    assert contrast.p is None
    assert contrast.verdict == "undecided"
    assert contrast.runs_needed >= 6
    assert f"{2.0 ** (1 - replicates):.3g}, above 0.05; 6 are needed" in contrast.reason


def test_holm_refuses_where_benjamini_hochberg_still_can(study):
    rows = study(6)
    holm = compare(rows, Question(adjust="holm"))
    assert {contrast.p for contrast in holm.contrasts} == {None}
    assert "13 are needed" in holm.contrasts[0].reason
    hochberg = compare(rows)
    assert hochberg.adjust == "bh"
    assert {c.verdict for c in hochberg.contrasts if c.strategy == "tp+ep"} == {"worse"}


@pytest.mark.slow
def test_rows_in_another_order_unit_or_block_level_change_nothing():
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


def test_swapping_the_arms_turns_the_ratio_over():
    rows = arms(ep=0.9)
    there = compare(rows, Question(reference="tp")).contrasts[0]
    back = compare(rows, Question(reference="ep")).contrasts[0]
    assert back.ratio.value == pytest.approx(1 / there.ratio.value, rel=1e-8)
    assert back.ratio.low == pytest.approx(1 / there.ratio.high, rel=1e-8)
    assert back.p == pytest.approx(there.p)
    assert {there.verdict, back.verdict} == {"better", "worse"}


def test_only_complete_blocks_are_paired():
    rows = arms(8, ep=0.9)
    lost = rows[~((rows["strategy"] == "ep") & (rows["block"] == 3))]
    assert compare(lost).contrasts[0].pairs == 7


def test_single_runs_are_paired_by_condition_and_say_so(study):
    contrast = compare(study(), Question(by=("model",))).contrasts[0]
    assert (contrast.pairs, contrast.paired_by) == (21, "condition")
    assert "not replicates" in contrast.reason


def test_a_launch_that_shifts_all_its_conditions_counts_once(study):
    contrast = compare(study(6), Question(by=("model",))).contrasts[0]
    assert (contrast.pairs, contrast.paired_by) == (6, "block")


@pytest.mark.slow
def test_false_alarms_stay_at_their_rate_when_nothing_differs():
    """Slow for its 300 studies: with equal arms, better or worse is said in at most 5 % + 3 SE."""
    alone = Question(adjust="none")
    said = [compare(arms(6, seed=s, ep=1.0), alone).contrasts[0].verdict for s in range(300)]
    wrong = sum(v in {"better", "worse"} for v in said) / 300
    assert wrong <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 300)


def test_copies_of_one_run_are_not_evidence():
    contrast = compare(arms(8, noise=0.0, ep=0.9)).contrasts[0]
    assert (contrast.p, contrast.p_equivalence, contrast.verdict) == (None, None, "undecided")
    assert "repeat one number" in contrast.reason
    assert contrast.ratio.value == pytest.approx(0.9)


def test_other_hardware_under_one_strategy_is_a_confound():
    rows = arms(ep=0.9)
    rows["gpu_type"] = rows["strategy"].map({"tp": "A100-80GB", "ep": "A100-40GB"})
    assert any("A100-40GB" in note and "both differences" in note for note in compare(rows).notes)


def test_questions_that_make_no_sense_are_refused():
    rows = arms(ep=0.9)
    with pytest.raises(UnknownName, match="Did you mean tp"):
        compare(rows, Question(reference="tpp"))
    for rule in (Rule(alpha=0), Rule(margin=0), Rule(power=1)):
        with pytest.raises(BadValue):
            compare(rows, Question(rule=rule))
    with pytest.raises(InputError, match="one level"):
        compare(rows[rows["strategy"] == "tp"])
    with pytest.raises(BadFile, match="no logarithm"):
        compare(rows.assign(output_throughput=0.0))


def test_tukey_is_its_textbook_formula_and_without_blocks_scipys():
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


def test_tukey_needs_complete_blocks():
    assert len(tukey(arms(5, ep=1.02, single=0.99))) == 3
    with pytest.raises(BadValue, match="--num-runs"):
        tukey(arms(1, ep=1.02))


def crossing(replicates, at, *, seed=0, noise=0.02):
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


def test_a_crossover_is_found_where_it_was_put():
    found = crossovers(crossing(6, 20, noise=1e-6))
    assert len(found) == 1
    assert found[0].load == pytest.approx(20, rel=1e-3)
    assert (found[0].better_below, found[0].better_above) == ("tp", "ep")


def test_for_a_latency_the_crossover_turns_round():
    rows = crossing(6, 20, noise=1e-6).rename(columns={"output_throughput": "mean_itl_ms"})
    found = crossovers(rows, Question(response="mean_itl_ms"))[0]
    assert (found.better_below, found.better_above) == ("ep", "tp")


@pytest.mark.slow
def test_crossover_intervals_cover_at_their_level():
    """Slow for its 300 studies. The load 16 is a node of the interpolation: the t-test is exact."""
    covered = 0
    for seed in range(300):
        found = crossovers(crossing(6, 16, seed=seed))
        covered += any(
            (c.low or 0) <= 16 <= (c.high or np.inf) for c in found if c.load is not None
        )
    assert covered / 300 >= 0.95 - 3 * np.sqrt(0.05 * 0.95 / 300)


def test_no_crossover_and_one_run_are_said_plainly():
    none = crossovers(crossing(6, 4000, noise=1e-3))[0]
    assert none.load is None
    assert "tp is ahead at every load" in none.note
    single = crossovers(crossing(1, 20, noise=1e-6))[0]
    assert (single.low, single.high) == (None, None)
    assert "no interval" in single.note
