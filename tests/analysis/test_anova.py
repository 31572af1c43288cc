"""Analysis of variance against certified and published values, and what it refuses."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm

from analysis.anova import Anova, AnovaModel, anova
from catalog.errors import BadFile, BadValue, InputError
from perfmodel import reference

Study = Callable[..., pd.DataFrame]

# NIST StRD, SiRstv: resistivity of silicon wafers measured by five instruments.
SIRSTV = {
    1: (196.3052, 196.1240, 196.1890, 196.2569, 196.3403),
    2: (196.3042, 196.3825, 196.1669, 196.3257, 196.0422),
    3: (196.1303, 196.2005, 196.2889, 196.0343, 196.1811),
    4: (196.2795, 196.1748, 196.1494, 196.1485, 195.9885),
    5: (196.2119, 196.1051, 196.1850, 196.0052, 196.2090),
}
# R's PlantGrowth: dried weight under a control and two treatments (Dobson 1983).
PLANT_GROWTH = {
    "ctrl": (4.17, 5.58, 5.18, 6.11, 4.50, 4.61, 5.17, 4.53, 5.33, 5.14),
    "trt1": (4.81, 4.17, 4.41, 3.59, 5.87, 3.83, 6.03, 4.89, 4.32, 4.69),
    "trt2": (6.31, 5.12, 5.54, 5.50, 5.37, 5.29, 4.92, 6.15, 5.80, 5.26),
}


def table(groups: Mapping[Any, Sequence[float]]) -> pd.DataFrame:
    return pd.DataFrame(
        [{"strategy": str(k), "output_throughput": v} for k, vs in groups.items() for v in vs]
    )


def one(frame: pd.DataFrame, **options: Any) -> Anova:
    return anova(frame, AnovaModel(factors=("strategy",), **options))


def test_nist_certified_values_are_met() -> None:
    effect = one(table(SIRSTV)).effects[0]
    assert effect.f == pytest.approx(1.18046237440224, rel=1e-8)
    assert effect.sum_sq == pytest.approx(5.11462616000000e-02, rel=1e-8)
    assert effect.sum_sq_residual == pytest.approx(2.16636560000000e-01, rel=1e-8)
    assert effect.eta_squared == pytest.approx(1.90999039051129e-01, rel=1e-8)
    assert (effect.df, effect.df_residual) == (4, 20)


def test_plant_growth_is_what_r_prints() -> None:
    row = one(table(PLANT_GROWTH)).rows()[0]
    assert row["f"] == pytest.approx(4.846088, abs=5e-7)
    assert row["p"] == pytest.approx(0.01590996, abs=5e-9)
    assert row["welch_f"] == pytest.approx(5.181, abs=5e-4)
    assert row["welch_df"] == pytest.approx(17.128, abs=5e-4)
    assert row["welch_p"] == pytest.approx(0.01739, abs=5e-6)
    assert row["kruskal_h"] == pytest.approx(7.9882, abs=5e-5)
    assert row["kruskal_p"] == pytest.approx(0.01842, abs=5e-6)


def test_plant_growth_checks_are_what_r_prints() -> None:
    checks = {check.assumption: check for check in one(table(PLANT_GROWTH)).checks}
    assert checks["equal variances"].statistic == pytest.approx(1.1192, abs=5e-5)
    assert checks["equal variances"].p == pytest.approx(0.3412, abs=5e-5)
    assert checks["normal residuals"].p == pytest.approx(0.4379, abs=5e-5)
    assert all(check.holds and not check.advice for check in checks.values())


@pytest.mark.slow
@pytest.mark.parametrize("factor", ["max_concurrency", "strategy", "model"])
def test_a_189_row_table_gives_what_statsmodels_and_scipy_give(study: Study, factor: str) -> None:
    rows = study()
    row = next(r for r in anova(rows).rows() if r["factor"] == factor)
    fitted = ols(f"output_throughput ~ C({factor})", rows).fit()
    reference = anova_lm(fitted, typ=2)
    groups = [g["output_throughput"] for _, g in rows.groupby(factor)]
    total = fitted.centered_tss
    assert row["n"] == 189
    assert row["f"] == pytest.approx(reference["F"].iloc[0], rel=1e-8)
    assert row["f"] == pytest.approx(stats.f_oneway(*groups).statistic, rel=1e-8)
    assert row["p"] == pytest.approx(reference["PR(>F)"].iloc[0], rel=1e-8)
    assert row["sum_sq"] == pytest.approx(reference["sum_sq"].iloc[0], rel=1e-8)
    assert row["eta_squared"] == pytest.approx(fitted.rsquared, rel=1e-8)
    error = fitted.mse_resid
    omega = (reference["sum_sq"].iloc[0] - row["df"] * error) / (total + error)
    assert row["omega_squared"] == pytest.approx(omega, rel=1e-8)


def test_the_papers_f_and_eta_squared_fit_its_degrees_of_freedom() -> None:
    """F = η²/(1 − η²) · df_residual/df, within the rounding of the printed η² (section V-B)."""
    for row in reference.table("parallelism_anova"):
        df = int(row["levels"]) - 1
        rest = 189 - int(row["levels"])
        low, high = (
            (eta / (1 - eta)) * rest / df
            for eta in (float(row["eta_squared"]) - 5e-4, float(row["eta_squared"]) + 5e-4)
        )
        assert low - 5e-3 <= float(row["f"]) <= high + 5e-3, row
        p = stats.f.sf(float(row["f"]), df, rest)
        assert p < 1e-3 if row["p"] == "<0.001" else p == pytest.approx(float(row["p"]), abs=6e-4)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [2, 3])
def test_the_factorial_model_gives_statsmodels_sums_of_squares(study: Study, kind: int) -> None:
    rows = study(seed=3).sample(frac=0.9, random_state=1)
    found = anova(rows, AnovaModel(interactions=True, order=2, kind=kind))
    formula = (
        "output_throughput ~ (C(max_concurrency, Sum) + C(strategy, Sum) + C(model, Sum)) ** 2"
    )
    reference = anova_lm(ols(formula, rows).fit(), typ=kind)
    rest = reference.loc["Residual", "sum_sq"]
    for effect in found.effects:
        term = ":".join(f"C({name}, Sum)" for name in effect.factor.split(" × "))
        expected = reference.loc[term]
        assert effect.f == pytest.approx(expected["F"], rel=1e-8)
        assert effect.p == pytest.approx(expected["PR(>F)"], rel=1e-8)
        partial = expected["sum_sq"] / (expected["sum_sq"] + rest)
        assert effect.partial_eta_squared == pytest.approx(partial, rel=1e-8)


@pytest.mark.slow
def test_the_mixed_model_counts_launches_as_the_test_on_launch_means_does(study: Study) -> None:
    rows = study(4, seed=5)
    found = anova(rows, AnovaModel(log=True)).mixed
    logs = rows.assign(y=np.log(rows["output_throughput"]))
    means = logs.groupby("server_group").agg({"y": "mean", "strategy": "first", "model": "first"})
    reference = anova_lm(ols("y ~ C(strategy, Sum) * C(model, Sum)", means).fit(), typ=3)
    by_factor = {effect.factor: effect for effect in found.effects}
    assert by_factor["strategy"].df_residual == 36 - 9
    for factor in ("strategy", "model"):
        expected = reference.loc[f"C({factor}, Sum)", "F"]
        assert by_factor[factor].f == pytest.approx(expected, rel=1e-3)
    assert found.launch_share == pytest.approx(0.5, abs=0.2)


@pytest.mark.slow
def test_one_launch_a_cell_is_called_pseudo_replication(study: Study) -> None:
    found = anova(study())
    assert found.mixed is None
    assert any("9 server launches" in note and "--num-runs" in note for note in found.notes)


@pytest.mark.slow
def test_repeats_of_unknown_launches_are_called_doubtful(study: Study) -> None:
    rows = study(3).drop(columns="server_group")
    assert any("server_group" in note for note in anova(rows).notes)


@pytest.mark.slow
def test_copies_of_one_simulated_run_are_called_what_they_are(study: Study) -> None:
    copies = pd.concat([study(), study(replicate=1, run_id="")], ignore_index=True)
    assert any("to the last digit" in note for note in anova(copies).notes)
    assert not any("to the last digit" in note for note in anova(study(2)).notes)


@pytest.mark.slow
def test_rows_in_another_order_or_unit_give_the_same_tests(study: Study) -> None:
    rows = study()
    scaled = rows.sample(frac=1, random_state=0).assign(
        output_throughput=lambda f: 1000 * f["output_throughput"]
    )
    for before, after in zip(anova(rows).rows(), anova(scaled).rows(), strict=True):
        for key in ("f", "p", "eta_squared", "omega_squared", "welch_f", "kruskal_h"):
            assert after[key] == pytest.approx(before[key], rel=1e-8)


@pytest.mark.slow
def test_invalid_runs_are_left_out_and_counted(study: Study) -> None:
    rows = study()
    rows.loc[:4, ["verdict", "verdict_reasons"]] = ["invalid", "CLIENT_LIMITED"]
    found = anova(rows)
    assert found.effects[0].n == 184
    assert "5 runs left out: invalid: CLIENT_LIMITED" in found.notes
    assert anova(rows, every_verdict=True).effects[0].n == 189


@pytest.mark.slow
def test_measured_and_simulated_rows_are_not_pooled_unasked(study: Study) -> None:
    rows = pd.concat([study(), study(seed=1, provenance="measured")], ignore_index=True)
    with pytest.raises(BadValue, match=r"189 measured, 189 simulated.*--provenance"):
        anova(rows)
    assert anova(rows, provenance="measured").effects[0].n == 189
    with pytest.raises(BadValue, match="imported"):
        anova(rows, provenance="imported")


BROKEN = {
    "a missing column": (lambda f: f.drop(columns="strategy"), "column 'strategy' is missing"),
    "one level": (lambda f: f[f["strategy"] == "tp"], r"column 'strategy' has one level \(tp\)"),
    "no rows": (lambda f: f.iloc[:0], "holds no rows"),
    "a constant": (lambda f: f.assign(output_throughput=5.0), "same in every row"),
    "only invalid runs": (lambda f: f.assign(verdict="failed"), "no valid run among 189"),
    "text": (lambda f: f.assign(output_throughput="fast"), "holds text"),
}


@pytest.mark.slow
@pytest.mark.parametrize("change", BROKEN)
def test_unusable_tables_are_refused_in_one_line(study: Study, change: str) -> None:
    breaks, problem = BROKEN[change]
    with pytest.raises(InputError, match=problem) as caught:
        anova(breaks(study()))
    assert "\n" not in str(caught.value)


def test_a_missing_response_is_named_by_column_and_row(study: Study) -> None:
    rows = study()
    rows.loc[7, "output_throughput"] = np.nan
    with pytest.raises(BadFile, match="column 'output_throughput', row 8: empty"):
        anova(rows)


def test_an_interaction_with_an_empty_cell_is_refused(study: Study) -> None:
    rows = study()
    rows = rows[(rows["strategy"] != "ep") | (rows["max_concurrency"] != 64)]
    with pytest.raises(BadFile, match="max_concurrency × strategy = 64 × ep"):
        anova(rows, AnovaModel(interactions=True))


def test_a_saturated_model_is_refused(study: Study) -> None:
    rows = study()
    rows = rows[rows["workload"] == "balanced"]
    with pytest.raises(BadValue, match="lower --order"):
        anova(rows, AnovaModel(interactions=True))


def test_factor_names_are_never_read_as_formulas(study: Study) -> None:
    name = "__import__('os').system('true')"
    rows = study().rename(columns={"strategy": name})
    assert anova(rows, AnovaModel(factors=(name,))).effects[0].factor == name


@pytest.mark.parametrize(
    "model",
    [
        AnovaModel(kind=1),
        AnovaModel(factors=()),
        AnovaModel(factors=("model", "model")),
        AnovaModel(response="strategy"),
        AnovaModel(order=4, interactions=True),
        AnovaModel(alpha=1.5),
    ],
)
def test_options_that_make_no_sense_are_refused(study: Study, model: AnovaModel) -> None:
    with pytest.raises(BadValue):
        anova(study(), model)


def test_two_runs_a_cell_are_no_test_of_equal_variances() -> None:
    """Both are equally far from their median, whatever they are: no p follows from that."""
    rows = pd.DataFrame(
        {
            "strategy": ["tp", "tp", "ep", "ep"],
            "model": "m",
            "max_concurrency": [1, 4, 1, 4],
            "output_throughput": [354.2, 800.4, 317.7, 837.6],
        }
    )
    checks = anova(rows, AnovaModel(factors=("strategy",))).checks
    (equal,) = [check for check in checks if check.assumption == "equal variances"]
    assert (equal.statistic, equal.p, equal.holds) == (None, None, None)
    assert "two runs a cell" in equal.advice
