"""The papers' tables that ship with the package."""

import pytest

from catalog.errors import UnknownName
from catalog.model_table import model
from perfmodel.reference import TABLES, table


@pytest.mark.parametrize("name", TABLES)
def test_every_table_is_there_and_names_models_of_the_catalog(name: str) -> None:
    rows = table(name)
    assert rows
    for row in rows:
        if row.get("model") and row["model"] not in ("any", "moe", "dense"):
            assert model(row["model"]).name == row["model"]


def test_table_iv_and_table_vi_agree_on_the_mean_ratio() -> None:
    """Table VI is a ratio of sums by workload, so it brackets table IV's EP over TP."""
    means = {(r["model"], r["strategy"]): r for r in table("parallelism_table4_throughput")}
    for name in {row["model"] for row in table("parallelism_table6_ep_over_tp")}:
        ratios = [
            float(row["ep_over_tp_percent"])
            for row in table("parallelism_table6_ep_over_tp")
            if row["model"] == name
        ]
        tp, ep = (
            float(means[name, strategy]["output_throughput_tok_s"]) for strategy in ("tp", "ep")
        )
        assert min(ratios) < 100 * ep / tp < max(ratios)


def test_an_unknown_table_is_refused() -> None:
    with pytest.raises(UnknownName, match="parallelism_anova"):
        table("parallelism_anvoa")
