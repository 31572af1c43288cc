"""Intervals cover at their level, tests hold their size: known values and simulation."""

from itertools import product

import numpy as np
import pytest
from scipy import stats

from analysis.statistics.contrast import (
    Rule,
    adjusted,
    equivalence_p,
    runs_needed,
    sign_flip,
    smallest_p,
)
from analysis.statistics.intervals import (
    log_interval,
    mean_interval,
    ratio_of_means,
    resampled_ratio,
)

# Student's sleep data (R's `sleep`): extra hours under two drugs, ten patients.
SLEEP = (
    np.array([0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]),
    np.array([1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]),
)
# Darwin's Zea mays (Fisher 1935, The Design of Experiments, section 21): eighths of an inch.
ZEA = np.array([49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48], dtype=float)


def test_the_mean_interval_of_the_sleep_differences_is_what_r_prints() -> None:
    found = mean_interval(SLEEP[1] - SLEEP[0])
    assert found.low == pytest.approx(0.7001142, abs=5e-8)
    assert found.high == pytest.approx(2.4598858, abs=5e-8)


def test_fishers_randomisation_of_darwins_plants_is_met() -> None:
    """Fisher counted 863 of 32768 sign patterns with a sum as large: p = 2·863/32768 = 0.0527."""
    signs = np.array(list(product((-1, 1), repeat=15)))
    assert np.sum(signs @ np.abs(ZEA) >= ZEA.sum() - 1e-9) == 863
    assert sign_flip(ZEA) == pytest.approx(2 * 863 / 32768, rel=1e-9)


@pytest.mark.parametrize("n", [3, 7, 12])
def test_the_exact_test_is_scipys(n: int) -> None:
    logs = np.random.default_rng(n).normal(0.01, 0.02, n)
    found = stats.permutation_test(
        (logs,), np.mean, permutation_type="samples", n_resamples=2**n, vectorized=True
    )
    assert sign_flip(logs) == pytest.approx(found.pvalue, rel=1e-12)


def test_pairs_that_cancel_are_no_evidence() -> None:
    assert sign_flip(np.array([0.1, -0.1, 0.2, -0.2])) == 1.0


def test_many_pairs_are_sampled_and_agree_with_the_t_test() -> None:
    logs = np.random.default_rng(1).normal(0.01, 0.05, 60)
    assert sign_flip(logs) == pytest.approx(stats.ttest_1samp(logs, 0).pvalue, abs=0.01)


def test_a_ratio_of_means_is_where_the_paired_t_test_turns() -> None:
    over, under = SLEEP[1] + 20, SLEEP[0] + 20
    found = ratio_of_means(over, under)
    for bound in (found.low, found.high):
        assert stats.ttest_1samp(over - bound * under, 0).pvalue == pytest.approx(0.05, rel=1e-8)


def test_a_ratio_to_what_may_be_zero_has_no_bounds() -> None:
    assert ratio_of_means(np.array([1.0, 2, 3]), np.array([-1.0, 0.5, 1.2])).low is None


def test_a_resampled_ratio_is_bounded_by_the_ratios_it_is_made_of() -> None:
    under = np.array([10.0, 40, 80, 160, 320, 640, 1280])
    over = under * np.array([0.8, 0.85, 0.9, 0.95, 1.0, 1.05, 1.1])
    found = resampled_ratio(over, under)
    assert found.value == pytest.approx(over.sum() / under.sum())
    assert 0.8 <= found.low < found.value < found.high <= 1.1


def test_one_value_has_no_interval() -> None:
    for found in (mean_interval(np.array([2.0])), ratio_of_means(np.ones(1), np.full(1, 2.0))):
        assert (found.low, found.high, found.n) == (None, None, 1)


def coverage(n: int, draws: int) -> dict[str, float]:
    """Share of simulated studies of n replicates whose interval holds the truth."""
    rng = np.random.default_rng(n)
    shared = rng.normal(0, 0.1, (draws, n))
    under = np.exp(4 + shared + rng.normal(0, 0.02, (draws, n)))
    over = 0.9 * np.exp(4 + shared + rng.normal(0, 0.02, (draws, n)))
    hits = {"geometric": 0, "fieller": 0, "mean": 0}
    for x, y in zip(under, over, strict=True):
        ratio, fieller = log_interval(np.log(y / x)), ratio_of_means(y, x)
        mean = mean_interval(np.log(x))
        hits["geometric"] += ratio.low <= 0.9 <= ratio.high
        hits["fieller"] += fieller.low <= 0.9 <= fieller.high
        hits["mean"] += mean.low <= 4 <= mean.high
    return {name: count / draws for name, count in hits.items()}


# Four standard errors: some three dozen shares are looked at.
def tolerance(draws: int) -> float:
    return 4 * np.sqrt(0.05 * 0.95 / draws)


@pytest.mark.parametrize("n", [3, 5, 10])
def test_intervals_cover_at_their_level(n: int) -> None:
    assert all(abs(share - 0.95) < tolerance(400) for share in coverage(n, 400).values())


@pytest.mark.slow
@pytest.mark.parametrize("n", range(3, 11))
def test_intervals_cover_at_their_level_for_every_number_of_replicates(n: int) -> None:
    """Slow because a percent can only be seen with thousands of studies."""
    assert all(abs(share - 0.95) < tolerance(1500) for share in coverage(n, 1500).values())


@pytest.mark.parametrize("n", range(3, 11))
def test_the_sign_flip_test_holds_its_size(n: int) -> None:
    rng = np.random.default_rng(100 + n)
    draws = rng.standard_t(4, (150, n))
    p = np.array([sign_flip(row) for row in draws])
    assert p.min() >= smallest_p(n) - 1e-12
    assert np.mean(p <= 0.05) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 150)
    if n < 6:
        assert not np.any(p <= 0.05)


@pytest.mark.parametrize("n", [3, 6, 10])
def test_the_equivalence_test_holds_its_size_at_the_margin(n: int) -> None:
    margin = np.log1p(0.03)
    rng = np.random.default_rng(n)
    p = [equivalence_p(rng.normal(margin, 0.01, n), margin) for _ in range(800)]
    assert np.mean(np.array(p) <= 0.05) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 800)


def test_equivalence_is_the_ninety_percent_interval_inside_the_margin() -> None:
    rng, margin = np.random.default_rng(0), np.log1p(0.03)
    for _ in range(200):
        logs = rng.normal(0.01, 0.015, 6)
        found = mean_interval(logs, level=0.9)
        inside = -margin < found.low and found.high < margin
        assert (equivalence_p(logs, margin) <= 0.05) == inside


def test_holm_and_benjamini_hochberg_are_what_r_gives() -> None:
    """`p.adjust(c(0.01, 0.02, 0.03, 0.04), "holm")` and `"BH"`."""
    p = [0.01, 0.02, None, 0.03, 0.04]
    assert adjusted(p, "holm") == pytest.approx([0.04, 0.06, None, 0.06, 0.06])
    assert adjusted(p, "bh") == pytest.approx([0.04, 0.04, None, 0.04, 0.04])
    assert adjusted(p, "none") == p
    assert adjusted([None, None], "holm") == [None, None]


@pytest.mark.parametrize(
    ("family", "adjust", "pairs"), [(1, "holm", 6), (6, "holm", 8), (126, "bh", 6), (2, "holm", 7)]
)
def test_the_fewest_pairs_are_those_whose_smallest_p_passes(
    family: int, adjust: str, pairs: int
) -> None:
    rule = Rule(adjust=adjust)
    assert rule.fewest_pairs(family) == pairs
    assert smallest_p(pairs) <= rule.hardest_level(family) < smallest_p(pairs - 1)


def test_the_advised_runs_find_an_effect_of_the_margin_with_the_promised_power() -> None:
    rng, rule = np.random.default_rng(2), Rule()
    pilot = np.array([-0.03, -0.01, 0.0, 0.01, 0.03])
    runs = runs_needed(pilot, rule, family=1)
    # The spread that five pairs leave likely: their own is as often too small.
    spread = pilot.std(ddof=1) * np.sqrt(4 / stats.chi2.ppf(0.3, 4))
    p = stats.ttest_1samp(rng.normal(rule.log_margin, spread, (4000, runs)), 0, axis=1).pvalue
    assert 0.79 <= np.mean(p <= 0.05) <= 0.87  # a whole number of runs, rounded up
    assert runs_needed(pilot / 100, rule, family=1) == rule.fewest_pairs(1)
