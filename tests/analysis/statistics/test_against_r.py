"""Six studies against R: aov, lmer, oneway.test, kruskal.test, t.test, p.adjust and TukeyHSD.

The studies and R's values lie in `r/`, with the script that made them.
"""

import math
from collections import defaultdict
from functools import cache
from pathlib import Path

import pandas as pd
import pytest

from analysis.anova import Anova, AnovaModel, anova
from analysis.compare import ComparisonSpec, compare
from analysis.data.frame import load
from analysis.statistics.mixed import MixedFit
from analysis.tukey import tukey

HERE = Path(__file__).parent / "r"
STUDIES = (
    "balanced", "unbalanced", "heteroscedastic", "launch_effect", "missing_cells",
    "no_launch_effect",
)  # fmt: skip
Values = dict[str, dict[str, float]]


@cache
def values() -> dict[str, Values]:
    """Study → what → of what → R's value."""
    found: dict[str, Values] = defaultdict(lambda: defaultdict(dict))
    for row in pd.read_csv(HERE / "values.csv", keep_default_na=False).itertuples():
        found[row.study][row.what][row.of] = float(row.value)
    return found


def study(name: str) -> pd.DataFrame:
    return load(HERE / f"{name}.csv")


def term(factor: str) -> str:
    """R's name of a factor or interaction, its parts in any order."""
    return ":".join(sorted(factor.split(" × ")))


def by_term(found: dict[str, float]) -> dict[str, float]:
    return {":".join(sorted(of.split(":"))): value for of, value in found.items()}


def factorial(name: str, *, kind: int = 2, log: bool = False) -> Anova:
    model = AnovaModel(interactions=True, order=2, kind=kind, log=log)
    return anova(study(name), model)


def mixed(name: str) -> MixedFit:
    found = factorial(name, log=True).mixed
    assert found is not None
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", STUDIES)
def test_each_factor_alone_is_rs_aov_welch_and_kruskal(name: str) -> None:
    for row in anova(study(name)).rows():
        for what in ("f", "p", "sum_sq", "welch_f", "welch_df", "welch_p", "kruskal_h"):
            assert row[what] == pytest.approx(values()[name][what][row["factor"]], rel=1e-8), what


@pytest.mark.slow
@pytest.mark.parametrize("name", STUDIES)
@pytest.mark.parametrize("kind", [2, 3])
def test_interactions_are_rs_by_both_types_of_sums_of_squares(name: str, kind: int) -> None:
    expected = by_term(values()[name][f"f_type_{kind}"])
    found = {term(e.factor): e.f for e in factorial(name, kind=kind).effects}
    assert found == {of: pytest.approx(f, rel=1e-8) for of, f in expected.items()}


@pytest.mark.slow
@pytest.mark.parametrize("name", STUDIES)
def test_the_mixed_model_is_lmers(name: str) -> None:
    found, expected = mixed(name), values()[name]
    # What lmer's optimiser leaves of the last digits, and what it calls zero.
    variances = (found.launch_variance, found.residual_variance)
    for what, value in zip(("launch_variance", "residual_variance"), variances, strict=True):
        assert value == pytest.approx(expected[what][""], rel=1e-6, abs=1e-10), what
    f = {term(e.factor): e.f for e in found.effects}
    assert f == {of: pytest.approx(v, rel=1e-6) for of, v in by_term(expected["mixed_f"]).items()}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["balanced", "heteroscedastic", "launch_effect"])
def test_of_a_balanced_study_the_mixed_model_is_aov_with_an_error_stratum(name: str) -> None:
    found, expected = mixed(name), values()[name]
    f = {term(e.factor): e.f for e in found.effects}
    df = {term(e.factor): e.df_residual for e in found.effects}
    assert df == by_term(expected["aov_df_residual"])
    assert f == {of: pytest.approx(v, rel=1e-8) for of, v in by_term(expected["aov_f"]).items()}


@pytest.mark.slow
@pytest.mark.parametrize("name", STUDIES)
@pytest.mark.parametrize(("adjust", "method"), [("bh", "BH"), ("holm", "holm")])
def test_contrasts_are_rs_t_tests_and_adjustments(name: str, adjust: str, method: str) -> None:
    expected = values()[name]
    spec = ComparisonSpec(reference="tp", adjust=adjust)
    found = {
        f"{row['model']} {row['max_concurrency']} {row['strategy']}": row
        for row in compare(study(name), spec).rows()
        if row["p"] is not None
    }
    assert set(found) == set(expected["compare_p"])
    for of, row in found.items():
        for what in ("ratio", "ratio_low", "ratio_high", "p"):
            assert row[what] == pytest.approx(expected[f"compare_{what}"][of], rel=1e-8)
        for what in ("p_adjusted", "p_equivalence"):
            assert row[what] == pytest.approx(expected[f"{what}_{method}"][of], rel=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize("name", STUDIES)
def test_all_pairs_are_those_of_tukey_hsd(name: str) -> None:
    expected, found = values()[name], {}
    for row in (pair.row() for pair in tukey(study(name))):
        place = f"{row['model']} {row['max_concurrency']} {row['strategy']}-{row['reference']}"
        logs = (math.log(row[what]) for what in ("ratio", "ratio_low", "ratio_high"))
        found[place] = (*logs, row["p_tukey"])
    assert set(found) == set(expected["tukey_diff"])
    for place, numbers in found.items():
        r = [expected[f"tukey_{what}"][place] for what in ("diff", "lwr", "upr")]
        assert numbers[:3] == pytest.approx(r, rel=1e-5, abs=1e-7)
        # R's ptukey is off by as much where there are few degrees of freedom.
        assert numbers[3] == pytest.approx(expected["tukey_p_adj"][place], abs=1e-5)
