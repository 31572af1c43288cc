"""What an analysis is asked for: factors, orders, levels, runs left out, words beside numbers."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.anova import AnovaModel, anova
from analysis.data.grid import keyed
from analysis.question import ComparisonSpec, asked_of, reference_of
from analysis.statistics.contrast import Rule
from analysis.tables.cells import TableCell, mean_cell, ratio_cell
from analysis.tables.paper_tables import tables
from catalog.errors import BadValue, UnknownName

Study = Callable[..., pd.DataFrame]


def open_loop(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(request_rate=rows["max_concurrency"] / 2.0, max_concurrency=np.nan)


@pytest.mark.slow
def test_the_default_factors_are_the_load_the_strategy_and_the_model(study: Study) -> None:
    closed = anova(study())
    assert [e.factor for e in closed.effects] == ["max_concurrency", "strategy", "model"]
    rated = anova(open_loop(study()))
    assert [e.factor for e in rated.effects] == ["request_rate", "strategy", "model"]
    assert rated.effects[0].f == pytest.approx(closed.effects[0].f)
    named = anova(open_loop(study()), AnovaModel(factors=("strategy", "model")))
    assert [e.factor for e in named.effects] == ["strategy", "model"]


@pytest.mark.slow
@pytest.mark.parametrize(("order", "terms"), [(1, 2), (2, 3), (None, 3)])
def test_an_order_may_be_up_to_the_number_of_factors(
    small: Study, order: int | None, terms: int
) -> None:
    factors = ("max_concurrency", "strategy")
    found = anova(small(2), AnovaModel(factors=factors, interactions=True, order=order))
    names = [e.factor for e in found.effects]
    assert len(names) == terms
    assert ("max_concurrency × strategy" in names) == (terms == 3)
    assert found.companions == ()


@pytest.mark.parametrize("model", [
    AnovaModel(order=0), AnovaModel(order=4), AnovaModel(alpha=0.0), AnovaModel(alpha=1.0),
    AnovaModel(kind=4),
])  # fmt: skip
def test_just_beyond_what_makes_sense_is_refused(study: Study, model: AnovaModel) -> None:
    with pytest.raises(BadValue):
        anova(study(), model)


@pytest.mark.slow
def test_without_interactions_each_factor_is_alone_and_it_is_said(study: Study) -> None:
    alone = "each factor is tested alone"
    assert any(alone in note for note in anova(study()).notes)
    assert not any(
        alone in note for note in anova(study(), AnovaModel(interactions=True, order=1)).notes
    )
    assert not any(alone in note for note in anova(study(), AnovaModel(factors=("model",))).notes)


def test_logarithms_are_named_and_fitted(study: Study) -> None:
    rows = study()
    logged = anova(rows, AnovaModel(log=True, factors=("strategy",)))
    assert logged.rows()[0]["response"] == "log output_throughput"
    by_hand = anova(
        rows.assign(output_throughput=np.log(rows["output_throughput"])),
        AnovaModel(factors=("strategy",)),
    )
    assert logged.effects[0].f == pytest.approx(by_hand.effects[0].f)
    assert by_hand.rows()[0]["response"] == "output_throughput"


def test_the_mixed_model_stands_beside_the_effects_it_tests(small: Study) -> None:
    rows = anova(small(4), AnovaModel(factors=("max_concurrency", "strategy"), log=True)).rows()
    found = {row["factor"]: row for row in rows}
    # Twelve launches of three strategies.
    assert found["strategy"]["mixed_df_residual"] == 12 - 3
    assert found["max_concurrency"]["mixed_p"] < 1e-6 < found["strategy"]["mixed_p"] * 1e9
    assert {row["provenance"] for row in rows} == {"simulated"}


@pytest.mark.slow
def test_an_invalid_run_is_in_no_table_unless_it_is_asked_for(study: Study) -> None:
    rows = study()
    rows.loc[rows.index[0], ["verdict", "output_throughput"]] = ["invalid", 1e9]
    (fair,) = tables(rows, ("IV",))
    first = dict(fair.rows)["Mixtral-8x7B"][0]
    assert first.value is not None
    assert first.value < 1000
    assert first.n == 20
    assert any("1 run" in note and "left out" in note for note in fair.notes)
    (every,) = tables(rows, ("IV",), every_verdict=True)
    again = dict(every.rows)["Mixtral-8x7B"][0]
    assert again.value is not None
    assert again.value > 1e7
    assert again.n == 21


@pytest.mark.slow
def test_the_paper_s_conditions_need_no_word_and_others_do(study: Study) -> None:
    said = "not the paper's conditions"
    assert not any(said in note for note in tables(study(), ("IV",))[0].notes)
    fewer = study()
    fewer = fewer[fewer["max_concurrency"] < 128]
    (note,) = [note for note in tables(fewer, ("IV",))[0].notes if said in note]
    assert note.endswith("max_concurrency 1, 4, 8, 16, 32, 64")
    other = study().assign(workload=lambda f: f["workload"].replace("balanced", "chat"))
    (note,) = [note for note in tables(other, ("IV",))[0].notes if said in note]
    assert "workload " in note
    assert "chat" in note


def cells(values: dict[tuple[str, int], float]) -> pd.DataFrame:
    """Runs of one arm by workload and replicate."""
    return pd.DataFrame([
        {"model": "m", "strategy": "tp", "workload": w, "max_concurrency": 8, "block": b,
         "output_throughput": v, "server_group": f"s{b}"}
        for (w, b), v in values.items()
    ])  # fmt: skip


def test_a_cell_of_nothing_rests_on_no_runs() -> None:
    empty = mean_cell(cells({("a", 0): 1.0}).iloc[:0], "output_throughput")
    assert (empty.value, empty.low, empty.high, empty.n, empty.over) == (None, None, None, 0, "")


def test_conditions_weigh_the_same_however_often_they_ran() -> None:
    found = mean_cell(cells({("a", 0): 10.0, ("a", 1): 20.0, ("b", 0): 55.0}), "output_throughput")
    assert found.value == pytest.approx((15 + 55) / 2)
    assert found.n == 3
    assert mean_cell(cells({("a", 0): 1.0}).iloc[:0], "output_throughput") == TableCell(None)


def test_copies_of_one_run_have_no_interval() -> None:
    same = cells({("a", 0): 10.0, ("b", 0): 30.0, ("a", 1): 10.0, ("b", 1): 30.0})
    assert mean_cell(same, "output_throughput") == TableCell(20.0, n=4)


def test_a_mean_whose_error_is_as_large_as_it_is_has_no_bounds() -> None:
    # t of 1 degree of freedom is 12.7: of 10 and 12 the factor is exp(12.7/11) > e.
    wide = mean_cell(cells({("a", 0): 10.0, ("b", 0): 12.0}), "output_throughput")
    assert (wide.value, wide.low, wide.over) == (11.0, None, "")
    near = mean_cell(cells({("a", 0): 10.0, ("b", 0): 10.4}), "output_throughput")
    assert (near.over, near.n) == ("conditions", 2)
    assert near.low is not None


def ratio(over: dict[tuple[str, int], float], under: dict[tuple[str, int], float]) -> TableCell:
    arms = [cells(over).assign(strategy="ep"), cells(under)]
    rows = keyed(pd.concat(arms, ignore_index=True))
    ep, tp = (rows[rows["strategy"] == name] for name in ("ep", "tp"))
    return ratio_cell(ep, tp, "output_throughput")


def test_a_ratio_is_over_the_conditions_that_both_have() -> None:
    over = {("a", 0): 8.0, ("a", 1): 9.0, ("b", 0): 30.0, ("b", 1): 33.0, ("c", 0): 1e6}
    under = {("a", 0): 10.0, ("a", 1): 10.0, ("b", 0): 30.0, ("b", 1): 30.0}
    found = ratio(over, under)
    assert found.value == pytest.approx((8.5 + 31.5) / (10 + 30))
    assert (found.n, found.over) == (8, "replicates")
    assert ratio({("x", 0): 1.0}, under) == TableCell(None)
    empty = cells(under).iloc[:0]
    assert ratio_cell(empty, cells(under), "output_throughput") == TableCell(None)
    assert ratio_cell(cells(under), empty, "output_throughput") == TableCell(None)


def test_pairs_of_replicates_are_used_where_replicates_are_not_complete() -> None:
    """Workload a ran in blocks 0 and 1 with one arm and in 1 and 2 with the other: 1 is shared."""
    over = {("a", 0): 100.0, ("a", 1): 8.0, ("b", 1): 12.0}
    under = {("a", 1): 10.0, ("a", 2): 500.0, ("b", 1): 10.0}
    found = ratio(over, under)
    assert found.value == pytest.approx((8 + 12) / (10 + 10))
    assert found.n == 6


def asked(study: Study, **spec: Any) -> Any:
    return asked_of(study(), ComparisonSpec(**spec))


def test_rules_at_their_edges(study: Study) -> None:
    assert asked(study, rule=Rule(alpha=0.49, margin=1e-9, power=0.99)).apart == ()
    for rule in (
        Rule(alpha=0.0),
        Rule(alpha=0.5),
        Rule(margin=0.0),
        Rule(power=0.0),
        Rule(power=1.0),
    ):
        with pytest.raises(BadValue, match=r"--alpha|--margin|--power"):
            asked(study, rule=rule)
    with pytest.raises(BadValue, match="--by"):
        asked(study, by=("model", "strategy"))


def test_a_reference_goes_by_any_of_its_names_or_is_the_first(study: Study) -> None:
    rows = study()
    assert reference_of(rows, None) == "tp"
    assert reference_of(rows, "hybrid") == "tp+ep"
    assert reference_of(rows, "ep") == "ep"
    with pytest.raises(UnknownName, match="dp8"):
        reference_of(rows, "dp8")


def test_repeats_without_a_number_are_averaged_and_it_is_said(study: Study) -> None:
    rows = pd.concat([study(), study(seed=1)], ignore_index=True)
    bare = rows.drop(columns=["block", "replicate"])
    (note,) = [n for n in asked_of(bare, None).notes if "repeated runs carry no block" in n]
    assert "add a column 'block'" in note
    assert not [n for n in asked_of(study(2), None).notes if "repeated runs" in n]
