"""Printed intervals, sizes and plans against SciPy, statsmodels, tables and paper."""

import math
from itertools import product

import numpy as np
import pytest
from scipy import optimize, stats
from statsmodels.stats.power import TTestPower

from analysis.statistics.contrast import (
    PLANNED_EFFECT,
    PLANNED_SPREAD,
    Rule,
    difference_p,
    equivalence_p,
    planned_runs,
    runs_needed,
    sign_flip,
    smallest_p,
    verdict,
)
from analysis.statistics.design import Design, design
from analysis.statistics.effects import Effect, FittedModel, factorial, one_way, robust_tests
from analysis.statistics.intervals import (
    Interval,
    log_interval,
    mean_interval,
    positive_mean_interval,
    positive_ratio_of_means,
    ratio_of_means,
    resampled_ratio,
)
from tests.analysis.test_anova import PLANT_GROWTH, table

VALUES = np.array([2.0, 3.0, 7.0, 4.0])
OVER, UNDER = np.array([2.0, 3.5, 7.0, 4.5]), np.array([1.0, 2.0, 3.0, 2.5])


def plant_growth() -> Design:
    rows = table(PLANT_GROWTH)
    return design(rows, rows["output_throughput"].to_numpy(), ["strategy"])


@pytest.mark.parametrize("alpha", [0.05, 0.10, 0.01])
def test_the_interval_of_eta_squared_is_where_the_noncentral_f_turns(alpha: float) -> None:
    """λ with P(F ≤ f; λ) = 1 − α/2 and α/2; η² = λ/(λ + n) (Steiger 2004, equation 15)."""
    fit = one_way(plant_growth())
    f, n = fit.effects[0].f, 30
    bounds = [
        optimize.brentq(lambda nc, q=q: stats.ncf.cdf(f, 2, 27, nc) - q, 1e-9, 200)
        if stats.f.cdf(f, 2, 27) > q
        else 0.0
        for q in (1 - alpha / 2, alpha / 2)
    ]
    low, high = (each / (each + n) for each in bounds)
    found = robust_tests(fit, alpha=alpha)
    assert (found.eta_squared_low, found.eta_squared_high) == pytest.approx(
        (low, high), rel=1e-4, abs=1e-9
    )
    assert found.eta_squared_low < fit.effects[0].eta_squared < found.eta_squared_high


@pytest.mark.parametrize("spread", [1.0, 1e-2, 1e-4])
def test_the_interval_of_a_large_effect_holds_its_estimate(spread: float) -> None:
    """λ/f has the distribution of df·χ²/df_residual where the effect is far above the noise."""
    noise = np.tile([-1.0, 0.5, 0.5, -0.2, 0.2, 0.0], 3) * spread
    rows = table({name: [float(x) for x in noise[:6] + level] for name, level in
                  (("tp", 100.0), ("ep", 200.0), ("tp+ep", 400.0))})  # fmt: skip
    fit = one_way(design(rows, rows["output_throughput"].to_numpy(), ["strategy"]))
    f, found = fit.effects[0].f, robust_tests(fit)
    assert f > 1e4
    bounds = [f * 2 * stats.chi2.ppf(q, 15) / 15 for q in (0.025, 0.975)]
    assert (1 - found.eta_squared_low, 1 - found.eta_squared_high) == pytest.approx(
        [18 / (18 + bound) for bound in bounds], rel=2e-3
    )
    assert found.eta_squared_low < fit.effects[0].eta_squared < found.eta_squared_high


@pytest.mark.parametrize("f", [0.5, 30.0, 2800.0])
def test_the_interval_of_ten_thousand_rows_is_found_where_the_far_tails_have_no_number(
    f: float,
) -> None:
    eta = 2 * f / (2 * f + 9997)
    effect = Effect("a", 2, 1.0, f, 0.0, eta, eta, eta, 9997, 1.0, 10_000)
    rows = tuple((float(i), float(i) ** 2, 1.0) for i in range(3))
    found = robust_tests(FittedModel((effect,), (), rows))
    assert 0 <= found.eta_squared_low < found.eta_squared_high < 1
    for bound, share in ((found.eta_squared_low, 0.975), (found.eta_squared_high, 0.025)):
        if bound:
            at = float(stats.ncf.cdf(f, 2, 9997, bound * 10_000 / (1 - bound)))
            assert at == pytest.approx(share, abs=1e-6)


def test_effect_sizes_by_hand_from_r_s_sums_of_squares() -> None:
    """R prints 3.76634 between three groups and 10.49209 within them, on 2 and 27."""
    (effect,) = one_way(plant_growth()).effects
    between, within = 3.76634, 10.49209
    assert (effect.df, effect.df_residual, effect.n) == (2, 27, 30)
    assert effect.sum_sq == pytest.approx(between, abs=5e-6)
    assert effect.sum_sq_residual == pytest.approx(within, abs=5e-6)
    assert effect.eta_squared == pytest.approx(between / (between + within), rel=1e-5)
    assert effect.partial_eta_squared == pytest.approx(effect.eta_squared)
    omega = (between - 2 * within / 27) / (between + within + within / 27)
    assert effect.omega_squared == pytest.approx(omega, rel=1e-5)


def test_groups_without_a_spread_have_no_welch_test() -> None:
    rows = table({"a": (1.0, 1.0, 1.0), "b": (2.0, 2.5, 3.0)})
    fit = one_way(design(rows, rows["output_throughput"].to_numpy(), ["strategy"]))
    found = robust_tests(fit)
    assert (found.welch_f, found.welch_df, found.welch_p) == (None, None, None)
    assert found.kruskal_h > 0
    single = table({"a": (1.0,), "b": (2.0, 2.5, 3.0)})
    fit = one_way(design(single, single["output_throughput"].to_numpy(), ["strategy"]))
    assert robust_tests(fit).welch_f is None


def test_a_factorial_fit_keeps_its_residuals_and_cells() -> None:
    rows = table({"a": (1.0, 3.0), "b": (4.0, 8.0)})
    fit = factorial(design(rows, rows["output_throughput"].to_numpy(), ["strategy"]), order=1)
    assert sorted(fit.residuals) == pytest.approx([-2.0, -1.0, 1.0, 2.0])
    assert fit.groups == ((1.0, 3.0), (4.0, 8.0))


@pytest.mark.parametrize("level", [0.9, 0.95, 0.99])
def test_a_mean_s_interval_is_scipy_s(level: float) -> None:
    low, high = stats.t.interval(level, 3, VALUES.mean(), stats.sem(VALUES))
    found = mean_interval(VALUES, level=level)
    assert (found.value, found.n) == (4.0, 4)
    assert (found.low, found.high) == pytest.approx((low, high))
    logs = log_interval(np.log(VALUES), level=level)
    low, high = stats.t.interval(level, 3, np.log(VALUES).mean(), stats.sem(np.log(VALUES)))
    assert logs.value == pytest.approx(stats.gmean(VALUES))
    assert (logs.low, logs.high) == pytest.approx((math.exp(low), math.exp(high)))
    assert logs.n == 4


def test_a_positive_mean_is_bounded_by_its_factor() -> None:
    # t of 3 is 3.182446; s² = (4 + 1 + 9 + 0)/3, so s/√4 = 1.080123, over the mean of 4.
    factor = math.exp(3.182446 * 1.080123 / 4)
    found = positive_mean_interval(VALUES)
    assert (found.low, found.high) == pytest.approx((4 / factor, 4 * factor), rel=1e-5)
    mixed = np.array([-1.0, 2.0, 5.0])
    assert positive_mean_interval(mixed) == mean_interval(mixed)
    zero = np.array([0.0, 2.0, 5.0])
    assert positive_mean_interval(zero) == mean_interval(zero)
    assert positive_mean_interval(np.array([5.0])) == Interval(5.0, None, None, 1)


@pytest.mark.parametrize("level", [0.9, 0.95])
def test_a_positive_ratio_is_bounded_by_the_delta_method(level: float) -> None:
    # Means 4.25 and 2.125: twice. Differences of the shares y/Ȳ − x/X̄ have a mean of zero.
    shares = OVER / 4.25 - UNDER / 2.125
    half = math.exp(stats.t.ppf((1 + level) / 2, 3) * np.std(shares, ddof=1) / 2)
    found = positive_ratio_of_means(OVER, UNDER, level=level)
    assert (found.value, found.low, found.high) == pytest.approx((2.0, 2 / half, 2 * half))
    for over, under in ((OVER - 2, UNDER), (OVER, UNDER - 1)):
        assert positive_ratio_of_means(over, under) == ratio_of_means(over, under)
    assert positive_ratio_of_means(OVER[:1], UNDER[:1]) == Interval(2.0, None, None, 1)


@pytest.mark.parametrize("level", [0.8, 0.9])
def test_fieller_s_bounds_are_where_the_paired_test_turns_at_any_level(level: float) -> None:
    found = ratio_of_means(OVER, UNDER, level=level)
    for bound in (found.low, found.high):
        p = stats.ttest_1samp(OVER - bound * UNDER, 0).pvalue
        assert p == pytest.approx(1 - level, rel=1e-8)
    zero = ratio_of_means(np.array([1.0, 2.0]), np.array([-1.0, 1.0]))
    assert math.isnan(zero.value)
    assert (zero.low, zero.high, zero.n) == (None, None, 2)
    same = ratio_of_means(2 * UNDER, UNDER)
    assert (same.low, same.high) == pytest.approx((2.0, 2.0))


def test_the_bootstrap_of_three_pairs_is_that_of_their_27_draws() -> None:
    over, under = np.array([1.0, 2.0, 9.0]), np.array([1.0, 1.0, 2.0])
    every = [
        over[list(draw)].mean() / under[list(draw)].mean() for draw in product(range(3), repeat=3)
    ]
    found = resampled_ratio(over, under)
    assert found.value == pytest.approx(3.0)
    # Each of the extreme draws has a chance of 1/27 = 3.7 %, more than 2.5 %.
    assert (found.low, found.high) == pytest.approx((min(every), max(every)))
    # A fifth of the draws is below 5/3, a fifth above 3.8 (4 to 7 of 27 at most on either side).
    narrow = resampled_ratio(over, under, level=0.6)
    assert (narrow.low, narrow.high) == pytest.approx((5 / 3, 3.8))
    assert resampled_ratio(over[:1], under[:1]) == Interval(1.0, None, None, 1)
    assert math.isnan(resampled_ratio(over, np.zeros(3)).value)


LOGS = np.array([0.02, 0.05, 0.01, 0.04])


def test_both_tests_of_a_contrast_are_scipy_s() -> None:
    assert difference_p(LOGS) == pytest.approx(stats.ttest_1samp(LOGS, 0).pvalue)
    margin = 0.05
    above = stats.ttest_1samp(LOGS, margin, alternative="less").pvalue
    below = stats.ttest_1samp(LOGS, -margin, alternative="greater").pvalue
    assert equivalence_p(LOGS, margin) == pytest.approx(max(above, below))
    assert equivalence_p(-LOGS, margin) == pytest.approx(max(above, below))
    for test in (difference_p, lambda logs: equivalence_p(logs, margin)):
        assert test(LOGS[:2]) is None
        assert test(LOGS[:3]) is not None


@pytest.mark.parametrize(("value", "p", "p_equivalence"), [
    (0.0, 1.0, 0.0), (0.03, 0.0, 0.0), (0.05, 0.0, 0.5), (0.07, 0.0, 1.0),
])  # fmt: skip
def test_pairs_without_a_spread_are_decided_by_their_value(
    value: float, p: float, p_equivalence: float
) -> None:
    same = np.full(4, value)
    assert difference_p(same) == pytest.approx(p)
    assert equivalence_p(same, 0.05) == pytest.approx(p_equivalence)


@pytest.mark.parametrize(("ratio", "p", "equal", "higher", "said"), [
    (1.2, 0.05, 0.051, True, "better"), (1.2, 0.051, 0.051, True, "undecided"),
    (0.8, 0.01, None, True, "worse"), (0.8, 0.01, None, False, "better"),
    (1.2, 0.01, None, False, "worse"), (1.01, 0.01, 0.05, True, "equivalent"),
    (1.2, None, None, True, "undecided"),
])  # fmt: skip
def test_a_verdict_needs_a_test_at_its_level(
    ratio: float, p: float | None, equal: float | None, higher: bool, said: str
) -> None:
    found = verdict(Interval(ratio, None, None, 4), p, equal, alpha=0.05, higher_is_better=higher)
    assert found == said


@pytest.mark.parametrize("spread", [0.02, 0.03, 0.05])
@pytest.mark.parametrize("family", [1, 6])
def test_planned_runs_have_the_power_that_statsmodels_finds(spread: float, family: int) -> None:
    """The upper limit of the spread: s·√((n − 1)/χ²) with 30 % of χ² below it."""
    rng = np.random.default_rng(1)
    logs = rng.normal(0, 1, 6)
    logs = logs / logs.std(ddof=1) * spread
    rule = Rule(adjust="bh")
    runs = runs_needed(logs, rule, family)
    limit = spread * math.sqrt(5 / stats.chi2.ppf(0.3, 5))
    powers = [
        TTestPower().power(rule.log_margin / limit, n, 0.05 / family) for n in (runs - 1, runs)
    ]
    fewest = max(2, math.ceil(1 - math.log2(0.05)))
    assert powers[1] >= 0.8
    assert powers[0] < 0.8 or runs == fewest


def test_before_any_run_a_usual_spread_and_effect_are_planned_for() -> None:
    runs = planned_runs(Rule())
    effect = math.log1p(PLANNED_EFFECT) / PLANNED_SPREAD
    assert (PLANNED_SPREAD, PLANNED_EFFECT) == (0.03, 0.05)
    assert (
        TTestPower().power(effect, runs, 0.05) >= 0.8 > TTestPower().power(effect, runs - 1, 0.05)
    )
    assert planned_runs(Rule(margin=0.5)) == Rule().fewest_pairs(1) == 6
    for few in (LOGS[:0], LOGS[:2]):
        assert runs_needed(few, Rule(), 1) == runs


def test_levels_of_a_family_by_hand() -> None:
    assert [Rule(adjust=name).hardest_level(4) for name in ("holm", "bh", "none")] == [
        0.0125, 0.05, 0.05,
    ]  # fmt: skip
    assert [Rule(adjust=name).planning_level(4) for name in ("holm", "bh", "none")] == [
        0.0125, 0.0125, 0.05,
    ]  # fmt: skip
    # 2^(1 − 6) = 0.031 is below 5 %, 2^(1 − 5) = 0.0625 is not.
    assert [smallest_p(n) for n in (1, 2, 5, 6)] == [1.0, 0.5, 0.0625, 0.03125]
    assert Rule(adjust="none").fewest_pairs(100) == 6
    assert Rule(alpha=0.5).fewest_pairs(1) == 2
    assert Rule(margin=0.05).log_margin == pytest.approx(math.log(1.05))


def test_beyond_28_pairs_signs_are_drawn_and_the_observed_ones_count() -> None:
    steady = np.full(29, 0.01)
    assert sign_flip(steady) == pytest.approx(1 / 100_001)
    assert sign_flip(steady[:28]) == pytest.approx(2.0 ** (1 - 28))
    assert sign_flip(np.tile([0.1, -0.1], 20)) == 1.0
