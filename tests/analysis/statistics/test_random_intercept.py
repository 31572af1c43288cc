"""The fit of one random intercept against dense algebra, closed forms and statsmodels."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.regression.linear_model import OLS
from statsmodels.regression.mixed_linear_model import MixedLM

from analysis.statistics.random_intercept import RandomIntercept, random_intercept

Table = tuple[np.ndarray, np.ndarray, np.ndarray]


def table(
    seed: int, sizes: list[int] | None = None, *, spread: float = 1.0, columns: int = 2
) -> Table:
    """Design of an intercept, a factor that groups fix and others that they do not; y; groups."""
    rng = np.random.default_rng(seed)
    sizes = sizes or [4] * 12
    group = np.repeat(np.arange(len(sizes)), sizes)
    fixed = np.where(np.arange(len(sizes)) % 2, 1.0, -1.0)[group]
    free = rng.normal(size=(len(group), columns))
    x = np.column_stack([np.ones(len(group)), fixed, free])
    y = x @ rng.normal(size=x.shape[1]) + spread * rng.normal(size=len(sizes))[group]
    return x, y + rng.normal(size=len(group)), group


def fit(made: Table) -> RandomIntercept:
    found = random_intercept(*made)
    assert found is not None
    return found


def dense_deviance(made: Table, theta: float) -> float:
    """−2 log restricted likelihood, but for a constant, from the whole covariance matrix."""
    x, y, group = made
    v = np.eye(len(y)) + theta * (group[:, None] == group[None])
    weighted = np.linalg.solve(v, x)
    information = x.T @ weighted
    rest = y - x @ np.linalg.solve(information, weighted.T @ y)
    quadratic = float(rest @ np.linalg.solve(v, rest))
    determinants = np.linalg.slogdet(v)[1] + np.linalg.slogdet(information)[1]
    return float((len(y) - x.shape[1]) * np.log(quadratic) + determinants)


@pytest.mark.slow
@settings(deadline=None, max_examples=25)
@given(
    st.integers(0, 10**6),
    st.lists(st.integers(2, 5), min_size=6, max_size=12),
    st.sampled_from([0.0, 0.3, 3.0]),
)
def test_no_ratio_of_variances_has_a_higher_likelihood(
    seed: int, sizes: list[int], spread: float
) -> None:
    made = table(seed, sizes, spread=spread)
    found = fit(made)
    theta = found.group_variance / found.residual_variance
    best = dense_deviance(made, theta)
    for other in (0.0, *(theta * np.array([0.5, 0.99, 1.01, 2.0])), *np.logspace(-4, 4, 17)):
        assert best <= dense_deviance(made, float(other)) + 1e-7


def test_estimates_and_their_covariance_are_those_of_the_whole_matrix() -> None:
    x, y, group = made = table(1, [1, 2, 3, 4, 5, 6, 2, 2], columns=3)
    found = fit(made)
    v = found.residual_variance * np.eye(len(y))
    v += found.group_variance * (group[:, None] == group[None])
    covariance = np.linalg.inv(x.T @ np.linalg.solve(v, x))
    assert found.covariance == pytest.approx(covariance, rel=1e-9)
    assert found.coefficients == pytest.approx(covariance @ x.T @ np.linalg.solve(v, y), rel=1e-9)


@pytest.mark.parametrize("sizes", [[4] * 12, [1, 2, 3, 4, 5, 6] * 3])
def test_statsmodels_finds_the_same_to_its_own_tolerance(sizes: list[int]) -> None:
    x, y, group = made = table(3, sizes)
    reference = MixedLM(y, x, group).fit(reml=True)
    found = fit(made)
    assert found.group_variance == pytest.approx(float(reference.cov_re[0, 0]), rel=1e-4)
    assert found.residual_variance == pytest.approx(reference.scale, rel=1e-4)
    # Its standard errors are of the joint information with the variance, which differ a little.
    f = float(reference.params[1] / reference.bse_fe[1]) ** 2
    assert found.f(slice(1, 2)) == pytest.approx(f, rel=2e-2)


def test_of_a_balanced_table_the_variances_are_those_of_mean_squares() -> None:
    """Var e = MS within, Var u = (MS between − MS within)/m (Searle et al. 1992, 3.5)."""
    rng = np.random.default_rng(5)
    y = (rng.normal(0, 2, (9, 1)) + rng.normal(0, 1, (9, 6))).ravel()
    within = y.reshape(9, 6).var(axis=1, ddof=1).mean()
    between = 6 * y.reshape(9, 6).mean(axis=1).var(ddof=1)
    found = fit((np.ones((54, 1)), y, np.repeat(np.arange(9), 6)))
    assert found.residual_variance == pytest.approx(within, rel=1e-9)
    assert found.group_variance == pytest.approx((between - within) / 6, rel=1e-9)


def ordinary(made: Table) -> tuple[np.ndarray, float]:
    reference = OLS(made[1], made[0]).fit()
    return reference.params, float(reference.tvalues[1]) ** 2


def test_groups_more_alike_than_chance_leave_ordinary_least_squares() -> None:
    x, _, group = table(7)
    noise = np.random.default_rng(8).normal(size=len(group))
    y = x[:, 2] + noise - np.array([noise[group == g].mean() for g in range(12)])[group]
    found, (beta, f) = fit((x, y, group)), ordinary((x, y, group))
    assert found.group_variance == 0
    assert found.coefficients == pytest.approx(beta, rel=1e-9, abs=1e-12)
    assert found.f(slice(1, 2)) == pytest.approx(f, rel=1e-9, abs=1e-12)


def test_groups_of_one_row_are_rows() -> None:
    made = table(9, [1] * 20)
    found, (beta, f) = fit(made), ordinary(made)
    assert (found.separable, found.group_variance) == (False, 0)
    assert found.coefficients == pytest.approx(beta, rel=1e-9)
    assert found.f(slice(1, 2)) == pytest.approx(f, rel=1e-9)


def test_groups_that_the_design_has_levels_for_leave_no_variance_of_their_own() -> None:
    group = np.repeat(np.arange(6), 4)
    x = np.column_stack([(group == g).astype(float) for g in range(6)])
    found = fit((x, np.random.default_rng(2).normal(size=24), group))
    assert (found.separable, found.group_variance) == (False, 0)
    assert fit(table(1)).separable


def test_the_order_of_rows_names_of_groups_and_unit_change_nothing() -> None:
    x, y, group = table(11, [2, 3, 4, 5] * 3)
    order = np.random.default_rng(0).permutation(len(y))
    one = fit((x, y, group))
    two = fit((x[order], 1e6 * y[order], np.array([f"s{g * 7 % 12}" for g in group[order]])))
    assert two.f(slice(1, 4)) == pytest.approx(one.f(slice(1, 4)), rel=1e-9)
    assert two.group_variance == pytest.approx(1e12 * one.group_variance, rel=1e-9)


def test_what_cannot_be_fitted_is_not() -> None:
    x, y, group = table(13)
    assert random_intercept(x, x @ np.ones(x.shape[1]), group) is None
    assert random_intercept(np.column_stack([x, x[:, 1]]), y, group) is None
    assert random_intercept(x[:3], y[:3], group[:3]) is None


def test_thousands_of_rows_warn_of_nothing_and_are_exact_at_both_ends() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        alike = fit(table(15, [8] * 400, spread=0.0))
        apart = fit(table(15, [8] * 400, spread=1e3))
    assert alike.group_variance < 0.02
    assert apart.group_variance == pytest.approx(1e6, rel=0.2)
    assert apart.residual_variance == pytest.approx(1, rel=0.1)
